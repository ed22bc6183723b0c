"""POSIX cases: opening, reading, writing, mapping, locking."""
import ctypes
import fcntl
import gc
import mmap
import os

from posix_calls import (KEEP_SIZE, PUNCH, COLLAPSE, ZERO, as_user, attempt, case, fallocate, look,
                         read, with_handle, write)


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
def cut_when_opened_for_reading(top):
    """POSIX does not say what happens; Linux cuts."""
    write(top / "file", b"12345")
    other = os.open(top / "file", os.O_RDONLY)
    first = os.read(other, 2)
    handle = os.open(top / "file", os.O_RDONLY | os.O_TRUNC)
    found = [first, os.read(other, 9), os.read(handle, 9), attempt(os.write, handle, b"x"),
             os.fstat(handle).st_size, look(top / "file")]
    os.close(handle)
    os.close(other)
    write(top / "file", b"abc")
    return found, read(top / "file")


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
def bytes_behind_the_end_of_a_mapping(top):
    """The page of the end can be written past it: what is there never becomes part of the file."""
    write(top / "file", b"." * 5000)
    handle = os.open(top / "file", os.O_RDWR)
    with mmap.mmap(handle, 5000) as view:
        first = ctypes.addressof(ctypes.c_char.from_buffer(view))
        ctypes.memset(first + 4000, ord("a"), 4000)
        gc.collect()
        view.flush()  # else FUSE's kernel takes them for bytes when the file grows
        os.ftruncate(handle, 8000)
        found = [os.pread(handle, 8000, 0)]
        ctypes.memset(first + 8000, ord("b"), 100)
        view.flush()
        os.pwrite(handle, b"end", 9000)
        found.append(os.pread(handle, 9000, 0))
        ctypes.memset(first, ord("c"), 8192)
        os.ftruncate(handle, 100)
        os.ftruncate(handle, 8192)
        found.append(os.pread(handle, 9000, 0))
    os.close(handle)
    return found, read(top / "file")


@case
def flags_of_a_handle_that_is_open(top):
    write(top / "file", b"0123456789")
    handle = os.open(top / "file", os.O_RDWR)
    fcntl.fcntl(handle, fcntl.F_SETFL, os.O_APPEND)
    found = [os.write(handle, b"appended"), os.lseek(handle, 0, os.SEEK_CUR),
             os.pwrite(handle, b"so is this", 0)]
    fcntl.fcntl(handle, fcntl.F_SETFL, 0)
    found += [os.pwrite(handle, b"not", 0), os.write(handle, b"here")]
    with mmap.mmap(-1, 8192) as block:
        block[:] = b"d" * 8192
        fcntl.fcntl(handle, fcntl.F_SETFL, os.O_DIRECT)
        found.append(os.pwrite(handle, block, 4096))
        fcntl.fcntl(handle, fcntl.F_SETFL, os.O_DIRECT | os.O_APPEND)
        found.append(os.pwrite(handle, block, 0))
    fcntl.fcntl(handle, fcntl.F_SETFL, 0)
    found.append(os.pread(handle, 100, 4090))
    os.close(handle)
    return found, read(top / "file")


@case
def flags_of_one_write(top):
    handle = os.open(top / "file", os.O_RDWR | os.O_CREAT, 0o644)
    found = [os.pwritev(handle, [b"first", b"second"], 3, os.RWF_DSYNC),
             os.pwritev(handle, [b"third"], 5, os.RWF_SYNC),
             os.pwritev(handle, [b"at the end"], 0, os.RWF_APPEND),
             attempt(os.pwritev, handle, [b"x"], 0, 1 << 20), os.pread(handle, 100, 0)]
    os.close(handle)
    return found


@case
def spliced(top):
    write(top / "from", bytes(range(256)) * 1000)
    source = os.open(top / "from", os.O_RDONLY)
    target = os.open(top / "to", os.O_RDWR | os.O_CREAT, 0o644)
    append = os.open(top / "to", os.O_WRONLY | os.O_APPEND)
    out, into = os.pipe()
    found = []
    for offset in (0, 100, 255_990):
        count = os.splice(source, into, 30_000, offset_src=offset)
        found += [count, os.splice(out, target, count, offset_dst=2 * offset)]
    os.write(into, b"rest")
    found += [attempt(os.splice, out, append, 4), os.read(out, 10)]
    found += [os.sendfile(target, source, 7, 20_000), os.sendfile(target, source, None, 9)]
    for handle in (source, target, append, out, into):
        os.close(handle)
    return found, read(top / "to")


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
