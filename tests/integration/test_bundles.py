"""Bundles of journal segments: who joins late reads a few objects instead of thousands."""
import os
import sqlite3

import pytest

from lib import BLOCK, fsck, pattern, wait_for
from test_sites import segments, wait_same

BUNDLE = 256


def tell_one_by_one(site, first, last):
    """A segment for each folder."""
    for number in range(first, last):
        (site.mnt / f"d{number:03}").mkdir()
        wait_for(lambda: site.status()["unpublished"] == 0, "it to be told")


def bundles(tier):
    return sorted((tier / ".mediafs/v1/w").glob("*/b/*"))


def join(sites, tier, name, cart):
    editorial = sites(name, join=tier).mount()
    wait_same(cart, editorial)
    refused = [row for row in editorial.events() if row["event"] == "journal refused"]
    editorial.umount()
    return refused


def flip_in(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def hide(paths):
    for path in paths:
        path.rename(f"{path}.hidden")


def show(paths):
    for path in paths:
        os.rename(f"{path}.hidden", path)


@pytest.mark.slow
def test_who_joins_late_reads_bundles(sites, tier):
    cart = sites("cart", tier=tier, settings={"sync.flush": "10ms",
                                              "transfer.metered": "yes"}).mount()
    clip = pattern(12 * BLOCK)
    (cart.mnt / "clip.mov").write_bytes(clip)
    cart.wait()
    tell_one_by_one(cart, 0, 100)
    assert not bundles(tier)
    cart.umount()
    cart.mount()  # what was pushed before the start is fetched
    tell_one_by_one(cart, 100, BUNDLE + 3)
    assert not bundles(tier)
    cart.cmd("config", "set", "transfer.metered", "no")
    wait_for(lambda: bundles(tier), "a bundle")
    told = segments(tier)
    assert len(told) >= BUNDLE + 3
    bundle, = bundles(tier)
    whole = bundle.read_bytes()
    parts = [segment.read_bytes() for segment in told[:BUNDLE]]
    assert whole == b"MFB1" + b"".join(
        len(part).to_bytes(4, "big") for part in parts) + b"".join(parts)

    # They are read: what lies in them need not be there by itself.
    hide(told[:BUNDLE])
    assert not join(sites, tier, "by-bundles", cart)
    show(told[:BUNDLE])

    # Nothing depends on them: one byte is another, a byte is missing, or segments are others.
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    others = b"MFB1" + whole[4:4 + 4 * BUNDLE] + whole[4 + 4 * BUNDLE:][::-1]
    for number, wrong in enumerate((bytes(flipped), whole[:-1], others, None)):
        bundle.unlink()
        if wrong:
            bundle.write_bytes(wrong)
        assert not join(sites, tier, f"e{number}", cart)
    assert not bundles(tier)

    # A journal from before there were bundles gets them.
    cart.umount()
    with sqlite3.connect(cart.store / "catalog.db") as catalog:
        catalog.execute("DELETE FROM meta WHERE key = 'sync.bundled'")
    catalog.close()
    cart.mount()
    wait_for(lambda: bundles(tier), "the bundle again")
    assert bundle.read_bytes() == whole

    # Who makes the catalog anew reads them, too, and no object for what is not here.
    cart.cmd("evict", cart.mnt / "clip.mov")
    cart.umount()
    hide([*told[:BUNDLE], tier / "clip.mov"])
    assert "unknown" not in fsck("--rebuild-catalog", cart.store).stdout
    show([tier / "clip.mov"])
    cart.mount()
    assert cart.state("clip.mov") == "evicted"
    assert (cart.mnt / "clip.mov").read_bytes() == clip
