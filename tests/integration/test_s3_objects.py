"""How objects come into a bucket: in parts, gone on with, copied, encrypted with a key of ours."""
import base64
import os
import pathlib

import pytest

from gate import Gate
from lib import mediafs, pattern, wait_for
from s3_bucket import (AT_MOST, MIB, PARALLEL, PART, make_bucket, make_certificate,
                       tier_error)


def test_kill_in_an_upload_sends_only_parts_in_flight_again(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port, more=AT_MOST)).mount()
    data = pattern(8 * PART + 12345)
    gate.hold(5 * PART + PART // 2)
    (cart.mnt / "clip.mov").write_bytes(data)
    wait_for(lambda: gate.sent >= gate.hold_at - (1 << 16), "the upload to be held")
    assert len(bucket.uploads()) == 1
    cart.kill()
    gate.cut()
    gate.release()
    cart.mount()
    cart.wait()
    assert bucket.get("clip.mov") == data
    assert bucket.uploads() == []
    assert gate.sent <= len(data) + PARALLEL * PART + MIB


def bytes_read(site):
    text = pathlib.Path(f"/proc/{site.daemon.pid}/io").read_text()
    return int(text.split("rchar:")[1].split()[0])


def test_an_upload_that_goes_on_reads_only_what_it_sends(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port, more="&parallel=1")).mount()
    data = pattern(6 * PART)
    (cart.mnt / "clip.mov").write_bytes(data)
    cart.wait("clip.mov", "verified")
    gate.stall = b"partNumber=5&"
    wait_for(lambda: gate.stalled == 1, "the upload to be held")
    cart.kill()
    gate.cut()
    gate.stall = gate.watch = b"clip.mov?partNumber="
    cart.mount()
    wait_for(lambda: gate.stalled == 1, "the upload to go on")
    before = bytes_read(cart)
    assert before < 3 * PART
    gate.stall = None
    cart.wait()
    assert [line.split(b"partNumber=")[1][:2] for line in gate.seen] == [b"5&", b"6&"]
    assert bytes_read(cart) - before < 3 * PART
    assert bucket.get("clip.mov") == data and bucket.uploads() == []


def test_an_upload_whose_file_went_away_is_given_up(any_bucket, any_gate, sites):
    bucket, gate = any_bucket, any_gate
    theirs = bucket.client.create_multipart_upload(Bucket=bucket.name,
                                                   Key="show 1/clip.mov")["UploadId"]
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    for name in ("gone.mov", "new.mov"):
        gate.stall = b"partNumber=2&"
        (cart.mnt / name).write_bytes(pattern(2 * PART, len(name)))
        wait_for(lambda: gate.stalled == 1, "the upload to be held")
        cart.kill()
        gate.cut()
        assert len(bucket.uploads()) == 2
        gate.shut()
        cart.mount()
        if name == "gone.mov":
            (cart.mnt / name).unlink()
        else:
            (cart.mnt / name).write_bytes(b"new")
        cart.wait(name, "verified") if name == "new.mov" else None
        gate.stall = None
        gate.open()
        wait_for(lambda: [item["UploadId"] for item in bucket.uploads()] == [theirs],
                 "the upload to be given up")
    cart.wait()
    assert bucket.media() == {"new.mov": 3}
    bucket.client.abort_multipart_upload(Bucket=bucket.name, Key="show 1/clip.mov",
                                         UploadId=theirs)


def test_a_file_that_is_removed_is_not_sent_to_its_end(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port, more=AT_MOST)).mount()
    gate.hold(2 * PART)
    (cart.mnt / "clip.mov").write_bytes(pattern(12 * PART))
    wait_for(lambda: gate.sent >= gate.hold_at - (1 << 16), "the upload to be held")
    (cart.mnt / "clip.mov").unlink()
    gate.release()
    wait_for(lambda: bucket.uploads() == [], "the upload to be given up")
    assert bucket.media() == {} and gate.sent < 10 * PART
    (cart.mnt / "next.mov").write_bytes(b"next")
    cart.wait()
    assert bucket.media() == {"next.mov": 4}


@pytest.mark.slow
def test_a_cut_in_an_upload_sends_only_parts_in_flight_again(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port, more=AT_MOST)).mount()
    data = pattern(6 * PART + 1)
    gate.hold(3 * PART)
    (cart.mnt / "clip.mov").write_bytes(data)
    wait_for(lambda: gate.sent >= gate.hold_at - (1 << 16), "the upload to be held")
    gate.shut()
    wait_for(lambda: tier_error(cart), "the cut to be seen")
    gate.open()
    gate.release()
    cart.wait()
    assert bucket.get("clip.mov") == data and bucket.uploads() == []
    assert gate.sent <= len(data) + PARALLEL * PART + MIB


@pytest.mark.parametrize("then", ["asked again at once", "the server gone"])
def test_a_completion_whose_answer_was_lost(bucket, gate, sites, then):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    data = pattern(2 * PART + 5)
    gate.shut_when_swallowed = then == "the server gone"
    gate.swallow = b"<CompleteMultipartUpload"
    (cart.mnt / "clip.mov").write_bytes(data)
    if gate.shut_when_swallowed:
        wait_for(lambda: tier_error(cart), "the server to be missed")
        gate.open()
    cart.wait()
    assert gate.swallowed == 1
    assert bucket.get("clip.mov") == data and list(bucket.media()) == ["clip.mov"]
    assert gate.sent < len(data) + MIB


def test_a_second_path_is_copied_there(any_bucket, any_gate, sites):
    bucket, gate = any_bucket, any_gate
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    contents = {"a b+c.wav": pattern(MIB, 2), "clip.mov": pattern(2 * PART + 5, 3), "empty": b""}
    for name, data in contents.items():
        (cart.mnt / name).write_bytes(data)
    cart.wait()
    before = gate.sent
    (cart.mnt / "copies").mkdir()
    for name, data in contents.items():
        (cart.mnt / "copies" / name).write_bytes(data)
        os.utime(cart.mnt / "copies" / name, ns=(10**18, 10**18))
    cart.wait()
    assert gate.sent < before + MIB // 4
    for name, data in contents.items():
        assert bucket.get(name) == data and bucket.get(f"copies/{name}") == data
        meta = bucket.client.head_object(Bucket=bucket.name,
                                         Key=f"show 1/copies/{name}")["Metadata"]
        assert meta["mediafs-size"] == str(len(data)) and meta["mediafs-mtime-ns"] == str(10**18)
    assert bucket.uploads() == []
    # What somebody has is never written over, and where the first one is gone it is sent again.
    bucket.put("third/clip.mov", b"theirs")
    bucket.put("a b+c.wav", b"theirs, too")
    bucket.client.delete_object(Bucket=bucket.name, Key="show 1/clip.mov")
    (cart.mnt / "third").mkdir()
    for name, data in contents.items():
        (cart.mnt / "third" / name).write_bytes(data)
    cart.wait()
    assert bucket.get("third/clip.mov") == b"theirs" and bucket.get("a b+c.wav") == b"theirs, too"
    assert bucket.get("third/a b+c.wav") == contents["a b+c.wav"]
    other, = (name for name in bucket.media() if name.startswith("third/clip~"))
    assert bucket.get(other) == contents["clip.mov"]
    assert gate.sent > before + len(contents["clip.mov"])
    cart.cmd("evict", cart.mnt / "third")
    assert (cart.mnt / "third/clip.mov").read_bytes() == contents["clip.mov"]


def test_kill_in_a_copy(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    data = pattern(3 * PART + 5)
    (cart.mnt / "clip.mov").write_bytes(data)
    cart.wait()
    gate.stall = b"partNumber=3&"
    gate.watch = b"partNumber="
    (cart.mnt / "again.mov").write_bytes(data)
    wait_for(lambda: gate.stalled == 1 and len(gate.seen) == 4, "the copy to be on its way")
    cart.kill()
    gate.cut()
    gate.stall = None
    before = gate.sent
    cart.mount()
    cart.wait()
    assert bucket.get("again.mov") == data and bucket.uploads() == []
    assert gate.sent < before + MIB


def test_a_key_of_the_customer(bucket, sites, tmp_path):
    """SSE-C: what lies there can only be read with the key, which is nowhere else."""
    certificate, tls_key = make_certificate(tmp_path)
    gate = Gate(bucket.port, (certificate, tls_key))
    secret = tmp_path / "customer.key"
    secret.write_text("00112233445566778899aabbccddeeff" * 2 + "\n")
    secret.chmod(0o644)
    url = bucket.url(gate.port, "https", f"&ca={certificate}&sse-c-key={secret}")
    try:
        done = mediafs("init", tmp_path / "new", "--tier", url, check=False)
        assert done.returncode == 4 and "chmod 600" in done.stderr
        secret.chmod(0o600)
        same = pattern(PART + MIB, 7)
        bucket.put("theirs.mov", same)
        cart = sites("cart", tier=url).mount()
        data = {"clip.mov": pattern(2 * PART + 5, 3), "note.txt": b"hello", "theirs.mov": same}
        for name, content in data.items():
            (cart.mnt / name).write_bytes(content)
        cart.wait()
        for name in ("clip.mov", "note.txt"):
            (cart.mnt / f"again-{name}").write_bytes(data[name])
        cart.wait()
        with_key = {"SSECustomerAlgorithm": "AES256",
                    "SSECustomerKey": bytes.fromhex(secret.read_text())}
        # Ceph 16 answers 501 to CopyObject of what is encrypted: then it is stored under one name.
        names = {"clip.mov", "note.txt", "again-clip.mov"}
        assert names | {"theirs.mov"} <= set(bucket.media())
        for name in (*names, *{"again-note.txt"} & set(bucket.media())):
            where = {"Bucket": bucket.name, "Key": f"show 1/{name}"}
            with pytest.raises(bucket.client.exceptions.ClientError):
                bucket.client.get_object(**where)
            content = data[name.removeprefix("again-")]
            assert bucket.client.get_object(**where, **with_key)["Body"].read() == content
        editorial = sites("editorial", join=url).mount()
        wait_for(lambda: len(os.listdir(editorial.mnt)) == 5, "the tree at editorial")
        for name, content in data.items():
            assert (editorial.mnt / name).read_bytes() == content
        cart.umount()
        editorial.umount()
        hidden = [secret.read_text().strip().encode(), with_key["SSECustomerKey"],
                  base64.b64encode(with_key["SSECustomerKey"])]
        for site in (cart, editorial):
            for path in [site.log, *site.store.rglob("*")]:
                text = path.read_bytes() if path.is_file() else b""
                assert not any(word in text for word in hidden), path
    finally:
        gate.close()


@pytest.mark.slow
def test_who_ignores_the_key_of_the_customer_gets_nothing(servers, sites, tmp_path):
    """Swift takes the headers of SSE-C and stores in the clear."""
    bucket = make_bucket("swift", servers, tmp_path)
    certificate, tls_key = make_certificate(tmp_path)
    gate = Gate(bucket.port, (certificate, tls_key))
    secret = tmp_path / "customer.key"
    secret.write_text("00112233445566778899aabbccddeeff" * 2 + "\n")
    secret.chmod(0o600)
    try:
        done = mediafs("init", tmp_path / "new", "--tier", bucket.url(
            gate.port, "https", f"&ca={certificate}&sse-c-key={secret}", "other"), check=False)
        assert done.returncode == 4 and "without the key" in done.stderr
        mediafs("init", tmp_path / "again", "--tier", bucket.url(prefix="other"))  # it is nobody's
        # One that was begun without a key.
        first = sites("cart", tier=bucket.url()).mount()
        (first.mnt / "first.mov").write_bytes(b"first")
        first.wait()
        site = sites("dit", join=bucket.url(gate.port, "https",
                                            f"&ca={certificate}&sse-c-key={secret}"),
                     options=["rw"]).mount()
        wait_for((site.mnt / "first.mov").exists, "what the other has")
        for name, data in (("note.txt", b"note"), ("clip.mov", pattern(PART + MIB))):
            (site.mnt / name).write_bytes(data)
        wait_for(lambda: "without the key" in tier_error(site), "it to be told")
        site.wait("clip.mov", "verified")
        media = {name for name in bucket.media() if not name.startswith("other/.mediafs/")}
        assert media == {"first.mov"} and bucket.uploads() == []
        assert (site.mnt / "first.mov").read_bytes() == b"first"
    finally:
        gate.close()
