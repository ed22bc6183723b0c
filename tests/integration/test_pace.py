"""Read-back beside bytes that arrive: where the disk keeps up, and where it does not."""
import time

import pytest

from disk import Slow
from lib import Site, pattern, wait_for
from test_tier import card_being_written

MIB = 1 << 20
ASIDE_S = 10     # so long it would wait at least, if it stepped aside: verifier.c
SLOW = 4 * MIB  # a second: far less than arrives


@pytest.fixture
def slow_disk(tmp_path):
    if Slow.lacks("ext4"):
        pytest.skip(Slow.lacks("ext4"))
    disk = Slow(tmp_path, "ext4")
    try:
        yield disk
    finally:
        disk.write_at_most(0)
        disk.close()


@pytest.mark.slow
def test_read_back_steps_aside_where_the_disk_is_behind_and_only_there(slow_disk, tmp_path):
    cart = Site(slow_disk.point, "cart")
    cart.mnt = tmp_path / "mnt"
    cart.mnt.mkdir()
    cart.mount()
    count = 0

    def add_clip():
        nonlocal count
        count += 1
        (cart.mnt / f"{count}.mov").write_bytes(pattern(MIB, count))

    def is_verified_or_aside():
        return cart.state("1.mov") == "verified" or cart.status()["verify_aside"]

    def says_that_the_next_waits():
        add_clip()
        return "read-back waits" in cart.cmd("status").stdout and cart.status()["verify_aside"] \
            and cart.state(f"{count}.mov") in ("receiving", "received")
    try:
        with card_being_written(cart, MIB):  # some 50 MB a second
            add_clip()
            start = time.monotonic()
            wait_for(is_verified_or_aside, "the read-back beside a card")
            assert time.monotonic() - start < ASIDE_S
            slow_disk.write_at_most(SLOW)
            wait_for(says_that_the_next_waits, "the read-back to step aside")
        slow_disk.write_at_most(0)
        cart.wait(state="verified")
        assert not cart.status()["verify_aside"]
    finally:
        slow_disk.write_at_most(0)
        cart.close()
