"""mediafs-fsck: every bit flip is found and named; what a good copy has comes back."""
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import threading

import pytest

from lib import BLOCK, FSCK, count_open, flip, fsck, pattern, wait_for

SIZE = 2 * BLOCK + 1000
CORRECTED, LEFT, OPERATIONAL, USAGE, CANCELLED = 1, 4, 8, 16, 32


def check(*args, code=0):
    """Run with --json; the exit code must be as told, in the report too."""
    done = fsck("--json", *args)
    assert done.returncode == code, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["exit"] == code
    return report


def findings(report, what=None):
    return [found for found in report["findings"] if what in (None, found["what"])]


def put(site, name, seed=1, size=SIZE, state="stored"):
    data = pattern(size, seed)
    (site.mnt / name).write_bytes(data)
    site.wait(name, state)
    return data


def events(site, event):
    return [row for row in site.events() if row["event"] == event]


def raw_sql(site, *statement):
    """Change the catalog of an unmounted store, as a flipped bit on the disk would."""
    with sqlite3.connect(site.store / "catalog.db") as catalog:
        catalog.execute(*statement)
        catalog.commit()
    catalog.close()


def test_a_clean_store_is_clean_mounted_or_not(cart):
    put(cart, "a.mov")
    for options in ((), ("-n",), ("--full",), ("--full", "--remote")):
        report = check(*options, cart.store)
        assert report["mounted"] and not findings(report)
    cart.umount()
    for options in ((), ("-n",), ("-p",), ("--full", "--remote"), ("-y", "--full")):
        report = check(*options, cart.store)
        assert not report["mounted"] and not findings(report)
        assert report["names"] == 1 and report["complete"]
    assert check("--full", cart.store)["bytes"] == SIZE


def test_a_flip_after_the_read_back_is_found_and_comes_back(cart):
    data = put(cart, "a.mov")
    cart.umount()
    flip(cart.tree / "a.mov", BLOCK + 5)
    report = check("--full", "-n", cart.store, code=LEFT)
    block, = findings(report, "damaged block")
    assert (block["path"], block["offset"], block["length"]) == ("a.mov", BLOCK, BLOCK)
    assert block["expected"] != block["actual"] and len(block["actual"]) == 16
    # Without -n it is marked, with -p it is mended.
    assert findings(check("--full", cart.store, code=LEFT), "damaged block")
    assert findings(check(cart.store, code=LEFT), "damaged")
    times = os.stat(cart.tree / "a.mov")
    report = check("-p", cart.store, code=CORRECTED)
    assert [found["outcome"] for found in findings(report)] == ["corrected"]
    assert (cart.tree / "a.mov").read_bytes() == data
    assert os.stat(cart.tree / "a.mov").st_mtime_ns == times.st_mtime_ns
    assert not findings(check("--full", "--remote", cart.store))
    cart.mount()
    assert cart.state("a.mov") == "stored"
    assert (cart.mnt / "a.mov").read_bytes() == data
    assert len(events(cart, "damaged")) == 1 and len(events(cart, "repaired")) == 1
    cart.cmd("log", "--verify")


def test_a_mounted_store_is_checked_but_not_repaired(cart):
    put(cart, "a.mov")
    flip(cart.tree / "a.mov", 7)
    for option in ("-p", "-y", "--rebuild-catalog"):
        report = check(option, cart.store, code=OPERATIONAL)
        assert "unmount it" in report["errors"][0]
    report = check("--full", cart.store, code=LEFT)
    block, = findings(report, "damaged block")
    assert block["offset"] == 0 and block["outcome"] == "left"


def test_files_in_motion_are_no_findings(cart):
    stop = threading.Event()

    def write():
        count = 0
        while not stop.is_set():
            path = cart.mnt / f"f{count % 9}"
            path.write_bytes(pattern(300_000 + count, count))
            if count % 3 == 0:
                path.rename(cart.mnt / f"r{count % 5}")
            count += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            report = check("--full", cart.store)
            assert not [row for row in findings(report) if row["outcome"] != "note"]
    finally:
        stop.set()
        writer.join()


def test_a_flip_before_the_read_back_is_never_stored(sites, tier):
    cart = sites("cart", tier=tier, settings={"ingest.verify_rate": "1M"}).mount()
    path = cart.mnt / "a.mov"
    path.write_bytes(pattern(SIZE))
    flip(cart.tree / "a.mov", SIZE - 1)
    cart.umount()
    assert (tier / "a.mov").exists() is False
    # What was received is known; --full compares with that.
    report = check("--full", cart.store, code=LEFT)
    assert [block["offset"] for block in findings(report, "damaged block")] == [2 * BLOCK]
    cart.mount()
    assert cart.state("a.mov") == "damaged"
    assert not (tier / "a.mov").exists()


@pytest.mark.every_tier
def test_a_flip_in_the_tier_is_found_and_the_file_is_sent_again(cart, tier):
    data = put(cart, "a.mov")
    put(cart, "b.mov", 2)
    cart.umount()
    (tier / "a.mov").damage(99)
    (tier / "b.mov").unlink()
    report = check("--remote", "-n", cart.store, code=LEFT)
    assert [found["path"] for found in findings(report, "bad copy")] == ["a.mov"]
    assert [found["path"] for found in findings(report, "missing copy")] == ["b.mov"]
    assert not findings(check(cart.store)), "-n wrote something"
    report = check("--remote", "-p", cart.store, code=LEFT | CORRECTED)
    assert findings(report, "queued again")
    broken = (tier / "a.mov").read_bytes()
    cart.mount()
    cart.wait(state="stored")
    assert (tier / "a.mov").read_bytes() == broken, "the tier's object was overwritten"
    copies = [path for path in tier.rglob("a*") if path.is_file() and path.read_bytes() == data]
    assert len(copies) == 1
    cart.umount()
    assert not findings(check("--full", "--remote", cart.store))


def test_both_copies_broken_are_both_named_and_nothing_is_touched(cart, tier):
    put(cart, "a.mov")
    cart.umount()
    flip(cart.tree / "a.mov", 5)
    (tier / "a.mov").damage(5, bit=1)
    local, remote = (cart.tree / "a.mov").read_bytes(), (tier / "a.mov").read_bytes()
    report = check("--full", "--remote", "-y", cart.store, code=LEFT)
    assert findings(report, "damaged block") and findings(report, "bad copy")
    assert (cart.tree / "a.mov").read_bytes() == local
    assert (tier / "a.mov").read_bytes() == remote


def test_a_flip_in_a_hydrated_block(cart):
    data = put(cart, "a.mov", size=6 * BLOCK)
    cart.cmd("evict", cart.mnt / "a.mov")
    wait_for(lambda: cart.state("a.mov") == "evicted", "evicted")
    cart.umount()
    assert not findings(check("--full", cart.store))
    cart.mount()
    assert (cart.mnt / "a.mov").read_bytes() == data
    wait_for(lambda: cart.state("a.mov") == "stored", "hydrated")
    cart.umount()
    flip(cart.tree / "a.mov", 3 * BLOCK)
    report = check("--full", "-p", cart.store, code=CORRECTED)
    assert [block["offset"] for block in findings(report, "damaged block")] == [3 * BLOCK]
    assert (cart.tree / "a.mov").read_bytes() == data


def test_a_flip_in_the_catalogs_map_damages_no_file(cart):
    data = put(cart, "a.mov")
    cart.umount()
    raw_sql(cart, "UPDATE contents SET map = CAST(x'00' || substr(map, 2) AS BLOB)")
    report = check("--full", cart.store, code=LEFT)
    found, = findings(report)
    assert found["what"] == "wrong map" and found["path"] == "a.mov"
    check("--full", "-p", cart.store, code=CORRECTED)
    assert not findings(check("--full", cart.store))
    assert (cart.tree / "a.mov").read_bytes() == data


def test_a_flip_in_the_catalogs_digest(cart):
    put(cart, "a.mov")
    cart.umount()
    raw_sql(cart, "UPDATE contents SET digest = CAST(x'00' || substr(digest, 2) AS BLOB)")
    report = check("--full", cart.store, code=LEFT)
    assert [found["what"] for found in findings(report)] == ["wrong digest"]
    check("--full", "-y", cart.store, code=CORRECTED)
    cart.mount()
    cart.wait(state="stored")
    cart.umount()
    assert not findings(check("--full", "--remote", cart.store))


def test_a_flip_in_an_event_breaks_the_chain(cart):
    put(cart, "a.mov")
    cart.umount()
    raw_sql(cart, "DROP TRIGGER events_fixed")
    raw_sql(cart, "UPDATE events SET detail = detail || '.' WHERE seq = 2")
    found, = findings(check(cart.store, code=LEFT))
    assert found["what"] == "event chain" and found["detail"].startswith("2:")


def test_a_catalog_that_lies_about_names_is_mended(cart):
    put(cart, "a.mov")
    put(cart, "b.mov", 2)
    cart.umount()
    raw_sql(cart, "DELETE FROM names WHERE name = CAST('a.mov' AS BLOB)")
    check(cart.store, code=LEFT)
    check("-p", cart.store, code=CORRECTED)
    assert not findings(check(cart.store))
    cart.mount()
    cart.wait(state="stored")
    assert (cart.mnt / "a.mov").exists()


def test_a_file_lost_from_the_queue_is_queued_again(cart, tier):
    cart.umount()
    tier.take_away()
    cart.mount()
    put(cart, "a.mov", state="verified")
    cart.umount()
    raw_sql(cart, "DELETE FROM queue")
    found, = findings(check(cart.store, code=LEFT))
    assert found["what"] == "file not queued"
    check("-p", cart.store, code=CORRECTED)
    assert not findings(check(cart.store))
    tier.bring_back()
    cart.mount()
    cart.wait(state="stored")


def test_a_flip_in_the_residency_mark(cart):
    data = put(cart, "a.mov", size=6 * BLOCK)
    cart.cmd("evict", cart.mnt / "a.mov")
    wait_for(lambda: cart.state("a.mov") == "evicted", "evicted")
    cart.umount()
    mark = bytearray(os.getxattr(cart.tree / "a.mov", "user.mediafs.residency"))
    mark[0] ^= 1
    os.setxattr(cart.tree / "a.mov", "user.mediafs.residency", bytes(mark))
    assert findings(check(cart.store, code=LEFT), "marked")
    # No mark at all would make zeros of its holes.
    os.removexattr(cart.tree / "a.mov", "user.mediafs.residency")
    assert findings(check(cart.store, code=LEFT), "marked")
    check("-p", cart.store, code=CORRECTED)
    cart.mount()
    assert (cart.mnt / "a.mov").read_bytes() == data
    cart.umount()
    assert not findings(check("--full", cart.store))


def test_the_catalog_is_rebuilt_from_the_tree(cart):
    data = put(cart, "here.mov", size=BLOCK + 5)
    away = put(cart, "away.mov", 2, size=6 * BLOCK)
    (cart.mnt / "folder").mkdir()
    (cart.mnt / "folder/away.mov").write_bytes(b"")
    (cart.mnt / "away.mov").rename(cart.mnt / "folder/away.mov")
    cart.wait(state="stored")
    cart.cmd("evict", cart.mnt / "folder/away.mov")
    wait_for(lambda: cart.state("folder/away.mov") == "evicted", "evicted")
    cart.umount()
    (cart.store / "catalog.db").write_bytes(b"not a database, not at all" * 1000)
    report = check(cart.store, code=OPERATIONAL)
    assert "--rebuild-catalog" in report["errors"][0]
    report = check("--rebuild-catalog", cart.store, code=CORRECTED)
    assert findings(report, "catalog rebuilt")
    assert list(cart.store.glob("catalog.db.old-*"))
    assert not findings(check("--full", cart.store))
    cart.mount()
    cart.wait(state="stored")
    assert (cart.mnt / "here.mov").read_bytes() == data
    assert (cart.mnt / "folder/away.mov").read_bytes() == away
    assert events(cart, "catalog rebuilt")
    cart.umount()
    assert not findings(check("--full", "--remote", cart.store))


def test_a_rebuilt_catalog_keeps_pins(cart):
    (cart.mnt / "folder").mkdir()
    for index, name in enumerate(("folder/pinned.mov", "gone.mov", "free.mov")):
        put(cart, name, index)
    cart.cmd("pin", cart.mnt / "folder")
    cart.cmd("pin", cart.mnt / "gone.mov")
    cart.umount()
    (cart.tree / "gone.mov").unlink()
    (cart.tree / "folder/unknown.mov").write_bytes(b"the old catalog never heard of it")
    report = check("--rebuild-catalog", cart.store, code=CORRECTED)
    assert [find["path"] for find in findings(report, "pin")] == ["gone.mov", ""]
    cart.mount()
    put(cart, "folder/later.mov", 3)
    for name, pin in (("folder/pinned.mov", b"1"), ("free.mov", b"0"), ("folder", b"1"),
                      ("folder/unknown.mov", b"1"), ("folder/later.mov", b"1")):
        assert os.getxattr(cart.mnt / name, "user.mediafs.pin") == pin
    cart.umount()
    # What cannot be read cannot be kept: that is said.
    for old in cart.store.glob("catalog.db.old-*"):
        old.unlink()
    (cart.store / "catalog.db").write_bytes(b"not a database, not at all" * 1000)
    report = check("--rebuild-catalog", cart.store, code=CORRECTED)
    assert "cannot be read" in findings(report, "pin")[0]["detail"]


def test_an_editorial_catalog_is_rebuilt_from_marks_and_journals(pair):
    cart, editorial = pair
    first = put(cart, "a.mov", size=6 * BLOCK)
    second = put(cart, "b.mov", 2)
    wait_for(lambda: (editorial.mnt / "a.mov").exists() and (editorial.mnt / "b.mov").exists(),
             "both at editorial")
    with open(editorial.mnt / "a.mov", "rb") as clip:
        assert clip.read(100) == first[:100]
    (cart.mnt / "a.mov").rename(cart.mnt / "renamed.mov")
    wait_for(lambda: (editorial.mnt / "renamed.mov").exists()
             and not (editorial.mnt / "a.mov").exists(), "the new name")
    editorial.umount()
    check("--rebuild-catalog", editorial.store, code=CORRECTED)
    assert not findings(check("--full", editorial.store))
    editorial.mount()
    assert (editorial.mnt / "renamed.mov").read_bytes() == first
    assert (editorial.mnt / "b.mov").read_bytes() == second
    # Both go on talking to each other.
    third = put(cart, "c.mov", 3, size=100)
    wait_for(lambda: (editorial.mnt / "c.mov").exists(), "the third")
    assert (editorial.mnt / "c.mov").read_bytes() == third
    (cart.mnt / "b.mov").unlink()
    wait_for(lambda: not (editorial.mnt / "b.mov").exists(), "the second to go")
    assert sorted(path.name for path in editorial.mnt.iterdir()) == ["c.mov", "renamed.mov"]


def test_a_carts_catalog_is_rebuilt_and_the_sites_go_on(pair):
    cart, editorial = pair
    put(cart, "a.mov", size=6 * BLOCK)
    wait_for(lambda: (editorial.mnt / "a.mov").exists(), "a at editorial")
    cart.umount()
    check("--rebuild-catalog", cart.store, code=CORRECTED)
    cart.mount()
    cart.wait(state="stored")
    data = put(cart, "b.mov", 2, size=100)
    wait_for(lambda: (editorial.mnt / "b.mov").exists(), "b at editorial")
    assert (editorial.mnt / "b.mov").read_bytes() == data
    assert sorted(path.name for path in editorial.mnt.iterdir()) == ["a.mov", "b.mov"]
    assert sorted(path.name for path in cart.mnt.iterdir()) == ["a.mov", "b.mov"]


@pytest.mark.parametrize("delay", [0.01, 0.03, 0.06, 0.1, 0.2, 0.4])
def test_a_repair_that_is_killed_leaves_a_damaged_file_or_a_right_one(cart, delay):
    data = put(cart, "a.mov", size=12 * BLOCK)
    times = os.stat(cart.mnt / "a.mov")
    cart.umount()
    for block in range(0, 12, 2):
        flip(cart.tree / "a.mov", block * BLOCK + 77)
    with subprocess.Popen([FSCK, "--full", "-p", cart.store], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as running:
        threading.Event().wait(delay)
        running.kill()
    # Whatever was done: it is not taken for new bytes, and the next run goes on.
    assert fsck("--full", "-p", cart.store).returncode in (0, CORRECTED)
    assert not findings(check("--full", "--remote", cart.store))
    assert (cart.tree / "a.mov").read_bytes() == data
    assert os.stat(cart.tree / "a.mov").st_mtime_ns == times.st_mtime_ns
    cart.mount()
    assert cart.state("a.mov") == "stored"


def test_a_repair_that_was_cut_short_before_the_times_is_ended_with_them(cart):
    data = put(cart, "a.mov")
    times = os.stat(cart.mnt / "a.mov")
    cart.umount()
    flip(cart.tree / "a.mov", 77)
    check("--full", cart.store, code=LEFT)
    with open(cart.tree / "a.mov", "r+b") as backing:
        backing.write(data[:BLOCK])  # the last thing the repair did
    assert os.stat(cart.tree / "a.mov").st_mtime_ns != times.st_mtime_ns
    check("--full", "-p", cart.store, code=CORRECTED)
    assert os.stat(cart.tree / "a.mov").st_mtime_ns == times.st_mtime_ns
    cart.mount()
    assert cart.state("a.mov") == "stored"
    assert os.stat(cart.mnt / "a.mov").st_mtime_ns == times.st_mtime_ns


def test_a_tier_that_is_away_is_no_proof_of_loss(cart, tier):
    put(cart, "a.mov")
    cart.umount()
    tier.take_away()
    report = check("--remote", cart.store, code=OPERATIONAL)
    assert report["errors"] and not findings(report) and not report["complete"]
    tier.mkdir()  # the mount point of a NAS that is not mounted
    report = check("--remote", "-p", cart.store, code=OPERATIONAL)
    assert not findings(report)
    tier.rmdir()
    tier.bring_back()
    assert not findings(check("--remote", cart.store))


def test_sigint_ends_it_with_32_and_nothing_half_done(sites, tier):
    cart = sites("cart", tier=tier).mount()
    for number in range(8):
        put(cart, f"f{number}.mov", number, size=8 * BLOCK, state="verified")
    cart.wait(state="stored")
    cart.umount()
    with subprocess.Popen([FSCK, "--full", "--remote", cart.store], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        # It has the store's lock: it is at work.
        wait_for(lambda: running.poll() is not None or
                 count_open(running.pid, f"{cart.store}/run/lock"), "the lock")
        running.send_signal(signal.SIGINT)
        running.wait(60)
        assert running.returncode in (CANCELLED, 0)  # 0: it was faster
    assert not findings(check("--full", cart.store))


@pytest.mark.parametrize("args", [(), ("-n", "-p", "x"), ("--nonsense", "x"), ("x", "y"),
                                  ("--repair", "maybe", "x"), ("-n", "--rebuild-catalog", "x")])
def test_wrong_usage_is_16(args):
    assert fsck(*args).returncode == USAGE


def test_what_is_no_store_is_said(tmp_path):
    done = fsck(tmp_path)
    assert done.returncode == OPERATIONAL and "not a store" in done.stderr
    assert "Usage: mediafs-fsck" in fsck("--help").stdout


def test_every_option_stands_in_the_manual():
    manual = pathlib.Path(__file__).parents[2] / "man/mediafs-fsck.8"
    text = manual.read_text().replace("\\-", "-")
    for option in re.findall(r"(?<![\w-])(--?[a-zA-Z][a-z-]*)", fsck("--help").stdout):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), option


def test_a_rebuild_with_a_damaged_journal(cart, tier):
    """It is told, and the objects still help."""
    data = pattern(13 << 20)
    (cart.mnt / "clip.mov").write_bytes(data)
    cart.wait()
    wait_for(lambda: list(tier.glob(".mediafs/v1/w/*/head.json")), "the journal")
    cart.cmd("evict", cart.mnt / "clip.mov")
    cart.umount()
    for segment in tier.glob(".mediafs/v1/w/*/j/*.zst"):
        segment.truncate(20)
    done = fsck("--rebuild-catalog", cart.store)
    assert done.returncode == 1 and "tier main: its bytes are damaged" in done.stdout, done
    cart.mount()
    assert (cart.mnt / "clip.mov").read_bytes() == data
