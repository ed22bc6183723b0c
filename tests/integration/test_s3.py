"""The S3 tier against real servers; awscli's own library looks at what lies there."""
import json
import os
import pathlib
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import s3_servers
from gate import Gate
from lib import BLOCK, MEDIAFS, PATIENCE, fsck, mediafs, pattern, run, same_tree, wait_for
from s3_bucket import MIB, PART, SIDE_BY_SIDE, make_certificate, tier_error
from test_main_job import make_card
from test_sites import wait_same

READ_AHEAD_SIDE_BY_SIDE = 4  # blocks of who reads on
SEGMENTS_SIDE_BY_SIDE = 8


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
    conditions = "less" if any_bucket.kind == "swift" else "good"
    assert result.pop("PUT If-None-Match") == conditions
    assert result.pop("checksum kept") == ("good" if any_bucket.keeps_checksums() else "less")
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
def test_a_refusal_is_told_with_the_servers_code(bucket, gate, sites):
    told = "the request is refused (InvalidRequest)"
    cart = sites("cart", tier=bucket.url(gate.port), settings={"transfer.retry_max": "1s"}).mount()
    gate.reject = b"/probe/object"
    assert told in cart.cmd("tier", "test", check=False).stdout
    gate.reject = b"\r\nx-amz-meta-mediafs-size:"
    (cart.mnt / "clip.mov").write_bytes(b"1")
    wait_for(lambda: told in cart.cmd("log").stdout, "it to be set aside")
    cart.umount()
    poison = cart.status()["poison"]
    assert [item["path"] for item in poison] == ["clip.mov"] and told in poison[0]["error"]
    assert told in cart.cmd("status", check=False).stdout
    cart.mount()
    gate.reject = None
    cart.cmd("resume")
    cart.wait()


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
    cart.set("transfer.hydrate_timeout", "")
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


def cart_without_clip(bucket, gate, sites):
    """And what is in the clip."""
    cart = sites("cart", tier=bucket.url(gate.port),
                 settings={"transfer.read_ahead": "48M"}).mount()
    data = pattern(16 * BLOCK)
    (cart.mnt / "clip.mov").write_bytes(data)
    cart.wait()
    cart.cmd("evict", cart.mnt / "clip.mov")
    cart.umount()
    cart.mount()  # what is here comes from there, and is seen to be read
    return cart, data


def start_reading(pool, clip, first, length):
    """Of an open file, in order, by pieces of a MiB."""
    def read():
        end = first + length
        return b"".join(os.pread(clip, MIB, offset) for offset in range(first, end, MIB))
    return pool.submit(read)


@pytest.mark.parametrize("who", ["the same", "another"])
def test_blocks_are_read_ahead_side_by_side(bucket, gate, sites, who):
    """A reader who seeks, or another one of the same file, at another place."""
    cart, data = cart_without_clip(bucket, gate, sites)
    gate.watch = gate.stall = b"clip.mov"
    clips = [os.open(cart.mnt / "clip.mov", os.O_RDONLY) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        playing = start_reading(pool, clips[0], 0, 5 * MIB)
        wait_for(lambda: gate.stalled == READ_AHEAD_SIDE_BY_SIDE, "blocks to be asked for")
        # Waits for none of them.
        seeking = start_reading(pool, clips[who == "another"], 14 * BLOCK, MIB)
        wait_for(lambda: gate.stalled == READ_AHEAD_SIDE_BY_SIDE + 1, "the block for it")
        gate.pace_down = 0.05 if who == "the same" else 0
        gate.stall = None
        assert playing.result(PATIENCE) == data[:5 * MIB]
        assert seeking.result(PATIENCE) == data[14 * BLOCK:14 * BLOCK + MIB]
    for clip in clips:
        os.close(clip)
    wait_for(lambda: cart.state("clip.mov") != "hydrating", "what is on its way")
    if who == "another":
        assert len(gate.seen) > READ_AHEAD_SIDE_BY_SIDE + 1
        return
    # What had not begun is not wanted any more.
    assert len(gate.seen) == gate.stalled_most == READ_AHEAD_SIDE_BY_SIDE + 1
    # What was on its way for nobody any more is given up, and leaves the line to them.
    assert 2 * BLOCK < gate.came < 3 * BLOCK


def test_what_is_read_ahead_keeps_nobody_from_evicting(bucket, gate, sites, tmp_path):
    """A player was closed a moment ago: what still comes comes for nobody."""
    cart, data = cart_without_clip(bucket, gate, sites)
    gate.watch = b"clip.mov"
    gate.pace_down = 0.03  # two seconds a block
    with open(cart.mnt / "clip.mov", "rb") as player:
        assert player.read(5 * MIB) == data[:5 * MIB]
    assert cart.state("clip.mov") == "hydrating"
    cart.cmd("evict", cart.mnt / "clip.mov")
    assert cart.state("clip.mov") == "evicted"
    gate.pace_down = 0
    assert (cart.mnt / "clip.mov").read_bytes() == data


def test_segments_of_a_journal_are_read_side_by_side(bucket, gate, sites):
    """Who joins late has thousands to read, over a long line."""
    cart = sites("cart", tier=bucket.url(), settings={"sync.flush": "10ms"}).mount()
    for index in range(SEGMENTS_SIDE_BY_SIDE + 2):
        (cart.mnt / f"take{index}.wav").write_bytes(pattern(100, index))
        cart.wait()
        wait_for(lambda: cart.status()["unpublished"] == 0, "it to be told")
    gate.stall = b"/j/"
    editorial = sites("editorial", join=bucket.url(gate.port)).mount()
    wait_for(lambda: gate.stalled == SEGMENTS_SIDE_BY_SIDE, "many to be asked for")
    gate.stall = None
    wait_same(cart, editorial)
    assert gate.stalled_most == SEGMENTS_SIDE_BY_SIDE


@pytest.mark.parametrize("verb, crew", [("pin", "keeper-fetch"), ("fetch", "fetch")])
def test_small_files_come_side_by_side(bucket, gate, sites, verb, crew):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    (cart.mnt / "day").mkdir()
    for index in range(12):
        (cart.mnt / f"day/take{index}.wav").write_bytes(pattern(3 * BLOCK + index))
    cart.wait()
    cart.cmd("evict", cart.mnt / "day")
    gate.stall = b"/day/take"
    with subprocess.Popen([MEDIAFS, verb, cart.mnt / "day"], stdout=subprocess.PIPE) as command:
        wait_for(lambda: cart.threads(crew) == SIDE_BY_SIDE and gate.stalled, "the crew")
        gate.stall = None
        assert command.wait(PATIENCE) == 0
        assert b"12 files" in command.stdout.read()
    for index in range(12):
        cart.wait_state(f"day/take{index}.wav", "stored")


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


def test_a_tier_that_comes_while_a_file_is_on_its_way_gets_it_too(bucket, gate, sites, tmp_path):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    gate.stall = b"clip.mov"
    data = pattern(MIB)
    (cart.mnt / "clip.mov").write_bytes(data)
    wait_for(lambda: gate.stalled and cart.state("clip.mov") == "uploading", "it to be on its way")
    (tmp_path / "nas").mkdir()
    cart.cmd("tier", "add", "nas", f"file://{tmp_path / 'nas'}")
    (cart.mnt / "later.mov").write_bytes(pattern(MIB, 2))
    wait_for((tmp_path / "nas/later.mov").exists, "what came later to be there")
    gate.stall = None
    wait_for((tmp_path / "nas/clip.mov").exists, "it to be there")
    cart.wait()
    assert (tmp_path / "nas/clip.mov").read_bytes() == data


def test_a_put_whose_answer_was_lost(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    gate.swallow = b"PUT /" + bucket.name.encode() + b"/show%201/clip.mov"
    (cart.mnt / "clip.mov").write_bytes(pattern(MIB))
    cart.wait()
    assert gate.swallowed == 1
    assert list(bucket.media()) == ["clip.mov"]


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
