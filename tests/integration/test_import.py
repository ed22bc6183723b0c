"""Import: tar and zip into a volume, verified as any write; hostile archives leave nothing behind.

The archives are made by other programs: GNU tar, bsdtar, Python's tarfile and zipfile.
MEDIAFS_TEST_ROUNDS kills so many imports with -9 at random moments.
"""
import collections
import gzip
import io
import json
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import tarfile
import threading
import zipfile

import pytest

from lib import (MEDIAFS, Site, flip, mediafs, pattern, run, same_tree, sandboxed_child,
                 wait_for)

ROUNDS = int(os.environ.get("MEDIAFS_TEST_ROUNDS", "4"))


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A mounted volume for all: each test has folders of its own."""
    folder = tmp_path_factory.mktemp("import")
    folder.chmod(0o755)
    site = Site(folder, "cart").mount()
    yield site
    site.close()


@pytest.fixture
def place(volume, request):
    """A folder of the volume that is the test's own; it need not be there."""
    return volume.mnt / request.node.name.replace("[", "-").strip("]")


@pytest.fixture
def source(tmp_path):
    top = tmp_path / "source/B001"
    (top / "Clips/Sub").mkdir(parents=True)
    (top / "Empty").mkdir()
    (top / "Clips/C001.mov").write_bytes(pattern((1 << 20) + 3))
    (top / "Clips/Sub/note.txt").write_text("note " * 100)
    (top / ("n" * 180 + "\u00e9.txt")).write_text("long")
    (top / "empty.bin").touch()
    (top / "tool.sh").write_text("#!/bin/sh\n")
    (top / "tool.sh").chmod(0o750)
    os.symlink("Clips/C001.mov", top / "latest.mov")
    os.symlink("../../tool.sh", top / "Clips/Sub/up.sh")
    os.link(top / "Clips/C001.mov", top / "Clips/Sub/second.mov")
    for path in top.rglob("*"):  # what every format can say
        os.utime(path, (1000000000, 1000000000), follow_symlinks=False)
    return top.parent


def imported(*words, **options):
    """The exit code and what --json says."""
    done = mediafs("import", *words, "--json", check=False, **options)
    answer = json.loads(done.stdout)
    assert answer["code"] == done.returncode
    return done.returncode, answer


def imported_by_pipe(archive, *words):
    """The same through a pipe, in which nothing can be sought."""
    with subprocess.Popen(["cat", archive], stdout=subprocess.PIPE) as program:
        return imported("-", *words, stdin=program.stdout)


def left(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


WAYS = {
    "gz": ["tar", "--format=gnu", "-czf"], "posix": ["tar", "--format=posix", "-cf"],
    "zst": ["bsdtar", "--format=pax", "--zstd", "-cf"], "sparse": ["tar", "--sparse", "-cjf"],
    "xz": ["tar", "--format=pax", "-cJf"],
}


def test_what_others_make(volume, place, source, tmp_path):
    """Bytes, modes, times, links of all tars, also from standard input; all is verified then."""
    with open(source / "B001/holes.raw", "wb") as out:
        out.truncate(300000)
        out.seek(1 << 20)
        out.write(b"x" * 5000)
        out.truncate((1 << 20) + 70000)
    os.utime(source / "B001/holes.raw", (1000000000, 1000000000))
    for name, command in WAYS.items():
        archive = tmp_path / f"{name}.tar"
        run(*command, archive, "-C", source, "B001")
        code, answer = imported(archive, place / name)
        assert code == 0 and answer["findings"] == [], (name, answer)
        same_tree(source / "B001", place / name / "B001")
        assert (place / name / "B001/Clips").stat().st_mtime == 1000000000
        assert (place / name / "B001/Clips/Sub/second.mov").stat().st_nlink == 2
        assert volume.state(f"{place.name}/{name}/B001/Clips/C001.mov") == "verified"
    assert imported_by_pipe(tmp_path / "zst.tar", place / "stdin")[0] == 0
    same_tree(source / "B001", place / "stdin/B001")
    # Again: all is there, byte for byte.
    code, answer = imported(tmp_path / "gz.tar", place / "gz")
    assert code == 0 and answer["files"] == 0 and answer["existing"] == 6


def test_zip(place, source, tmp_path):
    """Zips with and without compression, and one that is written as a stream (no sizes first)."""
    for name, how in (("stored", zipfile.ZIP_STORED), ("packed", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", how) as out:
            for path in sorted((source / "B001").rglob("*")):
                out.write(path, path.relative_to(source))
        assert imported(tmp_path / f"{name}.zip", place / name)[0] == 0
        clip = "B001/Clips/C001.mov"
        assert (place / name / clip).read_bytes() == (source / clip).read_bytes()
        assert stat.S_IMODE((place / name / "B001/tool.sh").stat().st_mode) == 0o750
    pipe = subprocess.run(["bsdtar", "--format=zip", "-cf", "-", "-C", source, "B001/Clips/C001.mov"],
                          capture_output=True, check=True)
    (tmp_path / "stream.zip").write_bytes(pipe.stdout)
    assert imported_by_pipe(tmp_path / "stream.zip", place / "stream")[0] == 0
    assert (place / "stream" / clip).read_bytes() == (source / clip).read_bytes()
    damaged = tmp_path / "packed.zip"
    with zipfile.ZipFile(damaged) as archive:
        at = archive.getinfo(clip)
    flip(damaged, at.header_offset + 200)
    code, answer = imported(damaged, place / "damaged")
    assert code == 5 and clip in answer["error"]
    assert not (place / "damaged" / clip).exists()


def member(name, kind=tarfile.REGTYPE, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


# name -> (members after a good one, what is said)
EVIL = {
    "absolute": ([member("/etc/evil", data=b"x")], "absolute"),
    "drive": ([member("C:/evil", data=b"x")], "absolute"),
    "backslash": ([member("..\\evil", data=b"x")], "backslash"),
    "dotdot": ([member("../evil", data=b"x")], "leads out"),
    "dotdot-inside": ([member("a/b/../../../evil", data=b"x")], "leads out"),
    "control": ([member("a\x1b[2J", data=b"x")], "control characters"),
    "twice": ([member("a", data=b"x"), member("./a", data=b"y")], "twice"),
    "file-as-folder": ([member("a", data=b"x"), member("a/b", data=b"y")], "twice"),
    "normalised": ([member("K\u00f6ln/a", data=b"x"), member("Ko\u0308ln/b", data=b"y")],
                   "differ only"),
    "link-absolute": ([member("l", tarfile.SYMTYPE, linkname="/etc")], "absolute"),
    "link-out": ([member("a/l", tarfile.SYMTYPE, linkname="../../etc")], "leads out"),
    "link-winding": ([member("l", tarfile.SYMTYPE, linkname="."),
                      member("m", tarfile.SYMTYPE, linkname="l/..")], "leads out"),
    "through-link": ([member("l", tarfile.SYMTYPE, linkname="good"),
                      member("l/evil", data=b"x")], "twice"),
    "hard-link-out": ([member("l", tarfile.LNKTYPE, linkname="../../../etc/passwd")], "no file"),
    "hard-link-none": ([member("l", tarfile.LNKTYPE, linkname="nobody")], "no file"),
    "hard-link-link": ([member("s", tarfile.SYMTYPE, linkname="good"),
                        member("l", tarfile.LNKTYPE, linkname="s")], "no file"),
    "character-device": ([member("d", tarfile.CHRTYPE, devmajor=1, devminor=3)], "device"),
    "block-device": ([member("d", tarfile.BLKTYPE, devmajor=8)], "device"),
    "fifo": ([member("p", tarfile.FIFOTYPE)], "pipe"),
    "setuid": ([member("s", data=b"x", mode=0o4755)], "set-user-ID"),
    "setgid": ([member("s", data=b"x", mode=0o2755)], "set-user-ID"),
    "long-name": ([member("n" * 256, data=b"x")], "255"),
    "deep": ([member("d/" * 300 + "x", data=b"x")], "too long"),
    "partial-name": ([member(".import-0123.part", data=b"x")], "on their way"),
    "own-name": ([member("a/.mediafs/x", data=b"x")], "for mediafs itself"),
}


@pytest.fixture(scope="module")
def evil_place(volume):
    return volume.mnt / "evil"


@pytest.mark.parametrize("name", EVIL)
def test_evil(evil_place, tmp_path, name):
    """Each is refused by the member's name and a reason, and nothing of the archive is there."""
    members, said = EVIL[name]
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as out:
        for info, data in [member("good", data=b"good"), *members]:
            out.addfile(info, io.BytesIO(data))
    code, answer = imported(archive, evil_place / name)
    assert code == 1 and said in answer["error"], answer
    assert left(evil_place / name) == []
    if name not in ("dotdot", "file-as-folder", "normalised", "setuid"):
        return
    # What came before it may be there, never more.
    code, answer = imported_by_pipe(archive, evil_place / f"{name}-pipe")
    assert code == 1 and said in answer["error"]
    assert set(left(evil_place / f"{name}-pipe")) <= {"good", "a", "K\u00f6ln", "K\u00f6ln/a"}


def test_bombs_and_sizes(place, tmp_path):
    """Too much for its size, for the disk, or in number; what says it is larger than it can be."""
    with gzip.open(tmp_path / "bomb.tar.gz", "wb") as raw, \
            tarfile.open(fileobj=raw, mode="w") as out:
        out.addfile(sized("zeros", 70 << 20), Zeros(70 << 20))
    for how in (imported, imported_by_pipe):
        code, answer = how(tmp_path / "bomb.tar.gz", place / "bomb")
        assert code == 1 and "--max-ratio" in answer["error"] and "zeros" in answer["error"]
        assert left(place / "bomb") == []
    assert imported(tmp_path / "bomb.tar.gz", place / "bomb", "--max-ratio", "5000")[0] == 0
    with tarfile.open(tmp_path / "many.tar", "w") as out:
        for number in range(30):
            out.addfile(*[sized(f"f{number}", 100), io.BytesIO(b"x" * 100)])
    for option, value in (("--max-files", "29"), ("--max-size", "2900")):
        code, answer = imported(tmp_path / "many.tar", place / "many", option, value)
        assert code == 1 and option in answer["error"] and "f29" in answer["error"]
        assert left(place / "many") == []
    huge = sized("huge", 1 << 62)
    (tmp_path / "huge.tar").write_bytes(huge.tobuf(tarfile.GNU_FORMAT) + bytes(5120))
    code, answer = imported(tmp_path / "huge.tar", place / "huge")
    assert code == 1 and "huge" in answer["error"]
    assert mediafs("import", tmp_path / "many.tar", place, "--max-files", "x",
                   check=False).returncode == 2


def sized(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    return info


class Zeros(io.RawIOBase):
    """So many zeros."""

    def __init__(self, size):
        super().__init__()
        self.left = size

    def read(self, size=-1):
        size = min(size if size >= 0 else self.left, self.left)
        self.left -= size
        return bytes(size)


def test_damaged_archives(place, source, tmp_path):
    """Cut off, garbage, empty, encrypted, wrong sums: said, and no file looks whole that is not."""
    whole = {}
    for name in ("gz", "zst", "posix"):
        run(*WAYS[name], tmp_path / name, "-C", source, "B001")
        whole[name] = (tmp_path / name).read_bytes()
    cut = tmp_path / "cut"
    for name, raw in whole.items():
        for length in (len(raw) * 2 // 3, len(raw) // 3):
            cut.write_bytes(raw[:length])
            code, answer = imported(cut, place / "cut")
            assert code == 5, (name, length, answer)
            code, answer = imported_by_pipe(cut, place / "cut")
            assert code == 5, (name, length, answer)
    for path in (place / "cut").rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert path.read_bytes() == (source / path.relative_to(place / "cut")).read_bytes()
    assert not any(".import-" in name for name in left(place))
    for data in (b"", b"garbage" * 1000, bytes(10240)):
        cut.write_bytes(data)
        code, answer = imported(cut, place / "none")
        assert code in (1, 5) and "error" in answer
    assert mediafs("import", tmp_path / "nothing.tar", place, check=False).returncode == 8
    with zipfile.ZipFile(cut, "w") as out:
        out.writestr("secret.txt", b"x" * 100)
    raw = bytearray(cut.read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        offset = raw.index(mark) + at
        raw[offset:offset + 2] = struct.pack("<H", 1)
    cut.write_bytes(raw)
    code, answer = imported(cut, place / "none")
    assert code == 1 and "encrypted" in answer["error"] and "secret.txt" in answer["error"]


def test_nothing_is_written_over(place, source, tmp_path):
    """Other bytes under a name: named, the rest comes in; --skip-existing leaves it quietly."""
    archive = tmp_path / "b.tar"
    run(*WAYS["posix"], archive, "-C", source, "B001")
    (place / "B001/Clips").mkdir(parents=True)
    (place / "B001/Clips/C001.mov").write_bytes(b"other")
    (place / "B001/tool.sh").mkdir()
    (place / "B001/latest.mov").write_bytes(b"no link")
    before = (place / "B001/Clips").stat()
    code, answer = imported(archive, place)
    assert code == 1
    assert {finding["path"] for finding in answer["findings"]} == {
        "B001/Clips/C001.mov", "B001/tool.sh", "B001/latest.mov"}
    assert (place / "B001/Clips/C001.mov").read_bytes() == b"other"
    assert (place / "B001/Clips/Sub/note.txt").read_text() == "note " * 100
    assert (place / "B001/Clips").stat().st_mode == before.st_mode
    code, answer = imported(archive, place, "--skip-existing")
    assert code == 0 and answer["skipped"] == 3 and answer["findings"] == []
    assert (place / "B001/latest.mov").read_bytes() == b"no link"
    # A link in the way leads nowhere.
    os.symlink(tmp_path, place / "out")
    with tarfile.open(archive, "w") as out:
        out.addfile(*[sized("out/evil", 1), io.BytesIO(b"x")])
    code, answer = imported(archive, place)
    assert code != 0 and "out/evil" in answer["error"] and not (tmp_path / "evil").exists()


def test_export_and_import(volume, place, source, tmp_path):
    """Our own archives: compared with their digests, refused when not whole."""
    run("cp", "-a", source / "B001", place.parent / "B001")
    volume.wait("B001", "verified")
    archive = tmp_path / "B001.tar"
    mediafs("export", volume.mnt / "B001", "--to", archive)
    code, answer = imported(archive, place)
    assert code == 0 and answer["files"] == 8
    same_tree(volume.mnt / "B001", place / "B001")
    raw = archive.read_bytes()
    with tarfile.open(archive) as tar:
        index = tar.getmembers()[-1]
        clip = tar.getmember("B001/Clips/C001.mov")
    cut = tmp_path / "cut.tar"
    cut.write_bytes(raw[:index.offset] + bytes(1024))
    code, answer = imported(cut, volume.mnt / "cut")
    assert code == 1 and "not whole" in answer["error"] and left(volume.mnt / "cut") == []
    flip(archive, clip.offset_data + 1000)
    code, answer = imported(archive, volume.mnt / "damaged")
    assert code == 5 and [finding["path"] for finding in answer["findings"]] == [clip.name]
    names = left(volume.mnt / "damaged")
    assert clip.name not in names and "B001/Clips/Sub/note.txt" in names
    assert not any(".import-" in name for name in names)
    assert mediafs("import", archive, tmp_path, check=False).returncode in (2, 4, 8)


def test_the_reader_can_do_nothing(source, place, tmp_path):
    """The process that reads the archive has a filter for its calls and no other descriptors."""
    (source / "B001/large.raw").write_bytes(pattern(8 << 20))
    run(*WAYS["posix"], tmp_path / "b.tar", "-C", source, "B001")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen([MEDIAFS, "import", fifo, place]) as program, open(fifo, "wb") as pipe:
        pipe.write((tmp_path / "b.tar").read_bytes()[:1 << 20])
        pipe.flush()
        pid = sandboxed_child(program)
        program.kill()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the reader to end with its parent")


def mutated(chance, data):
    """The bytes with something wrong: bits, a cut, a hole, something twice, or a number blown up."""
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8])):
        at = chance.randrange(len(data) or 1)
        size = chance.choice([1, 8, 512, 700])
        what = chance.randrange(6)
        if what == 0 and data:
            data[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            data[at:at + size] = chance.randbytes(size)
        elif what == 2:
            del data[at:at + size]
        elif what == 3:
            data[at:at] = data[at:at + size]
        elif what == 4:
            data[at:at + 12] = chance.choice([b"77777777777\0", b"\xff" * 12, b"\0" * 12,
                                              b"../../../out", b"/tmp/../out/"])
        else:
            del data[max(at, 1):]
    return bytes(data)


@pytest.mark.one_thread
def test_mutated_archives_hurt_nobody(volume, place, source, tmp_path):
    """Nothing outside the folder, nothing half, no crash: of reader, command or daemon."""
    chance = random.Random(int(os.environ.get("MEDIAFS_TEST_SEED", "1")))
    (source / "B001/Clips/C001.mov").write_bytes(pattern(3000))  # much of it headers
    whole = {str(path.relative_to(source)): path.read_bytes()
             for path in source.rglob("*") if path.is_file()}
    for name, command in WAYS.items():
        run(*command, tmp_path / f"{name}.tar", "-C", source, "B001")
    run("bsdtar", "--format=zip", "-cf", tmp_path / "plain.zip", "-C", source, "B001")
    shutil.copytree(source, volume.mnt / "of-export/B001")
    volume.wait("of-export", "verified")
    mediafs("export", volume.mnt / "of-export", "--to", tmp_path / "export.tar")
    archives = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    place.mkdir()
    (place / "in").mkdir()
    codes = collections.Counter()
    for round_ in range(ROUNDS * 8):
        name = chance.choice(sorted(archives))
        bad = tmp_path / "bad"
        bad.write_bytes(mutated(chance, archives[name]))
        code, answer = imported(bad, place / "in")
        codes[code] += 1
        assert code in (0, 1, 5, 6, 8), (round_, name, answer)
        assert os.listdir(place) == ["in"]
        names = left(place / "in")
        assert not any(".import-" in path for path in names), (round_, name)
        if code == 0 and name == "export.tar":  # its digests say so
            for path in (place / "in").rglob("*.mov"):
                assert path.is_symlink() or path.read_bytes() in whole.values()
        answer = mediafs("export", "--verify", bad, "--json", check=False)
        assert answer.returncode in (0, 5), (round_, name, answer.stderr)
        shutil.rmtree(place / "in")
        (place / "in").mkdir()
    assert codes[0] and sum(codes.values()) > codes[0], codes
    volume.wait("", "verified")


@pytest.mark.slow
def test_killed_and_begun_again(place, source, tmp_path):
    """kill -9 at random moments: what has its name is whole; begun again, all comes in."""
    for number in range(60):
        (source / f"B001/f{number:02}.raw").write_bytes(pattern(200_000, seed=number))
    run(*WAYS["posix"], tmp_path / "b.tar", "-C", source, "B001")
    chance = random.Random(int(os.environ.get("MEDIAFS_TEST_SEED", "1")))
    timer = threading.Event()
    for round_ in range(ROUNDS):
        top = place / str(round_)
        with subprocess.Popen([MEDIAFS, "import", tmp_path / "b.tar", top],
                              stdout=subprocess.DEVNULL) as program:
            wait_for((top / "B001").exists, "the first of it")
            timer.wait(chance.random() * 0.3)
            program.send_signal(signal.SIGKILL)
        for path in top.rglob("*"):
            if path.is_file() and not path.is_symlink() and ".import-" not in path.name:
                other = source / path.relative_to(top)
                assert path.read_bytes() == other.read_bytes()
        code, answer = imported(tmp_path / "b.tar", top)
        assert code == 0 and answer["files"] + answer["existing"] == 65
        assert not any(".import-" in name for name in left(top))
        assert (top / "B001/latest.mov").is_symlink()
