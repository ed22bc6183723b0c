"""mediafs-probe: what media say of themselves, and what damaged media cost."""
import json
import os
import random
import subprocess

import pytest

import media
from lib import BUILD, PATIENCE, run

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
    for answer in answers[1:]:
        assert answer["error"] and set(answer) == {"error", "path"}, answer
    assert run(PROBE, "--no-such", check=False).returncode == 2
    assert run(PROBE, "--timeout", "0", "x", check=False).returncode == 2
    assert run(PROBE, "--in", tmp_path / "none", check=False).returncode == 1


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
    names = [name for name in expected if name != "b.mxf"] * 3 + ["b.mxf"]
    good = tmp_path / "good.mov"
    good.write_bytes((folder / "a.mov").read_bytes())
    known = probe(good)[0]
    ends = {}
    for start in range(0, DAMAGED, BATCH):
        paths = []
        for number in range(start, min(start + BATCH, DAMAGED)):
            name = chance.choice(names)
            paths.append(tmp_path / f"{number}-{name}")
            paths[-1].write_bytes(damage(chance, (folder / name).read_bytes()))
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
