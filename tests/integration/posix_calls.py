"""What the POSIX cases share: calls that Python lacks, other users, what to compare.

A case is a function of a folder; what it returns must be equal in a native folder and in the
mount. A call that fails is part of the result, by the name of its errno.
"""
import ctypes
import errno
import os
import pickle
import stat
import struct
import sys
import traceback

LIBC = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2
KEEP_SIZE, PUNCH, COLLAPSE, ZERO = 1, 2, 8, 16
OTHER = 12345  # a user and group that owns nothing
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHERS = 1, 2, 4, 8, 16, 32  # entries of acl()
CASES = []


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
        except BaseException:  # pytest never sees it otherwise
            traceback.print_exc()
        finally:
            sys.stderr.flush()
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


def look_at_mode(path):
    """The mode as who asks for nothing else gets it: from what the kernel still believes."""
    space = ctypes.create_string_buffer(256)
    if LIBC.statx(-100, os.fsencode(path), 0, 0x2, space) < 0:
        raise OSError(ctypes.get_errno(), "statx")
    return oct(struct.unpack_from("<H", space, 28)[0])


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


def write_at(path, data):
    with_handle(path, lambda handle: os.pwrite(handle, data, 0))


def with_handle(path, function, flags=os.O_RDWR):
    handle = os.open(path, flags)
    try:
        return function(handle)
    finally:
        os.close(handle)
