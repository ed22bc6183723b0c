"""The Nth call fails in a program that people run: it says so, and never that all is well when it is
not; run again, it ends what it began. How many N: nth.py."""
import os
import pathlib
import shutil
import subprocess

import pytest

from lib import MEDIAFS, PATIENCE, Site, flip, mediafs, pattern, run, same_tree
from nth import CLASSES, ROUNDS, SEED, Nth, is_of_a_library, nth_library  # pylint: disable=unused-import

pytestmark = pytest.mark.slow
KINDS = [kind for kind in CLASSES if kind != "net"] if ROUNDS != "1" else ["alloc", "read"]
CLIP = "A001R2EC/CLIPS/A001C001_261128_R2EC.mov"
LITTER = (".mediafs-part", ".part", ".ascmhl-tmp", ".tmp-")


def fill(folder):
    for name, size in ((CLIP, (4 << 20) + 17), ("A001R2EC/AUDIO/A001C001.wav", 70_000),
                       ("A001R2EC/report.txt", 30), ("A001R2EC/empty.ale", 0)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pattern(size))
    return folder


class Place:
    """A volume with a card in it, the card, and archives of it: whole and damaged."""

    def __init__(self, folder):
        self.folder = folder
        folder.chmod(0o755)
        (folder / "tier").mkdir()
        self.site = Site(folder, "cart", tier=folder / "tier",
                         settings={"safe.copies": "1"}).mount()
        self.card = fill(folder / "card")
        self.mnt = self.site.mnt
        mediafs("offload", self.card, self.mnt, "--name", "there")
        self.site.wait()
        self.archive = folder / "whole.tar"
        mediafs("export", self.mnt / "there", "--to", self.archive)
        self.bad_archive = folder / "bad.tar"
        shutil.copy(self.archive, self.bad_archive)
        at = self.archive.read_bytes().index((self.card / CLIP).read_bytes())
        flip(self.bad_archive, at + 5000)
        self.bad_card = shutil.copytree(self.card, folder / "bad")
        mediafs("manifest", "create", self.bad_card)
        flip(self.bad_card / CLIP, 5000)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("programs"))
    yield made
    made.site.close()


def no_litter(folder):
    left = [str(path) for path in folder.rglob("*") if any(word in path.name for word in LITTER)]
    assert not left, left


class Program:
    """What is run, in a folder of its own, and what must be true when it says that all went well."""

    def __init__(self, place, folder):
        self.place, self.folder = place, folder

    command = ()

    def is_done(self):
        """Exit 0 was right."""

    def again(self):
        """It had failed: the next one, with which nothing fails, ends it."""
        mediafs(*self.command)
        self.is_done()


class Offload(Program):
    @property
    def command(self):
        return "offload", self.place.card, self.folder, "--name", "roll", "--whole"

    def is_done(self):
        same_tree(self.place.card, self.folder / "roll")
        no_litter(self.folder)


class Export(Program):
    @property
    def command(self):
        return "export", self.place.mnt / "there", "--to", self.place.folder / "out.tar"

    def is_done(self):
        mediafs("export", "--verify", self.place.folder / "out.tar")
        (self.place.folder / "out.tar").unlink()

    def again(self):
        (self.place.folder / "out.tar").unlink(missing_ok=True)
        super().again()


class Import(Program):
    @property
    def command(self):
        return "import", self.place.archive, self.folder

    def is_done(self):
        same_tree(self.place.mnt / "there", self.folder / "there")
        no_litter(self.folder)


class Create(Program):
    """A manifest, on a folder beside the volume."""

    @property
    def top(self):
        return self.place.folder / self.folder.name

    @property
    def command(self):
        if not self.top.exists():
            shutil.copytree(self.place.card, self.top)
        return "manifest", "create", self.top

    def is_done(self):
        mediafs("manifest", "verify", self.top)
        no_litter(self.top)
        shutil.rmtree(self.top)


class NeverRight(Program):
    """What it looks at is wrong, whatever else fails."""

    def is_done(self):
        raise AssertionError("it says that all is well")

    def again(self):
        assert mediafs(*self.command, check=False).returncode > 0


class Safe(NeverRight):
    @property
    def command(self):
        return "safe", self.place.bad_card, "--store", self.place.site.store


class VerifyArchive(NeverRight):
    @property
    def command(self):
        return "export", "--verify", self.place.bad_archive


class ImportBad(NeverRight):
    @property
    def command(self):
        return "import", self.place.bad_archive, self.folder


class Verify(NeverRight):
    @property
    def command(self):
        return "manifest", "verify", self.place.bad_card


def start(nth, command):
    return subprocess.run([str(word) for word in (MEDIAFS, *command)], check=False,
                          env={**os.environ, **nth.environment}, capture_output=True, text=True,
                          errors="replace", timeout=PATIENCE)


def words_of(text):
    """Without the stacks of calls that failed."""
    return [line for line in text.splitlines() if line and not line.rstrip().endswith("]")]


def one(nth, kind, turn, program):
    """How many calls were made to fail."""
    command = program.command
    nth.arm(kind, turn)
    done = start(nth, command)
    hits = nth.disarm()[1]
    where = f"{kind} {turn}, seed {SEED}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    try:
        if done.returncode == 0:
            program.is_done()
        else:
            assert (done.returncode > 0
                    or is_of_a_library(done.returncode, done.stderr)), "it crashed"
            assert words_of(done.stdout + done.stderr) or done.returncode < 0, "it said nothing"
            program.again()
    except (AssertionError, OSError) as error:
        raise AssertionError(f"{error}\n{where}") from error
    return hits


@pytest.mark.parametrize("make", [Offload, Export, Import, Create, Safe, VerifyArchive, ImportBad,
                                  Verify], ids=lambda make: make.__name__)
def test_a_program(place, tmp_path, nth_library, make):
    nth, found, count = Nth(tmp_path / "control", nth_library), [], 0

    def fresh():
        nonlocal count
        count += 1
        folder = place.mnt / f"{make.__name__}{count}"
        folder.mkdir()
        return make(place, folder)
    for kind in KINDS:
        program = fresh()
        turns = nth.turns(kind, lambda program=program: start(nth, program.command))
        reached = 0
        for turn in turns:
            program = fresh()
            try:
                reached += one(nth, kind, turn, program)
            except AssertionError as error:
                found.append(str(error))
                print("FOUND", error, flush=True)
            run("rm", "-rf", program.folder)
        print(f"{make.__name__}, {kind}: {len(turns)} turns, {reached} made to fail")
    assert not found, f"{len(found)} found, such as {found[0]}"
