"""Uploads and reads while the network is pulled out, changes, or is a bad line.

Longer runs: MEDIAFS_TEST_GIB is the size of the clip, MEDIAFS_TEST_ROUNDS how many kills and as many
cuts, MEDIAFS_TEST_CUT how many seconds one of the cuts lasts (MEDIAFS_TEST_SERVER_GIB: the server's
disk). MEDIAFS_TEST_SEED repeats one.
"""
import contextlib
import hashlib
import os
import random
import threading
import time

import pytest

from gate import Gate
from lib import BLOCK, pattern, wait_for
from net import SERVER, cable, has_tun, line
from s3_bucket import MIB, PARALLEL, PART, tier_error

GIB = 1 << 30
ROUNDS = int(os.environ.get("MEDIAFS_TEST_ROUNDS", "1"))
SIZE = int(float(os.environ.get("MEDIAFS_TEST_GIB", "0.15")) * GIB) // BLOCK * BLOCK + 12345
CUT = float(os.environ.get("MEDIAFS_TEST_CUT", "0"))
SEED = int(os.environ.get("MEDIAFS_TEST_SEED", "1"))


class Away:
    """A bucket's server that is reached over a network of the test's own."""

    def __init__(self, bucket, ends):
        self.bucket, self.ends = bucket, ends
        self.gate = Gate(bucket.port, listener=ends.listener())

    def url(self):
        return self.bucket.url(self.gate.port).replace("127.0.0.1", SERVER)

    def site(self, sites, name="cart", **options):
        with self.ends.at_the_cart():
            return sites(name, tier=self.url(), **options).mount()

    def mount(self, site):
        with self.ends.at_the_cart():
            site.mount()


@contextlib.contextmanager
def away(bucket, network):
    with network as ends:
        there = Away(bucket, ends)
        try:
            yield there
        finally:
            there.gate.close()


def put(path, size):
    """A clip that no test needs to hold in memory: its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as out:
        for number, start in enumerate(range(0, size, BLOCK)):
            block = pattern(min(BLOCK, size - start), number)
            digest.update(block)
            out.write(block)
    return digest.digest()


def digest_there(bucket, name):
    digest = hashlib.sha256()
    body = bucket.client.get_object(Bucket=bucket.name, Key=f"show 1/{name}")["Body"]
    for block in iter(lambda: body.read(BLOCK), b""):
        digest.update(block)
    return digest.digest()


def pull(there, cart, seconds):
    """The cable is out until that was noticed, or for so long."""
    there.ends.down()
    there.gate.release()
    wait_for(lambda: tier_error(cart), "the cut to be seen")
    if seconds:
        threading.Event().wait(seconds)
        assert tier_error(cart)
    there.ends.up()


def test_a_network_that_changes_ends_the_pause(bucket, sites):  # noqa: F811
    with away(bucket, cable()) as there:
        cart = there.site(sites)
        (cart.mnt / "first.mov").write_bytes(pattern(MIB))
        cart.wait()
        there.ends.down()
        data = pattern(MIB, 2)
        (cart.mnt / "clip.mov").write_bytes(data)

        def next_try():
            return cart.status()["moving"]["next_try_ns"] / 1e9 - time.time()
        # Pauses double, so this one has only begun, and most of it is left when the cable is back.
        wait_for(lambda: tier_error(cart) and next_try() > 10, "a long pause")
        pause_ends = time.time() + next_try()
        there.ends.up()
        cart.wait()
        assert time.time() < pause_ends, "it waited for the end of a pause"
        # Another address: the connections of before are dead, and nobody says so.
        there.ends.at_cart("ip", "addr", "flush", "dev", "line0")
        there.ends.at_cart("ip", "addr", "add", "10.99.0.3", "peer", SERVER, "dev", "line0")
        there.ends.route_back("10.99.0.3")
        (cart.mnt / "other.mov").write_bytes(data[::-1])
        cart.wait()
    assert bucket.get("clip.mov") == data and bucket.get("other.mov") == data[::-1]


@pytest.mark.slow
def test_kills_and_cuts_send_only_parts_in_flight_again(bucket, sites):  # noqa: F811
    chance = random.Random(SEED)
    acts = ["kill", "cut"] * ROUNDS
    chance.shuffle(acts)
    with away(bucket, cable()) as there:
        gate = there.gate
        cart = there.site(sites, settings={"transfer.pause": "yes"})
        digest = put(cart.mnt / "clip.mov", SIZE)
        cart.wait("clip.mov", "verified", timeout=3600)
        moments = sorted(chance.randrange(PART // 2, SIZE) for _ in acts)
        gate.hold(moments[0])
        cart.cmd("resume")
        for number, act in enumerate(acts):
            wait_for(lambda: gate.sent >= gate.hold_at - (1 << 16), f"{act} {number}", 3600)
            print(f"{act} at {gate.sent / MIB:.0f} MiB", flush=True)
            if act == "kill":
                cart.kill()
                gate.cut()
                gate.release()
            else:
                pull(there, cart, CUT)
                globals()["CUT"] = 0
            if number + 1 < len(acts):
                gate.hold(moments[number + 1] - moments[number])
            if act == "kill":
                there.mount(cart)
        cart.wait("clip.mov", timeout=3600)
        print(f"sent {gate.sent / SIZE:.4f} of its size")
        assert gate.sent <= SIZE * 1.001 + len(acts) * PARALLEL * PART + MIB
    assert digest_there(bucket, "clip.mov") == digest and bucket.uploads() == []
