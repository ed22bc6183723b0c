"""mediafs safe: the ways to be unsafe, each with its reason; and SAFE only when nothing is wrong."""
import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess

import pytest

import cards
from lib import MEDIAFS, fsck, flip, loop_image, mediafs, pattern, run, wait_for
from offload_help import faulty

MIB = 1 << 20
FILES = {
    "A001R2EC/CLIPS/A001C001_261128_R2EC.mov": 3 * MIB + 17,
    "A001R2EC/CLIPS/A001C002_261128_R2EC.mov": 70_000,
    "A001R2EC/CLIPS/A001C003_261128_R2EC.mov": 4 * MIB,
    "A001R2EC/AUDIO/A001C001.wav": 5_000,
    "A001R2EC/report.txt": 300,
    "A001R2EC/empty.ale": 0,
}
FIRST = "A001R2EC/CLIPS/A001C001_261128_R2EC.mov"
SECOND = "A001R2EC/CLIPS/A001C002_261128_R2EC.mov"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting images needs root")


def make_card(folder, files=None, seed=1):
    for index, (name, size) in enumerate((files or FILES).items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pattern(size, seed * 100 + index))
    return folder


STORE = []  # of the test's cart: others may be mounted on this machine


def safe(*args, env=None):
    """(exit code, {reason: paths}, all of it)"""
    done = run(MEDIAFS, "safe", "--json", "--store", *STORE, *args, check=False,
               env={**os.environ, **(env or {})})
    answer = json.loads(done.stdout)
    reasons = {reason["reason"]: {file["path"] for file in reason["files"]}
               for reason in answer["reasons"]}
    assert done.returncode == answer["code"], done.stderr
    assert (answer["verdict"] == "safe") == (done.returncode == 0) == (not reasons), answer
    assert all(reason["count"] for reason in answer["reasons"])
    return done.returncode, reasons, answer


def is_safe(card, *args):
    code, reasons, _ = safe(card, *args)
    return code == 0 and not reasons


def start_safe(card):
    """In the background, for those who change something meanwhile."""
    return subprocess.Popen([MEDIAFS, "safe", "--json", "--store", *STORE, card],
                            stdout=subprocess.PIPE, text=True)


def end_safe(process):
    answer = json.loads(process.communicate(timeout=300)[0])
    return process.returncode, {reason["reason"] for reason in answer["reasons"]}


@contextlib.contextmanager
def kept(path):
    """@path is as it was afterwards, or gone if it was not there, with its times."""
    before = (path.read_bytes(), path.stat()) if path.exists() else None
    yield path
    if before:
        path.write_bytes(before[0])
        os.utime(path, ns=(before[1].st_atime_ns, before[1].st_mtime_ns))
    else:
        path.unlink(missing_ok=True)


def mount(site):
    STORE[:] = [site.store]
    return site.mount()


@pytest.fixture
def cart(sites, tmp_path):
    """A cart with one tier (called "nas"), which counts as another place, and a card in it."""
    nas = tmp_path / "nas"
    nas.mkdir()
    site = sites("cart", settings={"tier.nas.url": f"file://{nas}", "tier.nas.offsite": "yes", "tier.nas.uplink": "yes",
                                   "safe.distinct_devices": "no", "manifest.kind": "none"})
    site.nas = nas
    site.card = make_card(tmp_path / "card")
    mount(site)
    offload(site, site.card)
    return site


def offload(site, card, to="day1"):
    run("cp", "-a", card, site.mnt / to)
    site.wait(state="stored")


def test_the_twelve_ways(cart, tmp_path):
    card, nas = cart.card, cart.nas
    assert is_safe(card)

    # one byte changed on the card
    with kept(card / FIRST):
        flip(card / FIRST, 2 * MIB)
        assert safe(card)[:2] == (1, {"different": {FIRST}})
    # one file more
    with kept(card / "A001R2EC/CLIPS/new.mov") as more:
        more.write_bytes(b"shot since")
        assert safe(card)[:2] == (1, {"missing": {"A001R2EC/CLIPS/new.mov"}})
    # same name, other content: another length
    with kept(card / SECOND):
        (card / SECOND).write_bytes(b"shot again")
        assert safe(card)[:2] == (1, {"different": {SECOND}})
    # one file fewer in the store, behind its back: what is left is the copy in the tier
    (cart.tree / "day1" / SECOND).rename(tmp_path / "aside")
    code, reasons, _ = safe(card)
    assert code == 1 and reasons["store"] == {SECOND}
    (tmp_path / "aside").rename(cart.tree / "day1" / SECOND)
    assert is_safe(card)
    # a copy is missing in the tier
    (nas / "day1" / SECOND).rename(tmp_path / "aside")
    assert safe(card)[:2] == (1, {"copy-missing": {SECOND}})
    (tmp_path / "aside").rename(nas / "day1" / SECOND)
    assert is_safe(card)
    # a copy is damaged
    flip(nas / "day1" / FIRST, MIB)
    assert safe(card)[:2] == (1, {"copy-damaged": {FIRST}})
    flip(nas / "day1" / FIRST, MIB)
    assert is_safe(card)
    # the tier is away
    nas.rename(tmp_path / "away")
    assert safe(card)[:2] == (1, {"copy-unreachable": set(FILES)})
    (tmp_path / "away").rename(nas)
    wait_for(lambda: is_safe(card), "the tier to be there again")
    # never offloaded
    other = make_card(tmp_path / "other", {"B001/B001C001.mov": 1000, "B001/x.txt": 10}, seed=7)
    assert safe(other)[:2] == (1, {"never-offloaded": {"B001/B001C001.mov", "B001/x.txt"}})
    # a partial offload
    (cart.mnt / "day1/B001").mkdir()
    run("cp", "-a", other / "B001/B001C001.mov", cart.mnt / "day1/B001")
    cart.wait(state="stored")
    assert safe(other)[:2] == (1, {"missing": {"B001/x.txt"}})
    # not yet verified
    with open(cart.mnt / "day1/B001/x.txt", "wb") as out:
        out.write((other / "B001/x.txt").read_bytes())
        out.flush()
        assert safe(other)[:2] == (1, {"unverified": {"B001/x.txt"}})
    cart.wait(state="stored")
    assert is_safe(other)
    # one file fewer in the volume
    (cart.mnt / "day1/B001/x.txt").unlink()
    assert safe(other)[:2] == (1, {"missing": {"B001/x.txt"}})
    # the policy is not met
    for key, value, before in (("safe.copies", "3", "2"), ("safe.offsite", "2", "1"),
                               ("tier.nas.offsite", "no", "yes"),
                               ("safe.distinct_devices", "yes", "no")):
        cart.set(key, value)
        assert safe(card)[:2] == (1, {"policy": set(FILES)}), key
        # All is stored, and that is no permission to format.
        text = cart.cmd("status").stdout
        assert "\nSTORED: " in text and "safe" not in text.lower(), text
        cart.set(key, before)
    assert is_safe(card)
    # a damaged local file
    flip(cart.tree / "day1" / FIRST, 100)
    assert safe(card)[1].keys() >= {"damaged"}
    code, reasons, _ = safe(card)
    assert code == 1 and reasons["damaged"] == {FIRST}
    # The same bytes once more, whole, do not make that good.
    run("cp", "-a", card / FIRST, cart.mnt / "again.mov")
    cart.wait("again.mov", "stored")
    assert safe(card)[:2] == (1, {"damaged": {FIRST}})


def test_an_offload_is_named_by_its_reel(cart, tmp_path):
    """As it is written on the card."""
    reel = cards.CARDS["sony-xavc"]["reel"]
    card = cards.make(tmp_path / "sony", "sony-xavc")
    offload(cart, card, "monday")
    wait_for(lambda: len(mediafs("offloads", "--json", cart.mnt).stdout.splitlines()) == 1, "it")
    assert is_safe("--offload", reel.lower())
    assert is_safe("--offload", "day1"), "a path in the volume"
    assert "no offload of that" in cart.cmd("safe", "--offload", "A999", check=False).stderr
    offload(cart, card, "tuesday")
    wait_for(lambda: len(mediafs("offloads", "--json", cart.mnt).stdout.splitlines()) == 2, "both")
    done = cart.cmd("safe", "--offload", reel, check=False)
    assert done.returncode == 2 and "monday and in tuesday: name the folder" in done.stderr


def test_what_is_said(cart, tmp_path):
    card = cart.card
    (card / ".DS_Store").write_bytes(b"litter")
    (card / ".Trashes/501").mkdir(parents=True)
    (card / ".Trashes/501/._x").write_bytes(b"more")
    text = cart.cmd("safe", card).stdout
    assert text.startswith("SAFE TO FORMAT: card (6 files, ")
    assert "left out: 2 files that computers left there, 10 B (.DS_Store" in text
    assert "store: 6 of 6 good copies" in text and "nas: 6 of 6 good copies, off-site" in text
    answer = safe(card)[2]
    assert answer["folder"] == "day1" and answer["litter_files"] == 2 and answer["checked"]
    assert answer["policy"] == {"copies": 2, "offsite": 1, "distinct_devices": False}
    assert {copy["tier"]: copy["files"] for copy in answer["copies"]} == {"store": 6, "nas": 6}

    for index in range(7):
        (card / f"A001R2EC/new{index}.mov").write_bytes(b"%d" % index)
    done = cart.cmd("safe", card, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("NOT SAFE: card (13 files, ")
    assert "do not format it" in done.stdout.splitlines()[0]
    assert "7 of 13: not in the volume" in done.stdout and "and 2 more" in done.stdout
    said = [event for event in cart.events() if event["event"] in ("safe to format", "not safe")]
    assert [event["event"] for event in said] == ["safe to format"] * 2 + ["not safe"]
    assert all(event["actor"] == f"uid:{os.getuid()}" for event in said)
    assert said[0]["path"] == "day1" and "missing: 7" in said[2]["detail"]

    # Without the card: the folder of the volume, and never "to format".
    done = cart.cmd("safe", "--offload", cart.mnt / "day1")
    assert done.stdout.startswith("SAFE IN THE VOLUME: day1 (6 files, ")
    assert "TO FORMAT" not in done.stdout and "not checked: the card itself" in done.stdout
    (identity,) = [json.loads(line) for line in
                   mediafs("offloads", "--json", cart.mnt).stdout.splitlines()] or [None]
    assert is_safe("--offload", cart.mnt / "day1/A001R2EC")
    if identity:
        assert is_safe("--offload", str(identity["id"]))
    assert cart.cmd("safe", "--offload", "123456789", check=False).returncode == 2
    assert safe("--offload", cart.mnt / "day2")[0] != 0
    with open(cart.mnt / "day1/A001R2EC/late.mov", "wb") as out:
        out.write(b"on its way")
        out.flush()
        assert safe("--offload", cart.mnt / "day1")[1] == {"unverified": {"A001R2EC/late.mov"}}
    # The card with the folder that is meant: equal bytes elsewhere do not count.
    for index in range(7):
        (card / f"A001R2EC/new{index}.mov").unlink()
    shutil.copytree(cart.mnt / "day1", cart.mnt / "day2")
    (cart.mnt / "day1" / SECOND).unlink()
    cart.wait(state="stored")
    assert is_safe(card)
    assert is_safe(card, "--offload", cart.mnt / "day2")
    assert safe(card, "--offload", cart.mnt / "day1")[:2] == (1, {"missing": {SECOND}})
    # What lies in a trash is as good as gone.
    (cart.mnt / ".Trash-1000").mkdir()
    (cart.mnt / "day2" / SECOND).rename(cart.mnt / ".Trash-1000/clip.mov")
    assert safe(card)[:2] == (1, {"missing": {SECOND}})


def test_what_cannot_be_checked_is_not_safe(cart, library, tmp_path):
    card = cart.card
    table = tmp_path / "faults"
    fault = {"LD_PRELOAD": str(library), "MEDIAFS_FAULT": str(table),
             "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
    table.write_text(f"read {errno.EIO} */{SECOND}\n")
    assert safe(card, env=fault)[:2] == (1, {"unreadable": {SECOND}})
    # What the medium gives is what counts: not what is on it by name and size.
    table.write_text(f"flip 0 */{FIRST}\n")
    assert safe(card, env=fault)[:2] == (1, {"different": {FIRST}})

    empty = tmp_path / "empty"
    (empty / "DCIM").mkdir(parents=True)
    assert safe(empty)[:2] == (1, {"empty": {""}})
    (empty / ".DS_Store").write_bytes(b"x")
    assert safe(empty)[:2] == (1, {"empty": {""}})
    (card / "link").symlink_to("A001R2EC/report.txt")
    assert safe(card)[:2] == (1, {"not-a-file": {"link"}})
    (card / "link").unlink()

    # A copy is no card.
    for folder in (cart.mnt / "day1", cart.nas / "day1", cart.tree / "day1", cart.nas):
        code, reasons, _ = safe(folder)
        assert code == 1 and "holds-copies" in reasons, folder
    assert "holds-copies" in safe(tmp_path)[1]

    assert safe(tmp_path / "none")[:2] == (4, {"unchecked": {str(tmp_path / "none")}})
    assert cart.cmd("safe", check=False).returncode == 2
    assert cart.cmd("safe", card, "more", check=False).returncode == 2

    # The daemon hangs, is gone, the volume is not mounted.
    slow = start_safe(card)
    cart.daemon.send_signal(signal.SIGSTOP)
    cart.daemon.send_signal(signal.SIGKILL)
    code, reasons = end_safe(slow)
    assert (code, reasons) == (4, {"unchecked"}) or code == 0 and not reasons
    cart.kill()
    code, reasons, answer = safe(card)
    assert (code, reasons) == (4, {"unchecked": {""}}) and not answer["checked"]
    assert "not mounted" in answer["reasons"][0]["files"][0]["detail"]
    assert cart.cmd("safe", card, check=False).stdout.startswith("NOT SAFE: ")
    cart.mount()
    wait_for(lambda: is_safe(card), "the volume to be up again")


def meanwhile(cart, change):
    """Change something while copies are read for the verdict, all but the first slowly."""
    cart.set("transfer.limit", "256K")
    process = start_safe(cart.card)

    def reads_the_tier():
        folder = f"/proc/{cart.daemon.pid}/fd"
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{name}").startswith(str(cart.nas / "day1")):
                    return True
        return False
    wait_for(reads_the_tier, "the tier to be read")
    change()
    assert process.poll() is None
    cart.set("transfer.limit", "0")
    return end_safe(process)


def test_what_changes_meanwhile(cart):
    card = cart.card
    assert is_safe(card)
    with kept(card / "A001R2EC/late.mov") as late:
        assert meanwhile(cart, lambda: late.write_bytes(b"late")) == (1, {"card-changed"})
    with kept(card / SECOND):
        assert meanwhile(cart, lambda: flip(card / SECOND, 5)) == (1, {"card-changed"})
    assert is_safe(card)
    report = cart.mnt / "day1/A001R2EC/report.txt"
    # Whether its turn had come or not: it is seen then, or at the end.
    seen = {"volume-changed", "store", "policy"}
    code, reasons = meanwhile(cart, report.unlink)
    assert code == 1 and reasons and reasons <= seen
    run("cp", "-a", card / "A001R2EC/report.txt", report)
    cart.wait(state="stored")
    assert is_safe(card)

    def write_again():
        with open(report, "r+b") as out:
            out.write(b"noted since")
    code, reasons = meanwhile(cart, write_again)
    assert code == 1 and reasons and reasons <= seen


def test_what_changes_after_its_turn(cart, library, tmp_path):
    """Read and found good a moment ago, and gone since: the last look at the volume finds it."""
    card = make_card(tmp_path / "two", {"C001/a.mov": 1000, "C001/b.mov": 1000}, seed=9)
    offload(cart, card, "day3")
    cart.umount()
    env = faulty(library, tmp_path)
    cart.mount(env=env)
    assert is_safe(card)
    (tmp_path / "faults").write_text(f"hold 1 {cart.nas}/day3/C001/b.mov\n")
    process = start_safe(card)
    # Tiers are asked when all of a request was read in the store, and both files are in one.
    wait_for((tmp_path / "faults.held").exists, "the copy of the second to be read")
    (cart.mnt / "day3/C001/a.mov").unlink()
    (tmp_path / "faults").write_text("")
    assert end_safe(process) == (1, {"volume-changed"})


def test_the_cards_own_manifest(cart, library, tmp_path):
    for kind in ("asc", "legacy"):
        card = make_card(tmp_path / kind, {"A002/a.mov": 100_000, "A002/b.mov": 50}, seed=len(kind))
        mediafs("manifest", "create", card / "A002", "--format", kind)
        offload(cart, card, kind)
        code, reasons, answer = safe(card)
        assert (code, reasons, answer["manifests"]) == (0, {}, 1)
        # Each file is read once, for its digest and for its manifest.
        assert safe(card, env=faulty(library, tmp_path, "flip2 0 */A002/a.mov"))[:2] == (0, {})
        # Continued in the volume, as manifests are: the card's is an older state of it.
        if kind == "asc":
            mediafs("manifest", "create", cart.mnt / kind / "A002")
            cart.wait(state="stored")
            assert is_safe(card)
            assert is_safe(card, "--offload", cart.mnt / kind)
        # Copied as it is, but not as it was when the manifest was made.
        (card / "A002/a.mov").write_bytes(pattern(100_000, 99))
        run("cp", "-a", card / "A002/a.mov", cart.mnt / kind / "A002/a.mov")
        cart.wait(state="stored")
        assert safe(card)[:2] == (1, {"manifest": {"A002/a.mov"}})
        (card / "A002/a.mov").unlink()
        assert safe(card)[:2] == (1, {"manifest": {"A002/a.mov"}})


@needs_root
def test_disks(sites, tmp_path):
    """Copies on disks of their own, and a real card, which never counts."""
    undo = []
    try:
        points = []
        for name in ("nas", "shuttle", "medium"):
            (tmp_path / name).mkdir()
            point, end = loop_image(tmp_path / name, 48 * MIB)
            undo.append(end)
            if (point / "lost+found").exists() and name != "medium":
                (point / "lost+found").rmdir()
            points.append(point)
        nas, shuttle, card = points
        run("umount", card)
        run("e2label", tmp_path / "medium/ext4.img", "A001R2EC")
        run("mount", "-o", "loop", tmp_path / "medium/ext4.img", card)
        cart = sites("cart", settings={
            "tier.nas.url": f"file://{nas}", "tier.shuttle.url": f"file://{shuttle}",
            "tier.shuttle.offsite": "yes"})
        mount(cart)
        make_card(card, {"CLIPS/A001C001.mov": 70_000, "CLIPS/A001C002.mov": 10})
        offload(cart, card / "CLIPS", "CLIPS")
        text = cart.cmd("safe", card).stdout
        assert text.startswith("SAFE TO FORMAT: A001R2EC (2 files, ")
        answer = safe(card)[2]
        assert answer["uuid"] and answer["device_bytes"] == 48 * MIB
        cart.set("safe.copies", "3")
        assert is_safe(card)
        cart.set("safe.copies", "4")
        assert safe(card)[1].keys() == {"policy"}
        cart.set("safe.copies", "2")
        # Evicted here: two tiers are left, and they are enough; one is not.
        clip = cart.mnt / "CLIPS/A001C001.mov"
        (cart.mnt / "big.mov").write_bytes(pattern(9 * MIB))
        (card / "big.mov").write_bytes(pattern(9 * MIB))
        assert clip.exists()
        shutil.copyfile(cart.mnt / "big.mov", card / "big.mov")
        cart.wait(state="stored")
        cart.cmd("evict", cart.mnt / "big.mov")
        assert cart.state("big.mov") == "evicted"
        assert is_safe(card)
        flip(nas / "big.mov", MIB)
        assert safe(card)[:2] == (1, {"copy-damaged": {"big.mov"}})
        flip(nas / "big.mov", MIB)
        # A copy beyond those that are wanted is no reason, but it is told.
        cart.set("safe.copies", "1")
        flip(nas / "big.mov", MIB)
        code, reasons, answer = safe(card)
        assert (code, reasons) == (0, {}) and answer["spare_bad_copies"] == 1
    finally:
        for end in reversed(undo):
            end()


@needs_root
def test_a_tier_on_the_card_is_no_copy(sites, tmp_path):
    point, undo = loop_image(tmp_path, 48 * MIB)
    try:
        (point / "media").mkdir()
        make_card(point / "media", {"a.mov": 1000})
        (point / "copies").mkdir()
        cart = sites("cart", settings={
            "tier.nas.url": f"file://{point}/copies", "tier.nas.offsite": "yes"})
        mount(cart)
        offload(cart, point / "media")
        code, reasons, _ = safe(point)
        assert code == 1 and {"holds-copies", "policy"} <= reasons.keys()
        cart.umount()
    finally:
        undo()


def test_s3(bucket, sites, tmp_path):
    cart = mount(sites("cart", tier=bucket.url()))
    card = make_card(tmp_path / "card")
    offload(cart, card)
    # As shipped: the store, and S3, which is another place and another disk.
    code, reasons, answer = safe(card)
    assert (code, reasons) == (0, {})
    assert {copy["offsite"] for copy in answer["copies"]} == {False, True}
    data = bucket.get(f"day1/{SECOND}")
    bucket.client.delete_object(Bucket=bucket.name, Key=f"show 1/day1/{SECOND}")
    assert safe(card)[:2] == (1, {"copy-missing": {SECOND}})
    bucket.put(f"day1/{SECOND}", bytes(len(data)))
    assert safe(card)[:2] == (1, {"copy-damaged": {SECOND}})
    bucket.put(f"day1/{SECOND}", data)
    assert is_safe(card)
    bucket.write_keys(secret="wrong")
    cart.umount()
    cart.mount()
    assert safe(card)[:2] == (1, {"copy-unreachable": set(FILES)})
    bucket.write_keys()
    cart.umount()
    assert fsck("-n", cart.store).returncode == 0
