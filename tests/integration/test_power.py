"""Power cuts, in three ways, under a load: what was promised before is there after.

MEDIAFS_TEST_ROUNDS (default 1 for each disk) and MEDIAFS_TEST_SEED make longer and other runs.
"""
import contextlib
import ctypes
import hashlib
import json
import os
import random
import subprocess
import threading

import pytest

from disk import WAYS, why_not
from lib import Callers, Site, fsck, pattern, wait_for

pytestmark = pytest.mark.slow
ROUNDS = int(os.environ.get("MEDIAFS_TEST_ROUNDS", "1"))
SEED = int(os.environ.get("MEDIAFS_TEST_SEED", "1"))
EARLY = 20  # files that are verified, most of them stored, before the load begins
CUTS = 3 if ROUNDS > 1 else 1  # of one load, where the disk allows more than one
VERIFIED = ("verified", "queued", "uploading", "stored", "evicted", "hydrating")
STORED = ("stored", "evicted", "hydrating")


def sync_folder(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Load(Callers):
    """Threads that use the mount, and what they were promised meanwhile."""

    def __init__(self, site, dice, number):
        self.site, self.number = site, number
        self.seed = dice.random()
        self.known = {}  # name -> digest of what was written last, promised or not
        self.promised = {}  # name -> (digest, "synced" or a state of the file)
        self.touched = set()  # names of files whose times were set after they were promised
        self.gone = set()  # names whose removal was synced
        self.lock = threading.Lock()  # one look at, or change of, a finished file at a time
        self.ended = threading.Event()
        self.device = os.stat(site.mnt).st_dev
        self.top = site.mnt / f"n{number}"
        self.top.mkdir()
        for count in range(EARLY):
            data = pattern(dice.choice([0, 70_000, 70_000, (4 << 20) + 5, 9 << 20]), count)
            self.write(self.top / f"early{count}.mov", data, False)
            self.known[f"early{count}.mov"] = hashlib.sha256(data).hexdigest()
        site.wait("", "verified")
        self.promised = {name: (digest, "verified") for name, digest in self.known.items()}
        self.threads = [threading.Thread(target=self.safely, args=(work,))
                        for work in (self.copy, self.change, self.look)]

    def safely(self, work):
        # The power fails in the middle: whatever a call says then is no finding.
        with contextlib.suppress(OSError, AssertionError, subprocess.TimeoutExpired):
            work(random.Random(f"{self.seed}{work.__name__}"))

    def write(self, path, data, sync):
        with open(path, "wb") as out:
            out.write(data)
            out.flush()
            assert os.fstat(out.fileno()).st_dev == self.device  # the bare mount point takes files
            if sync:
                os.fsync(out.fileno())

    def copy(self, dice):
        for count in range(10_000):
            if self.ended.is_set():
                return
            path = self.top / f"clip{count}.mov"
            data = pattern(dice.choice([0, 100, 70_000, 1 << 20, (4 << 20) + 5]),
                           self.number * 10_000 + count)
            sync = dice.random() < 0.5
            self.write(path, data, sync)
            digest = hashlib.sha256(data).hexdigest()
            if sync:
                self.promised[path.name] = digest, "synced"
            if dice.random() < 0.5:  # as cp -p
                os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_000_000_000 + count))
            self.known[path.name] = digest
            self.ended.wait(dice.choice([0, 0, 0, 0, 0.7]))  # the verifier waits for a pause

    def change(self, dice):
        for count in range(10_000):
            self.ended.wait(0.03)
            if self.ended.is_set():
                return
            with self.lock:
                if self.known:
                    name = dice.choice(list(self.known))
                    act = dice.choice([self.rename, self.remove, self.replace, self.patch,
                                       self.evict, self.touch])
                    act(name, count)

    def take_back(self, name):
        """What is being changed is promised no longer."""
        return self.known.pop(name), self.promised.pop(name, None)

    def rename(self, name, count):
        fresh = f"renamed{count}.mov"
        digest, promise = self.take_back(name)
        os.rename(self.top / name, self.top / fresh)
        sync_folder(self.top)
        self.gone.add(name)
        self.known[fresh] = digest
        if promise:
            self.promised[fresh] = promise
        if name in self.touched:
            self.touched.add(fresh)

    def remove(self, name, count):
        if count % 3:
            return
        self.take_back(name)
        os.unlink(self.top / name)
        sync_folder(self.top)
        self.gone.add(name)

    def replace(self, name, count):
        """As rsync and editors do."""
        data = pattern(50_000, count)
        self.write(self.top / ".temporary", data, True)
        self.take_back(name)
        os.rename(self.top / ".temporary", self.top / name)
        sync_folder(self.top)
        self.known[name] = hashlib.sha256(data).hexdigest()
        self.promised[name] = self.known[name], "synced"

    def patch(self, name, count):
        """Written over in place, and synced by nobody but the verifier."""
        self.take_back(name)
        with open(self.top / name, "r+b") as out:
            data = b"%08d" % count + out.read()[8:]
            out.seek(0)
            out.write(data)
        self.known[name] = hashlib.sha256(data).hexdigest()

    def touch(self, name, count):
        """No byte of it changes, but who sees another time later must look at them again."""
        self.touched.add(name)
        os.utime(self.top / name, ns=(1_500_000_000_123_456_789, 1_500_000_000_000_000_000 + count))

    def evict(self, name, _count):
        if self.promised.get(name, ("", ""))[1] in STORED:
            self.site.cmd("evict", self.top / name, check=False, timeout=20)

    def look(self, _dice):
        """What the volume says of a file is a promise."""
        while not self.ended.wait(0.02):
            for name in list(self.known):
                with self.lock:
                    if name not in self.known:
                        continue
                    state = os.getxattr(self.top / name, "user.mediafs.state").decode()
                    if state in VERIFIED:
                        self.promised[name] = self.known[name], state

    def promises(self):
        """At this moment: to be taken before the power fails, and looked at again after."""
        promised, touched = dict(self.promised), set(self.touched)
        for name in touched & set(promised):
            promised[name] = promised[name][0], "synced"
        return self.top.name, promised, set(self.gone)


    def cut(self, disk):
        """Cut the power; what was promised before, and was not being changed meanwhile."""
        folder, promised, gone = self.promises()
        disk.cut()
        after = dict(self.promised)
        kept = {name: promise for name, promise in promised.items()
                if name in after and after[name][0] == promise[0]}
        return folder, kept, gone


class Tally:
    """What was compared, for who runs hundreds of rounds."""

    def __init__(self):
        self.cuts = self.files = self.bytes = self.verified = self.corrected = self.damaged = 0

    def __str__(self):
        return (f"{self.cuts} cuts, {self.files} promised files ({self.verified} of them verified),"
                f" {self.bytes} bytes compared, fsck corrected {self.corrected} times,"
                f" {self.damaged} files that nobody synced are damaged")


def remove_damaged(site, top, promised):
    """What was received, and never synced, is known to be lost: nobody was promised that."""
    count = 0
    while site.wait("", "verified", check=False).returncode == 5:
        lost = [path.name for path in top.iterdir() if site.state(path) == "damaged"]
        for name in lost:
            assert name not in promised, f"{name} was {promised[name][1]}\n{site.log_text()}"
            (top / name).unlink()
        assert lost, site.cmd("status").stdout
        count += len(lost)
    return count


def check(site, promises, by_fsck, tally):
    """After the cut: the disk is there again, the daemon is not."""
    folder, promised, gone = promises
    if by_fsck:
        quick = fsck("-p", "--json", site.store)
        assert quick.returncode in (0, 1, 4, 5), quick.stdout + quick.stderr
        # Nothing is left but what nobody was promised.
        for found in json.loads(quick.stdout)["findings"]:
            assert found["outcome"] != "left" or (
                found["what"].startswith("damaged") and
                os.path.basename(found["path"]) not in promised), quick.stdout
        tally.corrected += quick.returncode & 1
    site.mount(env=getattr(site, "environment", None))
    top = site.mnt / folder
    for name, (digest, state) in promised.items():
        data = (top / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest, f"{name} was {state}"
        now = os.getxattr(top / name, "user.mediafs.state").decode()
        assert now in VERIFIED or state == "synced", f"{name} was {state}, is {now}"
        assert now in STORED or state not in STORED, f"{name} was {state}, is {now}"
        tally.files += 1
        tally.verified += state != "synced"
        tally.bytes += len(data)
    for name in gone:
        assert not (top / name).exists(), f"{name} is back"
    tally.damaged += remove_damaged(site, top, promised)
    site.wait("", "stored")
    site.cmd("log", "--verify")
    site.umount()
    full = fsck("--full", "--remote", site.store)
    assert full.returncode == 0, full.stdout + full.stderr
    tally.cuts += 1


def cut_under_load(disk, site, dice, number):
    """The promises of each cut. The daemon and its callers are gone afterwards."""
    site.mount(env=getattr(site, "environment", None))
    load = Load(site, dice, number)
    load.start()
    promises = []
    for _ in range(CUTS if hasattr(disk, "cuts") else 1):
        load.ended.wait(dice.uniform(0.1, 2))
        promises.append(load.cut(disk))
    site.kill()
    load.join()
    return promises


@contextlib.contextmanager
def disk_with_a_store(folder, way, kind):
    reason = why_not(way, kind)
    if reason:
        pytest.skip(reason)
    disk, site = WAYS[way](folder, kind), None
    try:
        tier = disk.point / "tier"
        tier.mkdir()
        site = Site(disk.point, "cart", tier=tier,
                    settings={"space.evict_above": "0%", "space.reserve": "0%"})
        # Outside of what loses its power.
        site.mnt, site.log = folder / "mnt", folder / "log"
        site.mnt.mkdir()
        os.sync()
        yield disk, site
    finally:
        if site:
            site.close()
        disk.close()


SHORT = [("shutdown", "ext4"), ("snapshot", "xfs"), ("volatile", "btrfs")]
LONG = [(way, kind) for way in WAYS for kind in ("ext4", "xfs", "btrfs")
        if (way, kind) != ("shutdown", "btrfs")]


@pytest.mark.parametrize("way,kind", LONG if ROUNDS > 1 else SHORT)
def test_what_was_promised_survives_a_power_cut(tmp_path, way, kind):
    dice, tally = random.Random(f"{SEED}{way}{kind}"), Tally()
    for number in range(ROUNDS):
        folder = tmp_path / f"round{number}"
        folder.mkdir()
        with disk_with_a_store(folder, way, kind) as (disk, site):
            for promises in cut_under_load(disk, site, dice, number):
                disk.restart()
                check(site, promises, dice.random() < 0.5, tally)
        for image in folder.glob("*.img"):
            image.unlink()
    print(f"{kind}, {way}, seed {SEED}: {tally}")


def write_data_only(path):
    """The bytes to the disk, and not the times: as write-back may at any moment."""
    handle = os.open(path, os.O_RDWR)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        # SYNC_FILE_RANGE_WAIT_BEFORE | WRITE | WAIT_AFTER: sync_file_range(2)
        done = libc.sync_file_range(handle, ctypes.c_int64(0), ctypes.c_int64(0), 7)
        assert done == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(handle)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_new_bytes_under_old_times_are_not_taken_for_the_old_ones(tmp_path, kind):
    """A verified file is written over; the disk has the bytes, not the times, when the power fails."""
    with disk_with_a_store(tmp_path, "shutdown", kind) as (disk, site):
        site.mount()
        (site.mnt / "clip.mov").write_bytes(pattern(3 << 20))
        site.wait("clip.mov")
        with open(site.mnt / "clip.mov", "r+b") as out:
            out.write(b"another head")
        write_data_only(site.tree / "clip.mov")
        disk.cut()
        site.kill()
        disk.restart()
        site.mount()
        site.wait("clip.mov", "verified")
        assert (site.mnt / "clip.mov").read_bytes().startswith(b"another head")
        site.umount()
        full = fsck("--full", "-n", site.store)
        assert full.returncode == 0, full.stdout + full.stderr


@pytest.mark.parametrize("way,kind", [("shutdown", "ext4"), ("snapshot", "btrfs"),
                                      ("volatile", "xfs")])
def test_the_cut_loses_what_nobody_synced(tmp_path, way, kind):
    """Else the test above shows nothing."""
    reason = why_not(way, kind)
    if reason:
        pytest.skip(reason)
    disk, data = WAYS[way](tmp_path, kind), pattern(1 << 20)
    try:
        with open(disk.point / "synced", "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        (disk.point / "not-synced").write_bytes(data)
        disk.cut()
        disk.restart()
        assert (disk.point / "synced").read_bytes() == data
        lost = disk.point / "not-synced"
        assert not lost.exists() or lost.read_bytes() != data
    finally:
        disk.close()


def test_a_daemon_that_does_not_sync_is_found_out(tmp_path, library):
    with disk_with_a_store(tmp_path, "shutdown", "ext4") as (disk, site):
        table = tmp_path / "faults"
        table.write_text("nosync 1 *")
        site.environment = {"LD_PRELOAD": str(library), "MEDIAFS_FAULT": str(table),
                            "ASAN_OPTIONS": "verify_asan_link_order=0"}
        site.mount(env=site.environment)
        load = Load(site, random.Random(SEED), 0)
        load.start()
        wait_for(lambda: any(state != "synced" for _, state in list(load.promised.values())),
                 "a verified file")
        promises = load.cut(disk)
        site.kill()
        load.join()
        disk.restart()
        table.write_text("")
        with pytest.raises((AssertionError, OSError)):
            check(site, promises, False, Tally())
