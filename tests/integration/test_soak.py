"""A load for a few seconds or for a day, with an eye on what the daemon keeps.

MEDIAFS_TEST_SECONDS (default 5); -s shows the samples. Names, files and bytes stay as many as they
are, so that after the first third nothing may keep growing but the log of events.
"""
import contextlib
import os
import pathlib
import random
import statistics
import threading
import time

import pytest

from lib import pattern

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("MEDIAFS_TEST_SECONDS", "5"))
SEED = int(os.environ.get("MEDIAFS_TEST_SEED", "1"))
SAMPLES = 30
# How much more the last third may have than the one before: a part, and so much besides.
SLACK = {"rss": (0.1, 24 << 20), "descriptors": (0, 12), "threads": (0, 2), "wal": (0.1, 32 << 20)}
# Idle handles that S3 keeps (S3_POOL_MAX, marked and not), each with its connection and a pair of
# sockets of libcurl's: how many depends on how much ever went side by side.
CONNECTIONS = 2 * 32 * 3
WORKERS_MAX = 32  # of the session's loop (fs/loop.c), which starts one when all are busy
EVENT_BYTES = 1024  # of the catalog, for each event that was added
BUSY = 0.5  # of the time; the verifier waits for pauses


class Worker(threading.Thread):
    """Twelve files of its own, changed for ever, and what each must hold."""

    def __init__(self, site, number, ended):
        super().__init__()
        self.site, self.ended = site, ended
        self.top = site.mnt / f"worker{number}"
        self.top.mkdir()
        self.dice = random.Random(f"{SEED}{number}")
        self.held = {}
        self.laps = 0
        self.failure = None

    def path(self):
        return self.top / f"clip{self.dice.randrange(12)}.mov"

    def write(self):
        path, data = self.path(), pattern(self.dice.choice([0, 5000, 300_000, (4 << 20) + 9]))
        path.write_bytes(data)
        self.held[path.name] = data

    def patch(self):
        if self.held:
            name = self.dice.choice(list(self.held))
            with open(self.top / name, "r+b") as out:
                out.write(b"patched!")
            self.held[name] = b"patched!" + self.held[name][8:]

    def read(self):
        if self.held:
            name = self.dice.choice(list(self.held))
            assert (self.top / name).read_bytes() == self.held[name], name

    def rename(self):
        if self.held:
            name, path = self.dice.choice(list(self.held)), self.path()
            os.rename(self.top / name, path)
            self.held[path.name] = self.held.pop(name)

    def remove(self):
        if self.held:
            name = self.dice.choice(list(self.held))
            os.unlink(self.top / name)
            del self.held[name]

    def tree(self):
        """A folder comes and goes, with links, attributes, and a file that is open to the end."""
        top = self.top / "tree"
        top.mkdir()
        with open(top / "note.txt", "w", encoding="utf-8") as note:
            note.write("scene 1")
            os.link(top / "note.txt", top / "link.txt")
            os.symlink("note.txt", top / "symlink")
            os.setxattr(top / "note.txt", "user.scene", b"1")
            assert sorted(os.listdir(top)) == ["link.txt", "note.txt", "symlink"]
            for name in ("note.txt", "link.txt", "symlink"):
                os.unlink(top / name)
            note.write("take 1")
        top.rmdir()

    def command(self):
        self.site.cmd(*self.dice.choice([["status"], ["ls", self.top], ["evict", self.top],
                                         ["fetch", self.top], ["metrics"]]), check=False)

    def run(self):
        acts = [self.write, self.write, self.patch, self.read, self.read, self.rename, self.remove,
                self.tree, self.command]
        try:
            while not self.ended.is_set():
                started = time.monotonic()
                self.dice.choice(acts)()
                self.laps += 1
                self.ended.wait((time.monotonic() - started) * (1 - BUSY) / BUSY)
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error
            self.ended.set()


def size(path):
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def look(site):
    """What the daemon has now."""
    process = f"/proc/{site.daemon.pid}"
    with open(f"{process}/status", encoding="ascii") as lines:
        status = dict(line.split(":", 1) for line in lines)
    names = []
    for task in os.listdir(f"{process}/task"):
        with contextlib.suppress(OSError):  # it has ended
            names.append(pathlib.Path(f"{process}/task/{task}/comm").read_text("ascii").strip())
    workers = names.count("fuse")
    return {"rss": int(status["VmRSS"].split()[0]) << 10, "workers": workers,
            "threads": len(names) - workers,
            "descriptors": len(os.listdir(f"{process}/fd")),
            "catalog": size(site.store / "catalog.db"), "wal": size(site.store / "catalog.db-wal")}


def middle(samples, what):
    return statistics.median(sample[what] for sample in samples)


def test_nothing_keeps_growing(cart, tier_kind):
    ended = threading.Event()
    workers = [Worker(cart, number, ended) for number in range(3)]
    for worker in workers:
        worker.start()
    samples, events = [], []
    try:
        for _ in range(SAMPLES):
            if ended.wait(SECONDS / SAMPLES):
                break
            samples.append(look(cart))
            print(len(samples), samples[-1], flush=True)
            if len(samples) in (SAMPLES // 3, SAMPLES):
                events.append(len(cart.events()))
    finally:
        ended.set()
        for worker in workers:
            worker.join()
    for worker in workers:
        assert not worker.failure, f"seed {SEED}: {worker.failure!r}\n{cart.log_text()}"
    print(f"{sum(worker.laps for worker in workers)} acts in {SECONDS} s, {events[1]} events")

    third = SAMPLES // 3
    for what, (part, room) in SLACK.items():
        room += CONNECTIONS if what == "descriptors" and tier_kind != "dir" else 0
        before, after = middle(samples[third:2 * third], what), middle(samples[2 * third:], what)
        assert after <= before * (1 + part) + room, f"{what} grew from {before} to {after}"
    assert 0 < max(sample["workers"] for sample in samples) <= WORKERS_MAX
    grown = samples[-1]["catalog"] - samples[third]["catalog"]
    assert grown <= (events[1] - events[0]) * EVENT_BYTES + (4 << 20), f"catalog grew by {grown}"
    for worker in workers:
        for name, data in worker.held.items():
            assert (worker.top / name).read_bytes() == data, name
    cart.wait("", "stored")
    assert not [row for row in cart.events() if row["event"] == "damaged"]
