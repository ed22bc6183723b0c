"""How many parts are on their way at a time: as many as the line and the server bear."""
import re

import pytest

from lib import BLOCK, PATIENCE, pattern, wait_for
from net import has_tun, line
from s3_bucket import PARALLEL, PART
from test_s3_network import away, put


def parallel(cart):
    """As status and metrics have it."""
    width, = (tier["parallel"] for tier in cart.status()["tiers"])
    text = cart.cmd("metrics").stdout
    assert re.search(r'^mediafs_parallel_parts\{tier="\w+"\} \d+$', text, re.MULTILINE)
    return width


def test_a_server_that_asks_for_less_gets_less(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    old = pattern(4 * BLOCK, 3)
    (cart.mnt / "old.mov").write_bytes(old)
    cart.wait()
    cart.cmd("evict", cart.mnt / "old.mov")
    assert parallel(cart) == PARALLEL
    gate.stall = b"partNumber="
    data = pattern(7 * PART + 5)
    (cart.mnt / "clip.mov").write_bytes(data)
    wait_for(lambda: gate.stalled == PARALLEL, "as many parts as may go at one time")
    assert (cart.mnt / "old.mov").read_bytes() == old, "a reader waits for no part"
    # Each connection carries little, so that the clip outlasts the storm.
    gate.pace = 0.02
    gate.refuse = b"partNumber="
    gate.stall = None
    wait_for(lambda: parallel(cart) == PARALLEL // 2, "half of them")
    gate.refuse = None
    assert gate.refused >= PARALLEL
    wait_for(lambda: parallel(cart) == PARALLEL, "the server to be trusted again")
    assert cart.state("clip.mov") == "uploading"
    gate.pace = 0
    cart.wait()
    assert bucket.get("clip.mov") == data and bucket.uploads() == []


@pytest.mark.slow
@pytest.mark.skipif(not has_tun(), reason="no TUN devices")
def test_over_a_long_line_more_parts_go_side_by_side(bucket, sites):
    """Each connection suffers from losses alone, so more of them carry more."""
    # reno is in every kernel, and any namespace may have it.
    with away(bucket, line(40e6, 40e6, 0.04, 0.01, 0.1)) as there:
        there.ends.at_cart("sysctl", "-w", "net.ipv4.tcp_congestion_control=reno")
        cart = there.site(sites)
        put(cart.mnt / "clip.mov", 16 * PART)
        # One more is a trial, two more again say that it was worth it.
        # Which trial is the first to bring something is chance: losses come as they come.
        wait_for(lambda: parallel(cart) >= PARALLEL + 3, "more parts", timeout=3 * PATIENCE)
        cart.umount()
