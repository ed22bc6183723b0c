"""Seals: which site sealed a folder, and what its mark says, is what counts."""
import os
import signal

import pytest

import cards
from lib import mediafs, wait_for
from mhl import manifest
from test_histories import QUICK, generations, settled
from test_seal import CLIP, append, copy_card, quick, refused, sealed  # noqa: F401  pylint: disable=unused-import

MARK = "user.mediafs.sealed"
CHAIN = "ascmhl/ascmhl_chain.xml"


@pytest.fixture
def both(sites, tier, tmp_path):
    """A card that the cart sealed, at the cart and at editorial."""
    cart = sites("cart", tier=tier, settings=QUICK).mount()
    editorial = sites("editorial", join=tier, options=["rw"],
                      settings={"manifest.settle": "1h"}).mount()
    top, there = copy_card(cart, tmp_path), editorial.mnt / "B"
    cart.wait()
    wait_for(lambda: there.exists() and sealed(there), "the seal at editorial")
    wait_for(lambda: len(list(there.rglob("*"))) == len(list(top.rglob("*"))), "all of the card")
    assert [os.getxattr(site.tree / "B", MARK).split()[1] for site in (cart, editorial)] == [
        b"local", b"site"]
    return cart, editorial


def conflicts(site):
    return [event for event in site.events() if event["event"] in ("conflict", "refused")]


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_who_sealed_it_may_change_it_everywhere(both, restart):
    """Opened, changed and sealed again at the cart while editorial heard of nothing."""
    cart, editorial = both
    top, there = cart.mnt / "B", editorial.mnt / "B"
    clip, note = next((top / CLIP).glob("*.MXF")), top / CLIP / "Sub/note.txt"
    if restart:
        editorial.umount()
    else:
        editorial.daemon.send_signal(signal.SIGSTOP)
    cart.set("manifest.settle", "1h")
    mediafs("unseal", top)
    clip.write_bytes(b"as it should have been")
    note.unlink()
    cart.wait()
    mediafs("seal", top)
    wait_for(lambda: not cart.status()["unpublished"], "the cart to tell of it")
    if restart:
        editorial.mount()
    else:
        editorial.daemon.send_signal(signal.SIGCONT)
    name = there / clip.relative_to(top)
    wait_for(lambda: name.read_bytes() == b"as it should have been", "the new bytes at editorial")
    wait_for(lambda: not (there / note.relative_to(top)).exists(), "the note to go")
    wait_for(lambda: sealed(there), "the seal of that")
    assert not conflicts(editorial) and not conflicts(cart)
    refused(append, name)


def test_the_other_site_continues_the_history_of_who_sealed(both):
    """Its generation replaces the table of contents, and is no overwriting."""
    cart, editorial = both
    top, there = cart.mnt / "B", editorial.mnt / "B"
    cart.set("manifest.settle", "1h")
    before = (top / CHAIN).read_bytes()
    cards.add_late(there, "LATE", b"late" * 9)
    editorial.set("manifest.settle", QUICK["manifest.settle"])
    settled(editorial)
    editorial.wait()
    after = (there / CHAIN).read_bytes()
    assert len(generations(there)) == 2 and after != before
    wait_for(lambda: (top / CHAIN).read_bytes() == after, "the continued history at the cart")
    wait_for((top / CLIP / "LATE.MXF").exists, "the clip at the cart")
    wait_for(lambda: manifest("verify", top)[0] == 0, "all that it tells of at the cart")
    names = sorted(path.name for path in (top / "ascmhl").iterdir())
    assert names == sorted(path.name for path in (there / "ascmhl").iterdir())
    assert not conflicts(cart) and not conflicts(editorial)


def test_the_mark_of_the_folder_is_the_truth(quick, tmp_path):  # noqa: F811
    """Whatever the catalog remembers: a folder that was restored from a backup, or opened by hand."""
    top = copy_card(quick, tmp_path)
    clip = next((top / CLIP).glob("*.MXF"))
    store, mark = quick.tree / "B", os.getxattr(quick.tree / "B", MARK)
    for change, stays in ((b"what is this", True), (b"0 open", False), (mark, True),
                          (None, False)):
        quick.umount()
        if change is None:
            os.removexattr(store, MARK)
        else:
            os.setxattr(store, MARK, change)
        quick.mount()
        assert sealed(top) == stays, change
        shown = quick.cmd("ls", quick.mnt).stdout
        assert ("[sealed]" in shown) == stays, change
        if stays:
            refused(append, clip)
        else:
            append(clip)
            quick.wait(state="verified")
        if change == b"0 open":
            mediafs("seal", top)  # a start looks at folders that the catalog has as sealed
            refused(append, clip)


@pytest.mark.parametrize("how", ["umount", "kill"])
def test_what_was_opened_stays_open_until_there_is_something_new(quick, tmp_path, how):  # noqa: F811
    """The historian looks, finds nothing to write, and leaves it so, now and after a start."""
    top = copy_card(quick, tmp_path)
    clip = next((top / CLIP).glob("*.MXF"))
    mediafs("unseal", top)

    def look(name):
        (top / CLIP / name).write_bytes(b"litter")
        settled(quick)
        assert not sealed(top) and len(generations(top)) == 1
        clip.write_bytes(clip.read_bytes())
        settled(quick)
        assert not sealed(top) and len(generations(top)) == 1
        assert os.getxattr(quick.tree / "B", MARK) == b"0 open"
    look(".DS_Store")
    if how == "kill":
        quick.kill()
    else:
        quick.umount()
    quick.mount()
    assert not sealed(top)
    look("._x")
    assert not [event for event in quick.events() if event["event"] == "sealed"][1:]
    # A clip more is news: that is written and sealed, all of it.
    cards.add_late(top, "MORE", b"more" * 9)
    settled(quick)
    assert sealed(top) and len(generations(top)) == 2
    refused(append, clip)
    refused(append, top / CLIP / "MORE.MXF")
