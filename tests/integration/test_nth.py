"""The Nth call fails: memory, writes, syncs, reads, names, opens, attributes, for N = 1, 2, ...

No crash, no wrong bytes, nothing verified or stored that is not, and all is well afterwards.
MEDIAFS_TEST_ROUNDS (default 1) is how many N are taken, by chance, of each class of calls; 0 takes every one.
MEDIAFS_TEST_SEED chooses them.
"""
import contextlib
import errno
import json
import mmap
import os
import random
import struct
import subprocess
import time

import pytest

from lib import FSCK, PATIENCE, flip, fsck, pattern, run, tool, wait_for

pytestmark = pytest.mark.slow
ROUNDS = int(os.environ.get("MEDIAFS_TEST_ROUNDS", "1"))
SEED = int(os.environ.get("MEDIAFS_TEST_SEED", str(time.time_ns() % 1_000_000)))
CLASSES = {"alloc": (1, errno.ENOMEM), "write": (2, errno.ENOSPC), "sync": (4, errno.EIO),
           "read": (8, errno.EIO), "name": (16, errno.EIO), "open": (32, errno.EMFILE),
           "attr": (64, errno.ENOSPC)}
VERIFIED = ("verified", "queued", "uploading", "stored", "evicted", "hydrating")
STORED = ("stored", "evicted", "hydrating")
SETTLED = ("stored", "evicted", "damaged")
NEVER = (1 << 62)


class Nth:
    """Who fails next: the shared memory of nth.c."""

    def __init__(self, path, library):
        path.write_bytes(bytes(32))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 32)
        self.environment = {"LD_PRELOAD": str(library), "MEDIAFS_NTH": str(path),
                            "MEDIAFS_NTH_TRACE": "1"}

    def arm(self, kind, number):
        bit, error = CLASSES[kind]
        self.memory[8:32] = struct.pack("<3q", number, error, 0)
        self.memory[0:8] = struct.pack("<q", bit)

    def disarm(self):
        """How many calls there were since arm(), and how many of them failed."""
        self.memory[0:8] = bytes(8)
        left, _, hits = struct.unpack("<3q", self.memory[8:32])
        return left, hits

    def count(self, kind, work):
        """The number of calls of a kind that work() makes."""
        self.arm(kind, NEVER)
        work()
        return NEVER - self.disarm()[0]


@pytest.fixture(scope="session")
def nth_library(tmp_path_factory):
    compiler = tool("cc") or tool("gcc") or tool("clang")
    if not compiler:
        pytest.skip("no C compiler")
    if "san.so" in run("ldd", FSCK).stdout:
        pytest.skip("a sanitizer has malloc for itself")
    path = tmp_path_factory.mktemp("nth") / "nth.so"
    run(compiler, "-shared", "-fPIC", "-O1", "-o", path, os.path.join(
        os.path.dirname(__file__), "nth.c"), "-ldl")
    return path


@pytest.fixture
def nth(tmp_path, nth_library):
    return Nth(tmp_path / "control", nth_library)


def numbers(total, kind):
    """Which N to take, of 1 to about total."""
    if ROUNDS == 0:
        return range(1, total + 1)
    dice = random.Random(f"{SEED}{kind}")
    reached = total * 2 // 3 + 1  # not every time are there as many
    return sorted(dice.sample(range(1, reached + 1), min(ROUNDS, reached)))


def attempt(function, *args, **options):
    """True when it succeeded."""
    try:
        function(*args, **options)
    except OSError:
        return False
    return True


def write(path, data, flags=os.O_CREAT | os.O_TRUNC):
    handle = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view):]
        os.fsync(handle)
    finally:
        os.close(handle)


class Work:
    """What people do, in a folder of its own; each step may fail."""

    def __init__(self, site, number):
        self.site, self.top = site, site.mnt / f"w{number}"
        self.kept = {}  # name -> bytes that were acknowledged
        self.number = number

    def clip(self):
        data = pattern((4 << 20) + 70_000, self.number)
        if attempt(write, self.top / "clip.mov", data):
            self.kept["clip.mov"] = data
            head = b"%08d" % self.number
            self.kept.pop("clip.mov")
            if attempt(write, self.top / "clip.mov", head, 0):
                self.kept["clip.mov"] = head + data[8:]

    def small(self):
        data = pattern(3000, self.number)
        if attempt(write, self.top / "a.txt", data):
            self.kept["a.txt"] = data
        if attempt(os.rename, self.top / "a.txt", self.top / "b.txt") and "a.txt" in self.kept:
            self.kept["b.txt"] = self.kept.pop("a.txt")
        attempt(os.mkdir, self.top / "sub")
        attempt(os.link, self.top / "b.txt", self.top / "sub/link.txt")
        attempt(os.symlink, "b.txt", self.top / "symlink")
        attempt(os.setxattr, self.top / "b.txt", "user.note", b"take 1")
        attempt(os.truncate, self.top / "sub/other", 10)
        attempt(os.listdir, self.top)
        attempt(os.utime, self.top / "b.txt", (1_500_000_000, 1_500_000_000))
        attempt(os.chmod, self.top / "b.txt", 0o600)

    def states(self):
        found = {}
        for name in ("clip.mov", "b.txt"):
            with contextlib.suppress(OSError):
                found[name] = self.site.state(self.top / name)
        return found

    def settle(self, patience):
        """True once all is stored or damaged."""
        with contextlib.suppress(AssertionError):
            wait_for(lambda: all(state in SETTLED for state in self.states().values()),
                     "all to settle", patience)
            return True
        return False

    def fetch(self):
        """Absent blocks come back right or not at all."""
        self.site.cmd("evict", self.top / "clip.mov", check=False)
        with contextlib.suppress(OSError):
            with open(self.top / "clip.mov", "rb") as source:
                data = source.read()
            assert data == self.kept.get("clip.mov", data), "wrong bytes were read"

    def all(self):
        if not attempt(os.mkdir, self.top):
            attempt(os.mkdir, self.top)  # its own turn to fail is over
        self.clip()
        self.small()
        self.settle(1)
        self.fetch()

    def check(self, tier):
        for name, state in self.states().items():
            path = self.top / name
            if state == "damaged":
                continue
            assert state in STORED, f"{name} is {state}"
            want = self.kept.get(name)
            data = path.read_bytes()
            assert want is None or data == want, f"{name} is {state} and not what was written"
            if state in STORED:
                copies = tier.glob(f"w{self.number}/**/*{path.suffix}")
                assert any(copy.exists() and copy.read_bytes() == data for copy in copies), name
        for name in self.kept:
            assert (self.top / name).exists(), f"{name} is gone"

    def remove(self):
        run("rm", "-rf", self.top)


def has_failed(site):
    """The catalog: its first error sticks until the next mount."""
    done = site.cmd("status", "--json", check=False)
    return done.returncode == 1 or json.loads(done.stdout)["catalog_error"]


def recover(site):
    """Whatever failed once is well after a remount at the latest."""
    site.umount()
    site.mount(env=site.environment)


def one(site, nth, tier, kind, number, count):
    """One round. False when the call was not reached."""
    work = Work(site, count)
    nth.arm(kind, number)
    try:
        work.all()
    finally:
        hits = nth.disarm()[1]

    def where():
        return f"{kind} {number}, seed {SEED}\n{site.log_text()[-9000:]}"
    assert site.daemon.poll() is None, f"the daemon died: {where()}"
    if not work.settle(2) or has_failed(site):
        recover(site)
        assert work.settle(PATIENCE), f"{work.states()}: {where()}"
    try:
        work.check(tier)
    except (AssertionError, OSError) as error:
        raise AssertionError(f"{error}: {where()}") from error
    work.remove()
    return hits > 0


@pytest.mark.parametrize("kind", list(CLASSES))
def test_the_daemon(sites, tier, nth, kind):
    site = sites("cart", tier=tier, settings={"transfer.retry_max": "100ms",
                                              "transfer.hydrate_timeout": "500ms",
                                              "space.evict_above": "0%"})
    site.environment = nth.environment
    site.mount(env=site.environment)
    total = nth.count(kind, Work(site, 0).all)
    reached = 0
    for count, number in enumerate(numbers(total, kind)):
        reached += one(site, nth, tier, kind, number, count + 1)
    while not reached and number > 1:  # there were fewer calls this time
        count, number = count + 1, number // 2
        reached += one(site, nth, tier, kind, number, count + 1)
    print(f"{kind}: {total} calls, {reached} made to fail")
    assert reached
    site.umount()
    quick = fsck("-n", "--full", site.store)
    assert quick.returncode == 0, quick.stdout + quick.stderr


def damage(site):
    flip(site.tree / "clip.mov", 5000)
    (site.tree / "new.txt").write_bytes(b"nobody knows it")
    with contextlib.suppress(FileNotFoundError):
        (site.tree / "gone.txt").unlink()


def mend_until_right(site, where, data):
    again = fsck("-p", "--full", "--remote", "--json", site.store)
    assert again.returncode in (0, 1), where + again.stdout + again.stderr
    assert json.loads(again.stdout)["left"] == 0
    assert (site.tree / "clip.mov").read_bytes() == data, where


@pytest.mark.parametrize("mode", ["-n", "-p"])
def test_fsck(sites, tier, nth, mode):
    """It says that all is right only when it is; what it began to mend, the next one ends."""
    site, data = sites("cart", tier=tier).mount(), pattern((4 << 20) + 5)
    (site.mnt / "clip.mov").write_bytes(data)
    (site.mnt / "gone.txt").write_bytes(b"gone")
    site.wait()
    site.umount()

    def check():
        return subprocess.run([FSCK, mode, "--full", "--remote", site.store], check=False,
                              env={**os.environ, **nth.environment}, capture_output=True,
                              text=True, errors="replace", timeout=PATIENCE)
    for kind in CLASSES:
        damage(site)
        total = nth.count(kind, check)
        reached = 0
        for number in numbers(total, kind):
            damage(site)
            nth.arm(kind, number)
            done = check()
            reached += nth.disarm()[1]
            where = (f"{kind} {number}, seed {SEED}: exit {done.returncode}\n"
                     f"{done.stdout}{done.stderr}")
            if done.returncode < 0 and "OPENSSL_init_crypto" in done.stderr:
                continue  # libcrypto's own: it crashes when its first use finds no memory
            assert done.returncode > 0 and not done.returncode & 16, where
            if mode == "-n":
                assert done.returncode & 12, where
                continue
            if done.returncode & 12 == 0:
                assert (site.tree / "clip.mov").read_bytes() == data, where
            mend_until_right(site, where, data)
        print(f"{mode}, {kind}: {total} calls, {reached} made to fail")
