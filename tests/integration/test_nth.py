"""The Nth call fails: memory, writes, syncs, reads, names, opens, attributes, the network, for N = 1,
2, ... in the daemon of a cart, with a folder and with S3 as its tier, and in fsck.

No crash, no wrong bytes, nothing verified or stored that is not, and all is well afterwards.
How many N: nth.py.
"""
import contextlib
import json
import os
import subprocess

import pytest

import s3_servers
from lib import FSCK, PATIENCE, flip, fsck, pattern, run, wait_for
from nth import (CLASSES, SEED, Rounds, attempt, is_of_a_library, nth,  # pylint: disable=unused-import
                 nth_library, write)
from s3_bucket import Bucket, make_bucket, servers  # pylint: disable=unused-import

pytestmark = pytest.mark.slow
STORED = ("stored", "evicted", "hydrating")
SETTLED = ("stored", "evicted", "damaged")
CLIP_BYTES = (9 << 20) + 70_000  # its middle block is neither head nor tail: it can be evicted
PARTS_BYTES = (33 << 20) + 70_000  # three parts of an upload to S3


class Work:
    """What people do, in a folder of its own; each step may fail."""

    def __init__(self, site, number, clip_bytes=CLIP_BYTES):
        self.site, self.top = site, site.mnt / f"w{number}"
        self.kept = {}  # name -> bytes that were acknowledged
        self.number, self.clip_bytes = number, clip_bytes

    def clip(self):
        data = pattern(self.clip_bytes, self.number)
        if attempt(write, self.top / "clip.mov", data):
            head = b"%08d" % self.number
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
            try:
                found[name] = self.site.state(self.top / name)
            except FileNotFoundError:
                pass
            except OSError as error:  # it is there: what it is shows in a moment
                found[name] = str(error)
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
            data = (self.top / "clip.mov").read_bytes()
            assert data == self.kept.get("clip.mov", data), "wrong bytes were read"

    def save(self):
        """As editors do: cut to nothing, and written anew."""
        self.kept.pop("b.txt", None)
        data = pattern(2000, self.number)
        if attempt(write, self.top / "b.txt", data):
            self.kept["b.txt"] = data

    def all(self):
        if not attempt(os.mkdir, self.top):
            attempt(os.mkdir, self.top)  # its own turn to fail is over
        self.clip()
        self.small()
        self.settle(self.clip_bytes / (9 << 20))
        self.fetch()
        self.save()

    def check(self, copies):
        """copies(folder) gives what lies in the tier, by its name."""
        for name, state in self.states().items():
            path = self.top / name
            if state == "damaged":
                continue
            assert state in STORED, f"{name} is {state}"
            want = self.kept.get(name)
            data = path.read_bytes()
            assert want is None or data == want, f"{name} is {state} and not what was written"
            assert data in copies(f"w{self.number}/", path.suffix), f"{name} is {state}, not there"
        for name in self.kept:
            assert (self.top / name).exists(), f"{name} is gone"

    def settle_and_check(self, copies):
        if not self.settle(2) or has_failed(self.site):
            recover(self.site)
            assert self.settle(PATIENCE), f"{self.states()}"
        self.check(copies)
        run("rm", "-rf", self.top)


def has_failed(site):
    """The catalog: its first error sticks until the next mount."""
    done = site.cmd("status", "--json", check=False)
    return done.returncode == 1 or json.loads(done.stdout)["catalog_error"]


def recover(site):
    """Whatever failed once is well after a remount at the latest."""
    site.umount()
    site.mount(env=site.environment)


def run_rounds(site, nth, kind, copies, clip_bytes):
    site.environment = nth.environment
    site.mount(env=site.environment)
    rounds = Rounds(site, nth, kind)

    def work_of(count):
        return Work(site, count, clip_bytes)
    first = work_of(0)
    turns = nth.turns(kind, first.all)
    assert first.settle(PATIENCE)  # or the first turn is that of what is still being done for it
    works = {}

    def make(count):
        works[count] = work_of(count)
        return works[count].all
    rounds.all(turns, make, lambda count: lambda: works.pop(count).settle_and_check(copies))
    site.umount()
    quick = fsck("-n", "--full", site.store)
    assert quick.returncode == 0, quick.stdout + quick.stderr


SETTINGS = {"transfer.retry_max": "100ms", "transfer.hydrate_timeout": "500ms",
            "space.evict_above": "0%"}


def copies_in(tier):
    return lambda folder, suffix: [path.read_bytes()
                                   for path in tier.glob(f"{folder}**/*{suffix}")]


@pytest.mark.parametrize("kind", list(CLASSES))
def test_the_daemon(sites, tier, nth, kind):
    run_rounds(sites("cart", tier=tier, settings=SETTINGS), nth, kind, copies_in(tier), CLIP_BYTES)


def test_what_was_cut_is_not_stored_any_more(sites, tier, nth):
    site = sites("cart", tier=tier, settings=SETTINGS)
    site.environment = nth.environment
    site.mount(env=nth.environment)
    rounds = Rounds(site, nth, "alloc")

    def stored(count):
        work = Work(site, count)
        work.top.mkdir()
        work.small()
        assert work.settle(PATIENCE)
        return work
    for count, place in enumerate(nth.places("alloc", stored(0).save)):
        work = stored(count + 1)
        rounds.one((1, place), work.save, lambda work=work: work.settle_and_check(copies_in(tier)))
    assert rounds.reached and not rounds.found


def change_names(top):
    attempt(os.mkdir, top)
    attempt(write, top / "a", b"a")
    attempt(os.mkdir, top / "folder")
    attempt(os.symlink, "a", top / "symlink")
    attempt(os.mkfifo, top / "fifo")
    attempt(os.mknod, top / "node", 0o100644)
    attempt(os.link, top / "a", top / "folder/link")
    attempt(os.rename, top / "a", top / "folder/b")
    attempt(os.rename, top / "node", top / "symlink")
    attempt(os.unlink, top / "fifo")
    attempt(os.unlink, top / "folder/link")
    attempt(os.rmdir, top / "folder")


def test_what_the_disk_did_the_catalog_hears(sites, nth):
    """Of names, also without memory: what nobody sees again waits for its upload for ever."""
    site = sites("cart")
    site.mount(env=nth.environment)
    places = nth.places("alloc", lambda: change_names(site.mnt / "w0"))
    for count, place in enumerate(places):
        nth.arm("alloc", (1, place))
        change_names(site.mnt / f"w{count + 1}")
        nth.disarm()
    site.umount()
    findings = json.loads(fsck("-n", "--json", site.store).stdout)["findings"]
    # A ctime that was not told harms nobody. A byte that was received and could not be accounted
    # for is lost, and that is said.
    assert not [found for found in findings if found["outcome"] != "note"
                and not found["what"].startswith("damaged")], findings


@pytest.mark.parametrize("kind", list(CLASSES))
def test_the_daemon_with_s3(sites, servers, tmp_path, nth, kind):
    bucket = make_bucket(s3_servers.USUAL, servers, tmp_path)
    named = bucket.url().replace("127.0.0.1", "localhost")  # a name has to be looked up

    def copies(folder, suffix):
        return [bucket.get(name) for name in bucket.media()
                if name.startswith(folder) and name.endswith(suffix)]
    run_rounds(sites("cart", tier=named, settings=SETTINGS), nth, kind, copies, PARTS_BYTES)
    bucket.remove()


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
        turns = nth.turns(kind, check)
        reached = 0
        for turn in turns:
            damage(site)
            nth.arm(kind, turn)
            done = check()
            reached += nth.disarm()[1]
            where = (f"{kind} {turn}, seed {SEED}: exit {done.returncode}\n"
                     f"{done.stdout}{done.stderr}")
            if is_of_a_library(done.returncode, done.stderr):
                continue
            assert done.returncode > 0 and not done.returncode & 16, where
            if mode == "-n":
                assert done.returncode & 12, where
                continue
            if done.returncode & 12 == 0:
                assert (site.tree / "clip.mov").read_bytes() == data, where
            mend_until_right(site, where, data)
        print(f"{mode}, {kind}: {len(turns)} turns, {reached} made to fail")
