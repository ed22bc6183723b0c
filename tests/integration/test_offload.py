"""`mediafs offload`: cards into a volume, compared with what was read back; and all that goes wrong."""
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess

import pytest

from disk import Shutdown, unmount
from lib import BLOCK, CARD_RULES, MEDIAFS, PATIENCE, Site, loop_image, mediafs, pattern, run, \
    same_tree, tool, wait_for

SEED = int(os.environ.get("MEDIAFS_TEST_SEED", "11"))
ROUNDS = int(os.environ.get("MEDIAFS_TEST_ROUNDS", "2"))
MHL = pathlib.Path(__file__).resolve().parents[1] / "mhl"
MARKER = ".offload.mediafs-parts"
REEL = "A004R1JL"
CLIP = f"{REEL}/A004C010_20100610_R1JL.mov"
SMALL = f"{REEL}/A004C011_261128_R1JL.mxf"
ALE = f"{REEL}/{REEL}.ale"

os.environ.setdefault("MEDIAFS_CARDS", str(CARD_RULES))


class Card:
    """A file system of its own with an ARRI card on it, or a plain folder (kind None)."""

    def __init__(self, folder, name=REEL, kind=None, size=48 << 20):
        self.point = pathlib.Path(folder) / name
        self.point.mkdir()
        self.image = None
        if kind:
            self.image = pathlib.Path(folder) / f"{name}.img"
            with open(self.image, "wb") as out:
                out.truncate(size)
            label = {"ext4": "-L", "vfat": "-n", "exfat": "-L"}[kind]
            run(f"mkfs.{kind}", *(["-q"] if kind == "ext4" else []), label, name, self.image)
            run("mount", "-o", "loop", self.image, self.point)

    def fill(self, clip=2 * BLOCK + 12345, small=BLOCK, seed=1):
        self.write(CLIP, pattern(clip, seed))
        self.write(SMALL, pattern(small, seed + 1))
        self.write(ALE, b"Heading\n")
        return self

    def write(self, name, content, mtime=1_600_000_000):
        path = self.point / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(mtime * 10**9 + 123456000, mtime * 10**9 + 123456000))
        return path

    def close(self):
        if self.image:
            run("umount", "-l", self.point, check=False)
            self.image.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def no_histories(request):
    """A tree that is compared with the card has nothing more than the card."""
    for name in ("plain", "cart"):
        if name in request.fixturenames:
            request.getfixturevalue(name).set("manifest.kind", "none")


@pytest.fixture
def cards(tmp_path):
    made = []

    def make(*args, **options):
        card = Card(tmp_path, *args, **options)
        made.append(card)
        return card
    yield make
    for card in made:
        card.close()


def images():
    """The file systems of cards that this kernel can mount; not needed where it cannot."""
    known = pathlib.Path("/proc/filesystems").read_text(encoding="ascii").split()
    return [kind for kind in ("ext4", "vfat", "exfat")
            if os.geteuid() == 0 and kind in known and tool(f"mkfs.{kind}")]


def offload(*args, code=0, env=None, **options):
    """Run it with --json: {path on the card: line}, the summaries, and the process."""
    done = mediafs("offload", *args, "--json", check=False,
                   env={**os.environ, **(env or {})}, **options)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert lines and lines[-1].get("code") == code, done.stdout
    done.errors = [line["error"] for line in lines if "error" in line and "path" not in line]
    done.summaries = [line for line in lines if "summary" in line]
    done.files = {line["path"]: line for line in lines if "path" in line}
    return done


def results(done):
    return {path: line["result"] for path, line in done.files.items()}


def names_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def leftovers(folder):
    return [name for name in names_below(folder) if "mediafs-part" in name]


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


def faulty(library, tmp_path, *lines):
    table = tmp_path / "faults"
    table.write_text("".join(f"{line}\n" for line in lines))
    # The library comes before the sanitizers' own, which do not like that.
    return {"LD_PRELOAD": str(library), "MEDIAFS_FAULT": str(table),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


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


@pytest.mark.skipif("ext4" not in images(), reason="no ext4")
def test_the_card_is_gone_in_the_middle(plain, library, tmp_path):
    """As when it is pulled out: reads fail from some moment on; what is there stays good."""
    disk = Shutdown(tmp_path, "ext4")
    try:
        card = disk.point
        for number in range(6):
            (card / f"clip{number}.mov").write_bytes(pattern(BLOCK + 1, number))
        run("sync", "-f", card)
        copy = tmp_path / "copy"
        run("cp", "-a", card, copy)
        top = plain.mnt / "x" / "pulled"
        command = [MEDIAFS, "offload", card, plain.mnt / "x", "--name", "pulled", "--json"]

        def pull(*faults):
            env = faulty(library, tmp_path, "stop 1 */clip3.mov")
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                                       env={**os.environ, **env})
            wait_for(lambda: stat_of(process)[0] == "T", "the offload at the fourth clip")
            faulty(library, tmp_path, *faults)
            if not faults:
                disk.cut()
            process.send_signal(signal.SIGCONT)
            out = process.communicate(timeout=PATIENCE)[0]
            assert process.returncode == 1, out
            lines = [json.loads(line) for line in out.splitlines()]
            assert not lines[-2]["whole"]
            return {line["path"]: line["result"] for line in lines if "path" in line}, lines[-2]
        # The device is gone too: nothing more is tried.
        told, summary = pull(f"read {errno.EIO} */clip?.mov",
                             f"access {errno.ENOENT} /sys/dev/block/*")
        assert told["clip3.mov"] == "failed" and "clip4.mov" not in told
        assert summary["gone"] and summary["left"] == 2
        # As far as anybody can tell, it is only the disk that fails: each file is tried and named.
        told, summary = pull()
        assert {name: told[f"clip{number}.mov"] for number, name in enumerate("012345")} == {
            **dict.fromkeys("012", "there"), **dict.fromkeys("345", "failed")}
        there = [name for name in names_below(top) if name != MARKER]
        assert there == ["clip0.mov", "clip1.mov", "clip2.mov"] and MARKER in names_below(top)
        for name in there:
            run("cmp", top / name, copy / name)
        disk.restart()
        again = results(offload(card, plain.mnt / "x", "--name", "pulled"))
        assert {path for path, what in again.items() if what == "there"} == set(there)
        assert not leftovers(top)
        for path in again:
            run("cmp", top / path, copy / path)
    finally:
        disk.close()


def stat_of(process):
    """The fields of /proc/PID/stat after the program's name; the first is its state."""
    text = pathlib.Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii")
    return text.rsplit(")", 1)[1].split()


def bytes_below(folder):
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def check_honest(top, card):
    """Whatever has a card's name has its bytes, and a folder that is not whole says so."""
    found = names_below(top) if top.exists() else []
    for name in found:
        if "mediafs-part" not in name:
            run("cmp", top / name, card / name)
    whole = len([name for name in found if "mediafs-part" not in name]) == len(names_below(card))
    assert not top.exists() or whole or MARKER in found or not found


@pytest.mark.parametrize("victim", ["offload", "daemon"])
def test_killed_at_any_moment(plain, cards, victim):
    """kill -9: nothing looks complete that is not, and the next run completes it."""
    chance = random.Random(SEED)
    card = cards()
    for number in range(10):
        card.write(f"{REEL}/A004C{number:03}_261128_R1JL.mov",
                   pattern(chance.choice([0, 1000, BLOCK, BLOCK + 17]), number))
    total = bytes_below(card.point)
    for number in range(ROUNDS):
        where = plain.mnt / f"{victim}{number}"
        tree = plain.tree / where.name
        kills = 0
        for goal in sorted(chance.random() for _ in range(2)):
            process = subprocess.Popen([MEDIAFS, "offload", card.point, where],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            # Looked at below the mount, which may die.
            wait_for(lambda: process.poll() is not None or bytes_below(tree) >= goal * total,
                     "some bytes")
            if victim == "daemon":
                plain.kill()
            elif process.poll() is None:
                process.kill()
            process.wait(PATIENCE)
            kills += process.returncode != 0
            if victim == "daemon":
                plain.mount()
            check_honest(where / REEL, card.point)
        offload(card.point, where)
        same_tree(card.point, where / REEL)
        assert not leftovers(where)
        assert plain.wait(where.name, "verified")
        run("rm", "-rf", where)
    assert not [event for event in plain.events("-n", "100000") if event["event"] == "damaged"]


def test_interrupted_and_offline(plain, cards):
    """A signal ends it in order; without the volume it says so."""
    card = cards()
    for number in range(20):
        card.write(f"{REEL}/A004C{number:03}_261128_R1JL.mov", pattern(BLOCK // 2, number))
    process = subprocess.Popen([MEDIAFS, "offload", card.point, plain.mnt, "--json"],
                               stdout=subprocess.PIPE, text=True)
    top = plain.mnt / REEL
    wait_for(lambda: top.exists() and len(names_below(top)) > 2, "some files")
    process.send_signal(signal.SIGINT)
    out = process.communicate(timeout=PATIENCE)[0]
    check_honest(top, card.point)
    if process.returncode != 0:  # it may have been through
        assert process.returncode == 3, out
        assert json.loads(out.splitlines()[-2])["left"] > 0
    # Who fills a folder has it for himself.
    offload(card.point, plain.mnt)
    same_tree(card.point, top)
    plain.umount()
    lost = offload(card.point, plain.store / "tree", code=4)
    assert "not mounted" in lost.errors[0]


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
    (top / ALE).rmdir()
    offload(card.point, cart.mnt)
    assert not leftovers(top)
    cart.wait(state="stored")
