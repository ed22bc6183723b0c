"""The place for copies is full, gone, pulled out, read-only, slow, lies, comes back."""
import contextlib
import fcntl
import json
import os
import struct
import threading
import time

import pytest

from lib import BLOCK, loop_image, pattern, run, wait_for

MIB = 1 << 20
# A folder that stands for what is reached over the line.
UPLINK = {"tier.main.uplink": "yes"}
QUICK = {"transfer.retry_max": "200ms"}
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
NO_FLUSH = 2


def on_a_disk(test):
    """The tier is the test's own disk."""
    needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting images needs root")
    return needs_root(pytest.mark.folder("on a disk of its own")(test))


@pytest.fixture
def disk(tmp_path):
    """A 96 MiB disk for the tier: .point, .off(), .on()."""
    point, undo = loop_image(tmp_path, 96 * MIB)
    image = tmp_path / "ext4.img"

    class Disk:
        def off(self):
            run("umount", "-l", point)
            # As long as somebody has it open, on() would show the very same one, dead or alive.
            wait_for(lambda: not run("losetup", "-j", image).stdout, "all to let go of the disk")

        def on(self):
            run("mount", "-o", "loop", image, point)

        def remount(self, how):
            run("mount", "-o", f"remount,{how}", point)

        def pull(self):
            handle = os.open(point, os.O_RDONLY)
            try:
                fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", NO_FLUSH))
            finally:
                os.close(handle)
    Disk.point = point
    (point / "lost+found").rmdir()
    yield Disk()
    undo()


def tier_condition(site):
    moving = site.status()["moving"]
    return moving["tier_error"] if moving["tier_down"] else None


def check_arrives(site, disk, name="after.mov"):
    """The tier works again, without a person."""
    (site.mnt / name).write_bytes(pattern(MIB, 99))
    site.wait()
    assert tier_condition(site) is None
    for path in site.tree.rglob("*"):
        if path.is_file():
            assert (disk.point / path.relative_to(site.tree)).read_bytes() == path.read_bytes()
    # The journal may just be written: it comes and goes.
    wait_for(lambda: not list(disk.point.glob(".mediafs/v1/tmp/*")),
             "no temporary file")


@on_a_disk
def test_full_and_with_room_again(sites, disk):
    site = sites("cart", tier=disk.point, settings=QUICK).mount()
    filler = disk.point / "somebody-elses.bin"
    filler.write_bytes(bytes(40 * MIB))
    for index in range(6):
        (site.mnt / f"clip{index}.mov").write_bytes(pattern(10 * MIB, index))
    wait_for(lambda: tier_condition(site), "the tier to be full")
    assert "space" in tier_condition(site).lower()
    # What fits goes on; nothing half lies there.
    assert site.status()["queue"]["poison"] == 0
    for path in disk.point.glob("clip*.mov"):
        assert path.read_bytes() == (site.tree / path.name).read_bytes()
    filler.unlink()
    check_arrives(site, disk)


@on_a_disk
def test_unmounted_is_never_an_empty_tier(sites, disk):
    site = sites("cart", tier=disk.point, settings=QUICK).mount()
    (site.mnt / "before.mov").write_bytes(pattern(3 * BLOCK))
    site.wait()
    disk.off()
    (site.mnt / "meanwhile.mov").write_bytes(pattern(MIB, 2))
    wait_for(lambda: tier_condition(site), "the tier to be gone")
    assert site.state("meanwhile.mov") in ("queued", "verified")
    assert not os.listdir(disk.point), "written into the folder under the mount point"
    # Nothing waits for it here.
    assert site.cmd("evict", site.mnt / "before.mov", check=False).returncode != 0
    assert (site.mnt / "before.mov").read_bytes() == pattern_of(site, "before.mov")
    disk.on()
    check_arrives(site, disk)


def pattern_of(site, name):
    return (site.tree / name).read_bytes()


@on_a_disk
def test_pulled_out_in_the_middle(sites, disk):
    site = sites("cart", tier=disk.point, settings={**QUICK, **UPLINK, "transfer.limit": "8M"}).mount()
    for index in range(4):
        (site.mnt / f"clip{index}.mov").write_bytes(pattern(8 * MIB, index))
    wait_for(lambda: site.status()["moving"]["done_bytes"] > 0, "bytes to move")
    disk.pull()
    wait_for(lambda: tier_condition(site), "the tier to be gone")
    assert site.status()["queue"]["poison"] == 0, site.log_text()
    disk.off()
    disk.on()
    site.set("transfer.limit", "0")
    check_arrives(site, disk)
    stored = [event for event in site.events() if event["event"] == "stored"]
    assert len(stored) == 5, "each file is told as stored once"


def test_what_is_urgent_goes_beside_an_original(sites, tier):
    site = sites("cart", tier=tier, settings={**UPLINK, "transfer.limit": "2M"}).mount()
    (site.mnt / "clip.mov").write_bytes(pattern(64 * MIB))
    wait_for(lambda: site.status()["moving"]["done_bytes"] > 0, "the original to move")
    (site.mnt / "other.mov").write_bytes(pattern(17 * MIB, 1))
    wait_for(lambda: site.state("other.mov") == "queued", "another original to wait")
    (site.mnt / "report.pdf").write_bytes(pattern(1000, 2))
    wait_for(lambda: site.state("report.pdf") == "stored", "the report to be stored")
    assert (site.state("clip.mov"), site.state("other.mov")) == ("uploading", "queued")
    site.set("transfer.limit", "0")
    site.wait()
    for name in ("clip.mov", "other.mov", "report.pdf"):
        assert (tier / name).read_bytes() == (site.tree / name).read_bytes()


@pytest.mark.folder("it has temporary files")
def test_what_was_left_half_written_goes_at_the_start(cart, tier):
    temps = tier / ".mediafs/v1/tmp"
    site = cart.status()["site_uuid"]
    (cart.mnt / "clip.mov").write_bytes(pattern(MIB))
    cart.wait()
    ours = temps / f"part-{site}-00000000-0000-4000-8000-000000000001"
    other = ("1" if site[0] == "0" else "0") + site[1:]
    others = [temps / f"part-{other}-00000000-0000-4000-8000-000000000001",
              temps / "part-00000000-0000-4000-8000-000000000001", temps / "note.txt"]
    cart.umount()
    for path in (ours, *others):
        path.write_bytes(b"half")
    cart.mount()
    wait_for(lambda: not ours.exists(), "the half written file to go")
    assert all(path.exists() for path in others)


@on_a_disk
def test_read_only(sites, disk):
    site = sites("cart", tier=disk.point, settings=QUICK).mount()
    disk.remount("ro")
    (site.mnt / "clip.mov").write_bytes(pattern(MIB))
    wait_for(lambda: tier_condition(site), "the tier to be read-only")
    assert "read-only" in tier_condition(site).lower()
    disk.remount("rw")
    check_arrives(site, disk)


@pytest.mark.folder("another one may be mounted under its path")
def test_another_place_under_the_same_path(sites, tmp_path, tier):
    site = sites("cart", tier=tier, settings=QUICK).mount()
    (site.mnt / "clip.mov").write_bytes(pattern(MIB))
    site.wait()
    tier.rename(tmp_path / "away")
    other = sites("other", tier=None)
    tier.mkdir()
    (tier / ".mediafs/v1").mkdir(parents=True)
    identity = json.loads((tmp_path / "away/.mediafs/v1/tier.json").read_text())
    identity["tier"] = "0" * 8 + identity["tier"][8:]
    (tier / ".mediafs/v1/tier.json").write_text(json.dumps(identity))
    (site.mnt / "next.mov").write_bytes(pattern(MIB, 2))
    wait_for(lambda: tier_condition(site), "the tier not to be ours")
    assert sorted(path.name for path in tier.rglob("*")) == [".mediafs", "tier.json", "v1"]
    assert other.tree.is_dir()


def test_a_copy_that_changed_is_not_trusted(pair, tier):
    cart, editorial = pair
    data = pattern(4 * BLOCK + 77)
    (cart.mnt / "clip.mov").write_bytes(data)
    cart.wait("clip.mov")
    wait_for(lambda: (editorial.mnt / "clip.mov").exists(), "the clip at editorial")
    (tier / "clip.mov").damage(2 * BLOCK + 5)

    # The cart keeps its bytes: there is no good copy.
    assert cart.cmd("evict", cart.mnt / "clip.mov", check=False).returncode != 0
    assert os.stat(cart.tree / "clip.mov").st_blocks * 512 >= len(data)
    # Editorial gets right bytes or an error.
    with open(editorial.mnt / "clip.mov", "rb", buffering=0) as clip:
        assert clip.read(BLOCK) == data[:BLOCK]
        clip.seek(2 * BLOCK)
        with pytest.raises(OSError):
            clip.read(BLOCK)
        clip.seek(3 * BLOCK)
        assert clip.read(BLOCK) == data[3 * BLOCK:4 * BLOCK]
    assert (cart.mnt / "clip.mov").read_bytes() == data


def test_a_copy_that_is_short_or_gone_is_not_trusted(cart, tier):
    for index in range(2):
        (cart.mnt / f"clip{index}.mov").write_bytes(pattern(4 * BLOCK, index))
    cart.wait()
    (tier / "clip0.mov").truncate(3 * BLOCK)
    (tier / "clip1.mov").unlink()
    for index in range(2):
        assert cart.cmd("evict", cart.mnt / f"clip{index}.mov", check=False).returncode != 0
        assert (cart.mnt / f"clip{index}.mov").read_bytes() == pattern_of(cart, f"clip{index}.mov")


def test_a_file_of_others_where_our_folder_should_be(cart, tier):
    (tier / "DAY1").write_text("theirs")
    (cart.mnt / "DAY1").mkdir()
    (cart.mnt / "DAY1/clip.mov").write_bytes(pattern(MIB))
    cart.wait()
    assert (tier / "DAY1").read_text() == "theirs"
    ours = [path for path in tier.rglob("*clip*") if path.is_file()]
    assert len(ours) == 1 and ours[0].read_bytes() == pattern_of(cart, "DAY1/clip.mov")


@pytest.mark.every_tier
def test_names_that_others_have_are_left_alone(cart, tier):
    (tier / "clip.mov").write_bytes(b"theirs")
    (cart.mnt / "clip.mov").write_bytes(pattern(MIB))
    cart.wait("clip.mov")
    assert (tier / "clip.mov").read_bytes() == b"theirs"
    ours = [path for path in tier.glob("clip~*.mov")]
    assert len(ours) == 1 and ours[0].read_bytes() == pattern_of(cart, "clip.mov")


@pytest.mark.every_tier
def test_the_same_bytes_there_already_are_taken_over(cart, tier):
    data = pattern(MIB)
    (tier / "clip.mov").write_bytes(data)
    identity = (tier / "clip.mov").identity()
    (cart.mnt / "clip.mov").write_bytes(data)
    cart.wait("clip.mov")
    assert (tier / "clip.mov").identity() == identity
    assert not list(tier.glob("clip~*"))


def test_pause_and_resume(cart, tier):
    cart.cmd("pause")
    (cart.mnt / "clip.mov").write_bytes(pattern(MIB))
    cart.wait("clip.mov", "verified")
    cart.wait_state("clip.mov", "queued")
    assert cart.status()["moving"]["paused"]
    assert cart.wait("clip.mov", timeout=1, check=False).returncode == 3
    assert not (tier / "clip.mov").exists()
    cart.cmd("resume")
    cart.wait("clip.mov")


@contextlib.contextmanager
def card_being_written(site, step_bytes=1 << 16, step_s=0.02):
    """Bytes arrive all the time."""
    done = threading.Event()

    def write():
        with open(site.mnt / "card.mov", "wb", buffering=0) as card:
            while not done.wait(step_s):
                card.write(bytes(step_bytes))
    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()


@pytest.mark.folder("it may be on the disk that is written")
def test_uploads_and_scrub_step_aside_while_cards_are_written(cart):
    data = pattern(3 * BLOCK)
    (cart.mnt / "evicted.mov").write_bytes(data)
    (cart.mnt / "scrubbed.mov").write_bytes(pattern(MIB, 2))
    cart.wait()
    cart.cmd("evict", cart.mnt / "evicted.mov")
    cart.cmd("pause")
    (cart.mnt / "clip.mov").write_bytes(pattern(10 * BLOCK, 3))
    cart.wait_state("clip.mov", "queued")
    with card_being_written(cart):
        cart.set("ingest.scrub_interval", "1s")
        cart.cmd("resume")
        wait_for(lambda: cart.status()["moving"]["aside"], "the upload to step aside")
        assert "sending slowly" in cart.cmd("status").stdout
        # Who reads does not.
        assert (cart.mnt / "evicted.mov").read_bytes() == data
        assert cart.state("clip.mov") == "uploading"
        wait_for(lambda: cart.status()["scrub_aside"], "the scrub to step aside")
        cart.set("ingest.scrub_interval", "0")
    cart.wait()
    assert not cart.status()["moving"]["aside"]
    wait_for(lambda: not cart.status()["scrub_aside"], "the scrub to end")


def test_limits_are_for_the_uplink(sites, tier):
    """A folder on a disk of this machine is not held by what is meant for the line."""
    site = sites("cart", tier=tier, settings={"transfer.limit": "1K",
                                              "transfer.metered": "yes"}).mount()
    data = pattern(17 * MIB)
    (site.mnt / "first.mov").write_bytes(data)
    site.wait("first.mov")
    site.cmd("evict", site.mnt / "first.mov")
    assert (site.mnt / "first.mov").read_bytes() == data
    site.set(*next(iter(UPLINK.items())))
    (site.mnt / "second.mov").write_bytes(data[::-1])
    assert site.wait("second.mov", timeout=2, check=False).returncode == 3
    site.set("transfer.metered", "no")
    site.set("transfer.limit", "0")
    site.wait()


def test_a_limit_holds_and_is_lifted_at_once(sites, tier):
    site = sites("cart", tier=tier, settings={**UPLINK, "transfer.limit": "2M"}).mount()
    begin = time.monotonic()
    (site.mnt / "first.mov").write_bytes(pattern(6 * MIB))
    site.wait("first.mov")
    took = time.monotonic() - begin
    assert took > 1.5, f"6 MiB at 2 MiB/s in {took:.2f} s"
    (site.mnt / "second.mov").write_bytes(pattern(400 * MIB, 2))
    wait_for(lambda: site.status()["moving"]["done_bytes"] > 0, "the second to move")
    site.set("transfer.limit", "0")
    begin = time.monotonic()
    site.wait("second.mov")
    assert time.monotonic() - begin < 100, "the limit still held (it would take 200 s)"


def test_a_timetable_rules_and_the_hour_that_changes_it_bites(sites, tier, clock):
    """The hour is what the clock on the wall shows, in a zone made so that it is the morning."""
    now = time.gmtime()
    seconds = now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec
    # There it is 09:00 when the mount begins; zones count west of Greenwich.
    west = seconds - 9 * 3600
    away = abs(west)
    sign = "-" if west < 0 else ""
    zone = f"CART{sign}{away // 3600}:{away // 60 % 60:02}:{away % 60:02}"
    site = sites("cart", tier=tier, settings={**UPLINK, "transfer.limit": "0",
                                              "transfer.timetable": "00:00-12:00 1M"})
    site.mount(env={"TZ": zone, **clock.environment})
    (site.mnt / "first.mov").write_bytes(pattern(200 * MIB))
    wait_for(lambda: site.status()["moving"]["done_bytes"] > 0, "it to move")
    assert (site.status()["limit"], site.status()["limit_rule"]) == (MIB, "timetable")
    assert "transfer.timetable" in site.cmd("status").stdout
    assert "transfer.timetable rules until" in site.cmd("limit", "0").stdout
    bad = site.cmd("config", "set", "transfer.timetable", "mo 7-19 20M", check=False)
    assert bad.returncode != 0 and "mon-fri 07:00-19:00 20M" in bad.stderr
    clock.is_ahead(4 * 3600)
    site.wait("first.mov")  # at 1 MiB/s it would take longer than a test waits
    assert site.status()["limit_rule"] == "limit" and site.status()["limit"] == 0


def test_on_a_metered_line_originals_wait_and_nothing_else(sites, tier):
    cart = sites("cart", tier=tier, settings=UPLINK).mount()
    cart.set("transfer.limit", "4M")
    (cart.mnt / "A001.mov").write_bytes(pattern(64 * MIB))
    wait_for(lambda: cart.status()["moving"]["done_bytes"] > 0, "the original to be on its way")
    assert "originals wait" in cart.cmd("limit", "none", "--metered", "yes").stdout + \
        cart.cmd("status").stdout
    for name in ("B001.mov", "A001.wav", "A001_proxy.mp4", "notes.txt"):
        (cart.mnt / name).write_bytes(pattern(9 * MIB, 2))
    for name in ("A001.wav", "A001_proxy.mp4", "notes.txt"):
        cart.wait(name)
    assert cart.status()["metered"]
    assert cart.wait("B001.mov", timeout=2, check=False).returncode == 3
    assert cart.wait("A001.mov", timeout=1, check=False).returncode == 3
    cart.cmd("limit", "--metered", "no")
    cart.wait()


def test_notes_then_sound_then_proxies_then_originals(cart):
    cart.cmd("pause")
    names = ["A001.mov", "A001.wav", "A001_proxy.mp4", "notes.txt"]
    for index, name in enumerate(names):
        (cart.mnt / name).write_bytes(pattern(17 * MIB, index))  # small ones go all at once
    cart.wait("", "verified")
    for name in names:
        cart.wait_state(name, "queued")
    cart.cmd("resume")
    cart.wait()
    order = [event["path"] for event in cart.events() if event["event"] == "stored"]
    assert order == ["notes.txt", "A001.wav", "A001_proxy.mp4", "A001.mov"]
