"""The Nth call fails: what test_nth.py and test_nth_far.py share. nth.c is the other half.

MEDIAFS_TEST_ROUNDS (default 1) is how many N are taken, by chance, of each class of calls; 0 takes
every one; "places" takes the first call of each place in the program, told apart by its stack: of
thousands of allocations some hundred ("places/8": an eighth of them). Another MEDIAFS_TEST_SEED than
1 chooses others.
"""
import errno
import mmap
import os
import random
import struct
import subprocess

import pytest

from lib import has_sanitizer, run, tool

ROUNDS = os.environ.get("MEDIAFS_TEST_ROUNDS", "1")
SEED = int(os.environ.get("MEDIAFS_TEST_SEED", "1"))
CLASSES = {"alloc": (1, errno.ENOMEM), "write": (2, errno.ENOSPC), "sync": (4, errno.EIO),
           "read": (8, errno.EIO), "name": (16, errno.EIO), "open": (32, errno.EMFILE),
           "attr": (64, errno.ENOSPC), "net": (128, errno.ECONNRESET)}
NEVER = 1 << 62
ANY, NOTE = 0, -1  # places
PLACES = 16384
HEAD = 40  # bytes before the places


class Nth:
    """Who fails next: the shared memory of nth.c."""

    def __init__(self, path, library):
        path.write_bytes(bytes(HEAD + 8 * PLACES))
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), HEAD + 8 * PLACES)
        self.environment = {"LD_PRELOAD": str(library), "MEDIAFS_NTH": str(path)}

    def arm(self, kind, turn):
        """The turn's number, and of which place."""
        bit, error = CLASSES[kind]
        number, place = turn
        self.memory[8:HEAD] = struct.pack("<4q", number, error, 0, place)
        self.memory[0:8] = struct.pack("<q", bit)

    def disarm(self):
        """How many calls there were since arm(), and how many of them failed."""
        self.memory[0:8] = bytes(8)
        left, _, hits = struct.unpack("<3q", self.memory[8:32])
        return left, hits

    def count(self, kind, work):
        """The number of calls of a kind that work() makes."""
        self.arm(kind, (NEVER, ANY))
        work()
        return NEVER - self.disarm()[0]

    def places(self, kind, work):
        """From where it makes them."""
        self.memory[HEAD:] = bytes(8 * PLACES)
        self.arm(kind, (NEVER, NOTE))
        work()
        self.disarm()
        return sorted(set(struct.unpack(f"<{PLACES}q", self.memory[HEAD:])) - {0})

    def turns(self, kind, work, step=None):
        """(N, place) to take, of the calls that work() makes. @step: turns are quick, so each
        step-th place where one call was enough else."""
        rounds = f"places/{step}" if step and ROUNDS == "1" else ROUNDS
        if rounds.startswith("places"):
            step = int(rounds.partition("/")[2] or 1)
            return [(1, place) for place in self.places(kind, work)[SEED % step::step]]
        total = self.count(kind, work)
        if ROUNDS == "0":
            return [(number, ANY) for number in range(1, total + 1)]
        reached = total * 2 // 3 + 1  # not every time are there as many
        dice = random.Random(f"{SEED}{kind}")
        return [(number, ANY) for number in
                sorted(dice.sample(range(1, reached + 1), min(int(ROUNDS), reached)))]


@pytest.fixture(scope="session")
def nth_library(tmp_path_factory):
    compiler = tool("cc") or tool("gcc") or tool("clang")
    if not compiler:
        pytest.skip("no C compiler")
    if has_sanitizer():
        pytest.skip("a sanitizer has malloc for itself")
    path = tmp_path_factory.mktemp("nth") / "nth.so"
    run(compiler, "-shared", "-fPIC", "-O1", "-o", path, os.path.join(
        os.path.dirname(__file__), "nth.c"), "-ldl")
    return path


@pytest.fixture
def nth(tmp_path, nth_library):
    return Nth(tmp_path / "control", nth_library)


def is_of_a_library(code, said):
    """A program that ended so crashed inside a library, and could do nothing about it."""
    return code < 0 and (
        "OPENSSL_init_crypto" in said  # its first use finds no memory
        # glibc to 2.36 at least: of a pattern with | it frees a node twice when it has no memory.
        or ("libc.so.6(regcomp+" in said and "double free" in said))


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


class Rounds:
    """Turn by turn; one finding does not keep the others from being found."""

    def __init__(self, site, nth, kind):
        self.site, self.nth, self.kind = site, nth, kind
        self.turns = self.reached = 0
        self.found = []

    def mount(self):
        self.site.mount(env=self.nth.environment)

    def one(self, turn, work, check):
        """work() while a call fails, check() afterwards. False when it was not reached."""
        hits = 0
        self.turns += 1
        try:
            self.nth.arm(self.kind, turn)
            try:
                work()
            finally:
                hits = self.nth.disarm()[1]
            assert self.site.daemon.poll() is None, "the daemon died"
            check()
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            self.found.append(f"{self.kind} {turn}, seed {SEED}: {error}\n"
                              f"{self.site.log_text()[-9000:]}")
            print("FOUND", self.found[-1], flush=True)
            self.site.close()
            self.mount()
        self.reached += hits
        return hits > 0

    def all(self, turns, work_of, check_of):
        """work_of(count) and check_of(count) give what to do in that round."""
        for count, turn in enumerate(turns):
            self.one(turn, work_of(count + 1), check_of(count + 1))
        number = turns[-1][0] if turns else 0
        while not self.reached and number > 1:  # there were fewer calls this time
            number //= 2
            self.one((number, ANY), work_of(self.turns + 1), check_of(self.turns + 1))
        print(f"{self.kind}: {len(turns)} turns, {self.reached} calls made to fail")
        assert not self.found, f"{len(self.found)} found, such as {self.found[0]}"
        assert self.reached or not turns
