"""kill -9 at random moments under copies, renames, deletes, evictions and uploads.

MEDIAFS_TEST_ROUNDS (default 4) and MEDIAFS_TEST_SEED make longer and other runs.
"""
import collections
import contextlib
import hashlib
import json
import os
import random
import subprocess
import threading

from lib import Callers, fsck, pattern, run

ROUNDS = int(os.environ.get("MEDIAFS_TEST_ROUNDS", "4"))
SEED = int(os.environ.get("MEDIAFS_TEST_SEED", "1"))


class Load(Callers):
    """Threads that use the mount until it dies under them."""

    def __init__(self, site, dice, number):
        self.site = site
        self.number = number
        self.seed = dice.random()
        self.written = {}  # path -> digest of bytes whose writing and fsync were acknowledged
        self.lock = threading.Lock()
        self.device = os.stat(site.mnt).st_dev
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.safely, args=(work,))
                        for work in (self.copy, self.shuffle, self.commands)]

    def safely(self, work):
        # The daemon dies in the middle: whatever a call says then is no finding.
        with contextlib.suppress(OSError, AssertionError, subprocess.TimeoutExpired):
            work(random.Random(f"{self.seed}{work.__name__}"))

    def copy(self, dice):
        for count in range(1000):
            if self.ended.is_set():
                return
            name = f"r{self.number}/clip{count}.mov"
            data = pattern(dice.choice([0, 100, 70_000, (4 << 20) + 5, 6 << 20]),
                           self.number * 1000 + count)
            (self.site.mnt / name).parent.mkdir(exist_ok=True)
            with open(self.site.mnt / name, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
                # The bare mount point after the unmount takes files too.
                if os.fstat(out.fileno()).st_dev != self.device:
                    return
            with self.lock:
                self.written[name] = hashlib.sha256(data).hexdigest()

    def shuffle(self, dice):
        """Its own files: renamed, rewritten, deleted."""
        folder = self.site.mnt / f"s{self.number}"
        folder.mkdir()
        for count in range(1000):
            if self.ended.is_set():
                return
            one, two = folder / f"a{count % 7}", folder / f"b{count % 5}"
            one.write_bytes(pattern(dice.randrange(300_000), count))
            if dice.random() < 0.5:
                one.rename(two)
            elif dice.random() < 0.5:
                one.unlink()
            else:
                with open(one, "r+b") as out:
                    out.seek(dice.randrange(1000))
                    out.write(b"head rewritten")

    def commands(self, dice):
        while not self.ended.is_set():
            verb = dice.choice(["evict", "fetch", "status", "evict"])
            command = [verb, self.site.mnt / f"r{dice.randint(0, self.number)}"]
            self.site.cmd(*command, check=False, timeout=20)


def test_kill_at_random_moments(cart):
    dice = random.Random(SEED)
    kept = {}
    found = collections.Counter()  # what fsck corrected, over all rounds
    for number in range(ROUNDS):
        load = Load(cart, dice, number)
        load.start()
        threading.Event().wait(dice.uniform(0.05, 1.5))
        verified = {event["path"] for event in cart.events()
                    if event["event"] == "verified"} if number % 4 == 3 else set()
        cart.kill()
        load.join()
        kept.update(load.written)
        # Who brings the catalog level: fsck, or the daemon by itself.
        if number % 2:
            quick = fsck("-p", "--json", cart.store)
            assert quick.returncode in (0, 1), f"round {number}\n{quick.stdout}{quick.stderr}"
            found.update(row["what"] for row in json.loads(quick.stdout)["findings"]
                         if row["outcome"] == "corrected")
        cart.mount()
        quick = fsck(cart.store)
        assert quick.returncode == 0, f"round {number}\n{quick.stdout}{quick.stderr}"
        for name in verified:
            if name in kept:
                assert (cart.mnt / name).exists(), f"{name} was verified and is gone"
    compared = 0
    for name, digest in kept.items():
        data = (cart.mnt / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest, name
        compared += len(data)
    print(f"seed {SEED}: {ROUNDS} kills, {len(kept)} files, {compared} bytes compared,",
          f"fsck corrected {dict(found)}")
    cart.wait(state="stored", timeout=300)
    assert not [row for row in cart.events() if row["event"] == "damaged"]
    cart.cmd("log", "--verify")
    cart.umount()
    full = fsck("--full", "--remote", cart.store)
    assert full.returncode == 0, full.stdout + full.stderr
    leftovers = run("find", cart.tree, "-name", ".mediafs-*").stdout
    assert leftovers == ""
