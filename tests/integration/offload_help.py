"""What the tests of `mediafs offload` share: cards, the command, what it says."""
import json
import os
import pathlib

import pytest

from lib import BLOCK, mediafs, pattern, run, same_bytes, tool

MHL = pathlib.Path(__file__).resolve().parents[1] / "mhl"
MARKER = ".offload.mediafs-parts"
REEL = "A004R1JL"
CLIP = f"{REEL}/A004C010_20100610_R1JL.mov"
SMALL = f"{REEL}/A004C011_261128_R1JL.mxf"
ALE = f"{REEL}/{REEL}.ale"


class Card:
    """A file system of its own with an ARRI card on it, or a plain folder (kind None)."""

    def __init__(self, folder, name=REEL, kind=None, size=48 << 20):
        self.point = pathlib.Path(folder) / name
        self.point.mkdir()
        self.image = None
        if kind:
            self.image = pathlib.Path(folder) / f"{name}.img"
            with open(self.image, "wb") as out:
                out.truncate(size)
            label = {"ext4": "-L", "vfat": "-n", "exfat": "-L"}[kind]
            run(f"mkfs.{kind}", *(["-q"] if kind == "ext4" else []), label, name, self.image)
            run("mount", "-o", "loop", self.image, self.point)

    def fill(self, clip=2 * BLOCK + 12345, small=BLOCK, seed=1):
        self.write(CLIP, pattern(clip, seed))
        self.write(SMALL, pattern(small, seed + 1))
        self.write(ALE, b"Heading\n")
        return self

    def write(self, name, content, mtime=1_600_000_000):
        path = self.point / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(mtime * 10**9 + 123456000, mtime * 10**9 + 123456000))
        return path

    def close(self):
        if self.image:
            run("umount", "-l", self.point, check=False)
            self.image.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def no_histories(request):
    """A tree that is compared with the card has nothing more than the card."""
    for name in ("plain", "cart"):
        if name in request.fixturenames:
            request.getfixturevalue(name).set("manifest.kind", "none")


@pytest.fixture
def cards(tmp_path):
    made = []

    def make(*args, **options):
        card = Card(tmp_path, *args, **options)
        made.append(card)
        return card
    yield make
    for card in made:
        card.close()


def images():
    """The file systems of cards that this kernel can mount; not needed where it cannot."""
    known = pathlib.Path("/proc/filesystems").read_text(encoding="ascii").split()
    return [kind for kind in ("ext4", "vfat", "exfat")
            if os.geteuid() == 0 and kind in known and tool(f"mkfs.{kind}")]


def offload(*args, code=0, env=None, **options):
    """Run it with --json: {path on the card: line}, the summaries, and the process."""
    done = mediafs("offload", *args, "--json", check=False,
                   env={**os.environ, **(env or {})}, **options)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert lines and lines[-1].get("code") == code, done.stdout
    done.errors = [line["error"] for line in lines if "error" in line and "path" not in line]
    done.summaries = [line for line in lines if "summary" in line]
    done.files = {line["path"]: line for line in lines if "path" in line}
    return done


def results(done):
    return {path: line["result"] for path, line in done.files.items()}


def names_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def leftovers(folder):
    return [name for name in names_below(folder) if "mediafs-part" in name]


def faulty(library, tmp_path, *lines):
    table = tmp_path / "faults"
    table.write_text("".join(f"{line}\n" for line in lines))
    # The library comes before the sanitizers' own, which do not like that.
    return {"LD_PRELOAD": str(library), "MEDIAFS_FAULT": str(table),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


def check_honest(top, card):
    """Whatever has a card's name has its bytes, and a folder that is not whole says so."""
    found = names_below(top) if top.exists() else []
    for name in found:
        if "mediafs-part" not in name:
            same_bytes(top / name, card / name)
    whole = len([name for name in found if "mediafs-part" not in name]) == len(names_below(card))
    assert not top.exists() or whole or MARKER in found or not found
