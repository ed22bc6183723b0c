"""Objects in an archive: shown, refused at once, asked for. What no server here does is done by a
gate in front of a real one (archive_gate.py)."""
import errno
import json
import os
import signal
import subprocess
import time

import pytest

from archive_gate import ArchiveGate
from lib import BLOCK, MEDIAFS, PATIENCE, fsck, pattern, wait_for
from s3_bucket import MIB, PART, SIDE_BY_SIDE

NAMES = ("a.mov", "b.mov")


@pytest.fixture
def archive(bucket):
    gate = ArchiveGate(bucket.port)
    yield gate
    gate.close()


def read_error(path):
    with pytest.raises(OSError) as error:
        path.read_bytes()
    return error.value.errno


def states_by_ls(site):
    return {line.split()[-1]: line.split()[0] for line in site.cmd("ls", site.mnt).stdout.splitlines()}


def restore(site, *args, check=False):
    return site.cmd("fetch", "--restore", *args, site.mnt, check=check)


def evicted(sites, archive, bucket):
    """A cart whose two clips were evicted after they went into the archive."""
    cart = sites("cart", tier=bucket.url(archive.port)).mount()
    data = {name: pattern(5 * BLOCK + 9, index) for index, name in enumerate(NAMES)}
    data["c.mov"] = pattern(5 * BLOCK, 9)
    for name, content in data.items():
        (cart.mnt / name).write_bytes(content)
    cart.wait()
    archive.archived = dict.fromkeys(NAMES, "archived")
    for name in data:
        cart.cmd("evict", cart.mnt / name)
    return cart, data


def test_archived_files_are_shown_and_refused_at_once(bucket, archive, sites):
    cart, data = evicted(sites, archive, bucket)
    assert [cart.state(name) for name in data] == ["archived", "archived", "evicted"]
    assert states_by_ls(cart) == {"a.mov": "archived", "b.mov": "archived", "c.mov": "evicted"}
    assert cart.status()["archived"] == {"files": 2, "bytes": sum(len(data[n]) for n in NAMES)}
    assert "archived" in cart.cmd("status").stdout
    # Another site learns of it by reading.
    editorial = sites("editorial", join=bucket.url(archive.port)).mount()
    wait_for(lambda: len(os.listdir(editorial.mnt)) == 3, "the tree at editorial")
    assert editorial.state("a.mov") == "evicted"
    for site in (cart, editorial):
        archive.requests.clear()
        before = time.monotonic()
        assert read_error(site.mnt / "a.mov") == errno.ENOMEDIUM
        assert time.monotonic() - before < PATIENCE / 4
        assert site.state("a.mov") == "archived"
        assert (site.mnt / "c.mov").read_bytes() == data["c.mov"]
        # Nothing goes on trying: a request for each piece that was wanted or read ahead.
        assert len(archive.requests) <= 12
    # Header and footer of the cart's own stay readable; the rest is no zeros.
    with open(cart.mnt / "b.mov", "rb") as clip:
        assert clip.read(BLOCK) == data["b.mov"][:BLOCK]
        clip.seek(-MIB, os.SEEK_END)
        assert clip.read() == data["b.mov"][-MIB:]
    done = cart.cmd("fetch", cart.mnt / "b.mov", check=False)
    assert done.returncode == 1 and "fetch --restore" in done.stderr
    done = fsck("-n", "--full", "--remote", cart.store)
    assert done.returncode == 0 and "2 copies archived" in done.stdout, done.stdout + done.stderr
    # The server cannot copy what is archived: it is sent again.
    (cart.mnt / "again.mov").write_bytes(data["a.mov"])
    cart.wait()
    assert bucket.get("again.mov") == data["a.mov"]


def test_restore(bucket, archive, sites):
    cart, data = evicted(sites, archive, bucket)
    done = restore(cart, "--timeout", "1s", "--days", "3", "--restore-tier", "bulk")
    assert done.returncode == 3 and "still pending" in done.stderr
    assert "1 of 3 files are here" in done.stderr
    assert sorted(name for name, _ in archive.asked) == list(NAMES)
    for _, body in archive.asked:
        assert b"<Days>3</Days>" in body and b"<Tier>Bulk</Tier>" in body
    assert cart.state("c.mov") == "stored" and cart.state("a.mov") == "archived"
    # Goes on after an interruption and a kill, without asking twice.
    archive.archived["a.mov"] = "restored"
    waiting = subprocess.Popen([MEDIAFS, "fetch", "--restore", cart.mnt, "--store", cart.store],
                               stderr=subprocess.PIPE, text=True)
    cart.wait_state("a.mov", "stored")
    waiting.send_signal(signal.SIGINT)
    assert "goes on coming" in waiting.communicate(timeout=PATIENCE)[1]
    assert waiting.returncode == 3
    cart.kill()
    cart.mount()
    assert cart.state("b.mov") == "archived"
    assert restore(cart, "--timeout", "0s").returncode == 3
    assert len(archive.asked) == 2
    assert read_error(cart.mnt / "b.mov") == errno.ENOMEDIUM
    # Away: it says so, after the time that was given.
    archive.shut()
    assert restore(cart, "--offline", "1s").returncode == 4
    archive.open()
    archive.archived["b.mov"] = "restored"
    done = restore(cart, check=True)
    assert "3 files" in done.stdout
    for name, content in data.items():
        assert (cart.mnt / name).read_bytes() == content and cart.state(name) == "stored"
    assert "archived" not in cart.cmd("status").stdout
    assert {"archived", "restoring"} <= {event["event"] for event in cart.events()}


def start_restore(site, path, *args):
    return subprocess.Popen([MEDIAFS, "fetch", "--restore", *args, site.mnt / path, "--store",
                             site.store], stderr=subprocess.DEVNULL)


def test_restore_asks_side_by_side(bucket, archive, sites):
    cart = sites("cart", tier=bucket.url(archive.port)).mount()
    data = {f"day/take{index:02}.mov": pattern(1000 + index, index) for index in range(20)}
    twice = {f"twice/{name}.mov": b"under two names" for name in "ab"}
    for name, content in {**data, **twice}.items():
        bucket.put(name, content)
    cart.cmd("import", "--bucket")
    archive.archived = dict.fromkeys([*data, *twice], "archived")
    for name in archive.archived:
        assert read_error(cart.mnt / name) == errno.ENOMEDIUM
    archive.stall = b"/day/"
    running = start_restore(cart, "day", "--timeout", "0s")
    wait_for(lambda: archive.stalled == SIDE_BY_SIDE, "as many requests as may go at one time")
    archive.stall = None
    assert running.wait(PATIENCE) == 3
    assert archive.stalled_most == SIDE_BY_SIDE
    assert sorted(name for name, _ in archive.asked) == sorted(data)
    # One content is asked for once.
    archive.asked.clear()
    archive.stall, archive.stalled_most = b"/twice/", 0
    running = start_restore(cart, "twice", "--timeout", "0s")
    wait_for(lambda: archive.stalled and cart.threads("restore") == 2, "both to be looked at")
    archive.stall = None
    assert running.wait(PATIENCE) == 3
    assert archive.stalled_most == 1 and len(archive.asked) == 1
    asked = [event["path"] for event in cart.events() if event["event"] == "restoring"]
    assert sorted(asked) == sorted([*data, archive.asked[0][0]])
    # What can be read comes, and what failed is told, in the order of the names.
    archive.archived = dict.fromkeys(archive.archived, "restored")
    for name in ("day/take03.mov", "day/take11.mov"):
        bucket.client.delete_object(Bucket=bucket.name, Key=f"show 1/{name}")
        del data[name]
    done = restore(cart, "--json")
    answer = json.loads(done.stdout)
    assert [item["path"] for item in answer["failures"]] == ["day/take03.mov", "day/take11.mov"]
    assert answer["here_files"] == 20 and answer["files"] == 22
    for name, content in {**data, **twice}.items():
        assert (cart.mnt / name).read_bytes() == content and cart.state(name) == "stored"


def test_restore_of_what_can_be_had_while_a_tier_is_away(bucket, archive, sites):
    far = ArchiveGate(bucket.port, prefix="far")
    cart = sites("cart", tier=bucket.url(archive.port)).mount()
    cart.cmd("tier", "add", "far", bucket.url(far.port, prefix="far"))
    here, there = ("a1.mov", "a2.mov", "b.mov"), ("c1.mov", "c2.mov", "d.mov")
    data = {name: pattern(3 * BLOCK, index) for index, name in enumerate((*there, *here))}
    for name, content in data.items():
        (cart.mnt / name).write_bytes(content)
    cart.wait()
    for name in data:  # what evicting finds missing is in the other tier alone
        bucket.client.delete_object(Bucket=bucket.name,
                                    Key=f"{'far' if name in here else 'show 1'}/{name}")
    archive.archived = dict.fromkeys(here[:2], "archived")
    far.archived = dict.fromkeys(there[:2], "archived")
    cart.cmd("evict", cart.mnt)
    assert [cart.state(name) for name in data] == 2 * ["archived", "archived", "evicted"]
    far.shut()
    waiting = subprocess.Popen([MEDIAFS, "fetch", "--restore", "--offline", "0", cart.mnt,
                                "--store", cart.store], stderr=subprocess.PIPE, text=True)
    cart.wait_state("b.mov", "stored")
    assert sorted(name for name, _ in archive.asked) == list(here[:2])
    for name in here[:2]:
        archive.archived[name] = "restored"
        cart.wait_state(name, "stored")
    assert waiting.poll() is None and not far.asked
    assert cart.state("d.mov") == "evicted"
    # Whoever gives up hears what did not come, and why.
    done = restore(cart, "--offline", "1s", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 4 and answer["here_files"] == answer["away_files"] == 3
    assert answer["coming_files"] == answer["failed"] == 0
    assert [item["path"] for item in answer["failures"]] == list(there)
    assert {item["away"] for item in answer["failures"]} == {"far"}
    done = restore(cart, "--timeout", "0s")
    assert done.returncode == 4 and "a tier is away: 3 of 6 files are here" in done.stderr
    for name in there:
        assert f"{name}: waits for the tier far, which is away" in done.stderr
    # What comes is waited for, however long the other is away.
    archive.archived["a1.mov"] = "archived"
    cart.cmd("evict", cart.mnt / "a1.mov")
    assert restore(cart, "--timeout", "0s").returncode == 3
    archive.archived["a1.mov"] = "restored"
    far.open()
    cart.wait_state("d.mov", "stored")
    wait_for(lambda: len(far.asked) == 2, "the tier to be asked when it is back")
    far.archived = dict.fromkeys(there[:2], "restored")
    assert waiting.wait(PATIENCE) == 0
    told = waiting.stderr.read()
    assert told.count("waits for the tier far, which is away") == 1
    for name, content in data.items():
        assert (cart.mnt / name).read_bytes() == content and cart.state(name) == "stored"
    far.close()


@pytest.mark.slow
def test_restore_of_intelligent_tiering(bucket, archive, sites):
    cart, data = evicted(sites, archive, bucket)
    archive.tiering = set(NAMES)
    assert restore(cart, "--timeout", "0s").returncode == 3
    assert all(b"Days" not in body and b"Standard" in body for _, body in archive.asked)
    archive.archived = {}  # they are back, for good
    assert restore(cart).returncode == 0
    assert (cart.mnt / "a.mov").read_bytes() == data["a.mov"]
    # Asked for once more in the archive, but one is gone: told, and the others come.
    archive.archived = {"a.mov": "archived"}
    cart.cmd("evict", cart.mnt)
    assert cart.state("a.mov") == "archived"
    bucket.client.delete_object(Bucket=bucket.name, Key="show 1/b.mov")
    done = restore(cart, "--timeout", "0s")
    assert done.returncode == 3 and "b.mov" in done.stderr
    for words in (["--days", "0"], ["--restore-tier", "Fast"]):
        assert restore(cart, *words).returncode == 2
    assert cart.cmd("fetch", "--days", "3", cart.mnt, check=False).returncode == 2


def test_a_storage_class_is_that_of_media(bucket, sites):
    """A server whose class of that name can be read at once: nothing is archived."""
    cart = sites("cart", tier=bucket.url(more="&storage-class=GLACIER")).mount()
    data = {"small.mov": pattern(6 * BLOCK), "large.mov": pattern(PART + 5, 2)}
    for name, content in data.items():
        (cart.mnt / name).write_bytes(content)
        cart.wait()
        (cart.mnt / f"again {name}").write_bytes(content)
        cart.wait()
    classes = {item["Key"].removeprefix("show 1/"): item["StorageClass"] for item in
               bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]}
    assert {name for name, kind in classes.items() if kind == "GLACIER"} == set(bucket.media())
    cart.cmd("evict", cart.mnt)
    for name, content in data.items():
        assert cart.state(name) == "evicted"
        assert (cart.mnt / name).read_bytes() == content
