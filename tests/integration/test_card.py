"""mediafs card: cards of every family, what is missing on them, and what is no card."""
import json
import os
import pathlib
import shutil
import tempfile
import time

import pytest

import cards
from lib import CARD_RULES, MEDIAFS, mediafs, run

pytestmark = pytest.mark.one_thread


def look(path, *options, env=None):
    """(exit code, what mediafs card says)"""
    done = mediafs("card", "--json", path, *options, check=False,
                   env={**os.environ, **(env or {})})
    return done.returncode, json.loads(done.stdout)


def kinds(card):
    return sorted(warning["kind"] for warning in card["warnings"])


def card_of(tmp_path, *names):
    top = tmp_path / "CARD"
    top.mkdir()
    cards.add(top, names)
    return top


@pytest.mark.parametrize("kind", cards.CARDS)
def test_each_family_is_known(tmp_path, kind):
    expected = cards.CARDS[kind]
    top = cards.make(tmp_path / "FX9_CARD", kind)
    code, card = look(top)
    assert code == 0, card
    assert card["card"] and [family["name"] for family in card["families"]] == [expected["family"]]
    assert card["reels"] == [expected["reel"]]
    assert card["camera"] == expected["camera"]
    files = {}
    for clip in card["clips"]:
        files[clip["name"]] = files.get(clip["name"], 0) + clip["files"]
    assert files == expected["clips"]
    assert card["warnings"] == []
    on_disk = [path for path in top.rglob("*") if path.is_file()]
    assert card["files"] == len(on_disk)
    assert card["bytes"] == sum(path.stat().st_size for path in on_disk)
    text = mediafs("card", top).stdout
    assert expected["reel"] in text and all(name in text for name in files)


@pytest.mark.parametrize("what", cards.NO_CARDS)
def test_what_only_looks_like_one_is_none(tmp_path, what):
    code, card = look(card_of(tmp_path, *cards.NO_CARDS[what]))
    assert (code, card["card"]) == (8, False)
    done = mediafs("card", tmp_path / "CARD", check=False)
    assert done.returncode == 8 and "no card" in done.stderr


@pytest.mark.parametrize("kind, folder", [("arri", "A004R1JL"), ("red", "A001_1204BG.RDM"),
                                          ("sony-xavc", "XDROOT"), ("canon-crm", "CRM"),
                                          ("arri-35", "A_0001_1DVA")])
def test_the_one_folder_of_a_card_is_the_card(tmp_path, kind, folder):
    code, card = look(cards.make(tmp_path / "CARD", kind) / folder)
    assert code == 0
    assert card["family"] == cards.CARDS[kind]["family"]
    assert card["reel"] == cards.CARDS[kind]["reel"]
    assert {clip["name"] for clip in card["clips"]} == set(cards.CARDS[kind]["clips"])


MISSING = [
    ("red", "A001_1204BG.RDM/A001_C001_12046M.RDC/A001_C001_12046M_001.R3D", "missing-segment",
     "A001_C001_12046M lacks segment 1"),
    ("gopro", "DCIM/100GOPRO/GX010001.MP4", "missing-segment", "0001 lacks segment 1"),
    ("canon-xf", "CONTENTS/CLIPS001/AA0001/AA000101.MXF", "missing-segment", "AA0001"),
    ("canon-cinema", "CONTENTS/CLIPS001/A_0001C001A260204_113406T5_CANON_S001.MXF",
     "missing-segment", "CANON lacks segment 1"),
    ("sony-xavc", "XDROOT/Clip/A247C001_260812ABM01.XML", "missing-sidecar", "A247C001_260812AB"),
    ("sony-xavc-s", "PRIVATE/M4ROOT/CLIP/C0001M01.XML", "missing-sidecar", "C0001"),
    ("panasonic-p2", "CONTENTS/CLIP/0013MM.XML", "missing-sidecar", "0013MM"),
    ("sony-xavc", "XDROOT/Clip/A247C001_260812AB.MXF", "missing-media", "A247C001_260812AB"),
    ("panasonic-p2", "CONTENTS/VIDEO/0013MM.MXF", "missing-media", "0013MM"),
    ("arri-frames", "ARI/A003R2EC/A003C002_261128_R2EC/A003C002_261128_R2EC.0001007.ari",
     "missing-frames", "lacks 1 frame: 1007"),
    ("blackmagic-dng",
     "BMC01_1_2012-08-08_1631_C0002/BMC01_1_2012-08-08_1631_C0002_000012.dng",
     "missing-frames", "lacks 1 frame: 12"),
]


@pytest.mark.parametrize("kind, name, warning, text", MISSING)
def test_what_is_missing_is_named(tmp_path, kind, name, warning, text):
    top = cards.make(tmp_path / "CARD", kind)
    (top / name).unlink()
    code, card = look(top)
    assert code == 5
    assert kinds(card) == [warning]
    assert text in card["warnings"][0]["text"]
    assert text in mediafs("card", top, check=False).stdout


def test_an_empty_file_is_named(tmp_path):
    top = cards.make(tmp_path / "CARD", "arri")
    (top / "A004R1JL/A004C011_261128_R1JL.mxf").write_bytes(b"")
    code, card = look(top)
    assert (code, kinds(card)) == (5, ["zero-bytes"])
    assert "A004R1JL/A004C011_261128_R1JL.mxf" in card["warnings"][0]["text"]


def test_two_reels_on_one_card(tmp_path):
    top = cards.make(tmp_path / "CARD", "arri")
    cards.add(top, ["B001R9ZZ/B001C001_261128_R9ZZ.mov"])
    code, card = look(top)
    assert (code, kinds(card)) == (5, ["two-reels"])
    assert card["reels"] == ["A004R1JL", "B001R9ZZ"]
    assert {clip["name"][:8]: clip["reel"] for clip in card["clips"]} == {
        "A004C010": "A004R1JL", "A004C011": "A004R1JL", "B001C001": "B001R9ZZ"}


def test_one_take_on_two_days_is_two_clips(tmp_path):
    """A recorder's card holds several days, whose takes have the same names."""
    days = ["25Y01M15", "25Y01M16"]
    top = card_of(tmp_path, "SDINFO.TXT", *(f"{day}/S01T01{end}.WAV" for day in days
                                            for end in ("_1", "_2")))
    code, card = look(top)
    assert (code, kinds(card), card["reels"]) == (5, ["two-reels"], days)
    assert [(clip["name"], clip["reel"], clip["files"]) for clip in card["clips"]] == [
        ("S01T01", day, 2) for day in days]
    assert card["other_files"] == 0


def test_gopro_in_the_round(tmp_path):
    code, card = look(card_of(tmp_path, "DCIM/100GOPRO/GS010001.360", "DCIM/100GOPRO/GS020001.360",
                              "DCIM/100GOPRO/GS010001.LRV", "DCIM/100GOPRO/GS010001.THM"))
    assert (code, kinds(card)) == (0, [])
    assert [(clip["name"], clip["segments"], clip["files"]) for clip in card["clips"]] == [
        ("0001", 2, 4)]


def test_what_is_no_clip_does_not_make_a_card_empty(tmp_path):
    """A person would format it."""
    top = card_of(tmp_path, "DCIM/100GOPRO/photos.raw=0", "MISC/version.txt")
    os.truncate(top / "DCIM/100GOPRO/photos.raw", 30 << 20)
    code, card = look(top)
    assert (code, card["clip_count"], card["other_files"]) == (0, 0, 0)
    said = mediafs("card", top).stdout
    assert "of no clip that the rules know" in said and "empty" not in said


@pytest.mark.parametrize("kind, names, family", [
    ("arri", [], None),
    ("red", ["A001_1204BG.RDM/"], "red"),
    ("sony-xavc", ["XDROOT/Clip/", "XDROOT/MEDIAPRO.XML"], "sony-xavc"),
    ("canon-xf", ["CONTENTS/CLIPS001/INDEX.MIF"], "canon-xf"),
    ("panasonic-p2", ["CONTENTS/CLIP/", "CONTENTS/VIDEO/", "LASTCLIP.TXT"], "panasonic-p2"),
    ("gopro", ["DCIM/100GOPRO/", "MISC/version.txt"], "gopro"),
])
def test_a_card_without_clips(tmp_path, kind, names, family):
    if family is None:  # ARRI names its volume so until there is a clip
        top, family = tmp_path / "ARRI_UDF", kind
        top.mkdir()
    else:
        top = card_of(tmp_path, *names)
    code, card = look(top)
    assert (code, card["family"], card["clip_count"]) == (0, family, 0)
    assert "empty" in mediafs("card", top).stdout


def test_several_families_on_one_card(tmp_path):
    top = cards.make(tmp_path / "CARD", "sony-xavc")
    cards.add(top, cards.CARDS["sony-xavc-s"]["names"])
    cards.add(top, ["DCIM/100MSDCF/DSC00001.JPG"])
    code, card = look(top)
    assert code == 0
    assert [family["name"] for family in card["families"]] == ["sony-xavc", "sony-xavc-s"]
    assert {clip["name"]: clip["family"] for clip in card["clips"]} == {
        "A247C001_260812AB": "sony-xavc", "C0001": "sony-xavc-s"}
    assert card["other_files"] == 1


def test_what_computers_leave_is_not_counted(tmp_path):
    top = cards.make(tmp_path / "CARD", "sony-xavc")
    before = look(top)[1]
    cards.add(top, [".DS_Store", "XDROOT/._Clip", "XDROOT/Clip/._A247C001_260812AB.MXF",
                    ".Spotlight-V100/Store-V2/x", ".fseventsd/fseventsd-uuid", ".Trashes/501/y",
                    "System Volume Information/IndexerVolumeGuid", "$RECYCLE.BIN/desktop.ini"])
    code, card = look(top)
    assert code == 0 and card["junk_files"] == 8
    for key in ("clips", "files", "bytes", "other_files", "warnings"):
        assert card[key] == before[key]


def test_names_that_are_no_text_and_links(tmp_path):
    top = cards.make(tmp_path / "CARD", "arri")
    with open(os.fsencode(top) + b"/A004R1JL/A004C0\xff\n.mov", "wb"):
        pass
    (top / "A004R1JL/loop").symlink_to(top)
    code, card = look(top)
    assert (code, card["clip_count"]) == (0, 2)


def test_a_folder_that_cannot_be_read_is_no_whole_card():
    words = [] if os.geteuid() else ["setpriv", "--reuid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        top = cards.make(pathlib.Path(folder) / "CARD", "arri")
        (top / "A004R1JL").chmod(0)
        done = run(*words, MEDIAFS, "card", top, check=False)
        (top / "A004R1JL").chmod(0o755)
    assert done.returncode == 9 and "A004R1JL" in done.stderr


def test_what_is_no_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    assert mediafs("card", tmp_path / "file", check=False).returncode != 0
    assert mediafs("card", tmp_path / "absent", check=False).returncode == 8


@pytest.fixture(name="rules")
def make_rules(tmp_path):
    """A copy of the rules, to add to."""
    folder = tmp_path / "rules"
    shutil.copytree(CARD_RULES, folder)
    return folder


def test_a_family_of_ones_own(tmp_path, rules):
    top = card_of(tmp_path, "NEWCAM/Z001/clip1.new", "NEWCAM/Z001/clip2.new")
    env = {"MEDIAFS_CARDS": str(rules)}
    assert look(top, env=env)[0] == 8
    (rules / "new.conf").write_text("[newcam]\ntitle = New Camera\nmarker = NEWCAM/\n"
                                    "media = NEWCAM/(?<reel>[^/]+)/(?<clip>[^/]+)\\.new\n")
    code, card = look(top, env=env)
    assert (code, card["family"], card["reel"], card["clip_count"]) == (0, "newcam", "Z001", 2)
    (rules / "zz-off.conf").write_text("[newcam]\noff = yes\n")
    assert look(top, env=env)[0] == 8


def test_the_rules_of_a_store(tmp_path, plain):
    top = card_of(tmp_path, "NEWCAM/clip1.new")
    (plain.store / "cards.d").mkdir()
    (plain.store / "cards.d/new.conf").write_text("[newcam]\nmarker = NEWCAM/\n"
                                                  "media = NEWCAM/(?<clip>[^/]+)\\.new\n")
    assert look(top)[0] == 8
    assert look(top, "--store", plain.store)[1]["family"] == "newcam"
    shutil.copytree(top, plain.mnt / "CARD")
    assert look(plain.mnt / "CARD")[1]["family"] == "newcam"
    # Who copies it into that volume hears what is missing.
    (plain.store / "cards.d/new.conf").write_text(
        "[newcam]\ntitle = New Camera\nmarker = NEWCAM/\nmedia = NEWCAM/(?<clip>[^/]+)\\.new\n"
        "required = NEWCAM/(?<clip>[^/]+)\\.xml\n")
    said = mediafs("offload", "--name", "C1", top, plain.mnt / "day1").stdout
    assert "New Camera" in said and "clip1 lacks its sidecar file" in said


BROKEN = [
    ("[x]\nmarker = A(/\nmedia = (?<clip>.*)\n", "line 2"),
    ("[x]\nmarker = A/\nmedia = (?<clap>.*)\n", "line 3: media: there is no such group: clap"),
    ("[x]\nmarker = A/\nmedia = .*\n", "line 3"),
    ("[x]\nmarker = A/\n", "line 1: the family has no media"),
    ("\n[x]\nmedia = (?<clip>.*)\n", "line 2: the family has neither"),
    ("[x]\nmarker A/\n", "line 2"),
    ("[x]\nmarker = [A\n", "line 2"),
    ("marker = A/\n", "line 1: a key before"),
    ("[x]\nmarket = A/\n", "line 2: a family has no such key: market"),
    ("[x]\noff = maybe\n", "line 2"),
    ("[x]\noff = yes\n[x]\noff = yes\n", "line 3"),
    ("[common]\nmarker = A/\n", "line 2"),
    ("[x\n", "line 1"),
    ("[x]\nmarker = " + "A" * 2000 + "\n", "line 2"),
    ("[x]\nmarker = " + "(A)" * 40 + "\n", "line 2"),
    ("[x]\nmarker = A\0\n", "NUL"),
]


@pytest.mark.parametrize("text, why", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_rule_file_is_named_and_the_others_work(tmp_path, rules, text, why):
    broken = rules / "broken.conf"
    broken.write_text(text)
    top = cards.make(tmp_path / "CARD", "arri")
    env = {"MEDIAFS_CARDS": str(rules)}
    code, card = look(top, env=env)
    assert (code, card["family"]) == (0, "arri")
    assert len(card["rule_errors"]) == 1
    assert str(broken) in card["rule_errors"][0] and why in card["rule_errors"][0]
    done = mediafs("card", top, env={**os.environ, **env})
    assert str(broken) in done.stderr and why in done.stderr


def test_without_any_rules(tmp_path):
    (tmp_path / "none").mkdir()
    done = mediafs("card", tmp_path, check=False,
                   env={**os.environ, "MEDIAFS_CARDS": str(tmp_path / "none")})
    if done.returncode == 8:
        pytest.skip("this machine has rules of its own")
    assert done.returncode == 7 and "cards.d" in done.stderr


@pytest.mark.slow
def test_100_000_frames_are_looked_at_at_once(tmp_path):
    top = tmp_path / "CARD"
    shot = top / "ARI/A003R2EC/A003C002_261128_R2EC"
    shot.mkdir(parents=True)
    for number in range(100_000):
        if number not in (5, 70_000, 70_001):
            os.close(os.open(shot / f"A003C002_261128_R2EC.{number:07}.ari", os.O_CREAT, 0o644))
    begin = time.monotonic()
    names = sum(1 for _ in os.scandir(shot))
    for entry in os.scandir(shot):
        entry.stat()
    by_python = time.monotonic() - begin
    begin = time.monotonic()
    code, card = look(top)
    took = time.monotonic() - begin
    assert code == 5 and card["files"] == names == 99_997
    assert card["clips"][0]["frames"] == 99_997
    texts = [warning["text"] for warning in card["warnings"] if warning["kind"] != "zero-bytes"]
    assert texts == ["clip A003C002_261128_R2EC lacks 3 frames: 5, 70000 to 70001"]
    assert len(card["warnings"]) == 201 and card["warnings_more"] == 99_997 - 200
    # A pattern for each frame would take many times of what looking at the folder takes.
    assert took < 10 * by_python + 1
