"""mediafs offloads: cards that were copied into a volume."""
import json
import random
import shutil

import pytest

import cards
from lib import fsck, mediafs, wait_for
from test_histories import QUICK, copy_in, settled


def offloads(path, command="offloads"):
    """{path in the volume: offload}"""
    words = ["ls", "--clips"] if command == "clips" else ["offloads"]
    lines = mediafs(*words, "--json", path).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert len({offload["path"] for offload in found}) == len(found)
    return {offload["path"]: offload for offload in found}


@pytest.mark.parametrize("kind", cards.CARDS)
def test_a_card_that_was_copied_is_an_offload(plain, tmp_path, kind):
    expected = cards.CARDS[kind]
    shutil.copytree(cards.make(tmp_path / "FX9_CARD", kind), plain.mnt / "day1/FX9_CARD")
    plain.wait("day1", "verified")
    found = offloads(plain.mnt)
    assert len(found) == 1
    path, offload = found.popitem()
    assert path.startswith("day1/FX9_CARD")
    assert offload["family"] == expected["family"]
    assert offload["reel"] == expected["reel"]
    assert offload["state"] == "verified" and offload["verified"] == offload["total_files"]
    assert offload["warnings"] == [] and offload["same_reel"] is None
    clips = offloads(plain.mnt / "day1", "clips")[path]["clips"]
    assert {clip["name"] for clip in clips} == set(expected["clips"])
    text = mediafs("ls", "--clips", plain.mnt).stdout
    assert expected["reel"] in text and all(name in text for name in expected["clips"])


def test_a_day_of_cards(plain, tmp_path):
    for kind, name in (("arri", "card1"), ("red", "card2"), ("sound-mono", "card3")):
        source = cards.make(tmp_path / name, kind)
        for folder in source.iterdir():
            shutil.copytree(folder, plain.mnt / "day1" / folder.name)
    shutil.copytree(cards.make(tmp_path / "card4", "sony-xavc"), plain.mnt / "day1/B_ROLL")
    shutil.copytree(cards.make(tmp_path / "card5", "blackmagic"), plain.mnt / "day2/A001")
    cards.add(plain.mnt, ["day1/notes/report.pdf", "day1/notes/take.txt"])
    found = offloads(plain.mnt)
    assert {path: (offload["family"], offload["reel"]) for path, offload in found.items()} == {
        "day1/A004R1JL": ("arri", "A004R1JL"),
        "day1/A001_1204BG.RDM": ("red", "A001"),
        "day1/25Y01M15": ("sound-devices", "25Y01M15"),
        "day1/B_ROLL": ("sony-xavc", "A247"),
        "day2/A001": ("blackmagic", "A001"),
    }
    assert set(offloads(plain.mnt / "day2")) == {"day2/A001"}
    assert found["day1/A001_1204BG.RDM"]["same_reel"] == "day2/A001"
    assert "the same reel is at day2/A001\n" in mediafs("offloads", plain.mnt).stdout

    # A card once more, with other bytes under one of its names.
    shutil.copytree(plain.mnt / "day1/A004R1JL", plain.mnt / "day3/A004R1JL")
    plain.wait(state="verified")
    again = offloads(plain.mnt)
    assert again["day3/A004R1JL"]["same_reel"] == "day1/A004R1JL"
    assert again["day3/A004R1JL"]["other_bytes"] == 0
    name = min(str(path.relative_to(plain.mnt / "day3/A004R1JL"))
               for path in (plain.mnt / "day3/A004R1JL").rglob("*") if path.is_file())
    (plain.mnt / "day3/A004R1JL" / name).write_bytes(b"other")
    plain.wait(state="verified")
    for path, offload in offloads(plain.mnt).items():
        differs = (1, name) if path.endswith("A004R1JL") else (0, None)
        assert (offload["other_bytes"], offload["other_bytes_path"]) == differs
    assert f"with other bytes in 1 file of the same path ({name})" in \
        mediafs("offloads", plain.mnt).stdout


def test_a_recorders_day_makes_no_card_of_the_whole_show(sites, tmp_path):
    """Its marker is seen from two folders above, where no other card is: nothing there is sealed."""
    site = sites("plain", settings=QUICK).mount()
    site.set("manifest.settle", "1h")
    for day, kinds in (("day1", ("sound-mono", "arri")), ("day2", ("sound-mono", "arri-35"))):
        for kind in kinds:
            shutil.copytree(cards.make(tmp_path / f"{day}-{kind}", kind), site.mnt / "show" / day,
                            dirs_exist_ok=True)
    site.set("manifest.settle", QUICK["manifest.settle"])
    settled(site)
    wanted = {"day1/25Y01M15": "sound-devices", "day1/A004R1JL": "arri",
              "day2/25Y01M15": "sound-devices", "day2/A_0001_1DVA": "arri-35"}
    assert {path: offload["family"] for path, offload in offloads(site.mnt).items()} == {
        f"show/{path}": family for path, family in wanted.items()}
    assert sorted(str(path.parent.relative_to(site.mnt / "show")) for path in
                  (site.mnt / "show").rglob("ascmhl")) == sorted(wanted)


def test_each_copy_of_a_card_has_a_history_of_its_own(sites, tmp_path):
    """That is no other content under the name of one of the card's files."""
    site = sites("plain", settings=QUICK).mount()
    source = cards.make(tmp_path / "card", "sony-xavc")
    for day in ("day1", "day2"):
        copy_in(site, source, f"{day}/B_ROLL")
        settled(site)
    tables = [site.mnt / day / "B_ROLL/ascmhl/ascmhl_chain.xml" for day in ("day1", "day2")]
    assert tables[0].read_bytes() != tables[1].read_bytes()
    for offload in offloads(site.mnt).values():
        assert offload["same_reel"] and (offload["other_bytes"], offload["other_bytes_path"]) == (
            0, None)


def test_no_card(plain):
    # These have a folder below that is one by itself.
    below = {"xdroot deep in a project", "braw among edits"}
    for number, what in enumerate(sorted(set(cards.NO_CARDS) - below)):
        cards.add(plain.mnt / f"no{number}", cards.NO_CARDS[what])
    assert offloads(plain.mnt) == {}
    assert "no folder here" in mediafs("offloads", plain.mnt).stdout


def test_a_card_grows_in_any_order(plain, tmp_path):
    """As Finder does: empty ._ files and .DS_Store between, folders late, names in disorder."""
    top = plain.mnt / "B_ROLL"
    names = [name for name in cards.CARDS["sony-xavc"]["names"] if not name.endswith("/")]
    for seed in range(3):
        order = random.Random(seed).sample(names, len(names))
        for name in order:
            folder, _, last = name.rpartition("/")
            cards.add(top, [".DS_Store", f"{folder}/._{last}", name])
            for offload in offloads(plain.mnt).values():
                assert (offload["path"], offload["family"]) == ("B_ROLL", "sony-xavc")
        plain.wait("B_ROLL", "verified")
        offload = offloads(plain.mnt)["B_ROLL"]
        assert (offload["state"], offload["warnings"]) == ("verified", [])
        assert offload["files"] == len(names) and offload["junk_files"] == len(names) + 1
        shutil.rmtree(top)
        assert offloads(plain.mnt) == {}


def test_a_file_that_is_still_written_makes_it_arriving(plain, tmp_path):
    shutil.copytree(cards.make(tmp_path / "card", "arri"), plain.mnt, dirs_exist_ok=True)
    plain.wait("A004R1JL", "verified")
    with open(plain.mnt / "A004R1JL/A004C012_261128_R1JL.mov", "wb") as clip:
        clip.write(b"first")
        clip.flush()
        offload = offloads(plain.mnt)["A004R1JL"]
        assert (offload["state"], offload["clip_count"]) == ("arriving", 3)
        assert offload["verified"] == offload["total_files"] - 1
    plain.wait("A004R1JL", "verified")
    assert offloads(plain.mnt)["A004R1JL"]["state"] == "verified"


def test_what_is_missing_is_told_and_gone_when_it_comes(plain, tmp_path):
    card = cards.make(tmp_path / "card", "red")
    late = "A001_1204BG.RDM/A001_C001_12046M.RDC/A001_C001_12046M_001.R3D"
    shutil.copytree(card, plain.mnt, dirs_exist_ok=True)
    (plain.mnt / late).unlink()
    offload = offloads(plain.mnt)["A001_1204BG.RDM"]
    assert [warning["kind"] for warning in offload["warnings"]] == ["missing-segment"]
    assert "lacks segment 1" in mediafs("offloads", plain.mnt).stdout
    shutil.copy(card / late, plain.mnt / late)
    assert offloads(plain.mnt)["A001_1204BG.RDM"]["warnings"] == []


def test_it_is_the_same_after_a_restart_a_crash_and_a_rebuild(plain, tmp_path):
    for kind in ("arri", "red"):
        shutil.copytree(cards.make(tmp_path / kind, kind), plain.mnt, dirs_exist_ok=True)
    plain.wait("", "verified")
    before = offloads(plain.mnt)
    assert set(before) == {"A004R1JL", "A001_1204BG.RDM"}
    (plain.mnt / "A004R1JL").rename(plain.mnt / "moved")
    (plain.mnt / "moved").rename(plain.mnt / "A004R1JL")
    plain.umount()
    assert mediafs("offloads", "--store", plain.store).returncode == 0
    plain.mount()
    assert offloads(plain.mnt) == before
    plain.kill()
    plain.mount()
    assert offloads(plain.mnt) == before
    plain.umount()
    assert fsck("--rebuild-catalog", plain.store).returncode in (0, 1)
    plain.mount()
    plain.wait("", "verified")
    assert offloads(plain.mnt) == before


def test_the_other_site_sees_the_same(pair, tmp_path):
    cart, editorial = pair
    shutil.copytree(cards.make(tmp_path / "card", "sony-xavc"), cart.mnt / "B_ROLL")
    cart.wait(state="stored")
    keys = ("path", "family", "reel", "clip_count", "bytes", "files", "warnings", "state")
    ours = offloads(cart.mnt)["B_ROLL"]
    assert ours["state"] == "stored" and ours["stored"] == ours["total_files"]

    def seen():
        theirs = offloads(editorial.mnt).get("B_ROLL")
        return theirs and {key: theirs[key] for key in keys} == {key: ours[key] for key in keys}

    wait_for(seen, "the same offload at editorial")


def test_a_broken_rule_of_the_store_is_named(plain, tmp_path):
    shutil.copytree(cards.make(tmp_path / "card", "arri"), plain.mnt, dirs_exist_ok=True)
    (plain.store / "cards.d").mkdir()
    (plain.store / "cards.d/bad.conf").write_text("[x]\nmarker = (\n")
    done = mediafs("offloads", plain.mnt)
    assert "A004R1JL" in done.stdout
    assert "bad.conf: line 2" in done.stderr


def test_what_is_no_folder_of_a_volume(plain):
    (plain.mnt / "file").write_bytes(b"x")
    assert mediafs("offloads", plain.mnt / "file", check=False).returncode == 8
    assert mediafs("offloads", plain.mnt / "absent", check=False).returncode == 8
