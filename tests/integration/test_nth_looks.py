"""The Nth call fails in a daemon while a tree is looked at, and while its names change: no wrong answer,
and none that stays. How many N: nth.py."""
import mmap
import os

import pytest

from lib import pattern, wait_for
from nth import Rounds, nth, nth_library  # pylint: disable=unused-import
from test_nth import change_names

pytestmark = pytest.mark.slow
CLIP = pattern(300_000)
NAMES = {"clip.mov": len(CLIP), "note.txt": 4, "symlink": 8, "sub": None,
         **{f"{number:03}-{'x' * 200}": 0 for number in range(30)}}  # more than one answer holds


def open_in_tree(site):
    """How many descriptors of the tree's files the daemon has."""
    count = 0
    for fd in os.listdir(f"/proc/{site.daemon.pid}/fd"):
        try:
            count += os.readlink(f"/proc/{site.daemon.pid}/fd/{fd}").startswith(f"{site.tree}/")
        except FileNotFoundError:
            pass
    return count


def make(top):
    top.mkdir()
    for name, size in NAMES.items():
        if size is not None and name not in ("clip.mov", "symlink"):
            (top / name).write_bytes(bytes(size))
    (top / "clip.mov").write_bytes(CLIP)
    (top / "sub").mkdir()
    os.symlink("clip.mov", top / "symlink")
    os.setxattr(top / "note.txt", "user.note", b"take 1")


def mapped(path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        return view[:]


def first_data(path):
    with open(path, "rb") as file:
        return os.lseek(file.fileno(), 0, os.SEEK_DATA)


def open_to_write(path):
    """And write nothing."""
    os.close(os.open(path, os.O_RDWR))


def is_absent(path):
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    return False


def sizes(top):
    return {entry.name: None if entry.is_dir() else entry.stat(follow_symlinks=False).st_size
            for entry in os.scandir(top)}


LOOKS = ((lambda top: is_absent(top / "none"), True),
         (lambda top: os.stat(top / "clip.mov").st_size, len(CLIP)),
         (lambda top: set(os.listdir(top)), set(NAMES)),
         (sizes, NAMES),
         (lambda top: os.readlink(top / "symlink"), "clip.mov"),
         (lambda top: (top / "clip.mov").read_bytes(), CLIP),
         (lambda top: mapped(top / "clip.mov"), CLIP),
         (lambda top: first_data(top / "clip.mov"), 0),
         (lambda top: open_to_write(top / "note.txt"), None),
         (lambda top: os.getxattr(top / "note.txt", "user.note"), b"take 1"),
         (lambda top: "user.note" in os.listxattr(top / "note.txt"), True),
         (lambda top: os.getxattr(top / "clip.mov", "user.mediafs.state"), b"verified"),
         (lambda top: os.statvfs(top / "sub").f_bsize > 0, True),
         (lambda top: os.listdir(top / "sub"), []))


def look(top, forgive):
    """Every answer is right, or an error that is not "it is not there" and not "it is wrong"."""
    for number, (ask, want) in enumerate(LOOKS):
        try:
            said = ask(top)
        except OSError as error:
            assert forgive, f"look {number}: {error}"
            assert not isinstance(error, (FileNotFoundError, NotADirectoryError)), (
                f"look {number}: {error}")
            continue
        assert said == want, f"look {number}: {str(said)[:300]}"


@pytest.mark.parametrize("kind", ["alloc", "read", "open", "attr"])
def test_looking(sites, nth, kind):
    site = sites("cart")
    rounds = Rounds(site, nth, kind)

    def anew(count):
        """So many more folders that the kernel knows nothing of."""
        if not site.daemon:
            rounds.mount()
        for number in range(count):
            make(site.mnt / f"w{number}-{count}")
        site.wait(state="verified")
        site.umount()
        rounds.mount()
    anew(1)
    turns = nth.turns(kind, lambda: look(site.mnt / "w0-1", forgive=False), step=1)
    anew(len(turns) + 1)
    look(site.mnt / f"w{len(turns)}-{len(turns) + 1}", forgive=False)
    before = open_in_tree(site)
    for number, turn in enumerate(turns):
        top = site.mnt / f"w{number}-{len(turns) + 1}"

        def check(top=top):
            look(top, forgive=False)
            wait_for(lambda: open_in_tree(site) <= before, "it to close what it opened", 5)
        rounds.one(turn, lambda top=top: look(top, forgive=True), check)
    print(f"{kind}: {len(turns)} turns, {rounds.reached} made to fail")
    assert not rounds.found, f"{len(rounds.found)} found, such as {rounds.found[0]}"
    assert rounds.reached or not turns


def names_below(top):
    return {str(path.relative_to(top)): path.lstat().st_ino for path in top.rglob("*")}


@pytest.mark.parametrize("kind", ["alloc", "name", "open", "read", "attr"])
def test_the_kernel_sees_what_the_disk_has(sites, nth, kind):
    """Of names whose change failed."""
    site = sites("cart")
    rounds = Rounds(site, nth, kind)
    rounds.mount()
    turns = nth.turns(kind, lambda: change_names(site.mnt / "w0"), step=2)
    for number, turn in enumerate(turns):
        name = f"w{number + 1}"

        def check(name=name):
            assert os.path.exists(site.mnt / name) == os.path.exists(site.tree / name)
            assert names_below(site.mnt / name) == names_below(site.tree / name)
            wait_for(lambda: open_in_tree(site) == 0, "it to close what it opened", 5)
        rounds.one(turn, lambda name=name: change_names(site.mnt / name), check)
    print(f"{kind}: {len(turns)} turns, {rounds.reached} made to fail")
    assert not rounds.found, f"{len(rounds.found)} found, such as {rounds.found[0]}"
    site.umount()
