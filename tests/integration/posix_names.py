"""POSIX cases: names, links, renaming, removing, special files."""
import errno
import os
import socket
import stat
import threading

from posix_calls import (NOREPLACE, EXCHANGE, as_user, attempt, case, give_name, look, read,
                         rename2, write)


@case
def names_of_any_bytes(top):
    top = os.fsencode(top)
    names = [b"a" * 255, b"\xff" * 255, bytes(range(1, 47)) + bytes(range(48, 128)),
             bytes(range(128, 256)), b" ", b"\n", b"...", b"-", "é".encode() * 127,
             b".hidden", b".mediafs"]
    found = []
    for name in names:
        write(os.path.join(top, name), name)
        found.append(read(os.path.join(top, name)) == name)
    found.append(attempt(os.mkdir, os.path.join(top, b"b" * 256)))
    found.append(attempt(os.stat, os.path.join(top, b"b" * 256)))
    found.append(attempt(os.rename, os.path.join(top, b" "), os.path.join(top, b"c" * 256)))
    return found, sorted(os.listdir(top)) == sorted(names)


@case
def long_paths(top):
    here = os.open(top, os.O_RDONLY)
    depth = 0
    for _ in range(40):  # 40 * 250 bytes: far beyond PATH_MAX
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        depth += 1
    handle = os.open("file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here)
    os.write(handle, b"deep")
    os.close(handle)
    os.rename("file", "moved", src_dir_fd=here, dst_dir_fd=here)
    found = os.stat("moved", dir_fd=here).st_size
    os.close(here)
    return depth, found


@case
def many_names(top):
    for number in range(3000):
        os.close(os.open(top / f"frame.{number:07}.dpx", os.O_WRONLY | os.O_CREAT, 0o644))
    first = sorted(os.listdir(top))
    # Names that go while the folder is read: the rest is given exactly once.
    with os.scandir(top) as entries:
        seen = []
        for entry in entries:
            seen.append(entry.name)
            if entry.name.endswith("5.dpx"):
                os.unlink(top / entry.name)
    return len(first), first[::500], len(seen) == len(set(seen)), len(os.listdir(top))


@case
def rename_matrix(top):
    """Every kind of thing over every kind of thing, with every flag."""
    kinds = {
        "none": lambda path: None,
        "file": lambda path: write(path, b"x"),
        "folder": os.mkdir,
        "full": lambda path: (os.mkdir(path), write(path / "child")),
        "link": lambda path: os.symlink("nowhere", path),
        "fifo": os.mkfifo,
    }
    found = []
    for flags in (0, NOREPLACE, EXCHANGE, NOREPLACE | EXCHANGE):
        for source, make_source in kinds.items():
            for target, make_target in kinds.items():
                folder = top / f"{flags}-{source}-{target}"
                os.mkdir(folder)
                os.mkdir(folder / "to")
                make_source(folder / "a")
                make_target(folder / "to/b")
                outcome = attempt(rename2, folder / "a", folder / "to/b", flags)
                left = sorted((str(path.relative_to(folder)), path.lstat().st_mode)
                              for path in folder.rglob("*"))
                found.append((flags, source, target, outcome, left))
    return found


@case
def rename_special(top):
    os.makedirs(top / "a/b/c")
    write(top / "file", b"1")
    os.link(top / "file", top / "same")
    return [attempt(os.rename, top / "a", top / "a/b/d"), attempt(os.rename, top / "a/b", top / "a"),
            attempt(os.rename, top / "file", top / "same"), sorted(os.listdir(top)),
            attempt(os.rename, top / "file/", top / "x"), attempt(os.rename, top / "a", top / "x/"),
            attempt(os.rename, top / "x/.", top / "y"), attempt(os.rename, top / "x/..", top / "y"),
            attempt(os.rename, top / "missing", top / "y"), sorted(os.listdir(top)),
            look(top / "same")]


@case
def rename_keeps_what_is_open(top):
    os.makedirs(top / "one/deep")
    handle = os.open(top / "one/deep/file", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(handle, b"first ")
    os.rename(top / "one", top / "two")
    os.write(handle, b"second")
    write(top / "two/deep/other", b"x")
    found = [read(top / "two/deep/file"), sorted(os.listdir(top / "two/deep")),
             attempt(os.stat, top / "one/deep/file")]
    os.close(handle)
    return found


@case
def hard_links(top):
    write(top / "file", b"bytes")
    os.mkdir(top / "folder")
    os.symlink("file", top / "link")
    os.mkfifo(top / "fifo")
    found = [attempt(os.link, top / "file", top / "folder/two"),
             attempt(os.link, top / "folder", top / "folder2"),
             attempt(os.link, top / "link", top / "link2", follow_symlinks=False),
             attempt(os.link, top / "fifo", top / "fifo2"),
             attempt(os.link, top / "file", top / "folder/two"),
             attempt(os.link, top / "missing", top / "x")]
    write(top / "folder/two", b"changed")
    found += [read(top / "file"), look(top / "file"), look(top / "link2"), look(top / "fifo2"),
              os.stat(top / "file").st_ino == os.stat(top / "folder/two").st_ino]
    os.unlink(top / "file")
    found += [look(top / "folder/two"), read(top / "folder/two")]
    return found


@case
def symlinks(top):
    found = [attempt(os.symlink, "t" * length, top / f"link{length}")
             for length in (1, 255, 1000, 4000, 4095, 4096)]
    os.symlink(b"\xff\n\x01", os.fsencode(top / "odd"))
    found += [os.readlink(top / "link4000") == "t" * 4000, os.readlink(os.fsencode(top / "odd")),
              look(top / "link255"), attempt(os.readlink, top), attempt(os.symlink, "", top / "no"),
              attempt(os.symlink, "x", top / "odd2/y")]
    write(top / "file")
    found += [attempt(os.readlink, top / "file"), attempt(os.unlink, top / "odd"),
              attempt(os.rmdir, top / "link1")]
    return found


@case
def special_files(top):
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(top / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 99))
    os.mknod(top / "plain", stat.S_IFREG | 0o604)
    server = socket.socket(socket.AF_UNIX)
    here = os.open(top, os.O_RDONLY)
    server.bind(f"/proc/self/fd/{here}/socket")
    os.close(here)
    server.listen()
    found = [look(top / name) for name in ("fifo", "null", "disk", "plain", "socket")]
    found += [os.stat(top / "null").st_rdev, os.stat(top / "disk").st_rdev]
    texts = []
    reader = threading.Thread(target=lambda: texts.append(read(top / "fifo")))
    reader.start()
    with open(top / "fifo", "wb") as out:
        out.write(b"through the fifo")
    reader.join()
    server.close()
    return found, texts, as_user(lambda: attempt(os.mknod, top / "no", stat.S_IFCHR | 0o600, 259))


@case
def removing(top):
    os.makedirs(top / "full/child")
    write(top / "file")
    os.symlink("full", top / "link")
    return [attempt(os.rmdir, top / "full"), attempt(os.rmdir, top / "file"),
            attempt(os.unlink, top / "full"), attempt(os.rmdir, top / "link"),
            attempt(os.rmdir, top / "full/child"), attempt(os.rmdir, top / "full/."),
            attempt(os.rmdir, top / "full"), attempt(os.unlink, top / "link"),
            attempt(os.unlink, top / "missing"), attempt(os.unlink, top / "file/x"),
            sorted(os.listdir(top))]


@case
def a_folder_removed_while_open(top):
    os.mkdir(top / "folder")
    handle = os.open(top / "folder", os.O_RDONLY)
    os.rmdir(top / "folder")
    found = [attempt(os.open, "x", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=handle),
             attempt(os.mkdir, "y", dir_fd=handle), os.listdir(handle)]
    os.close(handle)
    os.mkdir(top / "folder")
    return found, os.listdir(top / "folder")


@case
def unnamed_files(top):
    handle = attempt(os.open, top, os.O_TMPFILE | os.O_RDWR, 0o640)
    if handle == errno.errorcode[errno.EOPNOTSUPP]:  # libfuse 3.14 has no such request
        return "no unnamed files here"
    os.write(handle, b"unnamed")
    found = [os.fstat(handle).st_nlink, oct(os.fstat(handle).st_mode), os.listdir(top)]
    give_name(handle, top / "named")
    os.write(handle, b" no more")
    found += [os.fstat(handle).st_nlink, read(top / "named"), look(top / "named")]
    os.close(handle)
    secret = os.open(top, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    found.append(attempt(give_name, secret, top / "x"))
    os.close(secret)
    return found
