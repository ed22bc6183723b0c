"""Every call does on the mount what it does on the file system below: result, errno, effect.

Each case runs twice, in a native folder and in the mount; what it returns must be equal. A call
that fails is part of the result, by the name of its errno.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import pickle
import pwd
import socket
import stat
import struct
import threading

import pytest

from lib import Site, mediafs, run, wait_for

LIBC = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2
KEEP_SIZE, PUNCH, COLLAPSE, ZERO = 1, 2, 8, 16
OTHER = 12345  # a user and group that owns nothing
CASES = []

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acts as several users: needs root")


def case(function):
    CASES.append(function)
    return function


def attempt(function, *args, **options):
    """The result of a call, or the name of its errno."""
    try:
        return function(*args, **options)
    except OSError as error:
        return errno.errorcode[error.errno]


def as_user(function, uid=OTHER, gid=OTHER, groups=(), umask=0o022, before=None):
    """Run @function in a child with other credentials; its result. @before: still as root."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if before:
                before()
            os.setgroups(list(groups))
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.umask(umask)
            with os.fdopen(write_end, "wb") as out:
                pickle.dump(function(), out)
            code = 0
        finally:
            os._exit(code)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as source:
        data = source.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(data)


def look(path, follow=False):
    """What must be equal of a stat."""
    info = os.stat(path, follow_symlinks=follow)
    size = info.st_size if not stat.S_ISDIR(info.st_mode) else None
    links = info.st_nlink if not stat.S_ISDIR(info.st_mode) else None
    return oct(info.st_mode), links, info.st_uid, info.st_gid, size


def write(path, data=b"", mode=0o644):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)


def read(path):
    with open(path, "rb") as source:
        return source.read()


def rename2(old, new, flags):
    if LIBC.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def fallocate(handle, mode, offset, length):
    if LIBC.fallocate(handle, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def give_name(handle, path):
    """Link an unnamed file (os.link() does not follow the link in /proc)."""
    old = f"/proc/self/fd/{handle}".encode()
    if LIBC.linkat(-100, old, -100, os.fsencode(path), 0x400) < 0:
        raise OSError(ctypes.get_errno(), "linkat")


def acl(*entries):
    """The xattr of a POSIX ACL; entries (tag, permissions, id)."""
    undefined = 0xffffffff
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, permissions, undefined if number is None else number)
        for tag, permissions, number in entries)


USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHERS = 1, 2, 4, 8, 16, 32


# Opening and creating


@case
def open_flags(top):
    write(top / "file", b"12345")
    os.mkdir(top / "folder")
    os.symlink("file", top / "link")
    os.symlink("nowhere", top / "dangling")
    os.symlink("loop", top / "loop")
    flags = [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_CREAT | os.O_EXCL,
             os.O_CREAT | os.O_EXCL | os.O_WRONLY, os.O_DIRECTORY, os.O_NOFOLLOW,
             os.O_RDWR | os.O_TRUNC, os.O_WRONLY | os.O_APPEND, os.O_PATH,
             os.O_PATH | os.O_NOFOLLOW, os.O_CREAT | os.O_DIRECTORY]
    found = []
    for name in ["file", "folder", "link", "dangling", "loop", "file/below", "missing/below", "."]:
        for flag in flags:
            if flag & os.O_CREAT and name == "dangling" and not flag & os.O_EXCL:
                continue  # makes "nowhere": below
            handle = attempt(os.open, top / name, flag)
            found.append((name, flag, handle if isinstance(handle, str) else "open"))
            if isinstance(handle, int):
                os.close(handle)
    handle = os.open(top / "dangling", os.O_CREAT | os.O_WRONLY, 0o600)
    os.close(handle)
    return found, look(top / "nowhere"), look(top / "file")


@case
def append(top):
    first = os.open(top / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    second = os.open(top / "log", os.O_WRONLY | os.O_APPEND)
    for number in range(20):
        os.write(first, b"a%d," % number)
        os.write(second, b"b%d," % number)
    os.lseek(first, 0, os.SEEK_SET)
    os.write(first, b"end")
    where = os.lseek(first, 0, os.SEEK_CUR)
    os.close(first)
    os.close(second)
    return read(top / "log"), where


@case
def handles_of_a_kind_only_do_that(top):
    write(top / "file", b"bytes")
    reader = os.open(top / "file", os.O_RDONLY)
    writer = os.open(top / "file", os.O_WRONLY)
    found = [attempt(os.write, reader, b"x"), attempt(os.read, writer, 1),
             attempt(os.ftruncate, reader, 0), attempt(os.read, reader, 2)]
    os.close(reader)
    os.close(writer)
    return found


@case
def a_file_made_unwritable_is_written_by_who_made_it(top):
    handle = os.open(top / "file", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    os.write(handle, b"still")
    os.fchmod(handle, 0)
    os.write(handle, b" open")
    os.close(handle)
    return look(top / "file"), read(top / "file")


@case
def sparse(top):
    handle = os.open(top / "file", os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(handle, b"end", 5_000_000_000)
    found = [os.fstat(handle).st_size, os.pread(handle, 4, 4_999_999_998)]
    os.ftruncate(handle, 100)
    found += [os.pread(handle, 200, 0), os.fstat(handle).st_size]
    os.close(handle)
    return found


@case
def direct_io(top):
    block = mmap.mmap(-1, 1 << 20)
    block.write(bytes(range(256)) * 4096)
    handle = os.open(top / "file", os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
    found = [os.write(handle, block), os.pwrite(handle, block, 1 << 20)]
    back = mmap.mmap(-1, 1 << 20)
    found.append(os.preadv(handle, [back], 1 << 20))
    os.close(handle)
    return found, back[:] == block[:], read(top / "file") == block[:] * 2


@case
def unlinked_while_open(top):
    handle = os.open(top / "file", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(handle, b"before")
    os.unlink(top / "file")
    os.write(handle, b" after")
    found = [os.fstat(handle).st_nlink, os.pread(handle, 20, 0), os.fstat(handle).st_size]
    os.fchmod(handle, 0o600)
    os.ftruncate(handle, 3)
    found += [os.pread(handle, 20, 0), oct(os.fstat(handle).st_mode),
              attempt(os.stat, top / "file"), os.listdir(top)]
    os.close(handle)
    return found


@case
def replaced_while_open(top):
    write(top / "old", b"old bytes")
    write(top / "new", b"new bytes")
    handle = os.open(top / "old", os.O_RDWR)
    os.rename(top / "new", top / "old")
    found = [os.pread(handle, 20, 0), read(top / "old"), os.fstat(handle).st_nlink]
    os.pwrite(handle, b"OLD", 0)
    found += [os.pread(handle, 20, 0), read(top / "old")]
    os.close(handle)
    return found


# Names


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


# Unnamed files


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


# Attributes


@case
def modes(top):
    write(top / "file")
    os.mkdir(top / "folder")
    found = []
    for mode in (0, 0o777, 0o4755, 0o2755, 0o1755, 0o6711, 0o7777):
        os.chmod(top / "file", mode)
        os.chmod(top / "folder", mode)
        found += [look(top / "file"), look(top / "folder")]
    os.symlink("file", top / "link")
    found.append(attempt(os.chmod, top / "link", 0o600))
    found.append(attempt(os.chmod, top / "missing", 0o600))
    return found, look(top / "file"), look(top / "link")


@case
def owners(top):
    write(top / "file")
    os.symlink("file", top / "link")
    os.mkdir(top / "folder")
    os.chmod(top / "file", 0o6755)
    os.chmod(top / "folder", 0o2755)
    os.chown(top / "file", OTHER, -1)
    os.chown(top / "folder", OTHER, 7)
    os.lchown(top / "link", 3, 4)
    found = [look(top / name) for name in ("file", "folder", "link")]
    found.append(as_user(lambda: [
        attempt(os.chown, top / "file", 0, -1), attempt(os.chown, top / "file", -1, 99),
        attempt(os.chown, top / "file", -1, OTHER), attempt(os.chown, top / "file", OTHER, 500),
        attempt(os.chmod, top / "file", 0o6777), attempt(os.chmod, top / "folder", 0o2700)],
        groups=[500]))
    found += [look(top / name) for name in ("file", "folder")]
    return found


@case
def times(top):
    write(top / "file")
    os.symlink("file", top / "link")
    moments = [(0, 0), (1, 999_999_999), (-1_000_000_001, -5), (2**31 * 10**9 + 7, 2**33 * 10**9)]
    found = []
    for moment in moments:
        os.utime(top / "file", ns=moment)
        os.utime(top / "link", ns=moment[::-1], follow_symlinks=False)
        for name in ("file", "link"):
            info = os.lstat(top / name)
            found.append((info.st_atime_ns, info.st_mtime_ns))
    found.append(as_user(lambda: [attempt(os.utime, top / "file", ns=(1, 1)),
                                  attempt(os.utime, top / "file")]))
    os.chmod(top / "file", 0o666)
    found.append(as_user(lambda: [attempt(os.utime, top / "file", ns=(1, 1)),
                                  attempt(os.utime, top / "file")]))
    return found


@case
def which_times_move(top):
    """For each change: what of atime, mtime, ctime moved, of the file and of its folder."""
    folder, path = top / "folder", top / "folder/file"
    os.mkdir(folder)
    write(path, b"bytes")
    write(top / "other", b"x")
    write(folder / "over", b"y")
    handle = os.open(path, os.O_RDWR)
    changes = {
        "write": lambda: os.pwrite(handle, b"B", 0),
        "write nothing": lambda: os.pwrite(handle, b"", 0),
        "cut": lambda: os.ftruncate(handle, 3),
        "same size": lambda: os.ftruncate(handle, 3),
        "same size by name": lambda: os.truncate(path, 3),
        "grow": lambda: os.truncate(path, 30),
        "allocate": lambda: fallocate(handle, 0, 0, 60),
        "punch": lambda: fallocate(handle, PUNCH | KEEP_SIZE, 0, 10),
        "mode": lambda: os.chmod(path, 0o600),
        "same mode": lambda: os.chmod(path, 0o600),
        "owner": lambda: os.chown(path, 1, 1),
        "xattr": lambda: os.setxattr(path, "user.a", b"1"),
        "xattr away": lambda: os.removexattr(path, "user.a"),
        "link": lambda: os.link(path, folder / "second"),
        "unlink": lambda: os.unlink(folder / "second"),
        "rename": lambda: rename2(path, folder / "over", EXCHANGE),
        "rename back": lambda: rename2(path, folder / "over", EXCHANGE),
        "rename over": lambda: os.rename(top / "other", path),
        "mkdir": lambda: os.mkdir(folder / "sub"),
        "rmdir": lambda: os.rmdir(folder / "sub"),
        "times": lambda: os.utime(path, ns=(5, 6)),
        "open": lambda: os.close(os.open(path, os.O_RDWR)),
        "open and cut": lambda: os.close(os.open(path, os.O_RDWR | os.O_TRUNC)),
        "open and cut nothing": lambda: os.close(os.open(path, os.O_RDWR | os.O_TRUNC)),
        "list": lambda: os.listdir(folder),
    }
    old = 1_000_000_000 * 10**9
    found = []
    for name, change in changes.items():
        os.utime(path, ns=(old, old))
        os.utime(folder, ns=(old, old))
        before = os.stat(path).st_ctime_ns, os.stat(folder).st_ctime_ns
        # The clock of inodes ticks every few milliseconds.
        wait_for(lambda: tick(top) > max(before), "the clock")
        change()
        now, above = os.stat(path), os.stat(folder)
        found.append((name, now.st_mtime_ns != old, now.st_ctime_ns != before[0],
                      above.st_mtime_ns != old, above.st_ctime_ns != before[1]))
    os.close(handle)
    return found


def tick(top):
    write(top / "tick", b"t")
    return os.stat(top / "tick").st_mtime_ns


@case
def set_id_bits_go(top):
    """A write by somebody who does not own set-id rights takes the bits."""
    changes = {
        "write": lambda path: write_at(path, b"x"),
        "empty write": lambda path: write_at(path, b""),
        "cut": lambda path: os.truncate(path, 1),
        "grow": lambda path: os.truncate(path, 100),
        "open and cut": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)),
        "allocate": lambda path: with_handle(path, lambda h: fallocate(h, 0, 0, 5000)),
        "punch": lambda path: with_handle(path, lambda h: fallocate(h, PUNCH | KEEP_SIZE, 0, 2)),
        "zero": lambda path: with_handle(path, lambda h: fallocate(h, ZERO, 0, 2)),
    }
    found = []
    for name, change in changes.items():
        for mode in (0o4777, 0o2777, 0o6777, 0o2767, 0o6666):
            for who in ("root", "owner", "other"):
                path = top / f"{name}-{mode:o}-{who}"
                write(path, b"bytes")
                os.chown(path, OTHER if who == "owner" else 0, 0)
                os.chmod(path, mode)
                if who == "root":
                    change(path)
                else:
                    as_user(lambda p=path, c=change: c(p))
                found.append((name, oct(mode), who, look(path)))
    return found


def write_at(path, data):
    with_handle(path, lambda handle: os.pwrite(handle, data, 0))


def with_handle(path, function, flags=os.O_RDWR):
    handle = os.open(path, flags)
    try:
        return function(handle)
    finally:
        os.close(handle)


# Other users


@case
def permissions(top):
    os.mkdir(top / "closed", 0o700)
    write(top / "closed/file", b"secret", 0o666)
    os.mkdir(top / "listable", 0o744)
    write(top / "listable/file", b"", 0o666)
    os.mkdir(top / "passable", 0o711)
    write(top / "passable/file", b"known", 0o644)
    os.mkdir(top / "shared")
    os.chmod(top / "shared", 0o777)
    write(top / "group", b"group", 0o640)
    os.chown(top / "group", 0, 500)

    def other():
        return [attempt(os.listdir, top / "closed"), attempt(read, top / "closed/file"),
                attempt(os.listdir, top / "listable"), attempt(os.stat, top / "listable/file"),
                attempt(os.listdir, top / "passable"), attempt(read, top / "passable/file"),
                attempt(write, top / "passable/file", b"x"), attempt(write, top / "passable/new"),
                attempt(os.unlink, top / "passable/file"), attempt(os.mkdir, top / "shared/mine"),
                attempt(write, top / "shared/made", b"mine"), attempt(read, top / "group"),
                attempt(write, top / "group"), attempt(os.rename, top / "group", top / "shared/g"),
                attempt(os.chmod, top / "group", 0o777), os.access(top / "closed", os.R_OK),
                os.access(top / "passable", os.X_OK), attempt(os.truncate, top / "passable/file", 0),
                attempt(os.link, top / "passable/file", top / "shared/linked")]
    return [as_user(other), as_user(other, groups=[500]),
            sorted((name, look(top / "shared" / name)) for name in os.listdir(top / "shared"))]


@case
def made_by_other_users(top):
    """Owner, group, umask and set-gid inheritance of what is made."""
    os.chmod(top, 0o777)
    os.mkdir(top / "plain")
    os.chmod(top / "plain", 0o777)
    os.mkdir(top / "setgid")
    os.chown(top / "setgid", 0, 500)
    os.chmod(top / "setgid", 0o2777)
    found = []
    for folder in ("plain", "setgid"):
        for number, (groups, umask) in enumerate([((), 0o022), ((500,), 0), ((), 0o077)]):
            def make(here=top / folder, number=number):
                os.mkdir(here / f"d{number}", 0o2775)
                os.close(os.open(here / f"f{number}", os.O_CREAT | os.O_WRONLY, 0o6777))
                os.mkfifo(here / f"p{number}", 0o666)
                os.mknod(here / f"n{number}", stat.S_IFREG | 0o2777)
                os.symlink("x", here / f"l{number}")
                os.mkdir(here / f"d{number}/below")
            as_user(make, groups=groups, umask=umask)
        found += sorted((str(path.relative_to(top)), look(path))
                        for path in (top / folder).rglob("*"))
    return found


@case
def sticky(top):
    os.mkdir(top / "tmp")
    os.chmod(top / "tmp", 0o1777)
    write(top / "tmp/roots", b"", 0o666)
    os.mkdir(top / "tmp/folder", 0o777)
    as_user(lambda: write(top / "tmp/mine"))
    as_user(lambda: write(top / "tmp/theirs"), uid=777)
    return as_user(lambda: [
        attempt(os.unlink, top / "tmp/roots"), attempt(os.rename, top / "tmp/roots", top / "tmp/x"),
        attempt(os.rmdir, top / "tmp/folder"), attempt(os.unlink, top / "tmp/theirs"),
        attempt(os.rename, top / "tmp/mine", top / "tmp/theirs"),
        attempt(os.rename, top / "tmp/mine", top / "tmp/still-mine"),
        attempt(os.unlink, top / "tmp/still-mine"), sorted(os.listdir(top / "tmp"))])


# Attributes with names


@case
def xattrs(top):
    write(top / "file")
    os.mkdir(top / "folder")
    os.symlink("file", top / "link")
    found = []
    for name in ("file", "folder"):
        path = top / name
        found += [attempt(os.setxattr, path, "user.a", b"one"),
                  attempt(os.setxattr, path, "user.a", b"two", os.XATTR_CREATE),
                  attempt(os.setxattr, path, "user.b", b"two", os.XATTR_REPLACE),
                  attempt(os.setxattr, path, "user.b", b"", os.XATTR_CREATE),
                  attempt(os.setxattr, path, "user.a", b"three\0\xff", os.XATTR_REPLACE),
                  attempt(os.getxattr, path, "user.a"), attempt(os.getxattr, path, "user.b"),
                  attempt(os.getxattr, path, "user.c"), sorted(os.listxattr(path)),
                  attempt(os.setxattr, path, "user.", b"x"), attempt(os.setxattr, path, "odd", b"x"),
                  attempt(os.setxattr, path, "user." + "n" * 250, b"x"),
                  attempt(os.setxattr, path, "user." + "n" * 251, b"x"),
                  attempt(os.setxattr, path, "trusted.t", b"root's"),
                  attempt(os.setxattr, path, "security.s", b"s"),
                  attempt(os.removexattr, path, "user.a"), attempt(os.removexattr, path, "user.a"),
                  sorted(os.listxattr(path))]
        found.append(as_user(lambda p=path: [
            attempt(os.getxattr, p, "trusted.t"), sorted(os.listxattr(p)),
            attempt(os.setxattr, p, "user.x", b"x"), attempt(os.setxattr, p, "trusted.x", b"x"),
            attempt(os.getxattr, p, "user.b")]))
    found += [attempt(os.setxattr, top / "link", "user.a", b"x", follow_symlinks=False),
              attempt(os.setxattr, top / "link", "trusted.a", b"x", follow_symlinks=False),
              attempt(os.getxattr, top / "link", "trusted.a", follow_symlinks=False),
              os.listxattr(top / "link", follow_symlinks=False)]
    return found


@case
def access_lists(top):
    os.chmod(top, 0o755)
    write(top / "file", b"listed", 0o600)
    entries = acl((USER_OBJ, 6, None), (USER, 4, OTHER), (GROUP_OBJ, 0, None), (MASK, 6, None),
                  (OTHERS, 0, None))
    found = [as_user(lambda: attempt(read, top / "file")),
             attempt(os.setxattr, top / "file", "system.posix_acl_access", entries),
             as_user(lambda: [attempt(read, top / "file"), attempt(write, top / "file")]),
             look(top / "file"), os.getxattr(top / "file", "system.posix_acl_access"),
             attempt(os.setxattr, top / "file", "system.posix_acl_access", b"nonsense"),
             attempt(os.setxattr, top / "file", "system.posix_acl_default", entries)]
    os.chmod(top / "file", 0o600)
    found += [os.getxattr(top / "file", "system.posix_acl_access"),
              as_user(lambda: attempt(read, top / "file")),
              attempt(os.removexattr, top / "file", "system.posix_acl_access"),
              attempt(os.getxattr, top / "file", "system.posix_acl_access"), look(top / "file")]
    return found


@case
def default_access_lists(top):
    """They replace the umask, and are handed down."""
    os.chmod(top, 0o777)
    entries = acl((USER_OBJ, 7, None), (USER, 7, 777), (GROUP_OBJ, 5, None), (MASK, 7, None),
                  (OTHERS, 1, None))
    os.setxattr(top, "system.posix_acl_default", entries)

    def make():
        os.mkdir(top / "folder", 0o777)
        os.mkdir(top / "folder/below", 0o750)
        os.close(os.open(top / "file", os.O_CREAT | os.O_WRONLY, 0o666))
        os.close(os.open(top / "folder/file", os.O_CREAT | os.O_WRONLY, 0o600))
        os.mkfifo(top / "fifo", 0o660)
    as_user(make, umask=0o077)
    return [(str(path.relative_to(top)), look(path),
             attempt(os.getxattr, path, "system.posix_acl_access"),
             attempt(os.getxattr, path, "system.posix_acl_default"))
            for path in sorted(top.rglob("*"))]


@case
def an_access_list_by_a_stranger_takes_set_gid(top):
    write(top / "file")
    os.chown(top / "file", OTHER, 500)
    os.chmod(top / "file", 0o2755)
    entries = acl((USER_OBJ, 7, None), (GROUP_OBJ, 5, None), (OTHERS, 5, None))
    found = [as_user(lambda: attempt(os.setxattr, top / "file", "system.posix_acl_access", entries),
                     groups=[500]), look(top / "file"),
             as_user(lambda: attempt(os.setxattr, top / "file", "system.posix_acl_access",
                                     entries)), look(top / "file")]
    return found


# Bytes


@case
def allocation(top):
    found = []
    # FUSE has no requests for collapsing and inserting ranges.
    for mode in (0, KEEP_SIZE, PUNCH, PUNCH | KEEP_SIZE, ZERO, ZERO | KEEP_SIZE, 4,
                 COLLAPSE | KEEP_SIZE, PUNCH | ZERO):
        for offset, length in ((0, 4096), (4096, 8192), (100, 50), (20480, 4096), (0, 0), (-1, 5)):
            path = top / f"{mode}-{offset}-{length}"
            write(path, bytes(range(1, 251)) * 80)  # 20 000 bytes

            def allocate(handle, mode=mode, offset=offset, length=length):
                return attempt(fallocate, handle, mode, offset, length)
            outcome = with_handle(path, allocate)
            found.append((mode, offset, length, outcome, os.stat(path).st_size, hash(read(path))))
    reader = os.open(top / "0-0-4096", os.O_RDONLY)
    found.append(attempt(fallocate, reader, 0, 0, 1))
    os.close(reader)
    return found


@case
def holes(top):
    handle = os.open(top / "file", os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(handle, b"a" * 65536, 0)
    os.pwrite(handle, b"b" * 65536, 1 << 20)
    os.ftruncate(handle, 3 << 20)
    os.fsync(handle)
    found = []
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        for offset in (0, 65535, 65536, 1 << 20, (1 << 20) + 65536, (3 << 20) - 1, 3 << 20, -1):
            found.append(attempt(os.lseek, handle, offset, whence))
    os.close(handle)
    return found


@case
def copying_ranges(top):
    write(top / "from", bytes(range(256)) * 1000)
    source = os.open(top / "from", os.O_RDONLY)
    target = os.open(top / "to", os.O_RDWR | os.O_CREAT, 0o644)
    found = [os.copy_file_range(source, target, 100_000, 5, 50),
             os.copy_file_range(source, target, 10, 255_999, 0),
             os.copy_file_range(source, target, 10, 256_000, 0),
             attempt(os.copy_file_range, target, source, 10)]
    os.close(source)
    os.close(target)
    return found, read(top / "to")


@case
def mapped(top):
    write(top / "file", b"." * 10_000)
    handle = os.open(top / "file", os.O_RDWR)
    shared = mmap.mmap(handle, 10_000)
    private = mmap.mmap(handle, 10_000, flags=mmap.MAP_PRIVATE)
    shared[5000:5006] = b"shared"
    private[0:7] = b"private"
    os.pwrite(handle, b"written", 9000)
    found = [shared[9000:9007], read(top / "file")[4998:5008], private[0:7], shared[0:7]]
    shared.flush()
    shared.close()
    os.close(handle)
    private.close()
    return found, read(top / "file")


@case
def written_and_read_by_two(top):
    writer = os.open(top / "file", os.O_WRONLY | os.O_CREAT, 0o644)
    reader = os.open(top / "file", os.O_RDONLY)
    found = []
    for number in range(50):
        os.pwrite(writer, b"%06d" % number, 3 * number)
        found.append(os.pread(reader, 20, 3 * number))
        found.append(os.fstat(reader).st_size)
    os.ftruncate(writer, 5)
    found.append(os.pread(reader, 100, 0))
    os.close(writer)
    os.close(reader)
    return found


@case
def vectors_and_odd_offsets(top):
    handle = os.open(top / "file", os.O_RDWR | os.O_CREAT, 0o644)
    found = [os.pwritev(handle, [b"abc", b"", b"defg" * 5000], 7), os.fstat(handle).st_size,
             attempt(os.pwrite, handle, b"x", -1), attempt(os.pread, handle, 5, -1),
             attempt(os.lseek, handle, -1, os.SEEK_SET), os.lseek(handle, 0, os.SEEK_END),
             attempt(os.ftruncate, handle, -1), os.pread(handle, 10, 10**12)]
    buffers = [bytearray(5), bytearray(100)]
    found += [os.preadv(handle, buffers, 3), bytes(buffers[0]), bytes(buffers[1])]
    os.close(handle)
    return found


@case
def locks(top):
    write(top / "file", b"0123456789")

    def try_locks():
        handle = os.open(top / "file", os.O_RDWR)
        outcome = [attempt(fcntl.lockf, handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0),
                   attempt(fcntl.lockf, handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5),
                   attempt(fcntl.lockf, handle, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 7),
                   attempt(fcntl.flock, handle, fcntl.LOCK_SH | fcntl.LOCK_NB)]
        os.close(handle)
        return outcome
    handle = os.open(top / "file", os.O_RDWR)
    fcntl.lockf(handle, fcntl.LOCK_EX, 5, 0)
    fcntl.flock(handle, fcntl.LOCK_EX)
    found = [as_user(try_locks, uid=0, gid=0)]
    fcntl.flock(handle, fcntl.LOCK_UN)
    fcntl.lockf(handle, fcntl.LOCK_UN)
    found.append(as_user(try_locks, uid=0, gid=0))
    os.close(handle)
    return found


@case
def syncing(top):
    handle = os.open(top / "file", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(handle, b"x")
    found = [attempt(os.fsync, handle), attempt(os.fdatasync, handle)]
    os.close(handle)
    folder = os.open(top, os.O_RDONLY)
    found += [attempt(os.fsync, folder), attempt(os.fdatasync, folder)]
    os.close(folder)
    os.sync()
    return found


@case
def control_calls_that_nobody_has(top):
    write(top / "file")
    return with_handle(top / "file", lambda handle: attempt(fcntl.ioctl, handle, 0x5401, b"\0" * 64))


# The tests


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("posix"), "posix").mount("dev", "suid")
    yield site
    site.umount()


@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)
def test_as_the_file_system_below(function, volume, tmp_path):
    native = tmp_path / "native"
    mounted = volume.mnt / function.__name__
    mask = os.umask(0o022)
    try:
        for top in (native, mounted):
            os.mkdir(top)
        for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent, volume.mnt.parent,
                       volume.mnt.parent.parent):
            os.chmod(parent, 0o755)
        expected = function(native)
        actual = function(mounted)
    finally:
        os.umask(mask)
    if function is unnamed_files and isinstance(actual, str):
        pytest.skip(actual)
    assert actual == expected


def test_inode_numbers_outlive_a_remount(plain):
    write(plain.mnt / "file", b"x")
    os.makedirs(plain.mnt / "a/b")
    os.symlink("x", plain.mnt / "link")
    names = ["file", "a", "a/b", "link", "."]
    before = [os.lstat(plain.mnt / name).st_ino for name in names]
    plain.umount()
    plain.mount()
    assert [os.lstat(plain.mnt / name).st_ino for name in names] == before
    # The numbers that listing tells are the same ones.
    listed = {entry.name: entry.inode() for entry in os.scandir(plain.mnt)}
    assert listed == {"file": before[0], "a": before[1], "link": before[3]}


def test_large_attributes_are_kept_elsewhere(plain):
    """ext4 gives a file 4 KiB for all its attributes; Finder wants more."""
    path = plain.mnt / "file"
    write(path)
    large, larger = os.urandom(40_000), os.urandom(65_536)
    os.setxattr(path, "user.small", b"s")
    os.setxattr(path, "user.com.apple.ResourceFork", large)
    assert os.getxattr(path, "user.com.apple.ResourceFork") == large
    assert sorted(os.listxattr(path)) == ["user.com.apple.ResourceFork", "user.small"]
    with pytest.raises(FileExistsError):
        os.setxattr(path, "user.com.apple.ResourceFork", b"x", os.XATTR_CREATE)
    os.setxattr(path, "user.com.apple.ResourceFork", larger, os.XATTR_REPLACE)
    os.setxattr(path, "user.small", large)  # from the inode to the catalog
    plain.umount()
    plain.mount()
    assert os.getxattr(path, "user.com.apple.ResourceFork") == larger
    assert os.getxattr(path, "user.small") == large
    os.setxattr(path, "user.small", b"t")  # and back
    assert os.getxattr(path, "user.small") == b"t"
    assert os.getxattr(plain.tree / "file", "user.small") == b"t"
    os.removexattr(path, "user.com.apple.ResourceFork")
    assert os.listxattr(path) == ["user.small"]
    assert attempt(os.getxattr, path, "user.com.apple.ResourceFork") == "ENODATA"
    assert attempt(os.removexattr, path, "user.com.apple.ResourceFork") == "ENODATA"


def test_our_attributes(plain):
    path = plain.mnt / "file"
    os.mkdir(plain.mnt / "folder")
    write(path, b"twelve bytes")
    plain.wait_state("file", "verified")

    def get(name):
        return os.getxattr(path, f"user.mediafs.{name}").decode()
    assert get("state") == "verified"
    assert len(get("digest")) == 32
    assert get("copies") == "0"
    assert get("resident") == "12"
    assert get("path") == "file"
    assert int(get("generation")) > 0
    assert get("pin") == "0"
    os.setxattr(path, "user.mediafs.pin", b"1")
    assert get("pin") == "1"
    os.removexattr(path, "user.mediafs.pin")
    assert get("pin") == "0"
    assert os.listxattr(path) == []  # copies of the file must not carry them
    for name in ("state", "digest", "residency", "anything"):
        assert attempt(os.setxattr, path, f"user.mediafs.{name}", b"x") == "EPERM"
        assert attempt(os.removexattr, path, f"user.mediafs.{name}") == "EPERM"
    assert attempt(os.getxattr, path, "user.mediafs.residency") == "ENODATA"
    assert attempt(os.getxattr, path, "user.mediafs.anything") == "ENODATA"
    assert attempt(os.setxattr, path, "user.mediafs.pin", b"maybe") == "EINVAL"
    assert attempt(os.getxattr, plain.mnt / "folder", "user.mediafs.state") == "ENODATA"
    assert os.getxattr(plain.mnt / "folder", "user.mediafs.path") == b"folder"


def test_names_of_ours_stay_ours(plain):
    mine = plain.mnt / ".mediafs-mine"
    assert attempt(write, mine) == "EPERM"
    assert attempt(os.mkdir, mine) == "EPERM"
    write(plain.mnt / "file")
    assert attempt(os.rename, plain.mnt / "file", mine) == "EPERM"
    assert attempt(os.link, plain.mnt / "file", mine) == "EPERM"
    write(plain.tree / ".mediafs-place-1", b"half made")
    assert attempt(os.stat, plain.mnt / ".mediafs-place-1") == "ENOENT"
    assert attempt(os.unlink, plain.mnt / ".mediafs-place-1") == "ENOENT"
    assert os.listdir(plain.mnt) == ["file"]


def test_the_store_cannot_be_reached_through_the_mount(plain):
    outside = plain.store / "mediafs.conf"
    os.symlink("../mediafs.conf", plain.mnt / "up")
    os.symlink(plain.store, plain.mnt / "absolute")
    # The links are resolved by the caller's kernel, in the caller's view: never by the daemon.
    assert attempt(read, plain.mnt / "up") == "ENOENT"
    assert os.path.realpath(plain.mnt / "..") == str(plain.mnt.parent)
    assert os.stat(plain.mnt / "absolute/mediafs.conf").st_dev == outside.stat().st_dev
    # A link put where a folder was, behind the daemon's back.
    os.mkdir(plain.mnt / "folder")
    write(plain.mnt / "folder/mediafs.conf", b"inside")
    handle = os.open(plain.mnt / "folder", os.O_RDONLY)
    os.rename(plain.tree / "folder", plain.tree / "moved")
    os.symlink("..", plain.tree / "folder")
    found = attempt(os.open, "mediafs.conf", os.O_RDONLY, dir_fd=handle)
    if isinstance(found, int):
        assert os.read(found, 100) == b"inside"
        os.close(found)
    os.close(handle)


def test_a_mount_for_reading_only(plain):
    write(plain.mnt / "file", b"x")
    plain.umount()
    plain.mount("ro")
    assert read(plain.mnt / "file") == b"x"
    for call in (lambda: write(plain.mnt / "new"), lambda: os.unlink(plain.mnt / "file"),
                 lambda: os.chmod(plain.mnt / "file", 0), lambda: os.mkdir(plain.mnt / "d"),
                 lambda: os.setxattr(plain.mnt / "file", "user.a", b""),
                 lambda: os.open(plain.mnt / "file", os.O_RDWR)):
        assert attempt(call) == "EROFS"


def test_clear_refusals(plain, tmp_path):
    """Each wrong mount says what is wrong, and leaves nothing behind."""
    def refused(*command):
        done = mediafs("mount", *command, check=False)
        assert done.returncode != 0
        return done.stderr
    other = Site(tmp_path, "other")
    assert "mounted already" in refused(plain.store, other.mnt)
    assert "mounted" in refused(other.store, plain.mnt)
    assert "unknown mount option" in refused(other.store, other.mnt, "-o", "frobnicate")
    assert "verify=" in refused(other.store, other.mnt, "-o", "verify=maybe")
    assert "not a store" in refused(tmp_path, other.mnt)
    assert "lie in each other" in refused(other.store, other.store / "tree")
    write(tmp_path / "file")
    assert "not a folder" in refused(other.store, tmp_path / "file")
    assert "No such file" in refused(other.store, tmp_path / "missing")


def test_options_of_fstab_are_taken(sites):
    site = sites("fstab").mount("defaults", "noauto", "nofail", "_netdev", "noatime", "x-gvfs-show",
                                "x-systemd.requires=network.target", "comment=what\\, ever", "rw")
    write(site.mnt / "file", b"x")
    assert read(site.mnt / "file") == b"x"


def test_a_dead_mount_is_cleaned_up(plain):
    write(plain.mnt / "file", b"x")
    plain.daemon.kill()
    plain.daemon.wait()
    plain.daemon = None
    assert attempt(os.stat, plain.mnt / "file") == "ENOTCONN"
    plain.mount()  # returns at once: the old mount is still there
    wait_for(lambda: attempt(read, plain.mnt / "file") == b"x", "the new mount")
    assert "removed the mount that a killed mediafs left" in plain.log_text()


def test_a_signal_ends_the_mount_cleanly(plain):
    handle = os.open(plain.mnt / "file", os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(handle, b"written")
    plain.daemon.terminate()
    assert plain.daemon.wait(60) == 0
    plain.daemon = None
    assert attempt(os.write, handle, b"more") in ("ENOTCONN", "ECONNABORTED", "EIO")
    attempt(os.close, handle)
    assert read(plain.tree / "file") == b"written"
    plain.mount()
    plain.wait_state("file", "verified")


def test_background(plain):
    """Without -f the command returns when the mount answers; the daemon goes on."""
    plain.umount()
    mediafs("mount", plain.store, plain.mnt)
    write(plain.mnt / "file", b"x")
    assert read(plain.mnt / "file") == b"x"
    run("umount", plain.mnt)

    def ended():
        return mediafs("mount", plain.store, plain.mnt, check=False).returncode == 0
    wait_for(ended, "the daemon to give the store back")
    assert read(plain.mnt / "file") == b"x"
    run("umount", plain.mnt)


def test_as_an_ordinary_user(tmp_path):
    """fusermount3, by an owner that is not root: nodes by name instead of by handle."""
    nobody = pwd.getpwnam("nobody")
    home = tmp_path / "home"
    home.mkdir()
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        os.chmod(parent, 0o755)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    device = tmp_path / "fuse"
    os.mknod(device, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
    os.chmod(device, 0o666)

    def private_device():
        """Not every machine lets its users open /dev/fuse: this process sees one that does."""
        new_namespace, private, bind = 0x20000, 0x44000, 0x1000  # with MS_REC
        assert LIBC.unshare(new_namespace) == 0
        assert LIBC.mount(None, b"/", None, private, None) == 0
        assert LIBC.mount(os.fsencode(device), b"/dev/fuse", None, bind, None) == 0

    def use():
        site = Site(home, "mine").mount()
        try:
            os.makedirs(site.mnt / "a/b")
            write(site.mnt / "a/b/file", b"bytes")
            os.link(site.mnt / "a/b/file", site.mnt / "a/second")
            handle = os.open(site.mnt / "a/b/file", os.O_RDWR)
            os.rename(site.mnt / "a", site.mnt / "c")
            os.write(handle, b"BY")
            os.unlink(site.mnt / "c/b/file")
            os.write(handle, b"TE")
            found = [os.pread(handle, 10, 0), read(site.mnt / "c/second"), os.fstat(handle).st_nlink]
            os.unlink(site.mnt / "c/second")
            found += [os.fstat(handle).st_nlink, os.pread(handle, 10, 0)]
            os.close(handle)
            long_paths(site.mnt)
            os.chmod(site.mnt / "c", 0o700)
            found.append(attempt(os.chown, site.mnt / "c", 0, 0))
            write(site.mnt / "last", b"x")
            site.wait_state("last", "verified")
            return found
        finally:
            run("fusermount3", "-u", site.mnt)
            assert site.daemon.wait(60) == 0
    found = as_user(use, nobody.pw_uid, nobody.pw_gid, before=private_device)
    assert found == [b"BYTEs", b"BYTEs", 1, 0, b"BYTEs", "EPERM"]
