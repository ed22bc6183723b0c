"""POSIX cases: modes, owners, times, permissions, attributes with names."""
import os
import stat

from lib import wait_for
from posix_calls import (EXCHANGE, KEEP_SIZE, PUNCH, ZERO, OTHER, USER_OBJ, USER, GROUP_OBJ, MASK,
                         OTHERS, acl, as_user, attempt, case, fallocate, look, look_at_mode, read,
                         rename2, with_handle, write, write_at)


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
        "allocate again": lambda path: with_handle(path, lambda h: fallocate(h, 0, 0, 4)),
        "reserve": lambda path: with_handle(path, lambda h: fallocate(h, KEEP_SIZE, 0, 9000)),
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
                found.append((name, oct(mode), who, look_at_mode(path), look(path)))
    return found


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
