"""A store that was copied or restored: its files have other inode numbers, one may have another's."""
import json
import os
import shutil

import pytest

import cards
from lib import BLOCK, flip, fsck, pattern, run, wait_for
from test_sites import segments, tree, wait_same


def exchange(tree_folder, first, second):
    """Two files get each other's inode number, as it happens when numbers are used again."""
    paths = [tree_folder / first, tree_folder / second]
    contents = [path.read_bytes() for path in paths]
    times = [os.stat(path).st_mtime_ns for path in paths]
    for path, other in zip(paths, reversed(paths)):
        path.rename(f"{other}.exchanged")
    for path, content, time in zip(paths, contents, times):
        os.rename(f"{path}.exchanged", path)
        path.write_bytes(content)
        os.utime(path, ns=(time, time))


def by_cp(site):
    """Another disk, say: everything with its times, attributes and holes."""
    run("cp", "-a", site.store, site.store.parent / "copy")
    shutil.rmtree(site.store)
    run("mv", site.store.parent / "copy", site.store)


def by_numbers_used_again(site):
    by_cp(site)
    exchange(site.tree, "day1/b.mov", "day1/c.mov")


def catalog_alone(site):
    """The catalog is the one of a backup, the tree went on living."""
    run("cp", "-a", site.store / "catalog.db", site.store / "backup")
    run("mv", site.store / "backup", site.store / "catalog.db")


NAMES = ["a.mov", "b.mov", "c.mov", "evicted.mov", "partly.mov"]
ABSENT = ["evicted.mov", "partly.mov"]
CONTENT = {name: pattern((12 if name in ABSENT else 2) * BLOCK + 9) for name in NAMES}
WAYS = [by_cp, by_numbers_used_again, catalog_alone]


@pytest.fixture
def filled(cart):
    day = cart.mnt / "day1"
    day.mkdir()
    for name in NAMES:
        (day / name).write_bytes(CONTENT[name])
    os.symlink("a.mov", day / "link")
    os.link(day / "a.mov", day / "second-name.mov")
    os.setxattr(day / "a.mov", "user.take", b"3")
    cart.wait()
    cart.cmd("pin", day / "b.mov")
    cart.cmd("evict", *(day / name for name in ABSENT))
    with open(day / "partly.mov", "rb") as file:
        os.pread(file.fileno(), 1, 6 * BLOCK)
    for name in ABSENT:
        cart.wait_state(f"day1/{name}", "evicted")
    return cart


def states(site):
    def attribute(path, name):
        return os.getxattr(path, f"user.mediafs.{name}")
    return {path.name: (attribute(path, "state"), attribute(path, "pin"))
            for path in site.mnt.glob("day1/*") if not path.is_symlink()}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("end", ["umount", "kill"])
def test_everything_is_found_again(filled, sites, tier, way, end):
    cart = filled
    expected, before = tree(cart), states(cart)
    getattr(cart, end)()
    way(cart)
    cart.mount()
    assert "was copied or restored" in cart.log_text()
    assert tree(cart) == expected
    assert states(cart) == before
    assert os.getxattr(cart.mnt / "day1/a.mov", "user.take") == b"3"
    (cart.mnt / "new.mov").write_bytes(pattern(BLOCK + 1, 9))
    cart.wait()
    for name in NAMES:
        assert (cart.mnt / "day1" / name).read_bytes() == CONTENT[name]
    assert os.path.samefile(cart.mnt / "day1/a.mov", cart.mnt / "day1/second-name.mov")
    events = [row["event"] for row in cart.events()]
    assert "store copied" in events and "damaged" not in events and "missing" not in events
    wait_same(cart, sites("editorial", join=tier).mount())
    cart.umount()
    done = fsck("--json", "--full", "--remote", cart.store)
    assert done.returncode == 0, done.stdout
    cart.mount()
    assert cart.log_text().count("was copied or restored") == 1


def test_a_store_that_stays_where_it_is_was_not_copied(filled):
    filled.umount()
    filled.mount()
    filled.kill()
    filled.mount()
    filled.umount()
    run("mv", filled.store, filled.store.parent / "moved")
    run("mv", filled.store.parent / "moved", filled.store)
    filled.mount()
    assert "was copied or restored" not in filled.log_text()


def test_what_was_sealed_stays_so(cart, tmp_path):
    top = cart.mnt / "B"
    shutil.copytree(cards.make(tmp_path / "card", "sony-xavc"), top)
    cart.set("manifest.settle", "200ms")
    wait_for(lambda: os.getxattr(top, "user.mediafs.sealed") == b"1", "the seal")
    cart.umount()
    by_cp(cart)
    for _ in range(2):  # also when it is mounted again
        cart.mount()
        assert os.getxattr(top, "user.mediafs.sealed") == b"1"
        for path in top.rglob("*"):
            if path.is_file():
                with pytest.raises(PermissionError):
                    path.open("ab")
        cart.umount()
    cart.mount()
    (top / "new.txt").write_text("free")


def test_status_says_what_is_to_be_read_again(filled):
    cart = filled
    cart.umount()
    by_cp(cart)
    cart.set("ingest.scrub_interval", "0")
    cart.mount()
    assert cart.status()["unread"] == len(NAMES)
    assert "5 files to be read again" in cart.cmd("status").stdout
    cart.cmd("config", "set", "ingest.scrub_interval", "30d")
    wait_for(lambda: cart.status()["unread"] == 0, "all to be read")
    assert "to be read again" not in cart.cmd("status").stdout


def test_what_the_copy_lacks_or_has_wrong(filled, sites, tier):
    cart = filled
    editorial = sites("editorial", join=tier).mount()
    wait_same(cart, editorial)
    expected = tree(cart)
    cart.umount()
    by_cp(cart)
    (cart.tree / "day1/b.mov").unlink()
    flip(cart.tree / "day1/a.mov", BLOCK + 5)
    cart.mount()
    # Nobody deleted it: it comes back from the tier.
    wait_for(lambda: tree(cart) == expected, "what the copy lacks")
    assert [row["path"] for row in cart.events() if row["event"] == "missing"] == ["day1/b.mov"]
    # What the copy has wrong is found, and nobody is told that it is another version.
    cart.wait_state("day1/a.mov", "damaged")
    (cart.mnt / "later.mov").write_bytes(b"later")
    cart.wait("later.mov")
    wait_for((editorial.mnt / "later.mov").exists, "what came later")
    assert (editorial.mnt / "day1/a.mov").read_bytes() == CONTENT["a.mov"]
    cart.umount()
    assert fsck("-p", cart.store).returncode == 1
    cart.mount()
    assert (cart.mnt / "day1/a.mov").read_bytes() == CONTENT["a.mov"]
    wait_same(cart, editorial)


def test_fsck_says_it_and_puts_it_right(filled):
    cart = filled
    cart.umount()
    by_numbers_used_again(cart)
    for options in ([], ["-n"], ["--full"]):
        done = fsck("--json", *options, cart.store)
        report = json.loads(done.stdout)
        assert done.returncode not in (0, 1)
        assert [found["what"] for found in report["findings"]] == ["copied"]
        assert "-p" in report["errors"][0]
    done = fsck("--json", "-p", cart.store)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert [found["what"] for found in report["findings"]] == ["copied"]
    assert fsck("--full", "--remote", cart.store).returncode == 0
    cart.mount()
    assert "was copied or restored" not in cart.log_text()
    assert cart.state("day1/a.mov") == "stored"


def test_a_store_from_a_backup_begins_a_new_journal(sites, tier, cart, tmp_path):
    (cart.mnt / "a").write_text("a")
    cart.wait()
    wait_for(lambda: segments(tier), "a segment")
    cart.umount()
    run("cp", "-a", cart.store, tmp_path / "backup")
    cart.mount()
    (cart.mnt / "b").write_text("b")
    cart.wait()
    cart.umount()
    shutil.rmtree(cart.store)
    run("cp", "-a", tmp_path / "backup", cart.store)
    cart.mount()
    wait_for(lambda: (cart.mnt / "b").exists(), "what the lost store had told")
    assert (cart.mnt / "b").read_text() == "b"
    (cart.mnt / "c").write_text("c")
    cart.wait()
    wait_for(lambda: len(list((tier / ".mediafs/v1/w").iterdir())) == 2, "a new journal")
    editorial = sites("editorial", join=tier).mount()
    wait_for(lambda: sorted(os.listdir(editorial.mnt)) == ["a", "b", "c"], "all three")
    wait_same(cart, editorial)
