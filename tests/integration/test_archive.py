"""Export: verified files as one tar that other programs read and that proves itself.

Other programs here are GNU tar, bsdtar and Python's tarfile. MEDIAFS_TEST_ROUNDS damages so many
random bytes of one archive.
"""
import contextlib
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import tarfile

import pytest

from lib import (MEDIAFS, PATIENCE, Site, flip, mediafs, pattern, run, same_tree,
                 sandboxed_child, tool)

RECORD = 512 << 10
SO_SNDBUFFORCE = 32  # asm-generic/socket.h
DIGEST = "user.mediafs.xxh128"
ROUNDS = int(os.environ.get("MEDIAFS_TEST_ROUNDS", "6"))
NFC, NFD = "Ko\u0308ln.txt", "K\u00f6ln.txt"
LONG = "x" * 200


def fill(top):
    """A roll with what is hard: long names, both ways to write an umlaut, nothing, old times."""
    (top / "Clips" / LONG / LONG).mkdir(parents=True)
    (top / "Empty").mkdir()
    (top / "Clips/C001.mov").write_bytes(pattern((1 << 20) + 17))
    (top / "Clips/C002.mov").write_bytes(pattern(700 << 10, seed=2))
    (top / "Clips" / LONG / LONG / "deep.wav").write_bytes(b"sound")
    (top / NFC).write_text("decomposed")
    (top / NFD).write_text("composed")
    (top / "two\nlines\t.txt").write_text("odd")
    (top / "empty.bin").touch()
    (top / "tool.sh").write_text("#!/bin/sh\n")
    (top / "tool.sh").chmod(0o750)
    os.symlink("Clips/C001.mov", top / "latest.mov")
    os.utime(top / "Clips/C002.mov", ns=(1, 946684799_123456789))
    os.utime(top / "empty.bin", (-86400 * 365, -86400 * 365))


@pytest.fixture(scope="module")
def roll(tmp_path_factory):
    """A mounted volume with a verified roll, shared by who does not change it."""
    folder = tmp_path_factory.mktemp("export")
    folder.chmod(0o755)
    site = Site(folder, "cart").mount()
    fill(site.mnt / "day1/A001R2EC")
    site.wait("", "verified")
    yield site
    site.close()


@pytest.fixture(scope="module")
def archive(roll, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "A001R2EC.tar"
    mediafs("export", roll.mnt / "day1/A001R2EC", "--to", path)
    return path


def export(*words, **options):
    """The exit code and what --json says."""
    done = mediafs("export", *words, "--json", check=False, **options)
    answer = json.loads(done.stdout)
    assert answer["code"] == done.returncode
    return done.returncode, answer


def verify(path):
    return export("--verify", path)


def damaged(answer):
    return {finding["path"] for finding in answer["findings"]}


def test_export_is_read_by_others(roll, archive, tmp_path):
    """GNU tar and bsdtar restore all of it, digests as extended attributes; tarfile sees them."""
    source = roll.mnt / "day1/A001R2EC"
    for name, command in {"gnu": ["tar", "--xattrs", "--xattrs-include=user.*", "-b", "1024"],
                          "bsd": ["bsdtar", "-p", "-b", "1024"]}.items():
        assert tool(command[0])
        place = tmp_path / name
        place.mkdir()
        run(*command, "-xf", archive, "-C", place)
        same_tree(source, place / "day1/A001R2EC")
        for path in source.rglob("*"):
            if path.is_file() and not path.is_symlink():
                copy = place / path.relative_to(roll.mnt)
                assert os.getxattr(copy, DIGEST) == os.getxattr(path, "user.mediafs.digest")
        listing = next(place.glob("packinglist_A001R2EC_*.mhl"))
        mediafs("manifest", "verify", listing, "--root", place, check=False)
        (place / "day1/A001R2EC/Clips/C002.mov").unlink()
        answer = json.loads(mediafs("manifest", "verify", listing, "--json", check=False).stdout)
        assert ("missing", "day1/A001R2EC/Clips/C002.mov") in {
            (finding["problem"], finding["path"]) for finding in answer["findings"]}
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    assert members[0].name.startswith("packinglist_")
    assert members[-1].name.startswith("index_")
    by_name = {member.name: member for member in members}
    clip = by_name["day1/A001R2EC/Clips/C001.mov"]
    assert clip.pax_headers["SCHILY.xattr." + DIGEST] == os.getxattr(
        source / "Clips/C001.mov", "user.mediafs.digest").decode()
    assert archive.stat().st_size % RECORD == 0


def test_index_tells_where(roll, archive):
    """Each file can be had by its offset alone, without reading the archive from the start."""
    with tarfile.open(archive) as tar:
        rows = [json.loads(line) for line in tar.extractfile(tar.getmembers()[-1])]
    assert rows[0]["mediafs_index"] == 1 and rows[0]["record_bytes"] == RECORD
    files = [row for row in rows[1:-1] if row["type"] == "file"]
    assert rows[0]["files"] == len(files) - 1
    raw = archive.read_bytes()
    for row in files[1:]:
        assert raw[row["offset"]:row["offset"] + row["size"]] == (
            roll.mnt / row["path"]).read_bytes()
    done = subprocess.run(["xxhsum", "-H2"], input=raw[files[1]["offset"]:][:files[1]["size"]],
                          capture_output=True, check=True)
    assert files[1]["xxh128"] in done.stdout.decode()


def test_stream_is_the_file(roll, archive):
    """--to - writes records of 512 KiB, says what it says on standard error, verifies from -."""
    done = subprocess.run([MEDIAFS, "export", roll.mnt / "day1/A001R2EC", "--to", "-", "--json"],
                          capture_output=True, check=True)
    assert json.loads(done.stderr)["records"] * RECORD == len(done.stdout)
    assert len(done.stdout) == archive.stat().st_size
    again = subprocess.run([MEDIAFS, "export", "--verify", "-", "--json"], input=done.stdout,
                           capture_output=True, check=False)
    assert json.loads(again.stdout)["result"] == "ok" and again.returncode == 0
    # A socket that keeps what is written together: as a tape, one record a write.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4 << 20)
        with subprocess.Popen([MEDIAFS, "export", roll.mnt / "day1/A001R2EC", "--to", "-"],
                              stdout=theirs, stderr=subprocess.DEVNULL) as program:
            theirs.close()
            records = list(iter(lambda: ours.recv(2 * RECORD), b""))
    assert program.returncode == 0 and {len(record) for record in records} == {RECORD}
    assert sum(map(len, records)) == archive.stat().st_size


def test_verify_finds_every_byte(archive, tmp_path):
    """One byte anywhere, the headers, paddings and zeros too; a file's own is named by its path."""
    code, answer = verify(archive)
    assert (code, answer["result"], answer["findings"]) == (0, "ok", [])
    copy = tmp_path / "damaged.tar"
    copy.write_bytes(archive.read_bytes())
    size = copy.stat().st_size
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    chance = random.Random(int(os.environ.get("MEDIAFS_TEST_SEED", "1")))
    places = [0, 148, 155, size - 1, members[-1].offset_data + members[-1].size - 2,
              *(member.offset_data - 512 + 155 for member in members[1:3]),
              *(chance.randrange(member.offset, member.offset_data)
                for member in (members[0], members[-1], *chance.sample(members, 3))),
              *(chance.randrange(size) for _ in range(ROUNDS))]
    for place in places:
        bit = chance.randrange(8)
        flip(copy, place, bit)
        code, answer = verify(copy)
        assert code == 5 and answer["result"] in ("damaged", "no-export"), (place, bit, answer)
        flip(copy, place, bit)
    assert verify(copy)[0] == 0
    clip = next(member for member in members if member.name.endswith("C002.mov"))
    flip(copy, clip.offset_data + 5)
    flip(copy, clip.offset_data + (600 << 10))
    assert damaged(verify(copy)[1]) == {clip.name}


def test_who_verifies_can_do_nothing_else(archive, tmp_path):
    """What reads the archive has a filter for its calls and no other descriptors; it may die."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen([MEDIAFS, "export", "--verify", fifo, "--json"],
                          stdout=subprocess.PIPE) as program, open(fifo, "wb") as pipe:
        pipe.write(archive.read_bytes()[:RECORD])
        pipe.flush()
        os.kill(sandboxed_child(program), signal.SIGKILL)
        answer = json.loads(program.communicate()[0])
    assert program.returncode == 5 and "died" in answer["error"], answer


def test_verify_finds_what_is_not_whole(archive, tmp_path):
    """Cut off anywhere, members in another order, one left out, one put in, no export, nothing."""
    raw = archive.read_bytes()
    copy = tmp_path / "cut.tar"
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    for length in [0, 511, members[2].offset, members[-1].offset, members[-1].offset_data,
                   len(raw) - RECORD, len(raw) - 1]:
        copy.write_bytes(raw[:length])
        code, answer = verify(copy)
        assert code == 5, (length, answer)
    edges = [*(member.offset for member in members), members[-1].offset_data + members[-1].size]
    parts = [raw[start:end] for start, end in zip(edges, edges[1:])]
    rest = raw[edges[-1]:]
    index = json.loads(json.dumps([member.name for member in members]))
    one, other = (next(i for i, name in enumerate(index) if name.endswith(end))
                  for end in ("C001.mov", "C002.mov"))
    swapped = list(parts)
    swapped[one], swapped[other] = parts[other], parts[one]
    for order in (swapped, parts[:one] + parts[one + 1:], parts[:one] + [parts[one]] * 2
                  + parts[one + 1:], parts[1:], parts[-1:] + parts[:-1],
                  parts[:-1] + [parts[1]] + parts[-1:]):
        copy.write_bytes(b"".join(order) + rest)
        code, answer = verify(copy)
        assert code == 5 and (answer["findings"] or "error" in answer)
    copy.write_bytes(raw + bytes(RECORD - 1) + b"x")
    assert verify(copy)[0] == 5
    with tarfile.open(copy, "w") as tar:
        tar.addfile(tarfile.TarInfo("a"), io.BytesIO())
    code, answer = verify(copy)
    assert (code, answer["result"]) == (5, "no-export")
    assert mediafs("export", "--verify", tmp_path / "none.tar", check=False).returncode == 8


def test_refused_before_anything_is_written(plain, tmp_path):
    """What is not verified, odd, or cannot be named: each by its name, and no archive."""
    top = plain.mnt / "B002"
    top.mkdir()
    (top / "good.mov").write_bytes(b"good")
    (top / "bad\x01name").write_bytes(b"bad")
    os.mkfifo(top / "pipe")
    plain.wait("", "verified")
    with open(top / "open.mov", "wb") as out:
        out.write(b"not closed")
        out.flush()
        code, answer = export(top, "--to", tmp_path / "b.tar")
    assert code == 3 and damaged(answer) == {"B002/bad\x01name", "B002/pipe", "B002/open.mov"}
    (top / "bad\x01name").unlink()
    (top / "pipe").unlink()
    plain.wait("", "verified")
    assert not list(tmp_path.glob("b.tar*"))
    target = tmp_path / "b.tar"
    assert export(top, top / "good.mov", "--to", target)[0] == 0
    before = target.read_bytes()
    assert mediafs("export", top, "--to", target, check=False).returncode == 1
    assert target.read_bytes() == before
    assert mediafs("export", top, check=False).returncode == 2
    assert mediafs("export", plain.mnt / "none", "--to", tmp_path / "c.tar",
                   check=False).returncode == 8
    (plain.mnt / "empty").mkdir()
    assert mediafs("export", plain.mnt / "empty", "--to", tmp_path / "c.tar",
                   check=False).returncode == 8


def test_damage_ends_the_archive(plain, tmp_path):
    """A file that is not what was verified: named, no file is made, no tar takes the stream."""
    top = plain.mnt / "C003"
    top.mkdir()
    for name in ("a.mov", "b.mov", "c.mov"):
        (top / name).write_bytes(pattern(RECORD, seed=ord(name[0])))
    plain.wait("", "verified")
    plain.umount()
    flip(plain.tree / "C003/b.mov", 77)
    target = tmp_path / "c.tar"
    done = plain.cmd("export", "C003", "--to", target, check=False)
    assert done.returncode == 5 and "C003/b.mov" in done.stderr
    assert not list(tmp_path.glob("c.tar*"))
    done = subprocess.run([MEDIAFS, "export", "C003", "--to", "-", "--store", plain.store],
                          capture_output=True, check=False)
    assert done.returncode == 5 and b"C003/b.mov" in done.stderr and done.stdout
    for reader in (["tar", "-tf", "-"], ["bsdtar", "-tf", "-"], [MEDIAFS, "export", "--verify",
                                                                   "-"]):
        read = subprocess.run(reader, input=done.stdout, capture_output=True, check=False)
        assert read.returncode != 0, reader


def test_changed_while_exported(plain, tmp_path):
    """A file that is written while it is read ends the export, which says so."""
    top = plain.mnt / "D004"
    top.mkdir()
    (top / "a.mov").write_bytes(pattern(4 << 20))
    (top / "b.mov").write_bytes(b"b")
    plain.wait("", "verified")
    with subprocess.Popen([MEDIAFS, "export", top, "--to", "-"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as program:
        program.stdout.read(RECORD)  # it waits for its reader in a.mov now
        (top / "b.mov").write_bytes(b"changed")
        rest, error = program.communicate(timeout=PATIENCE)
    assert program.returncode == 1 and b"D004/b.mov" in error and b"changed" in error
    assert rest.rstrip(b"\0").endswith(b"not whole\n")
    # Interrupted, killed, begun again over what that left.
    target = tmp_path / "d.tar"
    plain.wait("", "verified")
    partial = tmp_path / "d.tar.partial"
    partial.write_bytes(b"left by a run that was killed")
    assert export(top, "--to", target)[0] == 0
    assert verify(target)[0] == 0 and not partial.exists()
    with subprocess.Popen([MEDIAFS, "export", top, "--to", "-"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as program:
        program.stdout.read(RECORD)
        program.send_signal(signal.SIGINT)
        error = program.communicate(timeout=PATIENCE)[1]
    assert program.returncode == 1 and b"interrupted" in error


def test_evicted_is_fetched(cart, tmp_path):
    """Mounted, the bytes come back from the tier; not mounted, the file is named."""
    (cart.mnt / "E005").mkdir()
    data = pattern(16 << 20)
    (cart.mnt / "E005/long.mov").write_bytes(data)
    cart.wait()
    cart.cmd("evict", cart.mnt / "E005/long.mov")
    cart.umount()
    done = cart.cmd("export", "E005", "--to", tmp_path / "e.tar", check=False)
    assert done.returncode != 0 and "E005/long.mov" in done.stderr and "mount" in done.stderr
    cart.mount()
    assert cart.state("E005/long.mov") == "evicted"
    mediafs("export", cart.mnt / "E005", "--to", tmp_path / "e.tar")
    with tarfile.open(tmp_path / "e.tar") as tar:
        assert tar.extractfile("E005/long.mov").read() == data


@pytest.mark.slow
def test_many_small_files(plain, tmp_path):
    for folder in range(10):
        (plain.mnt / f"F006/{folder}").mkdir(parents=True)
        for number in range(100):
            (plain.mnt / f"F006/{folder}/{number:04}.dpx").write_bytes(b"%d" % number)
    plain.wait("", "verified")
    code, answer = export(plain.mnt / "F006", "--to", tmp_path / "f.tar")
    assert code == 0 and answer["files"] == 1000
    code, answer = verify(tmp_path / "f.tar")
    assert code == 0 and answer["files"] == 1000
    with tarfile.open(tmp_path / "f.tar") as tar:
        assert len(tar.getmembers()) == 1000 + 11 + 2


@pytest.mark.slow
def test_larger_than_ustar(plain):
    """More than 8 GiB, where ustar has no number for the size."""
    (plain.mnt / "G").mkdir()
    with open(plain.mnt / "G/large.mov", "wb") as out:
        out.truncate((8 << 30) + 5)
        out.seek(8 << 30)
        out.write(b"end..")
    plain.wait("", "verified", timeout=600)
    with subprocess.Popen([MEDIAFS, "export", plain.mnt / "G", "--to", "-"],
                          stdout=subprocess.PIPE) as program:
        done = run(MEDIAFS, "export", "--verify", "-", "--json", stdin=program.stdout)
    assert json.loads(done.stdout)["bytes"] > 8 << 30 and program.returncode == 0
