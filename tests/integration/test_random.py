"""Random calls against a model: bytes through handles of every kind, also while blocks go and come
underneath, names from several threads.

Another MEDIAFS_TEST_SEED than 1 makes other calls.
"""
import mmap
import os
import random
import stat
import subprocess
import threading

import pytest

from lib import BLOCK, MEDIAFS, fsck, run
from posix_calls import KEEP_SIZE, PUNCH, ZERO, attempt, fallocate

SEED = int(os.environ.get("MEDIAFS_TEST_SEED", "1"))
PAGE = 4096


class Bytes:
    """A file on the mount, and what it must hold."""

    def __init__(self, path, chance, blocks=3):
        self.path, self.chance, self.model = path, chance, bytearray()
        self.max = blocks * BLOCK
        self.handles = {}
        self.handles["both"] = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self.trace = []

    def handle(self, write):
        """Any open handle that can; now and then handles come and go."""
        kinds = {"both": os.O_RDWR, "write": os.O_WRONLY, "read": os.O_RDONLY,
                 "append": os.O_WRONLY | os.O_APPEND}
        kind = self.chance.choice(["both", "write"] if write else ["both", "read"])
        if self.chance.random() < 0.1:
            self.close(kind)
        if kind not in self.handles:
            self.handles[kind] = os.open(self.path, kinds[kind])
        return self.handles[kind]

    def close(self, kind=None):
        for name in [kind] if kind else list(self.handles):
            if name in self.handles:
                os.close(self.handles.pop(name))

    def place(self):
        return self.chance.choice([self.chance.randrange(self.max),
                                   self.chance.randrange(len(self.model) + 1),
                                   self.chance.randrange(self.max) // PAGE * PAGE])

    def length(self):
        return self.chance.choice([self.chance.randrange(1, 100), self.chance.randrange(1, 70_000),
                                   self.chance.randrange(1, 2 << 20), PAGE])

    def grow(self, size):
        if size > len(self.model):
            self.model.extend(bytes(size - len(self.model)))

    def write(self):
        offset, data = self.place(), self.chance.randbytes(self.length())
        assert os.pwrite(self.handle(True), data, offset) == len(data)
        self.grow(offset + len(data))
        self.model[offset:offset + len(data)] = data

    def write_in_order(self):
        handle = self.handle(True)
        for _ in range(5):
            data = self.chance.randbytes(self.length())
            os.pwrite(handle, data, len(self.model))
            self.model += data

    def append(self):
        data = self.chance.randbytes(self.length())
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(handle, data)
        os.close(handle)
        self.model += data

    def read(self):
        offset, length = self.place(), self.length()
        got = os.pread(self.handle(False), length, offset)
        want = self.model[offset:offset + length]
        # One read may give less, but never nothing before the end.
        assert got == want[:len(got)] and (got or not want)

    def truncate(self):
        size = self.place()
        os.ftruncate(self.handle(True), size)
        del self.model[size:]
        self.grow(size)

    def cut_by_name(self):
        size = self.place()
        os.truncate(self.path, size)
        del self.model[size:]
        self.grow(size)

    def allocate(self):
        offset, length = self.place(), self.length()
        mode = self.chance.choice([0, KEEP_SIZE, PUNCH | KEEP_SIZE, ZERO, ZERO | KEEP_SIZE])
        fallocate(self.handle(True), mode, offset, length)
        if not mode & KEEP_SIZE:
            self.grow(offset + length)
        if mode & (PUNCH | ZERO):
            end = min(offset + length, len(self.model))
            if end > offset:
                self.model[offset:end] = bytes(end - offset)

    def mapping(self):
        if not self.model:
            return
        handle = os.open(self.path, os.O_RDWR)
        with mmap.mmap(handle, len(self.model)) as view:
            os.close(handle)
            offset = self.chance.randrange(len(self.model))
            data = self.chance.randbytes(min(self.length(), len(self.model) - offset))
            assert view[offset:offset + len(data)] == self.model[offset:offset + len(data)]
            view[offset:offset + len(data)] = data
            self.model[offset:offset + len(data)] = data

    def copy(self):
        source, length, target = self.place(), self.length(), self.place()
        if abs(source - target) < length:
            return
        count = os.copy_file_range(self.handle(False), self.handle(True), length, source, target)
        data = bytes(self.model[source:source + count])
        assert len(data) == count
        if data:
            self.grow(target + count)
            self.model[target:target + count] = data

    def direct(self):
        offset, length = self.place() // PAGE * PAGE, (self.length() + PAGE - 1) // PAGE * PAGE
        with mmap.mmap(-1, length) as block:
            block[:] = data = self.chance.randbytes(length)
            handle = os.open(self.path, os.O_RDWR | os.O_DIRECT)
            assert os.pwritev(handle, [block], offset) == length
            os.close(handle)
        self.grow(offset + length)
        self.model[offset:offset + length] = data

    def sync(self):
        os.fsync(self.handle(True))

    def all_closed(self):
        self.close()  # the verifier may begin

    def step(self):
        action = self.chance.choice([
            self.write, self.write, self.write_in_order, self.append, self.read, self.read,
            self.truncate, self.cut_by_name, self.allocate, self.mapping, self.copy, self.direct,
            self.sync, self.all_closed])
        self.act(action)

    def act(self, action):
        self.trace.append(action.__name__)
        action()
        if len(self.model) > self.max:
            os.truncate(self.path, self.max)
            del self.model[self.max:]

    def check(self):
        assert os.stat(self.path).st_size == len(self.model), self.trace[-10:]
        with open(self.path, "rb") as source:
            assert source.read() == self.model, self.trace[-10:]


@pytest.mark.parametrize("number", range(3))
def test_bytes(plain, number):
    seed = SEED + number
    print("seed", seed)
    name = f"file{number}"
    file = Bytes(plain.mnt / name, random.Random(seed))
    try:
        for count in range(250):
            file.step()
            if count % 25 == 0:
                file.check()
    finally:
        file.close()
    file.check()
    plain.wait_state(name, "verified")
    digest = run("xxhsum", "-H2", plain.tree / name).stdout.split()[0]
    assert os.getxattr(plain.mnt / name, "user.mediafs.digest").decode() == digest
    plain.umount()
    plain.mount()
    file.check()
    assert plain.state(name) == "verified"


class AwayBytes(Bytes):
    """The same, while the blocks of the file go and come back."""

    def __init__(self, site, name, chance):
        super().__init__(site.mnt / name, chance, 5)
        self.site, self.name, self.went, self.fetches = site, name, 0, []

    def fetch(self):
        """Beside what the handles do next; a file that is written meanwhile may refuse."""
        self.fetches.append(subprocess.Popen(
            [MEDIAFS, "fetch", self.path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def evict(self):
        self.close()
        for fetch in self.fetches:
            fetch.wait()
        self.fetches = []
        self.site.wait(self.name)
        self.site.cmd("evict", self.path)
        handle = os.open(self.path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)  # else the kernel answers
        os.close(handle)
        self.went += self.site.state(self.name) == "evicted"
        self.chance.choice([self.check, self.read, self.write, self.mapping])()

    def step(self):
        kind = self.chance.random()
        if kind < 0.1:
            self.act(self.evict)
        elif kind < 0.2:
            self.act(self.fetch)
        else:
            super().step()


def test_bytes_that_go_and_come(cart):
    """fsx's way: whatever is written, cut, mapped and read, some of the file lies in the tier."""
    print("seed", SEED)
    file = AwayBytes(cart, "file", random.Random(SEED))
    try:
        for count in range(150):
            file.step()
            if count % 25 == 0:
                file.check()
        os.truncate(file.path, file.max)
        file.grow(file.max)
        file.evict()
        assert file.went  # the last time, if never before
        file.check()
    finally:
        file.close()
        for fetch in file.fetches:
            fetch.wait()
    cart.wait("file")
    cart.umount()
    done = fsck("--full", cart.store)
    assert done.returncode == 0, done.stdout + done.stderr


def act(top, chance, count):
    """Changes of names, many of which fail: others are at work on the same ones."""
    def path():
        parts = [f"n{chance.randrange(4)}" for _ in range(chance.randrange(1, 4))]
        return top.joinpath(*parts)

    def make():
        handle = attempt(os.open, path(), os.O_CREAT | os.O_WRONLY, 0o644)
        if isinstance(handle, int):
            os.write(handle, b"x")
            os.close(handle)
    actions = [make, make, lambda: attempt(os.mkdir, path()), lambda: attempt(os.mkdir, path()),
               lambda: attempt(os.unlink, path()), lambda: attempt(os.rmdir, path()),
               lambda: attempt(os.rename, path(), path()), lambda: attempt(os.rename, path(), path()),
               lambda: attempt(os.link, path(), path()), lambda: attempt(os.symlink, "x", path()),
               lambda: attempt(os.listdir, path()), lambda: attempt(os.stat, path()),
               lambda: attempt(os.setxattr, path(), "user.a", b"1"),
               lambda: attempt(os.chmod, path(), chance.choice([0o644, 0o755]))]
    for _ in range(count):
        chance.choice(actions)()


def tree_of(top):
    return {str(path.relative_to(top)): (path.lstat().st_ino, path.lstat().st_mode)
            for path in top.rglob("*")}


def test_names(plain):
    """However names are changed at once, mount, disk and catalog agree in the end."""
    print("seed", SEED)
    threads = [threading.Thread(target=act, args=(plain.mnt, random.Random(SEED + number), 1500))
               for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = tree_of(plain.mnt)
    assert seen == tree_of(plain.tree)
    for name, (_, mode) in seen.items():
        if stat.S_ISDIR(mode):
            assert os.getxattr(plain.mnt / name, "user.mediafs.path") == name.encode()
    plain.umount()
    assert tree_of(plain.tree) == seen
    checked = fsck("-n", plain.store)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    plain.mount()
    assert tree_of(plain.mnt) == seen
