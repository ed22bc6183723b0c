"""The Nth call fails while a daemon starts in a store that was left in a hurry, and while a site
joins a volume. How many N: nth.py."""
import contextlib
import os
import shutil
import subprocess

import pytest

from lib import MEDIAFS, PATIENCE, fsck, is_mounted, mediafs, pattern, url, wait_for
from nth import CLASSES, ROUNDS, SEED, is_of_a_library, nth, nth_library  # pylint: disable=unused-import
from test_copied import by_cp, exchange
from test_nth import CLIP_BYTES, SETTLED
from test_sites import tree, wait_same

pytestmark = pytest.mark.slow
KINDS = list(CLASSES) if ROUNDS != "1" else ["alloc", "read"]


class Starts:
    """Turn by turn; one finding does not keep the others from being found."""

    def __init__(self, site, nth, kind):
        self.site, self.nth, self.kind = site, nth, kind
        self.reached, self.refused, self.found = 0, 0, []

    def try_to_mount(self):
        """A daemon that cannot start says so, and leaves no mount behind."""
        before = self.site.log.stat().st_size if self.site.log.exists() else 0
        self.site.mount(check=False, env=self.nth.environment)
        if self.site.daemon.poll() is None:
            return True
        code, self.site.daemon = self.site.daemon.returncode, None
        said = self.site.log.read_text(errors="replace")[before:]
        assert not is_mounted(self.site.mnt)
        if is_of_a_library(code, said):
            return False
        # What the failing call's stack looks like is no message.
        words = [line for line in said.splitlines() if line and not line.rstrip().endswith("]")]
        assert code > 0 and words, f"exit {code}: {said}"
        return False

    def all(self, prepare, work, check):
        """prepare(), then work() while a call fails, then check(), for each turn."""
        prepare()
        turns = self.nth.turns(self.kind, work)
        check()
        for turn in turns:
            try:
                prepare()
                self.nth.arm(self.kind, turn)
                try:
                    work()
                finally:
                    self.reached += self.nth.disarm()[1]
                check()
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                self.found.append(f"{self.kind} {turn}, seed {SEED}: {error}\n"
                                  f"{self.site.log_text()[-6000:]}")
                print("FOUND", self.found[-1], flush=True)
                self.site.close()
        print(f"{self.kind}: {len(turns)} turns, {self.reached} calls made to fail, "
              f"{self.refused} times it did not start")
        assert not self.found, f"{len(self.found)} found, such as {self.found[0]}"
        assert self.reached or not ROUNDS.startswith("places") or not turns


class Left:
    """A store whose daemon was killed, and whose tree somebody changed since."""

    def __init__(self, starts):
        self.starts, self.site = starts, starts.site
        self.count = 0
        self.want = {"evicted.mov": pattern(CLIP_BYTES)}
        self.site.mount()
        (self.site.mnt / "evicted.mov").write_bytes(self.want["evicted.mov"])
        self.site.wait()
        self.site.cmd("evict", self.site.mnt / "evicted.mov")
        self.site.umount()

    def write(self, top, name, size):
        self.want[name] = pattern(size, self.count)
        (top / name).write_bytes(self.want[name])

    def prepare(self):
        self.count += 1
        if not self.site.daemon:
            self.site.mount()
        for name in list(self.want):
            if name != "evicted.mov":
                del self.want[name]
                (self.site.mnt / name).unlink()
        for name in ("patched.mov", "removed.mov", "renamed.mov"):
            self.write(self.site.mnt, name, 70_000)
        self.site.wait()
        self.write(self.site.mnt, "fresh.mov", 5 << 20)
        self.site.kill()
        self.write(self.site.tree, "new.mov", 3000)
        self.write(self.site.tree, "patched.mov", 80_000)
        (self.site.tree / "removed.mov").unlink()
        del self.want["removed.mov"]
        os.rename(self.site.tree / "renamed.mov", self.site.tree / "moved.mov")
        self.want["moved.mov"] = self.want.pop("renamed.mov")

    def states(self):
        found = {}
        for name in self.want:
            try:
                found[name] = self.site.state(name)
            except OSError as error:
                found[name] = str(error)
        return found

    def have_settled(self):
        return all(state in SETTLED for state in self.states().values())

    def work(self):
        if self.starts.try_to_mount():
            with contextlib.suppress(AssertionError):
                wait_for(self.have_settled, "all to settle", 2)
        else:
            self.starts.refused += 1

    def check(self):
        if self.site.daemon and not self.have_settled():
            self.site.umount()
        if not self.site.daemon:
            self.site.mount()
        with contextlib.suppress(AssertionError):
            wait_for(self.have_settled, "all to settle")
        states = self.states()
        for name, state in states.items():
            assert state in ("stored", "evicted") or (
                state == "damaged" and name in ("fresh.mov", "new.mov", "patched.mov")), states
            if state != "damaged":
                assert (self.site.mnt / name).read_bytes() == self.want[name], name
        assert set(os.listdir(self.site.mnt)) == set(self.want)
        self.site.cmd("evict", self.site.mnt / "evicted.mov")


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_after_a_kill(sites, tier, nth, kind):
    site = sites("cart", tier=tier, settings={"transfer.retry_max": "100ms"})
    starts = Starts(site, nth, kind)
    left = Left(starts)
    starts.all(left.prepare, left.work, left.check)
    site.umount()
    full = fsck("-n", "--full", site.store)
    assert full.returncode == 0, full.stdout + full.stderr


class Closed:
    """A store that was left in order is mounted as people do: the command ends once it is there."""

    def __init__(self, site, nth):
        self.site, self.nth = site, nth
        self.want = {name: pattern(70_000) for name in ("clip.mov", "other.mov")}
        site.mount()
        for name, data in self.want.items():
            (site.mnt / name).write_bytes(data)
        site.wait()
        site.umount()

    def prepare(self):
        if is_mounted(self.site.mnt):  # what was found there left it so
            mediafs("umount", self.site.mnt)

    def mount(self, env=None):
        return subprocess.run([MEDIAFS, "mount", self.site.store, self.site.mnt], check=False,
                              capture_output=True, text=True, errors="replace", timeout=PATIENCE,
                              env={**os.environ, **(env or {})})

    def work(self):
        done = self.mount(self.nth.environment)
        if done.returncode == 0:
            for name, data in self.want.items():
                with contextlib.suppress(OSError):
                    assert (self.site.mnt / name).read_bytes() == data
            return
        assert not is_mounted(self.site.mnt), f"{done.returncode}: {done.stderr}"
        assert done.stderr and (
            done.returncode > 0 or is_of_a_library(done.returncode, done.stderr)), done

    def check(self):
        if not is_mounted(self.site.mnt):
            done = self.mount()
            assert done.returncode == 0, f"not the second time either: {done.stderr}"
        for name, data in self.want.items():
            self.site.wait_state(name, "stored")  # a catalog without memory heals by itself
            assert (self.site.mnt / name).read_bytes() == data
        mediafs("umount", self.site.mnt)


class Copied(Closed):
    """It was copied, and two files have each other's numbers."""

    def prepare(self):
        super().prepare()
        by_cp(self.site)
        exchange(self.site.tree, *self.want)


@pytest.mark.parametrize("how", [Closed, Copied])
@pytest.mark.parametrize("kind", KINDS)
def test_the_mount_of_a_closed_store(sites, tier, nth, kind, how):
    site = sites("cart", tier=tier)
    closed = how(site, nth)
    Starts(site, nth, kind).all(closed.prepare, closed.work, closed.check)


class Join:
    """A site begins with nothing and has the whole tree afterwards."""

    def __init__(self, starts, cart, tier):
        self.starts, self.site, self.cart, self.tier = starts, starts.site, cart, tier
        self.journals = tier / ".mediafs/v1/w"
        self.others = set(self.journals.iterdir())

    def prepare(self):
        """Nothing is left of the site that joined before."""
        if self.site.daemon:
            self.site.umount()
        shutil.rmtree(self.site.store)
        for journal in set(self.journals.iterdir()) - self.others:
            journal.remove_all()

    def init(self):
        return subprocess.run(
            [MEDIAFS, "init", self.site.store, "--site", "editorial", "--join", url(self.tier)],
            check=False, env={**os.environ, **self.starts.nth.environment}, capture_output=True,
            text=True, errors="replace", timeout=PATIENCE)

    def work(self):
        done = self.init()
        if done.returncode:
            assert done.stderr and (
                done.returncode > 0 or is_of_a_library(done.returncode, done.stderr)), (
                f"exit {done.returncode}: {done.stdout}{done.stderr}")
            if done.returncode < 0:
                shutil.rmtree(self.site.store, ignore_errors=True)
            done = self.init()
            assert done.returncode == 0, f"not the second time either: {done.stdout}{done.stderr}"
        self.site.set("sync.poll", "100ms")
        if not self.starts.try_to_mount():
            self.starts.refused += 1
            return
        with contextlib.suppress(AssertionError, OSError):
            wait_for(lambda: tree(self.site) == tree(self.cart), "the tree", 2)
            for path in self.site.mnt.rglob("*.mov"):
                data = path.read_bytes()
                assert data == (self.cart.mnt / path.relative_to(self.site.mnt)).read_bytes()

    def check(self):
        if not self.site.daemon:
            self.site.mount()
        with contextlib.suppress(AssertionError, OSError):
            wait_same(self.cart, self.site, 5)
            return
        self.site.umount()
        self.site.mount()
        wait_same(self.cart, self.site)


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_joins(sites, tier, cart, nth, kind):
    (cart.mnt / "day1/sub").mkdir(parents=True)
    (cart.mnt / "day1/clip.mov").write_bytes(pattern(CLIP_BYTES))
    (cart.mnt / "day1/sub/small.mov").write_bytes(b"small")
    (cart.mnt / "day1/empty.mov").touch()
    os.symlink("clip.mov", cart.mnt / "day1/symlink")
    cart.wait()
    wait_for(lambda: list(tier.glob(".mediafs/v1/w/*/head.json")), "the cart's journal")
    starts = Starts(sites("editorial", join=tier), nth, kind)
    join = Join(starts, cart, tier)
    starts.all(join.prepare, join.work, join.check)
