"""Histories that the daemon writes by itself when a card was copied in and verified."""
import contextlib
import json
import os
import random
import shutil
import sqlite3
import threading
import time
import xml.etree.ElementTree as xml

import pytest

import cards
import media
from lib import flip, fsck, mediafs, tool, wait_for
from mhl import ASC, check_generation, check_schemas, digest, manifest, newest

QUICK = {"manifest.settle": "200ms"}
ROUNDS = int(os.environ.get("MEDIAFS_TEST_ROUNDS", "3"))


@pytest.fixture
def carts(sites, tier):
    """A mounted cart with a tier that writes histories soon."""
    return sites("cart", tier=tier, settings=QUICK).mount()


def rows(site, query):
    with contextlib.closing(sqlite3.connect(f"file:{site.store}/catalog.db?mode=ro",
                                            uri=True)) as catalog:
        return catalog.execute(query).fetchall()


def settled(site):
    """Wait until all is verified and nothing is left for the historian to look at."""
    site.wait(state="verified")
    wait_for(lambda: not rows(site, "SELECT folder FROM unsettled"), "the historian to be done")


def generations(top):
    return sorted(path.name for path in (top / "ascmhl").glob("*.mhl"))


def copy_in(site, source, name, settle=QUICK["manifest.settle"]):
    """As a desktop does; looked at when it is whole, however long a busy machine takes for it."""
    site.set("manifest.settle", "1h")
    top = shutil.copytree(source, site.mnt / name)
    site.set("manifest.settle", settle)
    return top


def copy(site, tmp_path, kind, name, **how):
    """A sample card in the volume."""
    return copy_in(site, cards.make(tmp_path / "cards" / name, kind), name, **how)


def test_what_clips_say_is_kept_when_a_card_settles(carts):
    """Before anybody asked for it, and its bytes were evicted."""
    folder = carts.mnt / "26Y11M28"
    folder.mkdir()
    (folder / "12A-T003.WAV").write_bytes(media.wav(samples=4 << 20, more=12 << 20))
    settled(carts)
    carts.wait()
    carts.cmd("evict", folder)
    carts.wait_state("26Y11M28/12A-T003.WAV", "evicted")
    said = json.loads(carts.cmd("report", folder, "--json").stdout)
    (clip,) = said["cards"][0]["clips"]
    assert (clip["meta"]["scene"], clip["meta"]["tracks"]) == ("12A", ["Boom", "Lav Ann"])
    # Where no histories are written, too.
    carts.set("manifest.kind", "none")
    (carts.mnt / "26Y11M29").mkdir()
    (carts.mnt / "26Y11M29/7-T001.WAV").write_bytes(media.wav())
    settled(carts)
    assert len(rows(carts, "SELECT content FROM said")) == 2
    assert not (carts.mnt / "26Y11M29/ascmhl").exists()


def test_a_clip_that_is_shorter_than_it_says_is_not_sealed(carts, tmp_path):
    """A copy without times that was broken off; or a camera that lost its power."""
    for key, value in (("safe.offsite", "0"), ("safe.distinct_devices", "no")):
        carts.set(key, value)
    name = "26Y11M28/12A-T003.WAV"
    card = tmp_path / "card"
    (card / "26Y11M28").mkdir(parents=True)
    (card / name).write_bytes(media.wav())
    (card / "26Y11M28/12A-T004.WAV").write_bytes(media.wav())
    top = carts.mnt / "26Y11M28"
    top.mkdir()
    (top / "12A-T004.WAV").write_bytes(media.wav())
    (carts.mnt / name).write_bytes(media.wav()[:9000])

    def told():
        return [event["detail"] for event in carts.events() if event["event"] == "no history"]

    wait_for(told, "the historian to look")
    assert told() == [f"{name} is shorter than its header says, as if its copy was broken off: "
                      "copy it again. If the card has it so: mediafs manifest create, mediafs seal"]
    assert not (top / "ascmhl").exists()
    (offload,) = (json.loads(line) for line in carts.cmd("offloads", "--json").stdout.splitlines())
    assert (offload["cut_off"], offload["cut_off_files"]) == (name, 1)
    assert f"warning: {name} is shorter than its header says" in carts.cmd("offloads").stdout
    report = carts.cmd("report", top, "--csv", tmp_path / "x.csv").stdout
    assert "1 file is shorter than the header says" in report
    assert f"shorter than its header says: {name} has 9000 of " in (tmp_path / "x.csv").read_text()
    carts.wait()
    done = json.loads(carts.cmd("safe", "--offload", top, "--json", check=False).stdout)
    assert done["verdict"] == "not safe"
    assert [(reason["reason"], [file["path"] for file in reason["files"]])
            for reason in done["reasons"]] == [("cut-off", ["12A-T003.WAV"])]
    # The same on the card: what is there is all there is, but nobody is left unaware.
    (card / name).write_bytes(media.wav()[:9000])
    done = carts.cmd("safe", card)
    assert done.stdout.startswith("SAFE TO FORMAT") and "WARNING: 1 file is shorter" in done.stdout
    # Copied again, as a person does.
    (carts.mnt / name).write_bytes(media.wav())
    settled(carts)
    assert len(generations(top)) == 1
    (offload,) = (json.loads(line) for line in carts.cmd("offloads", "--json").stdout.splitlines())
    assert offload["sealed"] and offload["cut_off"] is None
    assert carts.cmd("safe", "--offload", top).stdout.startswith("SAFE IN THE VOLUME")


def test_a_clip_that_a_person_says_is_whole_holds_nothing_off(carts):
    """Sealed by hand, or opened on purpose: what comes later is not kept waiting for it."""
    top = carts.mnt / "26Y11M28"
    top.mkdir()
    (top / "12A-T003.WAV").write_bytes(media.wav()[:9000])
    wait_for(lambda: [event for event in carts.events() if event["event"] == "no history"],
             "the historian to look")
    assert not (top / "ascmhl").exists()
    assert manifest("create", top)[0] == 0
    mediafs("seal", top)
    settled(carts)
    for number in (4, 5):
        before = len(generations(top))
        (top / f"12A-T00{number}.WAV").write_bytes(media.wav())
        settled(carts)
        assert len(generations(top)) == before + 1 and manifest("verify", top)[0] == 0
        mediafs("unseal", top)
    # One that is cut off comes to what is sealed: that is waited for.
    mediafs("seal", top)
    (top / "12A-T006.WAV").write_bytes(media.wav()[:9000])
    wait_for(lambda: any("T006.WAV is shorter" in event["detail"] for event in carts.events()
                         if event["event"] == "no history"), "a word about the second one")
    assert len(generations(top)) == before + 1


def test_status_tells_of_the_cards_that_are_asked_for(carts, tmp_path):
    """Of two in one folder, one that is done with and one that waits."""
    def told(path=""):
        said = json.loads(carts.cmd("status", carts.mnt / path, "--json").stdout)["offloads"]
        return sorted((card["path"], card["state"] == "settled") for card in said)

    copy(carts, tmp_path, "sony-xavc", "day1/A")
    settled(carts)
    copy(carts, tmp_path, "arri", "day1/B", settle="1h")
    carts.wait(state="verified")
    wait_for(lambda: ("day1/B/A004R1JL", False) in told(), "the second card")
    assert told() == told("day1") == [("day1/A", True), ("day1/B/A004R1JL", False)]
    assert told("day1/A") == [("day1/A", True)]
    assert told("day1/B") == [("day1/B/A004R1JL", False)]
    assert told("day1/B/A004R1JL/A004R1JL.ale") == []


def test_status_tells_of_cards_that_arrive(carts, tmp_path):
    def status(path=""):
        return carts.cmd("status", carts.mnt / path, "--json")

    def told(path=""):
        return {card["path"]: card for card in json.loads(status(path).stdout)["offloads"]}

    cards.add(carts.mnt, ["notes/day1.txt"])
    carts.wait(state="verified")
    assert told() == {}
    top = copy(carts, tmp_path, "sony-xavc", "B_ROLL", settle="1h")
    count = sum(path.is_file() for path in top.rglob("*"))
    clip = next(top.rglob("*.MXF"))
    times = clip.stat()
    with open(clip, "r+b") as file:
        file.write(b"still")
        file.flush()
        wait_for(lambda: told()["B_ROLL"]["verified"] == count - 1, "all but one")
        assert told()["B_ROLL"] == {"path": "B_ROLL", "reel": "A247", "state": "arriving",
                                    "running": False, "files": count, "verified": count - 1}
        assert f"card A247 (B_ROLL): arriving, {count - 1} of {count} files verified\n" in \
            carts.cmd("status").stdout
        assert told("notes") == {} and set(told("B_ROLL")) == {"B_ROLL"}
    # Else it looks as if its copy was broken off.
    os.utime(clip, ns=(times.st_atime_ns, times.st_mtime_ns))
    carts.wait(state="verified")
    assert told()["B_ROLL"]["state"] in ("verified", "stored")
    # One that mediafs offload did not bring to its end.
    marker = carts.mnt / "B_ROLL/.offload.mediafs-parts"
    marker.touch()
    wait_for(lambda: told()["B_ROLL"]["running"], "the marker")
    assert "arriving (mediafs offload)" in carts.cmd("status").stdout
    marker.unlink()
    carts.set("manifest.settle", "200ms")
    settled(carts)
    card = told()["B_ROLL"]
    assert card["state"] == "settled" and card["settled_ns"] <= time.time_ns()
    assert "card B_ROLL: arrived" in carts.cmd("status").stdout


@pytest.mark.slow
def test_status_names_a_folder_that_is_too_large_to_be_looked_into(plain):
    cards.add(plain.mnt, ["many/file"])
    for number in range(5001):
        os.link(plain.mnt / "many/file", plain.mnt / f"many/{number}")
    wait_for(lambda: plain.status()["offloads"] == [{"path": "many", "state": "many files"}],
             "the large folder")
    assert "cards arrive in many: see mediafs offloads" in plain.cmd("status").stdout


def test_a_card_gets_its_history_and_tiers_get_it(carts, tier, tmp_path):
    top = copy(carts, tmp_path, "sony-xavc", "B_ROLL")
    cards.add(carts.mnt, ["notes/day1.txt", "notes/day2.txt"])
    settled(carts)
    root = newest(top)
    assert root.findtext(f"{ASC}processinfo/{ASC}process") == "transfer"
    assert set.union(*check_generation(top, ["xxh128"]).values()) == {"original"}
    assert manifest("verify", top)[0] == 0
    assert not (carts.mnt / "notes/ascmhl").exists()
    carts.wait()
    for path in (top / "ascmhl").iterdir():
        copies = [found.read_bytes() for found in tier.rglob(path.name)]
        assert path.read_bytes() in copies
    written = [event for event in carts.events() if event["event"] == "history written"]
    assert [event["path"] for event in written] == [f"B_ROLL/ascmhl/{generations(top)[0]}"]

    # Litter is nobody's news, and a restart neither; a late file is.
    cards.add(top, [".DS_Store", "._clip", "XDROOT/Clip/._x"])
    settled(carts)
    carts.umount()
    carts.mount()
    settled(carts)
    assert len(generations(top)) == 1
    assert manifest("verify", top)[0] == 0
    late = next(path for path in top.rglob("*.MXF"))
    mediafs("evict", late)
    data = late.read_bytes()
    mediafs("evict", late)
    added = cards.add_late(top, "LATE", data)
    settled(carts)
    assert len(generations(top)) == 2
    actions = check_generation(top, ["xxh128"])
    for path in added:
        assert actions.pop(str(path.relative_to(top))) == {"original"}
    assert set.union(*actions.values()) == {"verified"}
    assert manifest("verify", top)[0] == 0


def test_read_back_makes_the_hashes_that_are_asked_for(carts, tmp_path):
    """Also a legacy list, of which the history tells too; one of each, however often it is looked."""
    carts.set("manifest.hash", "md5, c4, xxh64")
    carts.set("manifest.kind", "none")
    top = copy(carts, tmp_path, "arri", "A004R1JL")
    settled(carts)
    assert rows(carts, "SELECT count(*) FROM hashes") == [(0,)]
    shutil.rmtree(top)
    carts.set("manifest.kind", "both")
    (top / "A004R1JL").mkdir(parents=True)
    data = {name: os.urandom(size) for name, size in (
        ("A004C010_261128_R1JL.mov", (9 << 20) + 7), ("A004C011_261128_R1JL.mov", 100))}
    for name, bytes_ in data.items():
        (top / "A004R1JL" / name).write_bytes(bytes_)
    settled(carts)
    scope = next(top.parent.rglob("ascmhl")).parent
    assert len(rows(carts, "SELECT * FROM hashes")) >= 3 * len(data)
    check_generation(scope, ["c4", "md5", "xxh64"])
    lists = list(scope.glob("*.mhl"))
    assert len(lists) == 1 and len(generations(scope)) == 1
    assert manifest("verify", lists[0])[0] == 0
    assert lists[0].name in {path.text for path in newest(scope).iter(ASC + "path")}
    made = {date.text[:4] for date in xml.parse(lists[0]).getroot().iter("hashdate")}
    assert made == {time.strftime("%Y", time.gmtime())}
    if os.environ.get("MEDIAFS_TEST_MHL") and tool("xmllint"):
        assert check_schemas(scope) >= 3
    values = {value.hex() for (value,) in rows(carts, "SELECT value FROM hashes WHERE format='md5'")}
    assert {digest("md5", bytes_).hex() for bytes_ in data.values()} <= values


def test_a_history_that_came_with_the_card_is_continued(carts, tmp_path):
    """Never rewritten; and what is not as it says is told."""
    for name, damage in (("GOOD", False), ("BAD", True)):
        source = cards.make(tmp_path / "cards" / name, "sony-xavc")
        assert manifest("create", source, "--hash", "md5")[0] == 0
        before = {path.name: path.read_bytes() for path in (source / "ascmhl").iterdir()}
        clip = next(source.rglob("*.MXF"))
        if damage:
            flip(clip, 3)
        top = copy_in(carts, source, name)
        settled(carts)
        assert len(generations(top)) == 2
        first = next(file for file in before if file.endswith(".mhl"))
        assert (top / "ascmhl" / first).read_bytes() == before[first]
        found = {record.findtext(ASC + "path"): record.find(ASC + "md5").get("action")
                 for record in newest(top).iter(ASC + "hash")}
        path = str(clip.relative_to(source))
        assert found.pop(path) == ("failed" if damage else "verified")
        assert set(found.values()) == {"verified"}
        told = [event["path"] for event in carts.events() if event["event"] == "manifest mismatch"]
        assert told == ([f"{name}/{path}"] if damage else [])
        assert manifest("verify", top)[0] == (11 if damage else 0)
        assert os.getxattr(top, "user.mediafs.sealed") == (b"0" if damage else b"1")


def test_it_waits_for_what_is_not_finished(carts, tmp_path):
    cards.add(carts.mnt / "A", ["XDROOT/Clip/.C0009.MXF.a1b2c3", "XDROOT/Clip/C0009M01.XML"])
    os.utime(carts.mnt / "A/XDROOT/Clip/.C0009.MXF.a1b2c3", (10**9, 10**9))
    top = copy(carts, tmp_path, "sony-xavc", "B")
    clip = next(top.rglob("*.MXF"))
    with open(clip.with_name("C0007.MXF"), "wb") as open_file:
        open_file.write(b"not all")
        open_file.flush()
        source = cards.make(tmp_path / "cards/A", "sony-xavc")
        shutil.copytree(source, carts.mnt / "A", dirs_exist_ok=True)
        third = copy(carts, tmp_path, "sony-xavc", "C")
        wait_for(lambda: generations(third), "the third card's history")
        assert not (top / "ascmhl").exists() and not (carts.mnt / "A/ascmhl").exists()
        open_file.write(b", now it is")
        open_file.flush()
        os.utime(open_file.fileno(), (10**9, 10**9))
    cards.add(top, ["XDROOT/Clip/C0007M01.XML"])
    # What `mediafs offload` leaves standing until all of the card is there.
    cards.add(carts.mnt / "D", [".offload.mediafs-parts"])
    copied = cards.make(tmp_path / "cards/D", "sony-xavc")
    shutil.copytree(copied, carts.mnt / "D", dirs_exist_ok=True)
    unfinished = carts.mnt / "A/XDROOT/Clip/.C0009.MXF.a1b2c3"
    unfinished.rename(unfinished.with_name("C0009.MXF"))
    for card in (top, carts.mnt / "A"):
        wait_for(lambda card=card: generations(card), f"the history of {card}")
        assert manifest("verify", card)[0] == 0
    assert not (carts.mnt / "D/ascmhl").exists()
    (carts.mnt / "D/.offload.mediafs-parts").unlink()
    wait_for(lambda: generations(carts.mnt / "D"), "the history once it is whole")
    assert "XDROOT/Clip/C0009.MXF" in {path.text for path in
                                       newest(carts.mnt / "A").iter(ASC + "path")}


def test_a_name_that_xml_cannot_carry_is_told_and_nothing_written(carts, tmp_path):
    top = copy(carts, tmp_path, "sony-xavc", "B")
    bad = top / "bell\a.txt"
    bad.write_text("x")
    wait_for(lambda: any(event["event"] == "no history" for event in carts.events()), "the event")
    told = next(event for event in carts.events() if event["event"] == "no history")
    assert told["path"] == "B" and "bell" in told["detail"] and "rename it" in told["detail"]
    assert not (top / "ascmhl").exists()
    bad.rename(top / "bell.txt")
    wait_for(lambda: generations(top), "the history")
    assert manifest("verify", top)[0] == 0


def test_whoever_only_receives_the_tree_writes_nothing(carts, sites, tier, tmp_path):
    editorial = sites("editorial", join=tier, options=["rw"], settings=QUICK).mount()
    top = copy(carts, tmp_path, "sony-xavc", "B")
    settled(carts)
    carts.wait()
    wait_for(lambda: (editorial.mnt / "B/ascmhl/ascmhl_chain.xml").exists(), "the history there")
    wait_for(lambda: len(list((editorial.mnt / "B").rglob("*"))) == len(list(top.rglob("*"))),
             "all of the card there")
    for path in top.rglob("*"):
        if path.is_file():
            assert (editorial.mnt / path.relative_to(carts.mnt)).read_bytes() == path.read_bytes()
    assert not rows(editorial, "SELECT * FROM unsettled")
    assert generations(editorial.mnt / "B") == generations(top)
    assert manifest("verify", editorial.mnt / "B")[0] == 0
    carts.wait()
    assert len(generations(top)) == 1

    # Bytes that arrive there are its own: it continues the history, whose manifests it fetches.
    cards.add_late(editorial.mnt / "B", "LATE", b"late" * 100)
    settled(editorial)
    editorial.wait()
    for site in (editorial, carts):
        wait_for(lambda site=site: len(generations(site.mnt / "B")) == 2, "the second generation")
        wait_for(lambda site=site: manifest("verify", site.mnt / "B")[0] == 0, "all files of it")
    assert len(generations(top)) == 2


def check_whole(site, top, files):
    """One valid history that tells of all; nothing half made, nothing twice."""
    assert manifest("verify", top)[0] == 0
    check_generation(top, ["xxh128"])
    names = {path.name for path in (top / "ascmhl").iterdir()}
    assert names == set(generations(top)) | {"ascmhl_chain.xml"}
    assert not [path for path in site.tree.rglob("*") if path.name.startswith((".ascmhl-", ".tmp-"))]
    told = {path.text for path in newest(top).iter(ASC + "path") if path.get("size")}
    assert told == files
    assert os.getxattr(top, "user.mediafs.sealed") == b"1"


def test_kills_while_histories_are_written(carts, tmp_path):
    """-9 at any moment, after each late file: a generation for each, or for several at once."""
    chance = random.Random(int(os.environ.get("MEDIAFS_TEST_SEED", "5")))
    top = copy(carts, tmp_path, "sony-xavc", "B")
    files = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
    settled(carts)
    check_whole(carts, top, files)
    count = 1
    for number in range(ROUNDS):
        added = cards.add_late(top, f"LATE{number}", os.urandom(100))
        files.update(str(path.relative_to(top)) for path in added)
        before = time.monotonic()
        carts.wait(state="verified")
        # From before it is looked at until after it is written, which takes some 100 ms.
        moment = before + 0.2 + chance.random() * 0.5
        while time.monotonic() < moment and len(generations(carts.tree / "B")) == count:
            threading.Event().wait(0.002)
        threading.Event().wait(chance.choice([0, 0.01, 0.05]))
        carts.kill()
        carts.mount()
        settled(carts)
        check_whole(carts, top, files)
        assert len(generations(top)) == count + 1
        count += 1


@pytest.mark.parametrize("kind, hashes", [("asc", "xxh128"), ("both", "md5")])
def test_a_catalog_that_is_made_anew_is_checked_against_manifests(sites, tmp_path, kind, hashes):
    """Bytes that nobody else remembers: a bit that fell over meanwhile is damage, no new file."""
    site = sites("plain", settings={**QUICK, "manifest.kind": kind, "manifest.hash": hashes}).mount()
    top = copy(site, tmp_path, "sony-xavc", "B")
    edited, rotten = sorted(top.rglob("*.MXF"))[0], sorted(top.rglob("*.XML"))[0]
    settled(site)
    mediafs("unseal", top)
    with open(edited, "ab") as file:
        file.write(b"changed on purpose")
    settled(site)
    assert len(generations(top)) == 2
    assert len(list(top.glob("*.mhl"))) == (kind == "both")  # no list vouches for what failed
    site.umount()
    backing = site.tree / rotten.relative_to(site.mnt)
    before = backing.stat()
    flip(backing, 2)
    os.utime(backing, ns=(before.st_atime_ns, before.st_mtime_ns))
    (site.store / "catalog.db").unlink()
    done = fsck("--rebuild-catalog", "--json", site.store)
    report = json.loads(done.stdout)
    path = str(rotten.relative_to(site.mnt))
    assert [(finding["outcome"], finding["path"]) for finding in report["findings"]
            if finding["what"] == "not as in its manifest"] == [("left", path)]
    assert done.returncode & 4
    site.mount()
    assert site.state(path) == "damaged"
    for other in top.rglob("*"):
        if other.is_file() and other != rotten:
            assert site.state(other.relative_to(site.mnt)) == "verified", other


def test_a_renamed_file_is_told_as_such(sites, tmp_path):
    site = sites("plain", settings={**QUICK, "manifest.seal": "no"}).mount()
    top = copy(site, tmp_path, "sony-xavc", "B")
    settled(site)
    clip = sorted(top.rglob("*.MXF"))[0]
    for path in sorted(top.rglob(clip.stem + "*")):  # until the last of them one clip lacks some
        path.rename(path.with_name(path.name.replace(clip.stem, "RENAMED")))
    settled(site)
    assert len(generations(top)) == 2
    before = {record.findtext(ASC + "path"): record.findtext(ASC + "previousPath")
              for record in newest(top).iter(ASC + "hash")}
    assert before[str(clip.with_name("RENAMED.MXF").relative_to(top))] == str(clip.relative_to(top))
    assert manifest("verify", top)[0] == 0
