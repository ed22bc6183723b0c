"""The Nth call fails at editorial, and while a catalog is rebuilt. How many N: nth.py."""
import contextlib
import json
import os
import sqlite3
import subprocess

import pytest

from lib import FSCK, PATIENCE, fsck, pattern, run, same_tree, wait_for
from nth import (CLASSES, SEED, Rounds, attempt, is_of_a_library, nth,  # pylint: disable=unused-import
                 nth_library)
from test_nth import CLIP_BYTES, recover
from test_sites import tree

pytestmark = pytest.mark.slow


class Exchange:
    """A cart changes its tree; editorial follows, reads, evicts, and changes something too."""

    def __init__(self, cart, editorial, number):
        self.cart, self.editorial, self.name = cart, editorial, f"w{number}"
        self.clip = pattern(CLIP_BYTES, number)

    def seen(self, name, patience=2):
        """At editorial, if it comes."""
        with contextlib.suppress(AssertionError, OSError):
            wait_for((self.editorial.mnt / self.name / name).exists, name, patience)

    def read(self, name):
        """Its middle first: then a part of it is here, and a part comes."""
        with contextlib.suppress(OSError), open(self.editorial.mnt / self.name / name, "rb") as file:
            for at in CLIP_BYTES // 2, 0:
                file.seek(at)
                assert file.read(CLIP_BYTES - at) == self.clip[at:], "wrong bytes"

    def edit(self):
        attempt((self.editorial.mnt / self.name / "note.txt").write_bytes, b"from editorial")
        attempt(os.rename, self.editorial.mnt / self.name / "b.txt",
                self.editorial.mnt / self.name / "c.txt")

    def all(self):
        top = self.cart.mnt / self.name
        (top / "sub").mkdir(parents=True)
        (top / "sub/clip.mov").write_bytes(self.clip)
        (top / "b.txt").write_bytes(self.clip[:3000])
        os.symlink("b.txt", top / "symlink")
        self.cart.wait(self.name)
        self.seen("sub/clip.mov")
        self.read("sub/clip.mov")
        self.editorial.cmd("evict", self.editorial.mnt / self.name, check=False)
        self.read("sub/clip.mov")
        self.edit()
        os.rename(top / "sub", top / "moved")
        (top / "symlink").unlink()
        self.seen("moved/clip.mov", 1)
        self.read("moved/clip.mov")

    def is_same(self):
        with contextlib.suppress(OSError):
            return tree(self.cart) == tree(self.editorial)
        return False

    def damaged(self):
        """Editorial could not sync or read it: it says so, and does not let go of it."""
        return [path for path in run("find", self.editorial.mnt / self.name, "-type", "f",
                                     check=False).stdout.splitlines()
                if self.state(path) == "damaged"]

    def state(self, path):
        with contextlib.suppress(OSError):  # it has moved meanwhile
            return self.editorial.state(path)
        return None

    def remove(self):
        for site in (self.editorial, self.cart):
            run("rm", "-rf", site.mnt / self.name)

    def check(self):
        if self.damaged():
            self.remove()
            return
        try:
            wait_for(self.is_same, "both to have the same tree", 5)
        except AssertionError:
            recover(self.editorial)
            try:
                wait_for(self.is_same, "both to have the same tree")
            except AssertionError as error:
                raise AssertionError(f"{tree(self.cart)}\n{tree(self.editorial)}") from error
        same_tree(self.cart.mnt, self.editorial.mnt)
        assert (self.cart.mnt / self.name / "moved/clip.mov").read_bytes() == self.clip
        self.remove()


@pytest.mark.parametrize("kind", list(CLASSES))
def test_editorial(sites, tier, cart, nth, kind):
    editorial = sites("editorial", join=tier, options=["rw"],
                      settings={"transfer.retry_max": "100ms"})
    editorial.environment = nth.environment
    editorial.mount(env=nth.environment)
    rounds = Rounds(editorial, nth, kind)
    exchanges = {}

    def make(count):
        exchanges[count] = Exchange(cart, editorial, count)
        return exchanges[count].all
    first = Exchange(cart, editorial, 0)
    turns = nth.turns(kind, first.all)
    first.check()  # or the first turn is that of what is still being done for it
    rounds.all(turns, make, lambda count: exchanges.pop(count).check)
    editorial.umount()
    quick = fsck("-n", "--full", editorial.store)
    assert quick.returncode == 0, quick.stdout + quick.stderr


def test_a_removal_that_failed_is_tried_again(sites, tier, cart, nth):
    """Of what another site removed: the first call that reads fails, from each place."""
    editorial = sites("editorial", join=tier)
    editorial.mount(env=nth.environment)

    def make(count):
        os.symlink("anything", cart.mnt / f"link{count}")
        here = editorial.mnt / f"link{count}"
        wait_for(lambda: os.path.islink(here), "the link at editorial")
        return here

    def remove(here, patience):
        (cart.mnt / here.name).unlink()
        with contextlib.suppress(AssertionError, OSError):
            wait_for(lambda: not os.path.lexists(here), "it to go", patience)
    turns = nth.places("read", lambda here=make(0): remove(here, PATIENCE))
    for count, place in enumerate(turns):
        here = make(count + 1)
        nth.arm("read", (1, place))
        remove(here, 1)
        nth.disarm()
        wait_for(lambda here=here: not os.path.lexists(here), f"the link to go: {editorial.log_text()}")
    assert turns


def test_what_was_placed_in_vain_is_seen_later(sites, tier, cart, nth):
    """The kernel knew that there is no such name: it must hear of it, whatever failed after."""
    editorial = sites("editorial", join=tier)
    editorial.mount(env=nth.environment)

    def place(count, patience):
        here = editorial.mnt / f"clip{count}.mov"
        assert not here.exists()
        (cart.mnt / here.name).write_bytes(b"clip")
        with contextlib.suppress(AssertionError, OSError):
            wait_for(here.exists, "it", patience)
        return here
    turns = nth.turns("read", lambda: place(0, PATIENCE))
    for count, turn in enumerate(turns):
        nth.arm("read", turn)
        here = place(count + 1, 1)
        nth.disarm()
        wait_for(here.exists, f"{here}: {editorial.log_text()}")
    assert turns


@pytest.mark.parametrize("kind", list(CLASSES))
def test_the_rebuild_of_a_catalog(sites, tier, nth, kind):
    """It says that it is done only when it is; what it began, the next one ends."""
    site, data = sites("cart", tier=tier).mount(), pattern(CLIP_BYTES)
    (site.mnt / "folder").mkdir()
    (site.mnt / "folder/clip.mov").write_bytes(data)
    (site.mnt / "b.txt").write_bytes(b"text")
    site.wait()
    site.cmd("pin", site.mnt / "b.txt")
    site.cmd("evict", site.mnt / "folder")
    site.umount()

    whole = (site.store / "catalog.db").read_bytes()

    def start_again():
        for part in site.store.glob("catalog.db*"):
            part.unlink()
        (site.store / "catalog.db").write_bytes(whole)

    def rebuild():
        for old in site.store.glob("catalog.db.old*"):  # they are named by the second
            old.unlink()
        return subprocess.run([FSCK, "--rebuild-catalog", site.store], check=False,
                              env={**os.environ, **nth.environment}, capture_output=True,
                              text=True, errors="replace", timeout=PATIENCE)
    turns = nth.turns(kind, rebuild)
    reached = 0
    for turn in turns:
        start_again()
        nth.arm(kind, turn)
        done = rebuild()
        reached += nth.disarm()[1]
        where = f"{kind} {turn}, seed {SEED}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        if is_of_a_library(done.returncode, done.stderr):
            continue
        assert done.returncode > 0 and not done.returncode & 16, where
        if done.returncode & 12:
            done = rebuild()
            assert done.returncode == 1, where + done.stdout + done.stderr
        if "the old catalog cannot be read" not in done.stdout:
            with contextlib.closing(sqlite3.connect(site.store / "catalog.db")) as catalog:
                pins = catalog.execute("SELECT count(*) FROM inodes WHERE flags & 1").fetchone()
            assert pins == (1,), f"the pin is lost, and nobody said so: {where}"
        report = fsck("-n", "--full", "--remote", "--json", site.store)
        assert report.returncode == 0 and not json.loads(report.stdout)["findings"], (
            where + report.stdout + report.stderr)
    print(f"{kind}: {len(turns)} turns, {reached} made to fail")
    site.mount()
    assert (site.mnt / "folder/clip.mov").read_bytes() == data
