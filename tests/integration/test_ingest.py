"""Bytes arrive in every way that programs know; what is verified is exactly what arrived."""
import contextlib
import errno
import hashlib
import mmap
import os
import random
import subprocess
import sys
import threading

import pytest

from lib import Site, count_open, flip, fsck, loop_image, run, same_tree, tool, wait_for
from posix_calls import as_user, fallocate

BLOCK = 4 << 20


def noise(size, seed=1):
    """The same bytes for the same arguments."""
    return random.Random(seed).randbytes(size)


def xxh128(path):
    return run("xxhsum", "-H2", path).stdout.split()[0]


def check_verified(site, name, expected=None):
    """The catalog's digest is that of the bytes, here and behind the mount."""
    site.wait(name, "verified")
    wait_for(lambda: site.state(name) not in ("receiving", "received"), f"{name} to be verified")
    assert site.state(name) != "damaged", site.log_text()
    if expected is not None:
        assert (site.mnt / name).read_bytes() == expected
        assert (site.tree / name).read_bytes() == expected
    if tool("xxhsum"):
        digest = os.getxattr(site.mnt / name, "user.mediafs.digest").decode()
        assert digest == xxh128(site.tree / name)


def no_damage(site):
    assert not [event for event in site.events("-n", "100000") if event["event"] == "damaged"]


@pytest.fixture
def card(tmp_path):
    folder = tmp_path / "card"
    (folder / "CLIPS/deep").mkdir(parents=True)
    for index, size in enumerate([0, 1, 4096, BLOCK - 1, BLOCK, BLOCK + 1, (9 << 20) + 5]):
        (folder / f"CLIPS/clip{index}.mov").write_bytes(noise(size, index + 1))
    for index in range(40):
        (folder / f"CLIPS/deep/frame{index:04}.dpx").write_bytes(noise(70000 + index, index))
    os.utime(folder / "CLIPS/clip3.mov", ns=(5, 1_234_567_890_123_456_789))
    os.chmod(folder / "CLIPS/clip4.mov", 0o440)
    return folder


def copies_of(program, card, target):
    if program == "cp":
        run("cp", "-a", card / "CLIPS", target)
    elif program == "rsync":
        run("rsync", "-a", card / "CLIPS", f"{target}/")
    elif program == "rsync-inplace":
        run("rsync", "-a", "--inplace", "--preallocate", card / "CLIPS", f"{target}/")
    elif program == "tar":
        run("sh", "-c", 'tar -C "$0" --format=posix -cf - CLIPS | tar -C "$1" -xpf -', card, target)


@pytest.mark.parametrize("program", ["cp", "rsync", "rsync-inplace", "tar"])
def test_a_folder_copied_by(plain, card, program):
    if not tool(program.split("-")[0]):
        pytest.skip(f"no {program}")
    copies_of(program, card, plain.mnt)
    plain.wait("CLIPS", "verified")
    same_tree(card, plain.mnt)
    same_tree(card, plain.tree)
    for path in sorted((card / "CLIPS").rglob("*.mov")):
        check_verified(plain, str(path.relative_to(card)))
    no_damage(plain)


def test_copying_again_with_rsync_changes_nothing(plain, card):
    if not tool("rsync"):
        pytest.skip("no rsync")
    copies_of("rsync", card, plain.mnt)
    plain.wait("CLIPS", "verified")
    assert "CLIPS" not in run("rsync", "-ain", card / "CLIPS", f"{plain.mnt}/").stdout
    assert len([event for event in plain.events("-n", "100000") if event["event"] == "verified"]) == 47


@pytest.mark.parametrize("options", [
    "bs=1M", "bs=4M oflag=direct", "bs=65536 oflag=direct conv=fsync", "bs=7777 conv=fdatasync",
    "bs=1M oflag=sync", "bs=1M conv=sparse", "bs=12345 oflag=append conv=notrunc",
    "bs=1M conv=excl", "bs=512 count=3000"])
def test_dd(plain, tmp_path, options):
    source = tmp_path / "source"
    source.write_bytes(noise(3 << 20) + bytes(2 << 20) + noise(4 << 20, 7))
    run("dd", f"if={source}", f"of={plain.mnt}/out.mov", *options.split())
    expected = source.read_bytes()
    if "count" in options:
        expected = expected[:512 * 3000]
    check_verified(plain, "out.mov", expected)
    no_damage(plain)


def test_dd_in_the_middle_without_truncation(plain, tmp_path):
    data = bytearray(noise(10 << 20))
    (plain.mnt / "clip.mov").write_bytes(data)
    check_verified(plain, "clip.mov", bytes(data))
    (tmp_path / "patch").write_bytes(noise(100000, 9))
    run("dd", f"if={tmp_path}/patch", f"of={plain.mnt}/clip.mov", "bs=1000", "seek=4500",
        "conv=notrunc")
    data[4500000:4600000] = noise(100000, 9)
    check_verified(plain, "clip.mov", bytes(data))
    no_damage(plain)


def test_the_head_is_rewritten_on_close(plain):
    """As QuickTime and WAV writers do."""
    data = bytearray(bytes(64) + noise(9 << 20))
    with open(plain.mnt / "A001.wav", "wb") as out:
        out.write(data)
        data[4:8] = b"SIZE"
        out.seek(4)
        out.write(b"SIZE")
    check_verified(plain, "A001.wav", bytes(data))


def test_backwards_and_with_holes(plain):
    data = bytearray(13 << 20)
    with open(plain.mnt / "clip", "wb", buffering=0) as out:
        for index in range(12, -1, -2):
            piece = noise(700000, index + 1)
            out.seek(index << 20)
            out.write(piece)
            data[index << 20:(index << 20) + len(piece)] = piece
    check_verified(plain, "clip", bytes(data[:(12 << 20) + 700000]))


def test_append_after_verification(plain):
    path, data = plain.mnt / "report.csv", b""
    for index in range(4):
        with open(path, "ab") as out:
            out.write(b"clip %d\n" % index)
        data += b"clip %d\n" % index
        check_verified(plain, "report.csv", data)


def test_truncation(plain):
    data = noise(9 << 20)
    path = plain.mnt / "clip"
    path.write_bytes(data)
    os.truncate(path, 5_000_000)
    check_verified(plain, "clip", data[:5_000_000])
    os.truncate(path, 6_000_000)
    check_verified(plain, "clip", data[:5_000_000] + bytes(1_000_000))
    os.truncate(path, 0)
    check_verified(plain, "clip", b"")


def test_shared_mapping(plain):
    data = bytearray(noise((5 << 20) + 333))
    path = plain.mnt / "mapped"
    path.write_bytes(data)
    check_verified(plain, "mapped", bytes(data))
    with open(path, "r+b") as handle, mmap.mmap(handle.fileno(), 0) as view:
        for offset in (0, 4 << 20, (5 << 20) + 300):
            view[offset:offset + 5] = b"hello"
            data[offset:offset + 5] = b"hello"
        view.flush()
        assert (plain.tree / "mapped").read_bytes() == bytes(data)
        view[100:103] = b"end"  # never flushed by hand
        data[100:103] = b"end"
    check_verified(plain, "mapped", bytes(data))
    no_damage(plain)


def test_mapping_outlives_its_descriptor(plain):
    data = bytearray(noise(5 << 20))
    path = plain.mnt / "mapped"
    path.write_bytes(data)
    handle = os.open(path, os.O_RDWR)
    view = mmap.mmap(handle, 0)
    os.close(handle)
    view[1 << 20:(1 << 20) + 4] = b"late"
    data[1 << 20:(1 << 20) + 4] = b"late"
    view.close()
    check_verified(plain, "mapped", bytes(data))


def test_eight_writers_of_one_file(plain):
    data = noise(16 << 20)
    path = plain.mnt / "clip"
    path.touch()

    def write(index):
        with open(path, "r+b", buffering=0) as out:
            for at in range(index * 65536, len(data), 8 * 65536):
                assert os.pwrite(out.fileno(), data[at:at + 65536], at) == 65536
    threads = [threading.Thread(target=write, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_verified(plain, "clip", data)
    no_damage(plain)


def test_direct_io_with_an_odd_tail(plain):
    data = noise(2 << 20)
    view = mmap.mmap(-1, len(data))
    view.write(data)
    handle = os.open(plain.mnt / "clip", os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o644)
    os.write(handle, view)
    os.close(handle)
    with open(plain.mnt / "clip", "ab") as out:
        out.write(b"tail")
    check_verified(plain, "clip", data + b"tail")


def test_allocated_before_it_is_written(plain):
    data = noise(6 << 20)
    with open(plain.mnt / "clip", "wb", buffering=0) as out:
        os.posix_fallocate(out.fileno(), 0, 8 << 20)
        out.write(data)
        os.ftruncate(out.fileno(), len(data))
    check_verified(plain, "clip", data)


def test_copied_inside_the_volume(plain):
    data = noise(9 << 20)
    (plain.mnt / "a").write_bytes(data)
    run("cp", "--reflink=auto", plain.mnt / "a", plain.mnt / "b")
    check_verified(plain, "b", data)
    with open(plain.mnt / "a", "rb") as source, open(plain.mnt / "c", "wb") as out:
        done = 0
        while done < len(data):
            done += os.copy_file_range(source.fileno(), out.fileno(), len(data) - done)
    check_verified(plain, "c", data)


def test_temporary_file_that_gets_a_name(plain):
    data = noise(5 << 20)
    try:
        handle = os.open(plain.mnt, os.O_TMPFILE | os.O_WRONLY, 0o644)
    except OSError as error:
        pytest.skip(f"no O_TMPFILE here: {error}")
    os.write(handle, data)
    folder = os.open(plain.mnt, os.O_RDONLY)  # with one, link() becomes linkat() and follows
    os.link(f"/proc/self/fd/{handle}", plain.mnt / "named", src_dir_fd=folder)
    os.close(folder)
    os.close(handle)
    check_verified(plain, "named", data)


def test_replaced_while_it_is_verified(plain):
    """Written, closed and written again at once, many times: no false alarm, the last one counts."""
    path = plain.mnt / "project.xml"
    for index in range(60):
        path.write_bytes(noise(200_000 + index, index))
    check_verified(plain, "project.xml", noise(200_059, 59))
    for index in range(60):
        with open(path, "r+b") as out:
            out.seek(index * 1000)
            out.write(b"patched")
    plain.wait("project.xml", "verified")
    check_verified(plain, "project.xml")
    no_damage(plain)


def test_what_was_removed_is_not_read_to_its_end(plain):
    """Hours of it, by all who verify: the next file does not wait for them."""
    removed = [plain.mnt / f"removed{number}" for number in range(4)]
    for path in removed:
        with open(path, "wb") as file:
            file.truncate(8 << 40)
    wait_for(lambda: count_open(plain.daemon.pid, "tree/removed") >= 2, "two of them to be read")
    for path in removed:
        path.unlink()
    (plain.mnt / "next").write_bytes(b"next")
    check_verified(plain, "next", b"next")
    wait_for(lambda: not count_open(plain.daemon.pid, "tree/removed"), "their room to be given back")
    no_damage(plain)


@pytest.mark.slow
def test_big_sparse_file(plain):
    path = plain.mnt / "big.img"
    with open(path, "wb", buffering=0) as out:
        os.pwrite(out.fileno(), b"head", 0)
        os.pwrite(out.fileno(), b"middle", (4 << 30) + 123)
        os.pwrite(out.fileno(), b"tail", (5 << 30) - 4)
    plain.wait_state("big.img", "verified", timeout=300)
    assert path.stat().st_size == 5 << 30
    assert path.stat().st_blocks < 1000
    with open(path, "rb") as handle:
        assert os.lseek(handle.fileno(), 1 << 20, os.SEEK_DATA) == (4 << 30)
        assert os.pread(handle.fileno(), 6, (4 << 30) + 123) == b"middle"


def test_inode_shows_nothing_of_the_verification(plain):
    path = plain.mnt / "clip"
    path.write_bytes(noise(9 << 20))
    os.utime(path, ns=(1_500_000_000_000_000_001, 1_400_000_000_000_000_002))
    before = os.stat(path)
    plain.wait("clip", "verified")
    check_verified(plain, "clip")
    after = os.stat(path)
    for field in ("st_ino", "st_mode", "st_nlink", "st_size", "st_blocks", "st_atime_ns",
                  "st_mtime_ns", "st_ctime_ns"):
        assert getattr(before, field) == getattr(after, field), field


@pytest.mark.parametrize("setting, options", [("close", []), ("async", ["verify=close"])])
def test_verify_close_reports_to_the_writer(sites, setting, options):
    site = sites("strict", settings={"ingest.verify": setting}, options=options).mount()
    (site.mnt / "good").write_bytes(noise(5 << 20))
    assert site.state("good") == "verified"
    handle = os.open(site.mnt / "bad", os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(handle, noise(5 << 20))
    os.fsync(handle)
    flip(site.tree / "bad", 4_500_000)
    with pytest.raises(OSError) as raised:
        os.close(handle)
    assert raised.value.errno == errno.EIO
    assert site.state("bad") == "damaged"
    assert "damaged" in site.log_text() and "block at 4194304" in site.log_text()
    site.umount()
    assert site.cmd("config", "get", "ingest.verify").stdout.strip() == setting


def test_flip_before_the_read_back(plain):
    """The writer is gone; the verifier finds it, names it, and the file gives no wrong byte."""
    data = noise(9 << 20)
    handle = os.open(plain.mnt / "A001.mov", os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(handle, data)
    os.fsync(handle)
    flip(plain.tree / "A001.mov", (5 << 20) + 1, bit=3)
    os.close(handle)
    plain.wait_state("A001.mov", "damaged")
    event = [event for event in plain.events("-n", "100000") if event["event"] == "damaged"][-1]
    assert event["path"].endswith("A001.mov") and "4194304" in event["detail"]
    assert plain.wait("A001.mov", "verified", check=False).returncode == 5
    with open(plain.mnt / "A001.mov", "rb") as source:
        assert os.pread(source.fileno(), 1 << 20, 1 << 20) == data[1 << 20:2 << 20]
        with pytest.raises(OSError):
            os.pread(source.fileno(), 4096, 5 << 20)
    (plain.mnt / "A001.mov").write_bytes(data)  # from the card, once more
    check_verified(plain, "A001.mov", data)


def test_flip_among_files_that_are_verified_together(plain):
    """Each of a group is judged by itself, whatever became of the others."""
    handles = {}
    for index in range(40):
        name = f"{index:03}.dpx"
        handles[name] = os.open(plain.mnt / name, os.O_CREAT | os.O_WRONLY, 0o644)
        os.write(handles[name], noise((3 << 20) if index == 20 else 5000, index))
        os.fsync(handles[name])
    flip(plain.tree / "007.dpx", 4000)
    (plain.mnt / "009.dpx").unlink()
    for handle in handles.values():
        os.close(handle)
    with open(plain.mnt / "011.dpx", "ab") as again:  # another generation
        again.write(b"more")
    states = {name: "damaged" if name == "007.dpx" else "verified"
              for name in handles if name != "009.dpx"}
    for name, state in states.items():
        plain.wait_state(name, state)
    verified = [event["path"] for event in plain.events("-n", "100000")
                if event["event"] == "verified"]
    assert set(verified) == {name for name, state in states.items() if state == "verified"}
    plain.umount()
    assert "007.dpx: damaged" in fsck("-n", plain.store).stdout
    assert fsck("-n", "--full", plain.store).returncode == 4


def test_full_disk(sites, tmp_path):
    """The writer hears of it; what was acknowledged is verified; then life goes on."""
    if os.geteuid() != 0:
        pytest.skip("needs root for a loop mount")
    try:
        disk, undo = loop_image(tmp_path, 80 << 20)
    except AssertionError as error:
        pytest.skip(f"no loop mount here: {error}")
    try:
        (disk / "s").mkdir()
        site = Site(disk / "s", "small").mount()
        try:
            written = 0
            with pytest.raises(OSError) as raised:
                with open(site.mnt / "full.mov", "wb", buffering=0) as out:
                    data = noise(1 << 20)
                    while True:
                        written += out.write(data)
            assert raised.value.errno == errno.ENOSPC
            assert written > 10 << 20
            size = (site.mnt / "full.mov").stat().st_size
            assert size >= written
            site.wait_state("full.mov", "verified")
            (site.mnt / "full.mov").unlink()
            wait_for(lambda: os.statvfs(site.mnt).f_bavail * 4096 > 20 << 20, "space to come back")
            (site.mnt / "after.mov").write_bytes(noise(5 << 20))
            check_verified(site, "after.mov", noise(5 << 20))
            no_damage(site)
            site.umount()
        finally:
            site.close()
    finally:
        undo()


def test_set_id_bits_go_when_an_ordinary_user_writes(plain):
    if os.geteuid() != 0 or not tool("setpriv"):
        pytest.skip("needs root and setpriv")
    path = plain.mnt / "tool"
    path.write_bytes(b"#!/bin/sh\n")
    os.chmod(path, 0o6777)
    script = f"import os; h = os.open({str(path)!r}, os.O_WRONLY); os.pwrite(h, b'x', 5)"
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                           sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert os.stat(path).st_mode & 0o7777 == 0o777


def test_what_changes_no_byte_is_in_the_catalog_too(plain):
    """Reservations and cuts to the same size move times, set-id bits go: nothing differs later."""
    names = ("room", "more room", "same", "set-id", "empty")
    for name in names:
        (plain.mnt / name).write_bytes(b"" if name == "empty" else b"hello")
    (plain.mnt / "set-id").chmod(0o6777)
    plain.wait(state="verified")
    run("fallocate", "-l", "3", plain.mnt / "room")
    run("fallocate", "-n", "-l", "9000", plain.mnt / "more room")
    with open(plain.mnt / "same", "r+b") as handle:
        handle.truncate(5)
    with open(plain.mnt / "empty", "wb"):
        pass
    with open(plain.mnt / "set-id", "r+b") as handle:
        as_user(lambda: fallocate(handle.fileno(), 0, 0, 2))
    assert (plain.mnt / "set-id").stat().st_mode & 0o7777 == 0o777
    assert all(plain.state(name) == "verified" for name in names)
    plain.umount()
    found = fsck("-n", plain.store)
    assert found.returncode == 0 and found.stdout.count("\n") == 1, found.stdout


def test_many_small_files(plain):
    """24 frames a second: a sequence of frames, each verified by itself."""
    digest = hashlib.sha256()
    (plain.mnt / "seq").mkdir()
    for index in range(500):
        data = noise(30000 + index, index)
        (plain.mnt / f"seq/{index:06}.dpx").write_bytes(data)
        digest.update(data)
    plain.wait("seq", "verified")
    seen = hashlib.sha256()
    for path in sorted((plain.mnt / "seq").iterdir()):
        seen.update(path.read_bytes())
    assert seen.digest() == digest.digest()
    verified = [event for event in plain.events("-n", "100000") if event["event"] == "verified"]
    assert len(verified) == 500


def test_received_files_are_verified_after_a_kill(plain):
    data = noise(9 << 20)
    (plain.mnt / "clip").write_bytes(data)
    with contextlib.suppress(OSError):
        plain.kill()
    plain.mount()
    check_verified(plain, "clip", data)
    no_damage(plain)
