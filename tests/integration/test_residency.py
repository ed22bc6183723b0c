"""Blocks go and come back: evict, fetch, pin, reading what is not here, a tier that is away."""
import concurrent.futures
import contextlib
import errno
import hashlib
import os
import random
import sqlite3
import subprocess
import threading

import pytest

from lib import BLOCK, Site, flip, fsck, loop_image, mediafs, pattern, run, wait_for

CLIP = 10 * BLOCK + 12345


@pytest.fixture
def clip(cart):
    """A stored clip: (site, name, bytes)."""
    data = pattern(CLIP)
    (cart.mnt / "clip.mov").write_bytes(data)
    os.utime(cart.mnt / "clip.mov", ns=(5, 1_600_000_000_123_456_789))
    cart.wait("clip.mov")
    return cart, "clip.mov", data


def evict(site, name, check=True):
    return site.cmd("evict", site.mnt / name, check=check)


def resident(site, name):
    """Bytes that the backing file really holds."""
    return (site.tree / name).stat().st_blocks * 512


def drop_caches(site, name):
    """The kernel may answer from its own cache: make it ask us."""
    handle = os.open(site.mnt / name, os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


@pytest.mark.every_tier
def test_an_evicted_file_looks_and_reads_as_before(clip):
    site, name, data = clip
    before = os.stat(site.mnt / name)
    evict(site, name)
    site.wait_state(name, "evicted")
    assert resident(site, name) <= 3 * BLOCK
    after = os.stat(site.mnt / name)
    for field in ("st_ino", "st_size", "st_mode", "st_mtime_ns", "st_ctime_ns", "st_nlink"):
        assert getattr(after, field) == getattr(before, field), field
    assert after.st_blocks * 512 >= CLIP
    assert (site.mnt / name).read_bytes() == data
    site.wait_state(name, "stored")
    again = os.stat(site.mnt / name)
    assert (again.st_mtime_ns, again.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    events = [event["event"] for event in site.events()]
    assert "evicting" in events and "evicted" in events


def test_only_what_is_read_comes_back(clip):
    site, name, data = clip
    evict(site, name)
    with open(site.mnt / name, "rb", buffering=0) as reader:
        reader.seek(5 * BLOCK + 77)
        assert reader.read(1000) == data[5 * BLOCK + 77:5 * BLOCK + 1077]
    assert BLOCK <= resident(site, name) < CLIP - 2 * BLOCK
    tail = subprocess.run(["tail", "-c", "1000", site.mnt / name], check=True,
                          stdout=subprocess.PIPE).stdout
    assert tail == data[-1000:]


def test_head_and_tail_stay_without_a_tier(clip, tier):
    site, name, data = clip
    evict(site, name)
    tier.take_away()
    with open(site.mnt / name, "rb", buffering=0) as reader:
        assert reader.read(1 << 20) == data[:1 << 20]
        reader.seek(CLIP - (1 << 20))
        assert reader.read(1 << 20) == data[-(1 << 20):]


def test_holes_are_never_told(clip, tmp_path):
    site, name, data = clip
    evict(site, name)
    handle = os.open(site.mnt / name, os.O_RDONLY)
    assert os.lseek(handle, 0, os.SEEK_HOLE) == CLIP
    assert os.lseek(handle, 6 * BLOCK, os.SEEK_DATA) == 6 * BLOCK
    os.close(handle)
    run("tar", "--sparse", "-C", site.mnt, "-cf", tmp_path / "clip.tar", name)
    run("tar", "-C", tmp_path, "-xf", tmp_path / "clip.tar")
    assert (tmp_path / name).read_bytes() == data


def test_many_readers_of_one_file(clip):
    site, name, data = clip
    evict(site, name)
    rng = random.Random(1)

    def read(_):
        offset = rng.randrange(CLIP)
        with open(site.mnt / name, "rb", buffering=0) as reader:
            reader.seek(offset)
            got = reader.read(300000)
        return got == data[offset:offset + len(got)] and len(got) > 0
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, range(100)))


def test_a_mapping_of_an_evicted_file(clip):
    site, name, data = clip
    evict(site, name)
    program = ("import mmap,sys,hashlib;f=open(sys.argv[1],'rb');"
               "m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ);"
               "print(hashlib.md5(m[3*4194304:9*4194304]).hexdigest())")
    out = run("/usr/bin/python3", "-c", program, site.mnt / name).stdout.strip()
    assert out == hashlib.md5(data[3 * BLOCK:9 * BLOCK]).hexdigest()


def test_fetch_brings_all_back_and_survives_a_remount(clip):
    site, name, data = clip
    evict(site, name)
    site.umount()
    site.mount()
    assert site.state(name) == "evicted"
    site.cmd("fetch", site.mnt / name)
    site.wait_state(name, "stored")
    assert (site.tree / name).read_bytes() == data
    site.umount()
    done = fsck("--full", site.store)
    assert done.returncode == 0, done.stdout + done.stderr


def test_writing_into_an_evicted_file(clip):
    site, name, data = clip
    evict(site, name)
    with open(site.mnt / name, "r+b") as writer:
        writer.seek(4 * BLOCK + 5)
        writer.write(b"changed")
    want = data[:4 * BLOCK + 5] + b"changed" + data[4 * BLOCK + 12:]
    assert (site.mnt / name).read_bytes() == want
    site.wait(name)
    evict(site, name)
    assert (site.mnt / name).read_bytes() == want


def test_truncating_and_replacing_an_evicted_file(clip):
    site, name, data = clip
    evict(site, name)
    os.truncate(site.mnt / name, 5 * BLOCK + 9)
    assert (site.mnt / name).read_bytes() == data[:5 * BLOCK + 9]
    site.wait(name)
    evict(site, name)
    (site.mnt / name).write_bytes(b"short")
    assert (site.mnt / name).read_bytes() == b"short"
    site.wait(name)


def test_what_is_open_or_pinned_stays(clip):
    site, name, data = clip
    with open(site.mnt / name, "rb"):
        refused = evict(site, name, check=False)
        assert refused.returncode != 0 and "in use" in refused.stderr
    site.cmd("pin", site.mnt / name)
    refused = evict(site, name, check=False)
    assert refused.returncode != 0 and "pinned" in refused.stderr
    assert resident(site, name) >= CLIP
    site.cmd("unpin", site.mnt / name)
    evict(site, name)
    site.cmd("pin", site.mnt / name)
    wait_for(lambda: resident(site, name) >= CLIP, "the pinned file")
    assert (site.tree / name).read_bytes() == data


def test_nothing_goes_while_the_copy_is_not_good(clip, tier):
    site, name, _ = clip
    (tier / name).damage(6 * BLOCK)
    assert evict(site, name, check=False).returncode != 0
    assert resident(site, name) >= CLIP
    assert site.state(name) != "evicted"
    assert "damaged copy" in [event["event"] for event in site.events()]
    # What the tier lost is sent again, beside the damaged one.
    wait_for(lambda: evict(site, name, check=False).returncode == 0, "another copy")
    assert site.state(name) == "evicted"


def test_nothing_goes_while_the_tier_is_away(clip, tier):
    site, name, _ = clip
    tier.take_away()
    refused = evict(site, name, check=False)
    assert refused.returncode != 0 and "copies" in refused.stderr
    assert resident(site, name) >= CLIP


def test_what_is_not_stored_stays(cart, tier):
    tier.take_away()
    (cart.mnt / "clip.mov").write_bytes(pattern(CLIP))
    cart.wait("clip.mov", "verified")
    assert evict(cart, "clip.mov", check=False).returncode != 0
    assert resident(cart, "clip.mov") >= CLIP


@pytest.mark.every_tier
def test_a_flipped_bit_in_the_tier_is_never_served(clip, tier):
    site, name, data = clip
    evict(site, name)
    (tier / name).damage(6 * BLOCK + 3)
    with open(site.mnt / name, "rb", buffering=0) as reader:
        reader.seek(6 * BLOCK)
        with pytest.raises(OSError) as failure:
            reader.read(4096)
        assert failure.value.errno == errno.EIO
        reader.seek(3 * BLOCK)
        assert reader.read(4096) == data[3 * BLOCK:3 * BLOCK + 4096]
    assert "damaged copy" in [event["event"] for event in site.events()]


def test_a_reader_waits_for_the_tier_but_not_for_ever(clip, tier):
    site, name, data = clip
    site.set("transfer.hydrate_timeout", "1s")
    evict(site, name)
    tier.take_away()
    with open(site.mnt / name, "rb", buffering=0) as reader:
        reader.seek(6 * BLOCK)
        with pytest.raises(OSError) as failure:
            reader.read(4096)
        assert failure.value.errno in (errno.ETIMEDOUT, errno.EIO)
        site.set("transfer.hydrate_timeout", "60s")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            read = pool.submit(os.pread, reader.fileno(), 4096, 6 * BLOCK)
            os.listdir(site.mnt)  # nothing else waits with it
            os.stat(site.mnt / name)
            tier.bring_back()
            assert read.result(60) == data[6 * BLOCK:6 * BLOCK + 4096]


def test_a_reader_that_is_killed_leaves_nothing_behind(clip, tier):
    site, name, data = clip
    evict(site, name)
    tier.take_away()
    reader = subprocess.Popen(["dd", f"if={site.mnt / name}", "of=/dev/null", "bs=1M", "skip=24"],
                              stderr=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        reader.wait(1)
    reader.kill()
    reader.wait(10)
    tier.bring_back()
    assert (site.mnt / name).read_bytes() == data


def test_kill_in_the_middle_of_a_fetch(clip):
    site, name, data = clip
    site.set("tier.main.uplink", "yes")
    site.set("transfer.limit", "16M")
    for _ in range(3):
        evict(site, name)
        drop_caches(site, name)
        fetch = subprocess.Popen([str(x) for x in ("cat", site.mnt / name)],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        start = resident(site, name)
        wait_for(lambda floor=start: resident(site, name) > floor, "the first block")
        site.kill()
        fetch.wait(60)
        site.mount()
        assert (site.mnt / name).read_bytes() == data
        site.wait_state(name, "stored")
    site.umount()
    done = fsck("--full", site.store)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kill_while_blocks_go_and_come(cart):
    """Evictions, fetches and reads, and the daemon dies at any moment of them."""
    rounds = int(os.environ.get("MEDIAFS_TEST_ROUNDS", "4"))
    dice = random.Random(int(os.environ.get("MEDIAFS_TEST_SEED", "1")))
    clips = {f"clip{index}.mov": pattern(4 * BLOCK + index * 1000, index) for index in range(4)}
    for name, data in clips.items():
        (cart.mnt / name).write_bytes(data)
        os.utime(cart.mnt / name, ns=(7, 1_600_000_000_000_000_007))
    cart.wait()
    times = {name: os.stat(cart.mnt / name).st_mtime_ns for name in clips}

    killed = threading.Event()

    def work(verb):
        try:
            while not killed.is_set():
                for name in clips:
                    if verb == "read":
                        assert (cart.mnt / name).read_bytes() == clips[name]
                        drop_caches(cart, name)
                    else:
                        cart.cmd(verb, cart.mnt / name, check=False, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return  # the daemon is gone

    for number in range(rounds):
        killed.clear()
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            jobs = [pool.submit(work, verb) for verb in ("evict", "fetch", "read")]
            threading.Event().wait(dice.uniform(0.02, 1))
            cart.kill()
            killed.set()
            for job in jobs:
                job.result()
        if number % 2:  # with and without help: the daemon mends it alone too
            quick = fsck("-p", cart.store)
            assert quick.returncode in (0, 1), f"round {number}\n{quick.stdout}{quick.stderr}"
        cart.mount()
        for name, data in clips.items():
            assert (cart.mnt / name).read_bytes() == data, (number, name)
            wait_for(lambda path=cart.mnt / name, mtime=times[name]:
                     os.stat(path).st_mtime_ns == mtime, "the leveller")
            assert cart.state(name) in ("stored", "hydrating", "evicted"), cart.state(name)
    assert not [row for row in cart.events() if row["event"] in ("damaged", "received again")]
    cart.umount()
    done = fsck("--full", "--remote", cart.store)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_watermark_makes_room(tmp_path, tier):
    try:
        disk, undo = loop_image(tmp_path, 256 << 20)
    except AssertionError as missing:
        pytest.skip(str(missing))
    site = None
    try:
        site = Site(disk, "small", tier=tier,
                    settings={"space.evict_above": "40%", "space.reserve": "2%"})
        site.mount()
        for index in range(5):
            (site.mnt / f"clip{index}.mov").write_bytes(pattern(8 * BLOCK, index))
            site.wait(f"clip{index}.mov")
        wait_for(lambda: any(site.state(f"clip{index}.mov") == "evicted" for index in range(5)),
                 "room to be made")
        info = os.statvfs(disk)
        wait_for(lambda: os.statvfs(disk).f_bavail / info.f_blocks > 0.58, "the watermark")
        for index in range(5):
            assert (site.mnt / f"clip{index}.mov").read_bytes() == pattern_of(tier, index)
    finally:
        if site:
            site.close()
        undo()


def pattern_of(tier, index):
    return (tier / f"clip{index}.mov").read_bytes()


def test_the_scrub_finds_a_flipped_bit(cart):
    (cart.mnt / "clip.mov").write_bytes(pattern(3 * BLOCK))
    cart.wait("clip.mov")
    flip(cart.tree / "clip.mov", BLOCK + 5)
    cart.set("ingest.scrub_interval", "1s")
    cart.wait_state("clip.mov", "damaged")
    assert any(event["event"] == "damaged" and "4194304" in event["detail"]
               for event in cart.events())
    assert cart.wait("clip.mov", check=False).returncode == 5


def test_a_folder_is_evicted_and_fetched_as_one(cart):
    (cart.mnt / "A001").mkdir()
    for index in range(4):
        (cart.mnt / f"A001/{index}.mov").write_bytes(pattern(4 * BLOCK, index))
    cart.wait("A001")
    cart.cmd("evict", cart.mnt / "A001")
    assert all(cart.state(f"A001/{index}.mov") == "evicted" for index in range(4))
    cart.cmd("fetch", cart.mnt / "A001")
    assert all(cart.state(f"A001/{index}.mov") == "stored" for index in range(4))
    assert mediafs("status", "--json", "--store", cart.store).returncode == 0


def test_a_file_whose_hydration_nobody_ended_can_be_evicted(clip):
    """Its row says that blocks are coming back, and none is."""
    cart, name, data = clip
    cart.umount()
    with contextlib.closing(sqlite3.connect(cart.store / "catalog.db")) as catalog:
        catalog.execute("UPDATE inodes SET state = 8 WHERE state = 6")
        catalog.commit()
    cart.mount()
    evict(cart, name)
    cart.wait_state(name, "evicted")
    assert resident(cart, name) < CLIP
    assert (cart.mnt / name).read_bytes() == data


@pytest.mark.parametrize("verb", ["pin", "fetch"])
def test_a_site_mounted_a_moment_ago_has_all_of_a_folder(cart, sites, tier, verb):
    """It may have heard of the folder, or not yet, and not of all that is in it."""
    (cart.mnt / "DAY1").mkdir()
    for number in range(60):
        (cart.mnt / f"DAY1/{number}.mov").write_bytes(b"%d" % number)
    cart.wait()
    wait_for(lambda: cart.status()["unpublished"] == 0, "the records")
    editorial = sites("editorial", join=tier, settings={"sync.poll": "1h"})
    editorial.mount()
    if verb == "fetch":
        wait_for((editorial.mnt / "DAY1").exists, "the folder")
    assert f"{verb}: 60 files" in mediafs(verb, editorial.mnt / "DAY1").stdout
    for number in range(60):
        editorial.wait_state(f"DAY1/{number}.mov", "stored")
