"""mediafs-probe: what media say of themselves, and what damaged media cost."""
import json
import os
import random
import struct
import subprocess

import pytest

import media
from lib import BUILD, PATIENCE, run

pytestmark = pytest.mark.one_thread

PROBE = BUILD / "src/cli/mediafs-probe"
# How many damaged files; 5 000 and more by hand.
DAMAGED = int(os.environ.get("MEDIAFS_TEST_DAMAGED", "100"))
SEED = int(os.environ.get("MEDIAFS_TEST_SEED", "5"))
BATCH = 250


def probe(*words, paths=None):
    """One answer a path, in order."""
    done = subprocess.run([str(PROBE), *map(str, words)], capture_output=True, check=True,
                          input=b"".join(os.fsencode(path) + b"\0" for path in paths or []),
                          timeout=20 * PATIENCE)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def masters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masters")
    return folder, media.make(folder)


def test_each_kind_says_what_it_is(masters):
    folder, expected = masters
    answers = probe("--in", folder, paths=expected)
    assert [answer.pop("path") for answer in answers] == list(expected)
    for name, answer in zip(expected, answers):
        answer.pop("date", None) if name != "s.wav" else None
        assert answer == expected[name], name


def test_what_is_no_media_has_an_error_and_hostile_names_a_line(masters, tmp_path):
    name = "a\nb\"<&\u202e.mov"
    (tmp_path / name).write_bytes((masters[0] / "a.mov").read_bytes())
    (tmp_path / "text").write_text("nothing\n" * 100)
    (tmp_path / "empty").touch()
    # A playlist would have other files opened.
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:2,\n{tmp_path / name}\n")
    (tmp_path / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile '{tmp_path / name}'\n")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(name)
    names = [name, "text", "empty", "list.m3u8", "list.ffconcat", "fifo", "link", "none", "../x"]
    answers = probe("--in", tmp_path, paths=names)
    assert [answer["path"] for answer in answers] == names
    assert answers[0]["timecode"] == "14:22:10:05" and "error" not in answers[0]
    # Only what cannot be looked at is worth another look.
    assert [answer.pop("again", False) for answer in answers] == [False] * 5 + [True] * 4
    for answer in answers[1:]:
        assert answer["error"] and set(answer) == {"error", "path"}, answer
    assert run(PROBE, "--no-such", check=False).returncode == 2
    assert run(PROBE, "--timeout", "0", "x", check=False).returncode == 2
    assert run(PROBE, "--in", tmp_path / "none", check=False).returncode == 1


def arri_frame():
    """An ARRIRAW frame: a header of 4096 bytes, then the picture."""
    header = bytearray(4096)
    struct.pack_into("<4s4sII", header, 0, b"ARRI", b"\x12\x34\x56\x78", 4096, 3)
    struct.pack_into("<II", header, 20, 2880, 1620)
    header[668:698] = b"ALEXA Plus".ljust(30, b"\0")
    return bytes(header) + bytes(1000)


def red_clip(name=b"RED1"):
    """R3D as far as libavformat's reader looks at it: the first atom."""
    body = struct.pack(">BBHII", 1, 1, 0, 24000, 1) + bytes(32)
    body += struct.pack(">IIHHHB", 4096, 2304, 0, 24000, 1001, 0) + b"A001_C001.R3D".ljust(257, b"\0")
    return struct.pack(">I4s", len(body) + 8, name) + body + bytes(4096)


def test_frames_and_clips_that_others_cannot_make(tmp_path):
    files = {"a.ari": arri_frame(), "a.R3D": red_clip(), "b.R3D": red_clip(b"RED2"),
             "cut.ari": arri_frame()[:4000], "flat.ari": arri_frame()[:20] + bytes(5000),
             "late.ari": arri_frame()[:8] + b"\xff" * 4 + arri_frame()[12:]}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    answers = {answer.pop("path"): answer for answer in probe("--in", tmp_path, paths=files)}
    assert answers["a.ari"] == {"format": "ari", "codec": "ARRIRAW", "camera": "ARRI ALEXA Plus",
                                "width": 2880, "height": 1620}
    assert answers["a.R3D"] == {"format": "r3d", "codec": "REDCODE", "width": 4096,
                                "height": 2304, "fps": "24000/1001"}
    assert answers["b.R3D"]["error"].startswith("not probed")
    for name in ("cut.ari", "flat.ari", "late.ari"):
        assert set(answers[name]) == {"error"}, name


def w64(samples=100):
    """Sony's Wave64: sizes of 64 bits that hold their own headers."""
    def chunk(name, data):
        guid = name + bytes.fromhex("f3acd3118cd100c04f8edb8a")
        return guid + struct.pack("<Q", 24 + len(data)) + data + bytes(-len(data) % 8)

    body = (bytes.fromhex("77617665f3acd3118cd100c04f8edb8a")
            + chunk(b"fmt ", struct.pack("<HHIIHH", 1, 2, 48000, 192000, 4, 16))
            + chunk(b"data", bytes(samples * 4)))
    return (bytes.fromhex("726966662e91cf11a5d628db04c10000")
            + struct.pack("<Q", 24 + len(body)) + body)


def test_what_is_shorter_than_it_says_is_told(masters, tmp_path):
    folder, _ = masters
    files = {name: (folder / name).read_bytes() for name in ("a.mov", "b.mxf", "c.mp4", "e.dpx",
                                                              "s.wav")}
    files["d.w64"] = w64()
    wav = files["s.wav"]
    files["f.wav"] = (b"RF64" + b"\xff" * 4 + b"WAVEds64"
                      + struct.pack("<IQQQI", 28, len(wav) + 28, 0, 0, 0) + wav[12:])
    files["g.R3D"] = red_clip()[:-4096] + struct.pack(">I4s", 4096, b"REDV") + bytes(4088)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / f"cut-{name}").write_bytes(data[:len(data) * 2 // 3])
    # A recorder that never came to fill in its sizes; and bytes of a camera's own behind the last.
    files["open.wav"] = wav[:4] + bytes(4) + wav[8:]
    files["more.mov"] = files["a.mov"] + b"\x7f\0\0\0ABCD" + bytes(100)
    for name in ("open.wav", "more.mov"):
        (tmp_path / name).write_bytes(files[name])
    for answer in probe("--in", tmp_path, paths=files):
        assert "whole_bytes" not in answer, answer
    cut = [name for name in files if (tmp_path / f"cut-{name}").exists()]
    assert len(cut) == len(files) - 2
    for name, answer in zip(cut, probe("--in", tmp_path, paths=[f"cut-{name}" for name in cut])):
        # At least so many: of MOV what stands behind the media, of MXF from its footer on, is not
        # counted.
        assert len(files[name]) * 2 // 3 < answer["whole_bytes"] <= len(files[name]), answer


def damage(chance, data):
    """1 to 64 bytes changed in the first or last 64 KiB, pieces moved, or the end cut off."""
    data = bytearray(data)
    for _ in range(chance.randint(1, 64)):
        near = min(len(data), 65536)
        at = chance.randrange(near)
        at = at if chance.random() < 0.5 else len(data) - 1 - at
        data[at] = chance.choice([0, 0xff, 0x80, 0x7f, chance.randrange(256)])
    if chance.random() < 0.2:
        start, length = chance.randrange(len(data)), chance.randint(1, 256)
        data[start:start] = data[start:start + length] * chance.randint(1, 4)
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)):]
    return bytes(data)


def test_damaged_media_cost_only_their_own_metadata(masters, tmp_path):
    folder, expected = masters
    chance = random.Random(SEED)
    # The two that are large take most of the time and teach nothing more.
    made = {"a.ari": arri_frame(), "a.R3D": red_clip()}
    names = [name for name in [*expected, *made] if name != "b.mxf"] * 3 + ["b.mxf"]
    good = tmp_path / "good.mov"
    good.write_bytes((folder / "a.mov").read_bytes())
    known = probe(good)[0]
    ends = {}
    for start in range(0, DAMAGED, BATCH):
        paths = []
        for number in range(start, min(start + BATCH, DAMAGED)):
            name = chance.choice(names)
            paths.append(tmp_path / f"{number}-{name}")
            whole = made[name] if name in made else (folder / name).read_bytes()
            paths[-1].write_bytes(damage(chance, whole))
            if number % 10 == 9:
                paths.append(good)
        answers = probe("--timeout", "30s", paths=paths)
        assert [answer["path"] for answer in answers] == [str(path) for path in paths]
        for path, answer in zip(paths, answers):
            if path == good:
                assert answer == known
                continue
            ends[answer.get("error")] = ends.get(answer.get("error"), 0) + 1
            os.unlink(path)
    print(f"seed {SEED}: {ends}")
    assert sum(ends.values()) == DAMAGED
    assert ends.get(None, 0) > DAMAGED / 10 and len(ends) > 1
