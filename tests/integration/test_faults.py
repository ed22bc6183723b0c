"""The disk under the store is full or fails: writers are told, what was verified stays right."""
import contextlib
import errno
import os
import shutil
import subprocess
import time

import pytest

import cards
from lib import BLOCK, PATIENCE, Site, fsck, loop_image, pattern, tool, wait_for

MIB = 1 << 20


@pytest.fixture
def failing(sites, tier, library, tmp_path):
    """A cart whose disk fails as told: failing.fault("write 5 *clip*")."""
    table = tmp_path / "faults"
    site = sites("cart", tier=tier, settings={"transfer.retry_max": "200ms"})

    def fault(*lines):
        fresh = tmp_path / "faults.new"
        fresh.write_text("\n".join(lines))
        fresh.rename(table)
    site.fault = fault
    site.environment = {"LD_PRELOAD": str(library), "MEDIAFS_FAULT": str(table),
                        "ASAN_OPTIONS": "verify_asan_link_order=0"}
    site.mount(env=site.environment)
    return site


def write(path, data):
    """As cp: every error is one. The errno, or 0."""
    try:
        with open(path, "wb", buffering=0) as out:
            view = memoryview(data)
            while view:
                view = view[out.write(view):]
            os.fsync(out.fileno())
    except OSError as error:
        return error.errno
    return 0


def events(site, kind):
    return [event for event in site.events() if event["event"] == kind]


def check_damaged_and_kept_here(site, tier, name):
    site.wait_state(name, "damaged")
    assert [event for event in events(site, "damaged") if event["path"] == name]
    (site.mnt / "good.mov").write_bytes(pattern(MIB, 50))
    site.wait("good.mov")
    assert not (tier / name).exists(), "damaged bytes were sent"
    assert site.state(name) == "damaged"
    assert site.wait(name, "verified", timeout=5, check=False).returncode == 5


@pytest.mark.parametrize("call", ["write", "sync"])
def test_an_error_of_the_disk_reaches_the_writer(failing, tier, call):
    failing.fault(f"{call} {errno.EIO} */tree/clip.mov")
    assert write(failing.mnt / "clip.mov", pattern(3 * MIB)) == errno.EIO
    check_damaged_and_kept_here(failing, tier, "clip.mov")


def test_an_error_of_a_later_write_sticks_to_the_file(failing, tier):
    """The first bytes were taken, later ones not."""
    out = os.open(failing.mnt / "clip.mov", os.O_WRONLY | os.O_CREAT)
    os.write(out, pattern(MIB))
    failing.fault(f"write {errno.EIO} */tree/clip.mov")
    with pytest.raises(OSError):
        for _ in range(16):
            os.write(out, pattern(MIB))
            os.fsync(out)
    failing.fault()
    with contextlib.suppress(OSError):  # may say so once more
        os.close(out)
    check_damaged_and_kept_here(failing, tier, "clip.mov")
    # Copied again, it is as good as any.
    data = pattern(2 * MIB, 7)
    assert write(failing.mnt / "clip.mov", data) == 0
    failing.wait("clip.mov")
    assert (tier / "clip.mov").read_bytes() == data


def test_bytes_that_cannot_be_read_back_are_not_verified(failing, tier):
    failing.fault(f"read {errno.EIO} */tree/clip.mov")
    assert write(failing.mnt / "clip.mov", pattern(3 * MIB)) == 0
    check_damaged_and_kept_here(failing, tier, "clip.mov")


def test_bytes_that_read_back_differently_are_not_verified(failing, tier):
    failing.fault("flip 0 */tree/clip.mov")
    assert write(failing.mnt / "clip.mov", pattern(3 * MIB)) == 0
    check_damaged_and_kept_here(failing, tier, "clip.mov")
    text = failing.log_text()
    assert "clip.mov" in text and "damaged" in text


def test_with_verify_close_the_close_fails(failing, tier):
    failing.set("ingest.verify", "close")
    failing.fault("flip 0 */tree/clip.mov")
    handle = os.open(failing.mnt / "clip.mov", os.O_WRONLY | os.O_CREAT)
    os.write(handle, pattern(MIB))
    with pytest.raises(OSError) as caught:
        os.close(handle)
    assert caught.value.errno == errno.EIO
    failing.fault()
    assert write(failing.mnt / "other.mov", pattern(MIB, 2)) == 0
    assert failing.state("other.mov") not in ("receiving", "received", "damaged")
    check_damaged_and_kept_here(failing, tier, "clip.mov")


@pytest.mark.folder("its disk fails")
@pytest.mark.parametrize("call", ["write", "sync", "read"])
def test_an_error_of_the_tiers_disk_is_tried_again(failing, tier, call):
    failing.fault(f"{call} {errno.EIO} */.mediafs/v1/tmp/part-*")
    data = pattern(3 * MIB)
    assert write(failing.mnt / "clip.mov", data) == 0
    failing.wait("clip.mov", "verified")
    wait_for(lambda: "clip.mov: not sent" in failing.log_text() or
             failing.status()["moving"]["tier_down"], "an attempt that fails")
    assert not (tier / "clip.mov").exists()
    wait_for(lambda: not list(tier.glob(".mediafs/v1/tmp/*")), "no temporary file")
    failing.fault()
    failing.wait("clip.mov")
    assert (tier / "clip.mov").read_bytes() == data


@pytest.mark.folder("its disk fails")
def test_a_tier_that_keeps_other_bytes_is_found_out(failing, tier):
    failing.fault("flip 0 */.mediafs/v1/tmp/part-*")
    assert write(failing.mnt / "clip.mov", pattern(3 * MIB)) == 0
    wait_for(lambda: "clip.mov: not sent" in failing.log_text(), "an attempt that fails")
    assert not (tier / "clip.mov").exists()
    assert failing.state("clip.mov") in ("queued", "uploading")
    failing.fault()
    failing.wait("clip.mov")


def test_a_file_that_cannot_be_read_is_set_aside_and_the_others_go_on(failing, tier):
    failing.set("transfer.retry_max", "100ms")
    failing.cmd("pause")
    for index, name in enumerate(["bad.mov", "other.mov"]):
        assert write(failing.mnt / name, pattern(MIB, index)) == 0
    failing.wait("", "verified")
    failing.fault(f"read {errno.EIO} */tree/bad.mov")
    failing.cmd("resume")
    failing.wait("other.mov")
    wait_for(lambda: failing.status()["queue"]["poison"] == 1, "the file to be set aside")
    assert [event["path"] for event in events(failing, "poison")] == ["bad.mov"]
    assert not (tier / "bad.mov").exists()
    # It has a name, and a time at which it is tried again.
    poison = failing.status()["poison"]
    assert [item["path"] for item in poison] == ["bad.mov"]
    assert poison[0]["attempts"] >= 8 and poison[0]["next_try_ns"] > time.time_ns()
    assert "set aside: bad.mov" in failing.cmd("status", check=False).stdout
    # A person says so: it starts afresh, in vain.
    failing.cmd("resume")
    wait_for(lambda: len(events(failing, "poison")) == 2, "another row of attempts")
    # A new version of it starts afresh.
    failing.fault()
    assert write(failing.mnt / "bad.mov", pattern(MIB, 5)) == 0
    failing.wait("bad.mov")
    assert failing.status()["queue"]["poison"] == 0


def test_a_path_that_cannot_be_looked_at_is_told_later_and_the_others_go_on(failing, sites, tier):
    failing.fault(f"link {errno.EIO} */tree/DAY1/best")
    editorial = sites("editorial", join=tier).mount()
    (failing.mnt / "DAY1").mkdir()
    os.symlink("clip.mov", failing.mnt / "DAY1/best")
    (failing.mnt / "DAY1/clip.mov").write_bytes(pattern(MIB))
    (failing.mnt / "later.mov").write_bytes(pattern(MIB, 2))
    failing.wait()
    wait_for((editorial.mnt / "DAY1/clip.mov").exists, "the clip beside it")
    wait_for((editorial.mnt / "later.mov").exists, "the clip after it")
    assert not os.path.lexists(editorial.mnt / "DAY1/best")
    assert "cannot tell other sites of DAY1/best yet" in failing.log_text()
    failing.fault()
    wait_for(lambda: os.path.lexists(editorial.mnt / "DAY1/best"), "what could not be looked at")
    assert os.readlink(editorial.mnt / "DAY1/best") == "clip.mov"


@pytest.mark.folder("its disk fails")
def test_what_was_set_aside_is_sent_when_its_cause_went_and_a_person_says_so(failing, tier):
    failing.set("transfer.retry_max", "100ms")
    failing.fault(f"write {errno.EPERM} */.mediafs/v1/tmp/part-*")
    data = pattern(MIB)
    assert write(failing.mnt / "bad.mov", data) == 0
    wait_for(lambda: failing.status()["queue"]["poison"] == 1, "the file to be set aside")
    failing.fault()
    failing.cmd("resume")
    failing.wait("bad.mov")
    assert (tier / "bad.mov").read_bytes() == data


@pytest.mark.parametrize("seconds", [-86400, 86400])
def test_a_clock_that_is_set_stalls_nothing(failing, tier, seconds):
    tier.take_away()
    assert write(failing.mnt / "clip.mov", pattern(MIB)) == 0
    wait_for(lambda: failing.status()["moving"]["tier_down"], "the tier to be away")
    failing.set("ingest.settle", "1s")
    assert write(failing.mnt / "settling.mov", pattern(MIB, 2)) == 0
    failing.wait_state("settling.mov", "queued")
    failing.fault(f"clock {seconds} *")
    tier.bring_back()
    failing.wait("", timeout=20)
    assert write(failing.mnt / "after.mov", pattern(MIB, 3)) == 0
    failing.wait("", timeout=20)


def test_a_clock_that_was_set_back_leaves_nothing_unsealed(failing, tmp_path):
    """The files look as if they were made after the seal."""
    failing.fault("clock -86400 *")
    card, top = cards.make(tmp_path / "card", "sony-xavc"), failing.mnt / "B"
    shutil.copytree(card, top)
    failing.set("manifest.settle", "200ms")  # now, or it could be sealed before all of it is there
    wait_for(lambda: os.getxattr(top, "user.mediafs.sealed") == b"1", "the seal")
    for path in card.rglob("*"):
        if path.is_file():
            with pytest.raises(PermissionError):
                (top / path.relative_to(card)).open("ab")


@pytest.mark.parametrize("call,code", [("write", errno.ENOSPC), ("sync", errno.EIO)])
def test_the_catalog_comes_back_by_itself(failing, tier, call, code):
    data = pattern(MIB)
    for name in ("kept.mov", "removed.mov", "rewritten.mov"):
        assert write(failing.mnt / name, data) == 0
    failing.wait()
    out = os.open(failing.mnt / "rewritten.mov", os.O_WRONLY)
    os.pwrite(out, b"new", 0)
    failing.fault(f"{call} {code} */catalog.db*")
    os.close(out)
    wait_for(lambda: failing.status()["catalog_error"], "the catalog to fail")
    with pytest.raises(OSError) as told:
        (failing.mnt / "folder").mkdir()
    assert told.value.errno == code
    # Who makes room may, and who reads.
    (failing.mnt / "removed.mov").unlink()
    assert (failing.mnt / "kept.mov").read_bytes() == data
    status = failing.status()
    assert status["catalog_waiting"] > 0 and not status["catalog_lost"]
    assert "tried again by itself" in failing.cmd("status", check=False).stdout
    wait_for(lambda: "the catalog cannot be written" in failing.log_text(), "a line in the log")

    failing.fault()
    wait_for(lambda: not failing.status()["catalog_error"], "the catalog to work again")
    (failing.mnt / "folder").mkdir()
    assert write(failing.mnt / "folder/after.mov", pattern(MIB, 2)) == 0
    failing.wait()
    assert not (failing.mnt / "removed.mov").exists()
    assert any(path.read_bytes() == b"new" + data[3:] for path in tier.glob("rewritten*.mov"))
    failing.umount()
    check = fsck("-n", failing.store)
    assert check.returncode == 0, check.stdout + check.stderr
    failing.mount(env=failing.environment)
    assert (failing.mnt / "kept.mov").read_bytes() == data


def test_status_answers_while_the_disk_hangs(failing, tmp_path):
    """It is asked then, and what the catalog has not heard of is not called stored."""
    assert write(failing.mnt / "stored.mov", pattern(MIB)) == 0
    failing.wait()
    assert not failing.status()["catalog_behind"]
    failing.fault("holdsync 1 */catalog.db*")
    with subprocess.Popen(["sync", failing.mnt / "stored.mov"]) as person:
        (failing.mnt / "new.mov").touch()
        wait_for((tmp_path / "faults.held").exists, "the catalog's sync")
        (failing.mnt / "newer.mov").touch()
        status = failing.status()
        assert status["catalog_behind"] and status["catalog_waiting"] and not status["catalog_error"]
        said = failing.cmd("status").stdout
        assert "NOT KNOWN YET: the disk is behind" in said and "does not answer" not in said
        failing.fault()
        assert person.wait(PATIENCE) == 0
    failing.wait()
    assert not failing.status()["catalog_behind"]
    assert "STORED: 3 files" in failing.cmd("status").stdout


@pytest.mark.folder("how names are made on it")
def test_a_tier_without_noreplace(failing, tier):
    """As NFS: rename() can only replace."""
    failing.fault(f"noreplace {errno.EINVAL} *")
    (tier / "taken.mov").write_bytes(b"theirs")
    for name in ("clip.mov", "taken.mov"):
        (failing.mnt / name).write_bytes(pattern(MIB))
        failing.wait(name)
    assert (tier / "taken.mov").read_bytes() == b"theirs"
    assert (tier / "clip.mov").read_bytes() == (failing.tree / "clip.mov").read_bytes()


def evicted(site, name, data):
    assert write(site.mnt / name, data) == 0
    site.wait(name)
    site.cmd("evict", site.mnt / name)
    assert site.state(name) == "evicted"


def read_at(site, name, offset, length):
    """The bytes, or the errno."""
    handle = os.open(site.mnt / name, os.O_RDONLY)
    try:
        return os.pread(handle, length, offset)
    except OSError as error:
        return error.errno
    finally:
        os.close(handle)


@pytest.mark.parametrize("name", ["day1", "link"])
def test_what_could_not_be_placed_is_placed_later(failing, sites, tier, name):
    """Else a folder without its times is in the way of all that lies in it, for ever."""
    other = sites("other", join=tier, options=["rw"]).mount()
    failing.fault(f"times {errno.EIO} */tree/{name}")
    (other.mnt / "day1").mkdir()
    (other.mnt / "day1/clip.mov").write_bytes(b"media")
    os.symlink("day1", other.mnt / "link")
    wait_for(lambda: f"cannot show what other sites have at {name}" in failing.log_text(),
             "the failure")
    failing.fault()
    wait_for((failing.mnt / "link/clip.mov").exists, "folder, clip and link")
    failing.umount()
    quick = fsck("-n", failing.store)
    assert quick.returncode == 0, quick.stdout


@pytest.mark.parametrize("fault", [
    pytest.param(f"read {errno.EIO} */tier/clip.mov", marks=pytest.mark.folder("its disk fails")),
    pytest.param("flip 0 */tier/clip.mov", marks=pytest.mark.folder("its disk lies")),
    f"write {errno.EIO} */tree/clip.mov",  # no way to keep here what comes
    f"sync {errno.EIO} */tree/clip.mov",
])
def test_a_reader_of_absent_blocks_gets_right_bytes_or_an_error(failing, fault):
    failing.set("transfer.hydrate_timeout", "1s")
    data = pattern(5 * BLOCK + 5)
    evicted(failing, "clip.mov", data)
    failing.fault(fault)
    assert read_at(failing, "clip.mov", 0, 4096) == data[:4096]
    found = read_at(failing, "clip.mov", 2 * BLOCK, 4096)
    assert isinstance(found, int) or found == data[2 * BLOCK:2 * BLOCK + 4096]
    if not fault.startswith("sync"):
        assert isinstance(found, int), "bytes came from nowhere"
    failing.fault()
    # A copy that was found to lie is not asked again by itself: another check may clear it.
    found = read_at(failing, "clip.mov", 3 * BLOCK, 4096)
    assert isinstance(found, int) or found == data[3 * BLOCK:3 * BLOCK + 4096]
    if not fault.startswith("flip"):
        wait_for(lambda: read_at(failing, "clip.mov", 2 * BLOCK, 4096) ==
                 data[2 * BLOCK:2 * BLOCK + 4096], "the bytes, now that all is well")
        assert (failing.mnt / "clip.mov").read_bytes() == data


def write_until_it_fits(path, data):
    """Room comes back a moment after the files went."""
    codes = []

    def fits():
        codes.append(write(path, data))
        return codes[-1] != errno.ENOSPC
    wait_for(fits, "room on the disk")
    assert codes[-1] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting images needs root")
@pytest.mark.parametrize("kind,size", [("ext4", 192), ("xfs", 320)])
def test_a_full_disk_is_told_and_nothing_verified_is_lost(tmp_path, tier, kind, size, sites):
    if not tool(f"mkfs.{kind}"):
        pytest.skip(f"no mkfs.{kind}")
    point, undo = loop_image(tmp_path, size * MIB, kind)
    site = None
    try:
        site = Site(point, "cart", tier=tier, settings={"space.reserve": "5%"}).mount()
        kept = {}
        for index in range(4):
            name = f"kept{index}.mov"
            kept[name] = pattern(5 * MIB, index)
            assert write(site.mnt / name, kept[name]) == 0
        site.wait("", "verified")
        assert write(site.mnt / "big.mov", bytes(2 * size * MIB)) == errno.ENOSPC

        # What was verified is what it was, the catalog works, and there is room again.
        for name, data in kept.items():
            assert (site.mnt / name).read_bytes() == data
        (site.mnt / "big.mov").unlink()
        again = pattern(5 * MIB, 77)
        write_until_it_fits(site.mnt / "again.mov", again)
        site.wait()
        for name, data in {**kept, "again.mov": again}.items():
            assert (tier / name).read_bytes() == data
        site.umount()
        check = fsck("--full", "-n", site.store)
        assert check.returncode == 0, check.stdout + check.stderr
    finally:
        if site:
            site.close()
        undo()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting images needs root")
def test_small_files_until_the_disk_is_full(tmp_path, tier):
    """Not a byte of the reserve goes to writers: the catalog keeps working."""
    point, undo = loop_image(tmp_path, 128 * MIB)
    site = None
    try:
        site = Site(point, "cart", tier=tier, settings={"space.reserve": "5%"}).mount()
        (site.mnt / "frames").mkdir()
        good, code = [], 0
        for index in range(4000):
            name = f"frames/f{index:05}.dpx"
            code = write(site.mnt / name, pattern(128 << 10, index))
            if code:
                break
            good.append(name)
        assert code == errno.ENOSPC
        assert site.status()["catalog_error"] is None
        site.wait(good[0])
        for name in good[:50]:
            site.wait(name)
        for name in good[50:]:
            (site.mnt / name).unlink()
        write_until_it_fits(site.mnt / "after.txt", b"still alive")
        site.wait("after.txt")
    finally:
        if site:
            site.close()
        undo()
