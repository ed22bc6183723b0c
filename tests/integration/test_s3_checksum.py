"""Checksums that a server keeps with the object.

On Ceph 16 checksum_gate.py keeps them; with MEDIAFS_TEST_S3_ENDPOINT of a server that does (Ceph 20)
it does so itself.
"""
import json

import pytest

from checksum_gate import KeepingGate
from conftest import built
from lib import pattern, wait_for
from s3_bucket import MIB, PART

LARGE = PART + 70001
SMALL = 300001


@pytest.fixture(scope="session")
def crc64_library(tmp_path_factory):
    return built(tmp_path_factory, "crc64")


@pytest.fixture
def keeping(bucket, crc64_library):
    gate = KeepingGate(bucket, crc64_library)
    yield gate
    gate.close()


@pytest.fixture
def cart(bucket, keeping, sites):
    return sites("cart", tier=bucket.url(keeping.port),
                 settings={"transfer.retry_max": "1s"}).mount()


def attempts(cart, name):
    """How often it was tried in vain."""
    out = cart.cmd("ls", cart.mnt / name, "--json", check=False).stdout
    return max((row["attempts"] for file in json.loads(out)["files"]
                for row in file.get("queue", [])), default=0)


def test_what_is_kept_proves_what_was_sent(bucket, keeping, cart):
    # An ETag that is none of the bytes, as of servers that encrypt: else all would be read back.
    for kind in ("HEAD", "PUT"):
        keeping.break_next(kind, "down other etag")
    contents = {"small": pattern(SMALL), "large": pattern(LARGE, 2)}
    for name, data in contents.items():
        (cart.mnt / name).write_bytes(data)
    cart.wait()
    assert keeping.sent["PUT"] == 1 and keeping.sent["UploadPart"] == 2
    assert keeping.sent["Complete"] == 1 and keeping.met["GET"] == 0
    for name, data in contents.items():
        assert bucket.get(name) == data
    assert bucket.uploads() == []
    keeping.heal()
    done = json.loads(cart.cmd("tier", "test", "--json").stdout)["tiers"][0]["abilities"]
    assert [row for row in done if row["what"] == "checksum kept"] == [
        {"what": "checksum kept", "result": "good", "text": "CRC64NVME"}]


def test_what_is_damaged_on_its_way_is_refused(bucket, keeping, cart):
    contents = {"small": pattern(SMALL), "large": pattern(LARGE, 2)}
    keeping.break_next("PUT", "up flip", 1)
    keeping.break_next("UploadPart", "up flip", 2)
    for name, data in contents.items():
        (cart.mnt / name).write_bytes(data)
    cart.wait()
    assert (keeping.refused["PUT"], keeping.refused["UploadPart"]) == (1, 2)
    for name, data in contents.items():
        assert bucket.get(name) == data
    assert set(bucket.media()) == set(contents)


def test_what_is_kept_wrongly_is_never_stored(bucket, keeping, cart):
    """Neither at once, nor by one of the attempts that find it under that name."""
    contents = {"small": pattern(SMALL), "large": pattern(LARGE, 2)}
    keeping.lies = {"PUT", "HEAD", "GET"}
    for name, data in contents.items():
        (cart.mnt / name).write_bytes(data)
    for name in contents:
        wait_for(lambda name=name: attempts(cart, name) > 1, f"attempts of {name}")
        assert cart.state(name) != "stored"
    assert all(name.split("~")[0] in contents for name in bucket.media())
    keeping.lies = set()
    cart.cmd("resume")
    cart.wait()
    for name, data in contents.items():
        assert bucket.get(name) == data
    assert bucket.uploads() == []


def test_an_upload_goes_on_with_the_checksums_of_its_parts(bucket, keeping, cart):
    keeping.break_next("Complete", "up 503")
    data = pattern(LARGE)
    (cart.mnt / "large").write_bytes(data)
    wait_for(lambda: keeping.done["Complete"], "all parts to be there")
    cart.kill()
    keeping.heal()
    cart.mount()
    cart.wait()
    assert keeping.met["UploadPart"] == 2 and keeping.met["GET"] == 0
    assert bucket.get("large") == data


@pytest.mark.slow
def test_parts_that_make_another_whole_are_sent_again(bucket, keeping, cart):
    keeping.denied = {"Complete": ["BadDigest"] * 3}
    data = pattern(LARGE)
    (cart.mnt / "large").write_bytes(data)
    cart.wait()
    assert keeping.met["UploadPart"] == 4 and keeping.sent["Complete"] == 4
    assert bucket.get("large") == data and bucket.uploads() == []


@pytest.mark.slow
def test_a_server_that_takes_them_of_small_objects_only(bucket, keeping, cart):
    keeping.denied = {"Create": ["InvalidRequest"]}
    contents = {"large": pattern(LARGE), "other": pattern(LARGE, 2)}
    for name, data in contents.items():
        (cart.mnt / name).write_bytes(data)
        cart.wait()
    assert keeping.sent["UploadPart"] == keeping.sent["Complete"] == 0
    assert keeping.met["Create"] == 3
    for name, data in contents.items():
        assert bucket.get(name) == data


def test_a_checksum_that_the_server_does_not_know_is_asked_for_once(any_bucket, any_gate, sites):
    bucket, gate = any_bucket, any_gate
    gate.reject = b"\r\nx-amz-checksum-crc64nvme:"
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    contents = {"note.txt": b"1", "clip.mov": pattern(2 * PART + 5), "take.wav": pattern(MIB, 2)}
    for name, data in contents.items():
        (cart.mnt / name).write_bytes(data)
    cart.wait()
    assert gate.rejected == 1
    for name, data in contents.items():
        assert bucket.get(name) == data
    assert bucket.uploads() == []
