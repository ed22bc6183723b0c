"""Sites: what one does is seen at the others; what cannot be trusted is refused."""
import ctypes
import ctypes.util
import errno
import hashlib
import json
import os
import random
import shutil
import tempfile
import sqlite3
import uuid

import pytest

from lib import is_mounted, mediafs, pattern, run, same_tree, wait_for


def tree(site):
    """Everything in a site's tree: path -> (kind and mode, size, mtime or target)."""
    found = {}
    for path in sorted(site.mnt.rglob("*")):
        info = path.lstat()
        kind = info.st_mode >> 12
        found[str(path.relative_to(site.mnt))] = (
            info.st_mode, info.st_size if kind == 8 else 0,
            os.readlink(path) if kind == 10 else info.st_mtime_ns if kind == 8 else 0)
    return found


def wait_same(first, second, timeout=None):
    """Until both sites have the same tree, and every byte of it."""
    def same():
        try:
            return tree(first) == tree(second)
        except OSError:
            return False
    try:
        wait_for(same, "both sites to have the same tree", timeout)
    except AssertionError as error:
        raise AssertionError(f"{tree(first)}\n{tree(second)}\n{first.log_text()}\n"
                             f"{second.log_text()}") from error
    same_tree(first.mnt, second.mnt)


@pytest.fixture
def writers(sites, tier, cart):
    """Two sites that may both write."""
    return cart, sites("editorial", join=tier, options=["rw"]).mount()


def fill(folder):
    (folder / "DAY1/A001/EMPTY").mkdir(parents=True)
    (folder / "DAY1/A001/C001.mov").write_bytes(pattern((9 << 20) + 77))
    (folder / "DAY1/A001/C002.mov").write_bytes(pattern(4 << 20, 2))
    (folder / "DAY1/A001/notes.txt").write_text("good take\n")
    (folder / "DAY1/A001/empty.xml").write_bytes(b"")
    os.symlink("C001.mov", folder / "DAY1/A001/best")
    os.chmod(folder / "DAY1/A001/notes.txt", 0o640)
    os.chmod(folder / "DAY1/A001", 0o2770)
    os.utime(folder / "DAY1/A001/C001.mov", ns=(1, 1_600_000_000_123_456_789))


def test_a_tree_is_equal_at_editorial(pair):
    cart, editorial = pair
    fill(cart.mnt)
    name = b"not utf8 \xff\xfe.txt"
    with open(os.path.join(os.fsencode(cart.mnt), name), "wb") as out:
        out.write(b"any bytes")
    cart.wait()
    wait_same(cart, editorial)
    assert os.path.exists(os.path.join(os.fsencode(editorial.mnt), name))


def test_times_of_folders_follow(pair):
    cart, editorial = pair
    fill(cart.mnt)
    os.utime(cart.mnt / "DAY1/A001", ns=(1, 1_500_000_000_000_000_001))
    cart.wait()
    wait_same(cart, editorial)
    wait_for(lambda: (editorial.mnt / "DAY1/A001").stat().st_mtime_ns
             == 1_500_000_000_000_000_001, "the folder's time")


def test_a_renamed_folder_keeps_the_bytes_that_are_here(pair, tier):
    cart, editorial = pair
    fill(cart.mnt)
    cart.wait()
    wait_same(cart, editorial)          # every byte was read: it is here now
    os.rename(cart.mnt / "DAY1", cart.mnt / "DAY 1 renamed")
    wait_for(lambda: not (editorial.mnt / "DAY1").exists()
             and (editorial.mnt / "DAY 1 renamed/A001/C002.mov").exists(), "the new name")
    wait_same(cart, editorial)
    editorial.umount()
    tier.take_away()
    editorial.mount()
    assert (editorial.mnt / "DAY 1 renamed/A001/C001.mov").read_bytes() == pattern_of(cart)
    tier.bring_back()


def pattern_of(cart):
    return (cart.mnt / "DAY 1 renamed/A001/C001.mov").read_bytes()


def test_a_list_that_the_kernel_keeps_follows(pair):
    """Names that nobody has looked up, in a folder that was listed, and in one that is open."""
    cart, editorial = pair
    there, here = cart.mnt / "day", editorial.mnt / "day"
    there.mkdir()
    names = {f"{number}.mov" for number in range(8)}
    for name in names:
        (there / name).write_text(name)
    wait_for(here.exists, "the folder")
    folder = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for step in range(6):
            for listed in folder, here:
                wait_for(lambda: set(os.listdir(listed)) == names,  # pylint: disable=W0640
                         f"the names of step {step}")
            for _ in range(2):  # whose inodes are known: then the list is kept
                assert {entry.name for entry in os.scandir(here) if entry.stat().st_size} == names
            if step % 3 == 0:
                (there / f"new{step}").write_text("new")
                names.add(f"new{step}")
            elif step % 3 == 1:
                (there / f"{step}.mov").unlink()
                names.remove(f"{step}.mov")
            else:
                os.rename(there / f"{step}.mov", there / f"moved{step}")
                names.remove(f"{step}.mov")
                names.add(f"moved{step}")
    finally:
        os.close(folder)


def test_what_is_deleted_goes_and_what_is_overwritten_changes(pair):
    cart, editorial = pair
    fill(cart.mnt)
    cart.wait()
    wait_same(cart, editorial)
    (cart.mnt / "DAY1/A001/C002.mov").unlink()
    (cart.mnt / "DAY1/A001/EMPTY").rmdir()
    (cart.mnt / "DAY1/A001/notes.txt").write_text("better take\n")
    os.chmod(cart.mnt / "DAY1/A001/C001.mov", 0o600)
    cart.wait()
    wait_same(cart, editorial)
    assert (editorial.mnt / "DAY1/A001/notes.txt").read_text() == "better take\n"
    shutil.rmtree(cart.mnt / "DAY1")
    wait_for(lambda: not (editorial.mnt / "DAY1").exists(), "the folder to go")


def test_a_file_becomes_a_folder_and_back(pair):
    cart, editorial = pair
    (cart.mnt / "x").write_text("file")
    cart.wait()
    wait_same(cart, editorial)
    (cart.mnt / "x").unlink()
    (cart.mnt / "x/y").mkdir(parents=True)
    (cart.mnt / "x/y/z").write_text("inside")
    cart.wait()
    wait_same(cart, editorial)
    shutil.rmtree(cart.mnt / "x")
    (cart.mnt / "x").write_text("file again")
    cart.wait()
    wait_same(cart, editorial)


def test_an_open_file_at_editorial_goes_on_reading_the_old_bytes(pair):
    cart, editorial = pair
    (cart.mnt / "clip.mov").write_bytes(pattern(30 << 20))
    cart.wait()
    wait_for(lambda: (editorial.mnt / "clip.mov").exists(), "the clip")
    data = (cart.mnt / "clip.mov").read_bytes()
    with open(editorial.mnt / "clip.mov", "rb") as clip:
        assert clip.read(1 << 20) == data[:1 << 20]     # nothing more of it is here
        (cart.mnt / "clip.mov").unlink()
        wait_for(lambda: not (editorial.mnt / "clip.mov").exists(), "the name to go")
        clip.seek(0)
        assert clip.read() == data


def test_a_joined_site_is_read_only_and_tells_nothing(pair, tier):
    cart, editorial = pair
    (cart.mnt / "a").write_text("a")
    cart.wait()
    wait_same(cart, editorial)
    with pytest.raises(OSError) as error:
        (editorial.mnt / "b").write_text("b")
    assert error.value.errno == errno.EROFS
    assert len(list((tier / ".mediafs/v1/w").iterdir())) == 1


def test_both_sites_may_write(writers):
    cart, editorial = writers
    (cart.mnt / "from cart").write_bytes(pattern(5 << 20))
    (editorial.mnt / "cut").mkdir()
    (editorial.mnt / "cut/project.prproj").write_text("version 1")
    cart.wait()
    editorial.wait()
    wait_same(cart, editorial)
    with open(cart.mnt / "cut/project.prproj", "a", encoding="ascii") as out:
        out.write(", changed at the cart")
    cart.wait()
    wait_same(cart, editorial)
    assert (editorial.mnt / "cut/project.prproj").read_text() == "version 1, changed at the cart"
    (editorial.mnt / "from cart").rename(editorial.mnt / "cut/clip.mov")
    wait_for(lambda: (cart.mnt / "cut/clip.mov").exists(), "the rename at the cart")
    wait_same(cart, editorial)


def can_read(site):
    try:
        return [path.read_bytes() for path in site.mnt.iterdir()]
    except OSError:
        return None


@pytest.mark.every_tier
def test_a_conflict_keeps_both(writers, tier, tier_kind):
    cart, editorial = writers
    (cart.mnt / "base").write_text("base")
    cart.wait()
    wait_same(cart, editorial)
    tier.take_away()                   # nobody hears of the other
    (cart.mnt / "cut.edl").write_text("made at the cart")
    (editorial.mnt / "cut.edl").write_text("made at editorial, longer")
    cart.wait(state="verified")
    editorial.wait(state="verified")
    tier.bring_back()
    cart.wait()
    editorial.wait()
    wait_for(lambda: len(list(cart.mnt.iterdir())) == 3
             and len(list(editorial.mnt.iterdir())) == 3, "both versions at both sites")
    if tier_kind == "swift":           # the later object took the earlier one's place: sent again
        wait_for(lambda: can_read(cart) and can_read(editorial), "all bytes to be in the tier")
    wait_same(cart, editorial)
    texts = {path.name: path.read_text() for path in cart.mnt.iterdir()}
    assert sorted(texts.values()) == ["base", "made at editorial, longer", "made at the cart"]
    assert "cut.edl" in texts
    assert any(name.startswith("cut (conflict ") and name.endswith(").edl") for name in texts)


def test_an_edit_survives_a_deletion_elsewhere(writers, tier):
    cart, editorial = writers
    (cart.mnt / "a").write_text("one")
    cart.wait()
    wait_same(cart, editorial)
    assert (editorial.mnt / "a").read_text() == "one"
    tier.take_away()
    (cart.mnt / "a").unlink()
    (editorial.mnt / "a").write_text("edited")
    editorial.wait(state="verified")
    tier.bring_back()
    editorial.wait()
    wait_for(lambda: (cart.mnt / "a").exists(), "the edit at the cart")
    wait_same(cart, editorial)
    assert (cart.mnt / "a").read_text() == "edited"


def test_an_announced_file_is_hidden_until_it_is_stored(sites, tier):
    cart = sites("cart", tier=tier, settings={"ingest.settle": "1h"}).mount()
    editorial = sites("editorial", join=tier).mount()
    shown = sites("shown", join=tier, options=["pending=show"]).mount()
    (cart.mnt / "clip.mov").write_bytes(pattern(5 << 20))
    cart.wait("clip.mov", "verified")
    wait_for(lambda: (shown.mnt / "clip.mov").exists(), "the announced file")
    assert (shown.mnt / "clip.mov").stat().st_size == 5 << 20
    with pytest.raises(OSError) as error:
        (shown.mnt / "clip.mov").read_bytes()
    assert error.value.errno == errno.EAGAIN
    assert not (editorial.mnt / "clip.mov").exists()
    wait_for(lambda: "clip.mov" in editorial.cmd("ls", "--pending").stdout, "it to be listed")
    cart.set("ingest.settle", "0")
    (cart.mnt / "clip.mov").touch()
    cart.umount()
    cart.mount()
    with open(cart.mnt / "clip.mov", "ab") as out:
        out.write(b"more")
    cart.wait()
    wait_same(cart, editorial)

    # Where announced files are shown, the new version has its size before it has its bytes.
    def shown_bytes():
        try:
            return (shown.mnt / "clip.mov").read_bytes()
        except OSError as busy:
            assert busy.errno == errno.EAGAIN
            return None
    wait_for(lambda: shown_bytes() == (cart.mnt / "clip.mov").read_bytes(), "the new bytes")
    wait_same(cart, shown)


def test_what_happens_after_a_quiet_time_is_told_at_once(sites, tier):
    cart = sites("cart", tier=tier).mount()
    (cart.mnt / "a").write_text("a")
    cart.wait()
    wait_told(cart, tier)
    cart.umount()
    # Who looks once an hour must be woken.
    for key in ("sync.poll", "sync.flush"):
        mediafs("config", "set", key, "1h", "--store", cart.store)
    cart.mount()
    editorial = sites("editorial", join=tier).mount()
    wait_for(lambda: (editorial.mnt / "a").exists(), "what was told before")
    (cart.mnt / "clip.mov").write_text("clip")
    wait_for(lambda: "clip.mov" in editorial.cmd("ls", "--pending").stdout
             or (editorial.mnt / "clip.mov").exists(), "the new file to be announced, or there")


def wait_told(site, tier):
    """Until everything that happened at the site is in its journal, and the head says so."""
    def told():
        heads = [json.loads(head.read_text()) for head in (tier / ".mediafs/v1/w").glob("*/head.json")]
        return (site.status()["unpublished"] == 0
                and sum(head["segment"] for head in heads) == len(segments(tier)) > 0)
    wait_for(told, "the journal")


def segments(tier):
    return sorted((tier / ".mediafs/v1/w").glob("*/j/*.zst"))


def test_a_flipped_bit_in_a_segment_is_found_named_and_not_applied(sites, tier, cart):
    (cart.mnt / "first").write_text("first")
    cart.wait()
    wait_told(cart, tier)
    cart.umount()                       # nothing more comes
    victim = segments(tier)[-1]
    good = victim.read_bytes()
    victim.damage(len(good) // 2)
    editorial = sites("editorial", join=tier, settings={"sync.poll": "100ms"}).mount()
    wait_for(lambda: [event for event in editorial.events()
                      if event["event"] == "journal refused"], "the refusal")
    event = [event for event in editorial.events() if event["event"] == "journal refused"][0]
    assert victim.name in event["detail"]
    assert victim.name in editorial.log_text()
    assert os.listdir(editorial.mnt) == []
    victim.write_bytes(good)
    editorial.umount()
    editorial.mount()
    cart.mount()
    wait_same(cart, editorial)


# A journal made by somebody who knows the format -------------------------------------------

class Forger:
    """Writes segments that are well sealed, with any records."""

    def __init__(self, tier):
        self.site = str(uuid.uuid4())
        self.folder = tier / ".mediafs/v1/w" / self.site
        (self.folder / "j").mkdir(parents=True)
        self.prev, self.number, self.records = "0" * 64, 0, 0
        self.zstd = ctypes.CDLL(ctypes.util.find_library("zstd"))
        self.zstd.ZSTD_compress.restype = ctypes.c_size_t
        self.zstd.ZSTD_compressBound.restype = ctypes.c_size_t
        self.zstd.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
        self.zstd.ZSTD_compress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p,
                                            ctypes.c_size_t, ctypes.c_int]

    def xxh128(self, data):
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            return run("xxhsum", "-H128", file.name).stdout.split()[0]

    def write(self, *records):
        self.number += 1
        lines = [json.dumps(record) for record in records]
        header = {"format": 1, "site": self.site, "name": "forger", "segment": self.number,
                  "prev": self.prev, "first": self.records + 1, "count": len(lines),
                  "lamport": self.number}
        rest = "," + json.dumps(header)[1:] + "\n" + "".join(line + "\n" for line in lines)
        zeros = ('{"xxh128":"' + "0" * 32 + '"' + rest).encode("ascii")
        text = zeros.replace(b"0" * 32, self.xxh128(zeros).encode(), 1)
        room = self.zstd.ZSTD_compressBound(len(text))
        buffer = ctypes.create_string_buffer(room)
        length = self.zstd.ZSTD_compress(buffer, room, text, len(text), 3)
        packed = buffer.raw[:length]
        (self.folder / f"j/{self.number:020}.zst").write_bytes(packed)
        self.prev = hashlib.sha256(packed).hexdigest()
        self.records += len(lines)
        (self.folder / "head.json").write_text(json.dumps({
            "format": 1, "site": self.site, "name": "forger", "segment": self.number,
            "chain": self.prev, "time": 1, "software": "forger"}))


def folder(path, **more):
    return {"verb": "put", "path": path, "base": [], "kind": "dir", "mode": 0o755, "mtime": 1,
            **more}


@pytest.mark.skipif(not shutil.which("xxhsum"), reason="needs xxhsum")
@pytest.mark.parametrize("path", ["../escaped", "a/../../escaped", "/tmp/escaped", ".mediafs/v1",
                                  ".mediafs-place-x", "a//b", "", "a\u0000b"])
def test_hostile_names_are_refused(pair, tier, path):
    cart, editorial = pair
    forger = Forger(tier)
    forger.write(folder("harmless"))
    wait_for(lambda: (editorial.mnt / "harmless").is_dir(), "the harmless folder")
    forger.write(folder("also harmless"), folder(path))
    wait_for(lambda: [event for event in editorial.events()
                      if event["event"] == "journal refused"
                      and "00000000000000000002.zst" in event["detail"]], "the refusal")
    (cart.mnt / "others go on").write_text("x")
    cart.wait()
    wait_for(lambda: (editorial.mnt / "others go on").exists(), "what the cart tells")
    assert not (editorial.mnt / "also harmless").exists()
    assert sorted(os.listdir(editorial.tree)) == ["harmless", "others go on"]
    assert not (editorial.store / "escaped").exists()


@pytest.mark.skipif(not shutil.which("xxhsum"), reason="needs xxhsum")
def test_nothing_is_placed_through_a_link(pair, tier, tmp_path):
    cart, editorial = pair
    outside = tmp_path / "outside"
    outside.mkdir()
    forger = Forger(tier)
    forger.write({"verb": "put", "path": "link", "base": [], "kind": "link", "mode": 0o777,
                  "mtime": 1, "target": str(outside)}, folder("link/inside"))
    wait_for(lambda: (editorial.mnt / "link/inside").is_dir()
             and not (editorial.mnt / "link").is_symlink(), "the folder")
    assert list(outside.iterdir()) == []
    assert [path for path in editorial.mnt.iterdir() if path.is_symlink()]


def test_editorial_serves_no_flipped_bit(pair, tier):
    cart, editorial = pair
    (cart.mnt / "clip.mov").write_bytes(pattern(9 << 20))
    cart.wait()
    wait_for(lambda: (editorial.mnt / "clip.mov").exists(), "the clip")
    (tier / "clip.mov").damage((5 << 20) + 3)
    with open(editorial.mnt / "clip.mov", "rb") as clip:
        assert len(clip.read(1 << 20)) == 1 << 20
        clip.seek(4 << 20)
        with pytest.raises(OSError) as error:
            clip.read(1 << 20)
    assert error.value.errno == errno.EIO
    wait_for(lambda: [event for event in editorial.events() if event["path"] == "clip.mov"],
             "an event about the clip")


def test_a_tier_that_goes_and_comes_back_delays_only(pair, tier):
    cart, editorial = pair
    (cart.mnt / "before").write_text("before")
    cart.wait()
    wait_same(cart, editorial)
    tier.take_away()
    fill(cart.mnt)
    (cart.mnt / "before").rename(cart.mnt / "after")
    cart.wait(state="verified")
    tier.bring_back()
    cart.wait()
    wait_same(cart, editorial)


def churn(folder, rng, rounds):
    """Whatever a person could do to a tree."""
    for _ in range(rounds):
        what, name = rng.randrange(6), f"n{rng.randrange(10)}"
        try:                            # another site may change it while we look
            files = [path for path in folder.rglob("*") if path.is_file()]
            dirs = [folder, *[path for path in folder.rglob("*") if path.is_dir()]]
            if what == 0 or not files:
                (rng.choice(dirs) / name).write_bytes(os.urandom(rng.randrange(1, 50000)))
            elif what == 1:
                rng.choice(files).unlink()
            elif what == 2:
                (rng.choice(dirs) / f"d{rng.randrange(4)}").mkdir()
            elif what == 3:
                rng.choice(files).rename(rng.choice(dirs) / name)
            elif what == 4 and len(dirs) > 1:
                rng.choice(dirs[1:]).rename(rng.choice(dirs) / f"d{rng.randrange(4)}")
            elif what == 5:
                with open(rng.choice(files), "r+b") as out:
                    out.write(os.urandom(100))
        except OSError:
            pass                        # into itself, not empty, is a folder: what ext4 says too


@pytest.mark.parametrize("who", ["cart", "editorial"])
def test_kill_of_either_side_loses_nothing(pair, who):
    cart, editorial = pair
    rng = random.Random(20261128)
    victim = cart if who == "cart" else editorial
    for round_ in range(6):
        churn(cart.mnt, rng, 25)
        victim.kill()
        assert not is_mounted(victim.mnt)
        victim.mount()
        if round_ % 2:
            cart.wait()
    cart.wait()
    wait_same(cart, editorial, 120)


@pytest.mark.parametrize("known", [True, False])
def test_what_was_shown_just_before_a_kill_goes_when_another_site_removes_it(pair, known):
    cart, editorial = pair
    (cart.mnt / "d/e").mkdir(parents=True)
    (cart.mnt / "d/clip.mov").write_bytes(pattern(100))
    cart.wait()
    wait_same(cart, editorial)
    editorial.umount()
    with sqlite3.connect(editorial.store / "catalog.db") as catalog:
        # In the tree, but the catalog was not told where it is (or that it is) in time.
        catalog.execute("INSERT INTO unshown(path, noted_ns)"
                        " SELECT path, 1 FROM versions WHERE path <> 'd'")
        catalog.execute("UPDATE versions SET shown = NULL WHERE path <> 'd'")
        if not known:
            catalog.execute("DELETE FROM inodes WHERE id IN"
                            " (SELECT id FROM names WHERE name IN (x'65', 'clip.mov'))")
            catalog.execute("DELETE FROM names WHERE name IN (x'65', CAST('clip.mov' AS BLOB))")
        catalog.execute("UPDATE meta SET value = 'no' WHERE key = 'clean'")
    catalog.close()
    (cart.mnt / "d/e").rmdir()
    (cart.mnt / "d/clip.mov").unlink()
    cart.umount()                       # which tells it
    cart.mount()
    editorial.mount()
    wait_same(cart, editorial)
    assert tree(cart) == {"d": tree(cart)["d"]}


def test_two_writers_come_to_the_same_tree(writers):
    cart, editorial = writers
    rng = random.Random(7)
    for _ in range(4):
        churn(cart.mnt, rng, 15)
        churn(editorial.mnt, rng, 15)
    cart.wait()
    editorial.wait()
    wait_same(cart, editorial, 120)


def test_what_the_disk_lost_is_no_deletion(pair):
    cart, editorial = pair
    fill(cart.mnt)
    cart.wait()
    wait_same(cart, editorial)
    before = tree(cart)
    cart.kill()
    shutil.rmtree(cart.tree / "DAY1")   # as after a power failure
    database = sqlite3.connect(cart.store / "catalog.db")
    with database:
        assert database.execute("UPDATE meta SET value = 'another' WHERE key = 'sync.boot'"
                                ).rowcount == 1
    database.close()
    cart.mount()
    wait_for(lambda: tree(cart) == before, "the lost files, as placeholders")
    wait_same(cart, editorial)
    assert tree(editorial) == before


@pytest.mark.every_tier
def test_what_was_stored_is_told_before_the_volume_goes(sites, tier):
    slow = {"sync.flush": "1h"}
    cart = sites("cart", tier=tier, settings=slow).mount()
    (cart.mnt / "a").write_text("a")
    cart.wait()
    wait_for(lambda: cart.status()["unpublished"], "something to tell")
    cart.umount()
    editorial = sites("editorial", join=tier).mount()
    wait_for(lambda: (editorial.mnt / "a").exists(), "what the cart told at its end")
