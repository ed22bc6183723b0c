"""The S3 tier against real servers; awscli's own library looks at what lies there."""
import base64
import contextlib
import json
import os
import pathlib
import time
import uuid

import pytest

import s3_servers
from gate import Gate
from lib import BLOCK, fsck, mediafs, pattern, run, same_tree, wait_for
from test_main_job import make_card

MIB = 1 << 20
PART = 16 * MIB
PARALLEL = 4
SIDE_BY_SIDE = 8


class Bucket:
    """A bucket of the test's own, and a client that is not ours."""

    def __init__(self, kind, server, folder):
        session = pytest.importorskip("awscli.botocore.session")
        self.kind, self.server, self.folder = kind, server, folder
        self.name = f"mediafs-{uuid.uuid4().hex[:16]}"
        self.keys = folder / "s3.keys"
        self.write_keys()
        self.client = session.get_session().create_client(
            "s3", endpoint_url=server, region_name="us-east-1",
            aws_access_key_id=s3_servers.access_key(kind),
            aws_secret_access_key=s3_servers.SECRET)
        self.client.create_bucket(Bucket=self.name)

    @property
    def port(self):
        return int(self.server.rsplit(":", 1)[1])

    def write_keys(self, access=None, secret=s3_servers.SECRET):
        self.keys.touch(0o600)
        self.keys.write_text(f"aws_access_key_id = {access or s3_servers.access_key(self.kind)}\n"
                             f"aws_secret_access_key = {secret}\n")

    def url(self, port=None, scheme="http", more=""):
        return (f"s3://{self.name}/show 1?endpoint={scheme}://127.0.0.1:{port or self.port}"
                f"&credentials={self.keys}{more}").replace(" ", "%20")

    def media(self):
        """Names and sizes of what lies there, but for mediafs's own."""
        found = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            for item in page.get("Contents", []):
                name = item["Key"].removeprefix("show 1/")
                if not name.startswith(".mediafs/"):
                    found[name] = item["Size"]
        return found

    def get(self, name):
        return self.client.get_object(Bucket=self.name, Key=f"show 1/{name}")["Body"].read()

    def put(self, name, data):
        self.client.put_object(Bucket=self.name, Key=f"show 1/{name}", Body=data)

    def uploads(self):
        return self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])

    def remove(self):
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            for item in page.get("Contents", []):
                self.client.delete_object(Bucket=self.name, Key=item["Key"])
        self.client.delete_bucket(Bucket=self.name)


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Start a server when it is first asked for."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with contextlib.ExitStack() as stack:
        urls = {}

        def get(kind):
            if kind not in urls:
                urls[kind] = stack.enter_context(s3_servers.shared(kind, base))
            return urls[kind]
        yield get


def make_bucket(kind, servers, folder):
    server = servers(kind)
    if not server:
        pytest.skip(f"no packages for {kind}")
    return Bucket(kind, server, folder)


@pytest.fixture
def bucket(servers, tmp_path):
    return make_bucket("ceph", servers, tmp_path)


@pytest.fixture(params=["ceph", pytest.param("swift", marks=pytest.mark.slow)])
def any_bucket(request, servers, tmp_path):
    return make_bucket(request.param, servers, tmp_path)


@pytest.fixture
def gate(bucket):
    gate = Gate(bucket.port)
    yield gate
    gate.close()


@pytest.fixture
def any_gate(any_bucket):
    gate = Gate(any_bucket.port)
    yield gate
    gate.close()


def tier_error(site):
    return site.status()["moving"].get("tier_error") or ""


def test_the_main_job(any_bucket, sites, tmp_path):
    bucket = any_bucket
    card = make_card(tmp_path / "card")
    (card / "A001R2EC/CLIPS/A001C003.mov").write_bytes(pattern(2 * PART + 12345, 9))
    cart = sites("cart", tier=bucket.url()).mount()
    run("cp", "-a", card / "A001R2EC", cart.mnt)
    cart.wait()
    files = {str(path.relative_to(card)): path for path in card.rglob("*")
             if path.is_file() and not path.is_symlink()}
    assert bucket.media() == {name: path.stat().st_size for name, path in files.items()}
    for name, path in files.items():
        assert bucket.get(name) == path.read_bytes()
    assert bucket.uploads() == []
    meta = bucket.client.head_object(Bucket=bucket.name,
                                     Key="show 1/A001R2EC/report.txt")["Metadata"]
    info = (card / "A001R2EC/report.txt").stat()
    assert meta["mediafs-size"] == str(info.st_size) and meta["mediafs-mode"] == "640"
    assert meta["mediafs-mtime-ns"] == str(info.st_mtime_ns)

    editorial = sites("editorial", join=bucket.url()).mount()
    wait_for(lambda: sum(path.is_file() for path in editorial.mnt.rglob("*")) > len(files),
             "the tree at editorial")
    cart.cmd("evict", cart.mnt / "A001R2EC/CLIPS")
    assert cart.state("A001R2EC/CLIPS/A001C003.mov") == "evicted"
    same_tree(card, cart.mnt)
    wait_for(lambda: (editorial.mnt / "A001R2EC/EMPTY").exists(), "the empty folder")
    same_tree(card, editorial.mnt)
    cart.umount()
    editorial.umount()
    for site in (cart, editorial):
        done = fsck("-n", "--full", "--remote", site.store)
        assert done.returncode == 0, done.stdout + done.stderr


ODD_NAMES = ["a b", "+&%=*~()'", "%41", "é€😀.mov", "?#[]@!$,;:\"<>\\^`{|}", "-rf", "..hidden",
             "a/b"]


def test_odd_names(any_bucket, sites):
    bucket = any_bucket
    cart = sites("cart", tier=bucket.url()).mount()
    for index, name in enumerate(ODD_NAMES):
        path = cart.mnt / "dir 1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pattern(1000, index))
    deep = pathlib.Path(*(letter * 240 for letter in "abcde"))
    (cart.mnt / deep).mkdir(parents=True)
    (cart.mnt / deep / "clip.mov").write_bytes(b"deep")
    with open(os.fsencode(cart.mnt) + b"/no\xff\xfeutf8.mov", "wb") as out:
        out.write(b"no utf-8")
    cart.wait()
    media = bucket.media()
    for index, name in enumerate(ODD_NAMES):
        name = f"dir 1/{name}"
        assert name in media and bucket.get(name) == (cart.tree / name).read_bytes()
    others = {bucket.get(name) for name in media if not name.startswith("dir 1/")}
    assert others == {b"deep", b"no utf-8"}
    # A catalog that is lost is made again from journals and bucket.
    cart.umount()
    (cart.store / "catalog.db").unlink()
    done = fsck("-y", "--rebuild-catalog", cart.store)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    cart.mount()
    cart.wait()


def test_names_that_others_have_are_left_alone(any_bucket, sites):
    bucket = any_bucket
    bucket.put("clip.mov", b"theirs")
    same = pattern(MIB, 3)
    bucket.put("same.mov", same)
    large = pattern(PART + 1, 4)
    bucket.put("large.mov", b"theirs, too")
    cart = sites("cart", tier=bucket.url()).mount()
    (cart.mnt / "clip.mov").write_bytes(pattern(MIB, 2))
    (cart.mnt / "same.mov").write_bytes(same)
    (cart.mnt / "large.mov").write_bytes(large)
    cart.wait()
    media = bucket.media()
    assert bucket.get("clip.mov") == b"theirs" and bucket.get("large.mov") == b"theirs, too"
    assert sorted(name.split("~")[0] for name in media) == [
        "clip", "clip.mov", "large", "large.mov", "same.mov"]
    assert all(bucket.get(name) == (cart.tree / f"{name.split('~')[0]}.mov").read_bytes()
               for name in media if "~" in name)


def test_a_copy_that_changed_is_not_trusted(bucket, sites):
    cart = sites("cart", tier=bucket.url()).mount()
    data = pattern(3 * BLOCK + 77)
    for name in ("other.mov", "short.mov", "gone.mov"):
        (cart.mnt / name).write_bytes(data + name.encode())
    cart.wait()
    bucket.put("other.mov", bytes([data[0] ^ 1]) + data[1:] + b"other.mov")
    bucket.put("short.mov", data)
    bucket.client.delete_object(Bucket=bucket.name, Key="show 1/gone.mov")
    for name in ("other.mov", "short.mov", "gone.mov"):
        assert cart.cmd("evict", cart.mnt / name, check=False).returncode != 0
        assert (cart.mnt / name).read_bytes() == data + name.encode()
    # What is whole here is sent again, beside what others put there.
    wait_for(lambda: sum("~" in name for name in bucket.media()) == 2
             and "gone.mov" in bucket.media(), "new copies")


def test_a_block_that_was_spoiled_on_its_way_is_fetched_again(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    data = pattern(6 * BLOCK)
    (cart.mnt / "clip.mov").write_bytes(data)
    cart.wait()
    cart.cmd("evict", cart.mnt / "clip.mov")
    gate.spoil_down = 1
    assert (cart.mnt / "clip.mov").read_bytes() == data
    assert gate.spoil_down == 0


def test_a_wrong_key_is_named_and_put_right(bucket, sites):
    cart = sites("cart", tier=bucket.url())
    bucket.write_keys(secret="wrong")
    cart.mount()
    (cart.mnt / "clip.mov").write_bytes(pattern(MIB))
    cart.wait("clip.mov", "verified")
    wait_for(lambda: "SignatureDoesNotMatch" in tier_error(cart), "the wrong secret to be named")
    bucket.write_keys(access="NOBODY")
    wait_for(lambda: "InvalidAccessKeyId" in tier_error(cart), "the wrong key to be named")
    assert cart.wait("clip.mov", timeout=1, check=False).returncode == 4
    assert bucket.media() == {}
    shown = cart.cmd("status").stdout
    assert "the access key is not known there" in shown
    assert cart.cmd("tier", "test", check=False).returncode == 4
    bucket.write_keys()
    cart.wait("clip.mov")
    # Nothing of ours holds the secret.
    cart.umount()
    for path in [cart.log, *cart.store.rglob("*")]:
        assert not path.is_file() or s3_servers.SECRET.encode() not in path.read_bytes(), path


def test_what_a_server_does_is_found_out(any_bucket, sites):
    # Swift wants its own region, and says which one that is.
    cart = sites("cart", tier=any_bucket.url(more="&region=nowhere-1"))
    done = json.loads(cart.cmd("tier", "test", "--json").stdout)["tiers"][0]
    result = {row["what"]: row["result"] for row in done["abilities"]}
    conditions = "good" if any_bucket.kind == "ceph" else "less"
    assert result.pop("PUT If-None-Match") == conditions
    result.pop("multipart If-None-Match")  # Ceph 16 does not know it, later ones do
    assert len(result) == 10 and set(result.values()) == {"good"}, done
    assert any_bucket.media() == {} and any_bucket.uploads() == []
    assert "wrong signature" in cart.cmd("tier", "test").stdout


def test_what_init_says(bucket, tmp_path):
    def refused(url):
        done = mediafs("init", tmp_path / "new", "--tier", url, check=False)
        assert done.returncode == 4 and not (tmp_path / "new").exists()
        return done.stderr
    assert "NoSuchBucket" in refused(bucket.url().replace(bucket.name, "mediafs-none"))
    assert "connect" in refused(bucket.url(port=1)).lower()
    bucket.keys.chmod(0o644)
    assert "chmod 600" in refused(bucket.url())
    bucket.keys.chmod(0o600)
    bucket.write_keys(secret="wrong")
    assert "SignatureDoesNotMatch" in refused(bucket.url())


@pytest.mark.slow
def test_a_bucket_that_went_away_is_named(bucket, sites):
    cart = sites("cart", tier=bucket.url()).mount()
    (cart.mnt / "first.mov").write_bytes(pattern(MIB, 2))
    cart.wait()
    cart.umount()
    bucket.remove()
    cart.mount()
    (cart.mnt / "clip.mov").write_bytes(pattern(MIB))
    cart.wait("clip.mov", "verified")
    wait_for(lambda: "NoSuchBucket" in tier_error(cart), "the bucket to be missed")
    # A new one of that name is not the tier that was used so far.
    bucket.client.create_bucket(Bucket=bucket.name)
    wait_for(lambda: "tier.json is missing" in tier_error(cart), "the identity to be missed")
    assert bucket.media() == {}


def test_a_server_that_is_gone_and_back(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port),
                 settings={"transfer.hydrate_timeout": "300ms"}).mount()
    old = pattern(6 * BLOCK)
    (cart.mnt / "old.mov").write_bytes(old)
    cart.wait()
    cart.cmd("evict", cart.mnt / "old.mov")
    gate.shut()
    (cart.mnt / "new.mov").write_bytes(pattern(MIB, 2))
    cart.wait("new.mov", "verified")
    wait_for(lambda: f"127.0.0.1:{gate.port}" in tier_error(cart), "the server to be named")
    assert os.listdir(cart.mnt) and os.statvfs(cart.mnt)
    with open(cart.mnt / "old.mov", "rb") as clip:
        clip.seek(2 * BLOCK)
        with pytest.raises(OSError):
            clip.read(BLOCK)
    gate.open()
    cart.wait("new.mov")
    assert (cart.mnt / "old.mov").read_bytes() == old


def test_an_unmount_does_not_wait_for_a_server_that_hangs(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    gate.hold(PART)
    (cart.mnt / "clip.mov").write_bytes(pattern(3 * PART))
    wait_for(lambda: gate.sent >= gate.hold_at - (1 << 16), "the upload to hang")
    cart.umount()
    gate.release()
    cart.mount()
    cart.wait()


def test_kill_in_an_upload_sends_only_parts_in_flight_again(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
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
    gate.stall = gate.watch = b"partNumber="
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


@pytest.mark.slow
def test_a_cut_in_an_upload_sends_only_parts_in_flight_again(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
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


@pytest.mark.slow
def test_limits_and_pauses_hold(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port), settings={"transfer.limit": "4M"}).mount()
    begin = time.monotonic()
    (cart.mnt / "clip.mov").write_bytes(pattern(PART + 2 * MIB))
    wait_for(lambda: gate.sent > 4 * MIB, "the upload to move")
    cart.cmd("pause")
    cart.set("transfer.limit", "0")
    seen = gate.sent
    assert cart.wait(timeout=1, check=False).returncode == 3
    assert gate.sent < seen + 4 * MIB and time.monotonic() - begin > 1
    cart.cmd("resume")
    cart.wait()
    assert bucket.get("clip.mov") == (cart.tree / "clip.mov").read_bytes()


def test_a_small_file_is_one_request(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    (cart.mnt / "first.txt").write_bytes(b"1")
    cart.wait()
    names = [b"HEAD", b"GET", b"PUT"]
    gate.watch = b"/show%201/second.txt"
    (cart.mnt / "second.txt").write_bytes(b"22")
    cart.wait()
    assert [name for line in gate.seen for name in names if line.startswith(name)] == [b"PUT"]


def test_small_files_go_side_by_side(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    gate.stall = gate.watch = b"/take"
    for index in range(20):
        (cart.mnt / f"take{index}.wav").write_bytes(pattern(1000 + index))
    same = pattern(999)
    for name in ("taken0.wav", "taken1.wav"):
        (cart.mnt / name).write_bytes(same)
    wait_for(lambda: gate.stalled == SIDE_BY_SIDE, "as many requests as may go at one time")
    gate.stall = None
    cart.wait()
    assert gate.stalled_most == SIDE_BY_SIDE
    media = bucket.media()
    for index in range(20):
        assert f"take{index}.wav" in media
    assert {"taken0.wav", "taken1.wav"} <= set(media)
    puts = [line for line in gate.seen if line.startswith(b"PUT")]
    assert len(puts) == 22, puts
    assert len(gate.copies) == 1, "one content, sent once"


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


def test_a_small_file_does_not_wait_for_a_large_one(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    gate.stall = b"partNumber"
    (cart.mnt / "clip.mov").write_bytes(pattern(PART + MIB))
    wait_for(lambda: gate.stalled > 0, "the large one to be on its way")
    (cart.mnt / "other.mov").write_bytes(pattern(PART + MIB, 2))
    wait_for(lambda: cart.state("other.mov") == "queued", "another large one to wait")
    (cart.mnt / "sound.wav").write_bytes(pattern(MIB, 3))
    wait_for(lambda: cart.state("sound.wav") == "stored", "the sound to be stored")
    # Of two large ones each would only slow the other down.
    assert (cart.state("clip.mov"), cart.state("other.mov")) == ("uploading", "queued")
    moving = cart.status()["moving"]
    assert moving["path"] == "clip.mov"
    gate.stall = None
    cart.wait()
    assert set(bucket.media()) == {"clip.mov", "other.mov", "sound.wav"}


def test_a_put_whose_answer_was_lost(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    gate.swallow = b"PUT /" + bucket.name.encode() + b"/show%201/clip.mov"
    (cart.mnt / "clip.mov").write_bytes(pattern(MIB))
    cart.wait()
    assert gate.swallowed == 1
    assert list(bucket.media()) == ["clip.mov"]


def make_certificate(folder):
    key, certificate = folder / "tls.key", folder / "tls.pem"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
        certificate, "-days", "1", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1")
    return certificate, key


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


def test_certificates_are_verified(bucket, sites, tmp_path):
    certificate, key = make_certificate(tmp_path)
    gate = Gate(bucket.port, (certificate, key))
    try:
        done = mediafs("init", tmp_path / "new", "--tier", bucket.url(gate.port, "https"),
                       check=False)
        assert done.returncode == 4 and "certificate" in done.stderr
        cart = sites("cart", tier=bucket.url(gate.port, "https", f"&ca={certificate}")).mount()
        (cart.mnt / "clip.mov").write_bytes(pattern(PART + MIB))
        cart.wait()
        assert bucket.get("clip.mov") == (cart.tree / "clip.mov").read_bytes()
    finally:
        gate.close()
