"""`mediafs offload`: cards into a volume, compared with what was read back; and all that goes wrong."""
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import subprocess

import pytest

from lib import BLOCK, MEDIAFS, Site, loop_image, mediafs, pattern, run, same_bytes, same_tree, \
    tool
from offload_help import ALE, CLIP, MARKER, MHL, REEL, SMALL, Card, cards, faulty, images, \
    leftovers, names_below, no_histories, offload, results  # noqa: F401  (fixtures)


@pytest.mark.parametrize("kind", images() or [None])
def test_a_card_comes_in(plain, cards, kind):
    """All of it, once; what is there is compared again; the folder is the card's."""
    card = cards(kind=kind).fill()
    card.write(f"{REEL}/empty.txt", b"")
    (card.point / "EMPTY FOLDER").mkdir()
    card.write(".DS_Store", b"litter")
    if kind != "vfat" and kind != "exfat":
        os.symlink("A004C010_20100610_R1JL.mov", card.point / REEL / "link")
        os.mkfifo(card.point / "pipe")
        os.setxattr(card.point / ALE, "user.note", b"circled")
        (card.point / ALE).chmod(0o440)
        (card.point / SMALL).chmod(0o4755)  # must not act as us
    long = f"{'n' * 251}.mov"
    card.write(long, b"long")
    os.utime(card.point / REEL, (1.6e9, 1.6e9))
    done = offload(card.point, plain.mnt / "day1")
    assert set(results(done).values()) == {"copied"}
    top = plain.mnt / "day1" / REEL
    with contextlib.suppress(FileNotFoundError):
        (card.point / SMALL).chmod(0o755)
        (card.point / "pipe").unlink()
    same_tree(card.point, top)
    assert not leftovers(top)
    assert (top / REEL).stat().st_mtime == 1.6e9
    if kind is None or kind == "ext4":
        assert os.getxattr(top / ALE, "user.note") == b"circled"
        assert os.readlink(top / REEL / "link") == "A004C010_20100610_R1JL.mov"
    for path, line in done.files.items():
        assert plain.state(top / path) == "verified"
        assert line["digest"] == os.getxattr(top / path, "user.mediafs.digest").decode()
        if tool("xxhsum"):
            with open(card.point / path, "rb") as source:
                sum_line = run("xxhsum", "-H2", stdin=source).stdout
            assert sum_line.split()[0] == line["digest"]
    [summary] = done.summaries
    assert summary["whole"] and summary["known"]["reel"] == REEL and summary["copied"] == 6
    if kind:
        assert summary["label"] == REEL and summary["uuid"]
        assert json.loads(os.getxattr(top, "user.offload.card"))["uuid"] == summary["uuid"]
    listed = json.loads(plain.cmd("offloads", "--json").stdout)
    assert listed["state"] == "verified" and listed["reel"] == REEL

    # Once more: each file is read and compared, none is touched; one that is gone comes again.
    before = {name: (top / name).stat() for name in names_below(top)}
    (top / ALE).unlink()
    again = offload(card.point, plain.mnt / "day1")
    assert results(again).pop(ALE) == "copied"
    assert all(what == "there" for path, what in results(again).items() if path != ALE)
    same_tree(card.point, top)
    for name, info in before.items():
        if name != ALE:
            assert (top / name).stat().st_ctime_ns == info.st_ctime_ns

    # Half full, it comes again with more on it.
    card.write(f"{REEL}/A004C012_261128_R1JL.mxf", pattern(5000, 9))
    more = results(offload(card.point, plain.mnt / "day1"))
    assert [path for path, what in more.items() if what == "copied"] == \
        [f"{REEL}/A004C012_261128_R1JL.mxf"]
    same_tree(card.point, top)


@pytest.mark.skipif(not images(), reason="no file system of a card can be mounted here")
def test_two_cards_of_one_name(plain, cards, tmp_path):
    """They never become one folder; which card a folder is from is known."""
    (tmp_path / "other").mkdir()
    first, second = cards(kind="ext4").fill(), Card(tmp_path / "other", kind="ext4")
    try:
        second.fill(seed=5)
        offload(first.point, plain.mnt)
        refused = offload(second.point, plain.mnt, code=6)
        assert "another card" in refused.errors[0] and "--name" in refused.errors[0]
        same_tree(first.point, plain.mnt / REEL)
        both = offload(first.point, second.point, plain.mnt / "both", code=2)
        assert "one folder" in both.errors[0] and not (plain.mnt / "both").exists()
        offload(second.point, plain.mnt, "--name", f"{REEL} b")
        same_tree(second.point, plain.mnt / f"{REEL} b")
    finally:
        second.close()


def test_what_has_the_name(plain, cards):
    """The beginning of a file is a partial copy and is replaced, other bytes are left alone."""
    card = cards().fill()
    top = plain.mnt / "day" / REEL
    (top / REEL).mkdir(parents=True)
    (top / CLIP).write_bytes((card.point / CLIP).read_bytes()[:BLOCK + 7])
    others = pattern(BLOCK, 77)
    (top / SMALL).write_bytes(others)
    (top / ALE).mkdir()
    # A part of an earlier run is believed no more than anything else.
    part = card.write(f"{REEL}/part.mov", pattern(5000, 50))
    (top / REEL / ".part.mov.mediafs-part").write_bytes(pattern(5000, 51))
    good = card.write(f"{REEL}/good.mov", pattern(5000, 52))
    (top / REEL / ".good.mov.mediafs-part").write_bytes(good.read_bytes())
    inode = (top / REEL / ".good.mov.mediafs-part").stat().st_ino
    # Shorter, and not its beginning.
    short = card.write(f"{REEL}/short.mov", pattern(5000, 53))
    (top / REEL / "short.mov").write_bytes(b"no")
    plain.wait(state="verified")
    done = offload(card.point, plain.mnt / "day", code=5)
    assert results(done) == {CLIP: "copied", SMALL: "other", ALE: "other",
                             f"{REEL}/part.mov": "copied", f"{REEL}/good.mov": "copied",
                             f"{REEL}/short.mov": "other"}
    assert (top / REEL / "part.mov").read_bytes() == part.read_bytes()
    assert (top / REEL / "good.mov").stat().st_ino == inode
    assert (top / REEL / "short.mov").read_bytes() == b"no"
    for extra in (part, good, short):
        extra.unlink()
        (top / REEL / extra.name).unlink()
    assert (top / CLIP).read_bytes() == (card.point / CLIP).read_bytes()
    assert (top / SMALL).read_bytes() == others
    assert leftovers(top) == [MARKER]
    # While it is not whole, nothing says that it is.
    listed = json.loads(plain.cmd("offloads", "--json").stdout)
    assert listed["state"] == "arriving"
    said = mediafs("offload", card.point, plain.mnt / "day", check=False)
    assert said.returncode == 5 and "NOT all of it is there" in said.stdout
    assert f"{card.point}/{SMALL}: not copied" in said.stderr
    (top / ALE).rmdir()
    done = offload(card.point, plain.mnt / "day", "--replace")
    assert results(done) == {CLIP: "there", SMALL: "copied", ALE: "copied"}
    same_tree(card.point, top)
    assert json.loads(plain.cmd("offloads", "--json").stdout)["state"] == "verified"
    # What is longer than the card's file is no part of it.
    with open(top / ALE, "ab") as out:
        out.write(b"notes")
    plain.wait(state="verified")
    assert results(offload(card.point, plain.mnt / "day", code=5))[ALE] == "other"


def test_what_was_copied_by_hand_a_moment_ago(plain, cards):
    """Half of a card by Finder, then all of it by offload: what is not read back yet is waited for."""
    card = cards().fill(clip=10 * BLOCK)
    half = card.write("part.mov", pattern(3 * BLOCK, 60))
    last = card.write("zz.mov", pattern(BLOCK, 61))
    top = plain.mnt / REEL
    (top / REEL).mkdir(parents=True)
    with open(top / "zz.mov", "wb") as out:
        out.write(last.read_bytes())
        out.flush()
        (top / "part.mov").write_bytes(half.read_bytes()[:BLOCK + 1])
        run("cp", "-p", card.point / CLIP, top / CLIP)
        with subprocess.Popen([MEDIAFS, "offload", card.point, plain.mnt, "--json"],
                              stdout=subprocess.PIPE, text=True) as process:
            lines = [json.loads(process.stdout.readline()) for _ in range(4)]
            assert {line["path"]: line["result"] for line in lines} == {
                CLIP: "there", SMALL: "copied", ALE: "copied", "part.mov": "copied"}
            out.close()
            assert json.loads(process.stdout.readline())["result"] == "there"
            process.communicate()
    assert process.returncode == 0
    assert names_below(top) == names_below(card.point)
    for name in names_below(top):
        same_bytes(top / name, card.point / name)


def test_names_are_refused_before_anything_is_written(plain, cards):
    card = cards().fill()
    bad = {b"line\x01feed.mov": "manifest", b"\xff\xfe.mov": "manifest",
           b".mediafs-x": "volume keeps", b".x.mediafs-part": "not finished"}
    for name in bad:
        with open(bytes(card.point) + b"/" + name, "wb"):
            pass
    done = mediafs("offload", card.point, plain.mnt / "day", check=False)
    assert done.returncode == 1
    for why in bad.values():
        assert why in done.stderr
    assert not (plain.mnt / "day").exists()
    assert done.stderr.count(str(card.point)) >= len(bad)
    for name in bad:
        os.unlink(bytes(card.point) + b"/" + name)
    nameless = card.point.rename(card.point.parent / "Untitled")
    card.point = nameless
    offload(nameless, plain.mnt / "day")
    same_tree(nameless, plain.mnt / "day" / REEL)  # the reel that its files tell
    assert offload(nameless, nameless, plain.mnt, "--name", "x", code=2).errors
    assert offload(nameless, plain.mnt, "--name", "a/b", code=2).errors


def test_manifests_on_the_card(plain, cards, library, tmp_path):
    """All kinds are compared in the one pass: what differs is copied, named, and no success."""
    card = cards()
    run("cp", "-a", MHL / "v1-basic/A001R1AB", card.point)
    card.fill()
    run("cp", "-a", *sorted((MHL / "v6-legacy").glob("seal-*")), card.point)
    sums = {name: hashlib.md5((card.point / name).read_bytes()).hexdigest() for name in (CLIP, ALE)}
    card.write(f"{REEL}/{REEL}.md5", "".join(
        f"{value} *{pathlib.Path(name).name}\n" for name, value in sums.items()).encode())
    card.write(f"{SMALL}.sha1", hashlib.sha1((card.point / SMALL).read_bytes()).hexdigest().encode())
    done = offload(card.point, plain.mnt / "day", "--reread")
    equal = {path for path, line in done.files.items() if line.get("manifest") == "equal"}
    assert {CLIP, ALE, SMALL, "A001R1AB/Clips/A001C001.mov", "A001R1AB/empty.bin"} <= equal
    assert done.summaries[0]["manifest_equal"] == len(equal)
    legacy = [path for path in equal if not path.startswith(("A001R1AB/", REEL))]
    assert legacy, sorted(equal)
    same_tree(card.point, plain.mnt / "day" / REEL)

    def spoil(name):
        path = card.point / name
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    (plain.mnt / "bad").mkdir()
    for name in (CLIP, SMALL, "A001R1AB/Clips/A001C001.mov", legacy[0]):
        spoil(name)
    (card.point / "A001R1AB/empty.bin").unlink()
    chain = card.point / "B/ascmhl/ascmhl_chain.xml"
    chain.parent.mkdir(parents=True)
    chain.write_text("no chain")
    bad = offload(card.point, plain.mnt / "bad", code=5)
    assert {path for path, line in bad.files.items() if line.get("manifest") == "different"} == {
        CLIP, SMALL, "A001R1AB/Clips/A001C001.mov", legacy[0]}
    assert sums[CLIP] in bad.files[CLIP]["manifest_why"]
    assert {path for path, line in bad.files.items() if line["result"] == "manifest"} == {
        "A001R1AB/empty.bin", "B/ascmhl"}
    assert bad.summaries[0]["whole"]
    same_tree(card.point, plain.mnt / "bad" / REEL)
    said = mediafs("offload", card.point, plain.mnt / "bad", check=False)
    assert said.returncode == 5 and "the card is in doubt" in said.stdout

    # The second reading gives something else.
    env = faulty(library, tmp_path, f"flip2 0 */{CLIP}")
    twice = offload(card.point, plain.mnt / "twice", "--reread", code=5, env=env)
    assert results(twice)[CLIP] == "failed" and twice.files[CLIP]["errno"] == "EBADMSG"
    assert not (plain.mnt / "twice" / REEL / CLIP).exists()


def test_a_history_that_was_continued(plain, cards):
    """The daemon, or a person, has continued the card's history: it comes again, nothing differs."""
    card = cards("A001R1AB")
    run("cp", "-a", *(MHL / "v1-basic/A001R1AB").iterdir(), card.point)
    (card.point / "EmptyDir").mkdir()  # the history knows it; git cannot
    offload(card.point, plain.mnt)
    top = plain.mnt / "A001R1AB"
    before = (top / "ascmhl/ascmhl_chain.xml").read_bytes()
    mediafs("manifest", "create", top)
    plain.wait(state="verified")
    assert (top / "ascmhl/ascmhl_chain.xml").read_bytes() != before
    assert set(results(offload(card.point, plain.mnt, "--replace")).values()) == {"there"}
    mediafs("manifest", "verify", top)
    # Another history is no continuation.
    chain = card.point / "ascmhl/ascmhl_chain.xml"
    text = chain.read_text()
    at = text.index(">c4", 0) + 10
    chain.write_text(text[:at] + ("b" if text[at] != "b" else "c") + text[at + 1:])
    other = offload(card.point, plain.mnt, code=5)
    assert results(other)["ascmhl/ascmhl_chain.xml"] == "other"


def test_an_ordinary_user(plain, cards):
    """Who may write into the volume may offload; he has not to be its owner."""
    if os.geteuid() != 0 or not tool("setpriv"):
        pytest.skip("becoming another user needs root and setpriv")
    card = cards().fill()
    where = plain.mnt / "his"
    where.mkdir()
    os.chown(where, 65534, 65534)
    done = run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", MEDIAFS,
               "offload", card.point, where, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    same_tree(card.point, where / REEL)
    assert (where / REEL / CLIP).stat().st_uid == 65534


def test_many_small_files(plain, cards, library, tmp_path):
    """More than one question holds, four at a time, large ones between them; told in their order."""
    card = cards()
    for number in range(300):
        card.write(f"{REEL}/{number // 50}/A.{number:05}.dpx", pattern(100 + number, number))
    card.write(f"{REEL}/2/large.mov", pattern(BLOCK + 1, 800))
    bad = f"{REEL}/3/A.00150.dpx"
    env = faulty(library, tmp_path, f"read {errno.EIO} */{bad}")
    done = offload(card.point, plain.mnt, code=1, env=env)
    assert results(done).pop(bad) == "failed" and list(results(done).values()).count("copied") == 300
    assert list(done.files) == names_below(card.point)
    again = results(offload(card.point, plain.mnt))
    assert [path for path, what in again.items() if what == "copied"] == [bad]
    same_tree(card.point, plain.mnt / REEL)
    if os.geteuid() == 0 and tool("setpriv"):
        # Who may not ask the daemon asks for each file by its attributes.
        where = plain.mnt / "his"
        where.mkdir()
        os.chown(where, 65534, 65534)
        run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", MEDIAFS,
            "offload", card.point, where)
        run("diff", "-r", card.point, where / REEL)


def test_one_file_fails_the_rest_goes_on(plain, cards, library, tmp_path):
    """A read error, a write error, bytes that are spoilt on their way: named, nothing of them stays."""
    card = cards().fill()
    for number in range(4):
        card.write(f"{REEL}/more{number}.mov", pattern(20000, 20 + number))
    card.write("big.mov", pattern(BLOCK * 3 + 5, 30))
    env = faulty(library, tmp_path, f"read {errno.EIO} */{REEL}/more0.mov",
                 f"write {errno.EDQUOT} */.more1.mov.mediafs-part",
                 "spoil 0 */.more2.mov.mediafs-part", "spoil 0 */.big.mov.mediafs-part",
                 f"read {errno.EIO} */{CLIP}")
    done = offload(card.point, plain.mnt, code=5, env=env)
    assert results(done) == {
        CLIP: "failed", SMALL: "copied", ALE: "copied", "big.mov": "differs",
        f"{REEL}/more0.mov": "failed", f"{REEL}/more1.mov": "failed",
        f"{REEL}/more2.mov": "differs", f"{REEL}/more3.mov": "copied"}
    assert done.files[f"{REEL}/more0.mov"]["errno"] == "EIO"
    assert "read" in done.files[f"{REEL}/more0.mov"]["doing"]
    assert done.files[f"{REEL}/more1.mov"]["errno"] == "EDQUOT"
    top = plain.mnt / REEL
    assert set(names_below(top)) == {MARKER, SMALL, ALE, f"{REEL}/more3.mov"}
    said = mediafs("offload", card.point, plain.mnt, check=False, env={**os.environ, **env})
    assert said.returncode == 5 and f"{card.point}/{REEL}/more0.mov: cannot read it" in said.stderr
    assert f"{REEL}/more2.mov: not copied: what was read back" in said.stderr

    offload(card.point, plain.mnt)
    same_tree(card.point, top)


def test_the_volume_is_full(sites, cards, tmp_path):
    """The file that does not fit is named, smaller ones still come in."""
    if os.geteuid() != 0 or not tool("mkfs.ext4"):
        pytest.skip("mounting images needs root and mkfs.ext4")
    point, undo = loop_image(tmp_path, 64 << 20)
    site = Site(point, "full")
    site.mnt = tmp_path / "full.mnt"
    site.mnt.mkdir()
    try:
        site.mount()
        card = cards().fill()
        card.write(f"{REEL}/a.mov", pattern(22 << 20, 40))
        card.write(f"{REEL}/b.mov", pattern(22 << 20, 41))
        done = offload(card.point, site.mnt, code=1)
        failed = [path for path, what in results(done).items() if what == "failed"]
        assert len(failed) == 1 and done.files[failed[0]]["errno"] == "ENOSPC"
        top = site.mnt / REEL
        assert set(names_below(top)) == {*results(done), MARKER} - {*failed}
        for name in names_below(top):
            if name != MARKER:
                assert (top / name).read_bytes() == (card.point / name).read_bytes()
        (card.point / f"{REEL}/a.mov").unlink()
        (card.point / f"{REEL}/b.mov").unlink()
        for name in ("a.mov", "b.mov"):
            with contextlib.suppress(FileNotFoundError):
                (top / REEL / name).unlink()
        offload(card.point, site.mnt)
        same_tree(card.point, top)
    finally:
        site.close()
        undo()


def test_what_is_here_already_is_not_copied(plain, cards):
    """Content that has been verified elsewhere is named instead; what is small is copied anyway."""
    card = cards().fill()
    (plain.mnt / "old").mkdir()
    (plain.mnt / "old/renamed.mov").write_bytes((card.point / CLIP).read_bytes())
    (plain.mnt / "old/same size").write_bytes(pattern(BLOCK, 70))
    (plain.mnt / "old/small").write_bytes(b"Heading\n")
    plain.wait(state="verified")
    card.write("twin.mov", (card.point / SMALL).read_bytes())
    done = offload(card.point, plain.mnt / "new")
    assert results(done) == {CLIP: "elsewhere", SMALL: "copied", ALE: "copied",
                             "twin.mov": "copied"}
    assert done.files[CLIP]["as"] == "old/renamed.mov"
    top = plain.mnt / "new" / REEL
    assert not (top / CLIP).exists() and not leftovers(top)
    said = mediafs("offload", card.point, plain.mnt / "new")
    assert f"{card.point}/{CLIP}: already here as old/renamed.mov" in said.stderr
    # Frames of one size: after some that are new the rest is taken for new, and copied.
    frames = cards("B001R2EC")
    for number in range(6):
        frames.write(f"B001R2EC/frame.{number:07}.ari", pattern(1 << 20, 80 + number))
    (plain.mnt / "old/frame").write_bytes(pattern(1 << 20, 90))
    (plain.mnt / "old/fifth").write_bytes((frames.point / "B001R2EC/frame.0000004.ari").read_bytes())
    plain.wait(state="verified")
    assert set(results(offload(frames.point, plain.mnt)).values()) == {"copied"}
    again = results(offload(frames.point, plain.mnt / "again"))
    assert set(again.values()) == {"elsewhere"}
    # Equal in size alone: read, compared, copied.
    flipped = card.write(CLIP, pattern(2 * BLOCK + 12345, 99))
    assert results(offload(card.point, plain.mnt / "new"))[CLIP] == "copied"
    assert (top / CLIP).read_bytes() == flipped.read_bytes()
    assert set(results(offload(card.point, plain.mnt / "all", "--whole")).values()) == {"copied"}
    same_tree(card.point, plain.mnt / "all" / REEL)


def test_nothing_on_it_is_no_card_that_was_copied(plain, tmp_path):
    """A person who names the folder on which it was to be mounted is not told to format it."""
    (tmp_path / "A001").mkdir()
    said = mediafs("offload", tmp_path / "A001", plain.mnt).stdout
    assert "there is nothing on it" in said and "format" not in said and "all of it" not in said


def test_several_cards_and_one_folder_twice(plain, cards):
    first, second = cards().fill(), cards("B001R2EC").fill(seed=8)
    done = offload(first.point, second.point, plain.mnt / "two")
    assert len(done.summaries) == 2 and all(one["whole"] for one in done.summaries)
    same_tree(first.point, plain.mnt / "two" / REEL)
    same_tree(second.point, plain.mnt / "two" / "B001R2EC")
    # Another process has that folder.
    with open(plain.mnt / "two" / REEL / MARKER, "w+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another offload" in offload(first.point, plain.mnt / "two", code=6).errors[0]
    offload(first.point, plain.mnt / "two")


def test_what_is_unfinished_is_never_sent(cart, tier, cards):
    """Parts and the marker stay here by a rule that is listed; what has its name is sent."""
    card = cards().fill()
    top = cart.mnt / REEL
    (top / REEL).mkdir(parents=True)
    (top / ALE).mkdir()  # in the way: the offload cannot end
    cart.set("rules.ignore", "*.nothing")
    offload(card.point, cart.mnt, code=5)
    (top / REEL / ".x.mov.mediafs-part").write_bytes(b"part")
    cart.wait(state="stored")
    sent = [name for name in names_below(tier) if not name.startswith(".mediafs")
            and name != "tier.json"]
    assert sent == sorted([f"{REEL}/{CLIP}", f"{REEL}/{SMALL}"])
    ignored = json.loads(cart.cmd("ls", "-R", cart.mnt, "--json").stdout)["files"]
    assert {line["path"]: line["ignored_by"] for line in ignored if "ignored_by" in line} == {
        f"{REEL}/{MARKER}": ".*.mediafs-part*", f"{REEL}/{REEL}/.x.mov.mediafs-part":
        ".*.mediafs-part*"}

    def reasons(folder):
        said = cart.cmd("safe", "--json", "--offload", folder, check=False)
        return {reason["reason"]: [file["detail"] for file in reason["files"]]
                for reason in json.loads(said.stdout)["reasons"]}
    # Without the card nobody can say what lacks; that something does is known, in its folder too.
    cart.set("safe.copies", "1")
    cart.set("safe.offsite", "0")
    marker, part = f"{REEL}/{MARKER}", f"{REEL}/{REEL}/.x.mov.mediafs-part"
    assert {why: sorted(names) for why, names in reasons(top).items()} == {
        "unfinished": sorted([marker, part])}
    assert reasons(top / REEL) == {"unfinished": [marker, part]}
    (top / REEL / ".x.mov.mediafs-part").unlink()
    assert reasons(top / REEL) == reasons(top) == {"unfinished": [marker]}
    (top / ALE).rmdir()
    offload(card.point, cart.mnt)
    assert not leftovers(top)
    cart.wait(state="stored")
    assert reasons(top / REEL) == reasons(top) == {}
