"""Seals: an offload with its manifest stays as it is."""
import ctypes
import errno
import json
import mmap
import os
import pathlib
import shutil
import subprocess

import pytest

import cards
from lib import MEDIAFS, PATIENCE, fsck, mediafs, run, wait_for
from mhl import manifest
from offload_help import faulty
from test_histories import QUICK, copy_in, generations, settled

CLIP = "XDROOT/Clip"


def sealed(path):
    return os.getxattr(path, "user.mediafs.sealed") == b"1"


def refused(action, *args, **options):
    """It fails with EPERM, whatever it is."""
    with pytest.raises(OSError) as caught:
        action(*args, **options)
    assert caught.value.errno == errno.EPERM, caught.value


def exchange(a, b):
    """renameat2(2) with RENAME_EXCHANGE (2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2) < 0:
        raise OSError(ctypes.get_errno(), "renameat2", a)


def touch(path):
    """The times of a file that is open for reading only."""
    with open(path, "rb") as file:
        os.utime(file.fileno())


def copy_card(site, tmp_path, name="B", more=()):
    """A card, copied in; returned once it is sealed."""
    source = cards.make(tmp_path / f"card-{site.name}-{name}", "sony-xavc")
    cards.add(source, ["XDROOT/Clip/Sub/note.txt", *more])
    top = copy_in(site, source, name)
    settled(site)
    assert sealed(top)
    return top


def picture(top):
    """All that a seal keeps: names, bytes, times of files."""
    return {str(path.relative_to(top)): (path.read_bytes(), path.stat().st_mtime_ns)
            if path.is_file() else None for path in top.rglob("*")}


@pytest.fixture
def quick(sites):
    return sites("plain", settings=QUICK).mount()


def append(path):
    with open(path, "ab") as file:
        file.write(b"x")


def cut(path):
    with open(path, "r+b"):
        pass


def test_what_is_refused_and_what_is_not(quick, tmp_path):
    top = copy_card(quick, tmp_path, more=[f"{CLIP}/.DS_Store"])
    clip = next((top / CLIP).glob("*.MXF"))
    before = picture(top)
    other = quick.mnt / "other.mov"
    other.write_bytes(b"other")

    refused(append, clip)
    refused(cut, clip)
    refused(os.open, clip, os.O_WRONLY | os.O_TRUNC)
    refused(os.open, clip, os.O_RDONLY | os.O_TRUNC)
    refused(os.truncate, clip, 0)
    refused(os.truncate, clip, clip.stat().st_size + 1)
    refused(os.utime, clip, (1, 1))
    refused(os.utime, clip)
    refused(touch, clip)
    refused(os.unlink, clip)
    refused(os.rename, clip, clip.with_name("new.MXF"))
    refused(os.rename, clip, quick.mnt / "out.MXF")
    refused(os.rename, other, clip)
    refused(os.rename, clip.parent, clip.parent.with_name("Clips"))
    refused(os.rmdir, top / CLIP / "Sub")
    refused(shutil.rmtree, top)
    refused(exchange, other, clip)
    refused(exchange, clip, other)
    # Neither the mark.
    refused(os.setxattr, top, "user.mediafs.sealed", b"0")
    refused(os.removexattr, top, "user.mediafs.sealed")
    # A second name of it is no way around, whichever was first.
    later = [quick.mnt / f"later{number}" for number in range(9)]
    for folder in later:
        folder.mkdir()
    last = max(later, key=lambda folder: folder.stat().st_ino)
    for second in (quick.mnt / "second.MXF", last / "second.MXF"):
        os.link(clip, second)
        for name in (second, clip):
            refused(append, name)
            refused(os.truncate, name, 3)
        refused(os.unlink, clip)
        os.unlink(second)
    for folder in later:
        folder.rmdir()
    # The history is nobody's but the daemon's.
    for path in (top / "ascmhl").iterdir():
        refused(append, path)
        refused(os.unlink, path)
        refused(os.rename, path, path.with_name("x"))
    refused((top / "ascmhl/x").write_text, "x")
    refused((top / "ascmhl/x").mkdir)
    refused(os.symlink, "x", top / "ascmhl/x")
    refused(os.mkfifo, top / "ascmhl/x")
    refused(os.mknod, top / "ascmhl/x")
    refused(os.link, other, top / "ascmhl/x")
    refused(exchange, other, next((top / "ascmhl").glob("*.mhl")))
    refused(os.rename, other, top / "ascmhl/x")
    refused(os.rename, top / "ascmhl", quick.mnt / "ascmhl")
    refused((top / CLIP / "ascmhl").mkdir)
    (quick.mnt / "bare").mkdir()
    refused(os.rename, quick.mnt / "bare", top / CLIP / "ascmhl")
    os.rmdir(quick.mnt / "bare")
    assert picture(top) == before
    assert manifest("verify", top)[0] == 0

    # Told once a minute, with what to do.
    told = [event for event in quick.events() if event["event"] == "refused"]
    assert len(told) == 1 and told[0]["path"] == str(clip.relative_to(quick.mnt))
    assert "mediafs unseal" in told[0]["detail"] and "B is sealed" in told[0]["detail"]

    # Reading, permissions, labels, litter, and names above it are free.
    clip.read_bytes()
    clip.chmod(0o600)
    os.setxattr(clip, "user.label", b"red")
    cards.add(top, [".DS_Store", f"{CLIP}/._x"])
    append(top / CLIP / ".DS_Store")  # which was there when the card was sealed
    (top / CLIP / ".DS_Store").unlink()
    (top / ".DS_Store").write_text("changed")
    (top / ".DS_Store").unlink()
    (quick.mnt / "day").mkdir()
    top.rename(quick.mnt / "day/B")
    (quick.mnt / "day").rename(quick.mnt / "day1")
    top = quick.mnt / "day1/B"
    refused(append, top / clip.relative_to(quick.mnt / "B"))
    refused(os.unlink, top / clip.relative_to(quick.mnt / "B"))

    # It survives a restart, a crash, and the loss of the catalog.
    for how in ("umount", "kill", "rebuild"):
        if how == "kill":
            quick.kill()
        else:
            quick.umount()
        if how == "rebuild":
            assert fsck("--rebuild-catalog", quick.store).returncode in (0, 1)
        quick.mount()
        assert sealed(top), how
        refused(append, top / clip.relative_to(quick.mnt / "B"))
        refused(os.unlink, top / clip.relative_to(quick.mnt / "B"))


def test_files_may_be_added_as_programs_do(quick, tmp_path):
    """cp, and rsync with its temporary name and late times; then they are sealed too."""
    top = copy_card(quick, tmp_path)
    (tmp_path / "late").mkdir()
    late = tmp_path / "late/LATE.MXF"
    late.write_bytes(os.urandom(5000))
    for name in ("CPM01.XML", "CP.MXF"):
        run("cp", "-p", late, top / CLIP / name)
    for name in ("RSYNCM01.XML", "RSYNC.MXF"):
        run("rsync", "-a", late, top / CLIP / name)
    (top / CLIP / "New/Deep").mkdir(parents=True)
    (top / CLIP / "New/Deep/a.txt").write_text("a")
    (top / CLIP / "New").rename(top / CLIP / "Newer")
    settled(quick)
    assert len(generations(top)) >= 2
    assert manifest("verify", top)[0] == 0
    for name in ("CP.MXF", "RSYNC.MXF", "Newer/Deep/a.txt"):
        refused(append, top / CLIP / name)
        refused(os.unlink, top / CLIP / name)


def test_who_writes_is_waited_for(quick, tmp_path):
    """An open handle, and a mapping whose descriptor is closed, hold the seal off."""
    quick.set("manifest.seal", "no")
    source = cards.make(tmp_path / "card", "sony-xavc")
    top = quick.mnt / "B"
    shutil.copytree(source, top)
    settled(quick)
    assert not sealed(top)
    clip = next((top / CLIP).glob("*.MXF"))
    with open(clip, "r+b") as handle:
        done = mediafs("seal", top, check=False)
        assert done.returncode == 6 and "open for writing" in done.stderr, done
        area = mmap.mmap(handle.fileno(), 0)
    done = mediafs("seal", top, check=False)
    assert done.returncode == 6 and clip.name in done.stderr
    assert not sealed(top)
    area[:1] = area[:1]
    area.flush()
    area.close()
    wait_for(lambda: mediafs("seal", top, check=False).returncode == 0, "the seal")
    refused(append, clip)
    # A reader may map it, not for writing.
    with open(clip, "rb") as handle:
        refused(cut, clip)
        with mmap.mmap(handle.fileno(), 0, prot=mmap.PROT_READ) as area:
            assert area[:] == clip.read_bytes()


def test_unsealed_on_purpose(quick, tmp_path):
    top = copy_card(quick, tmp_path)
    clip = next((top / CLIP).glob("*.MXF"))
    shown = mediafs("offloads", quick.mnt).stdout
    assert "sealed" in shown and mediafs("offloads", "--json", quick.mnt).stdout.count('"sealed":true')
    # ls shows it, of the folder, of what lies in it, and of the cards.
    def listed(*words):
        files = json.loads(mediafs("ls", "--json", *words).stdout)["files"]
        assert files
        return {file["sealed"] for file in files}
    assert mediafs("ls", quick.mnt).stdout.rstrip().endswith("B/  [sealed]")
    assert mediafs("ls", "-R", top).stdout.count("  [sealed]\n") == len(list(top.rglob("*")))
    assert listed("-R", quick.mnt) == listed(top / CLIP) == listed(clip) == {True}
    assert "  sealed  B" in mediafs("ls", "--clips", quick.mnt).stdout
    # A manifest by hand: told what to do, before anything is read.
    before = generations(top)
    for folder, name in ((top, "the folder"), (top / CLIP, "the folder"), (quick.mnt, "B")):
        code, answer = manifest("create", folder)
        assert code == 1 and answer["files"] == 0, answer
        assert answer["error"].startswith(f"{name} is sealed") and "unseal" in answer["error"]
    assert generations(top) == before and not (top / CLIP / "ascmhl").exists()
    assert manifest("create", "--format", "legacy", top / CLIP)[0] == 0  # a file like others
    next((top / CLIP).glob("*.mhl")).unlink()
    mediafs("unseal", top)
    assert not sealed(top) and "  sealed" not in mediafs("offloads", quick.mnt).stdout
    assert "sealed" not in mediafs("ls", "-R", quick.mnt).stdout
    assert listed("-R", quick.mnt) == {False}
    told = [event for event in quick.events() if event["event"] in ("sealed", "unsealed")]
    assert [(event["event"], event["actor"]) for event in told] == [
        ("sealed", "daemon"), ("unsealed", f"uid:{os.getuid()}")]
    (top / CLIP / "Sub/note.txt").unlink()
    quick.umount()
    quick.mount()
    settled(quick)
    assert not sealed(top) and len(generations(top)) == 1  # nothing new: nobody seals it again
    mediafs("seal", top)
    refused(append, clip)

    # What is changed meanwhile is told for ever, and not sealed.
    mediafs("unseal", top)
    append(clip)
    settled(quick)
    assert len(generations(top)) == 2 and not sealed(top)
    assert manifest("verify", top)[0] == 11
    assert any(event["event"] == "manifest mismatch" for event in quick.events())

    for words, code in ((("seal", quick.mnt), 9), (("seal", top / "no"), 8),
                        (("seal", clip), 8), (("unseal", quick.mnt), 9), (("seal",), 2)):
        assert mediafs(*words, check=False).returncode == code, words
    (quick.mnt / "bare").mkdir()
    done = mediafs("seal", quick.mnt / "bare", check=False)
    assert done.returncode != 0 and "manifest create" in done.stderr


def test_of_two_seals_the_newer_counts(quick, tmp_path):
    """A card that was sealed first, then the day around it."""
    top = copy_card(quick, tmp_path)
    quick.set("manifest.settle", "1h")
    (quick.mnt / "day").mkdir()
    top.rename(quick.mnt / "day/B")
    new = quick.mnt / "day/B" / CLIP / "new.txt"
    new.write_text("new")
    append(new)
    assert manifest("create", "--format", "legacy", quick.mnt / "day")[0] == 0
    mediafs("seal", quick.mnt / "day")
    refused(append, new)
    mediafs("unseal", quick.mnt / "day")
    append(new)
    refused(append, next(new.parent.glob("*.MXF")))


def test_two_who_seal_do_it_one_after_the_other(quick, library, tmp_path):
    """A person, while the daemon is about to: neither is told that it changed meanwhile."""
    quick.umount()
    quick.mount(env=faulty(library, tmp_path))
    table = tmp_path / "faults"
    top = copy_in(quick, cards.make(tmp_path / "card", "sony-xavc"), "B", settle="1h")
    assert manifest("create", top)[0] == 0
    quick.wait(state="verified")
    table.write_text("holdsync 1 */ascmhl/*\n")
    quick.set("manifest.settle", "200ms")
    wait_for((tmp_path / "faults.held").exists, "the daemon to write the history")
    with subprocess.Popen([MEDIAFS, "seal", top], stderr=subprocess.PIPE) as person:
        waits = pathlib.Path(f"/proc/{person.pid}/wchan")
        wait_for(lambda: any(word in waits.read_text() for word in ("poll", "unix", "skb")) or
                 person.poll() is not None, "an answer to be waited for")
        table.write_text("")
        assert (person.wait(PATIENCE), person.stderr.read()) == (0, b"")
    assert [event["actor"] for event in quick.events() if event["event"] == "sealed"] == ["daemon"]
    refused(append, next(path for path in (top / CLIP).iterdir() if path.is_file()))


def half_a_clip(path):
    """As a share leaves it that went away: closed, its time that of the last write."""
    with open(path, "wb", buffering=0) as file:
        file.write(b"half")
        first = os.fstat(file.fileno()).st_mtime_ns

        def writes_on():
            file.write(b".")
            return os.fstat(file.fileno()).st_mtime_ns > first
        wait_for(writes_on, "the clock")


def not_made(site, words):
    wait_for(lambda: [event for event in site.events() if event["event"] == "no history"
                      and words in event["detail"]], f"a word about it: {words}")


def test_a_copy_that_was_broken_off_is_waited_for(quick, tmp_path):
    """Nothing vouches for half a clip, and nothing keeps the second copy out."""
    source = cards.make(tmp_path / "card", "sony-xavc")
    clip = next((source / CLIP).glob("*.MXF")).relative_to(source)
    cards.add_late(source, "SECOND", b"second")
    top = quick.mnt / "B"
    quick.set("manifest.settle", "1h")  # a busy machine may take long for a copy
    shutil.copytree(source, top, ignore=lambda folder, names: {clip.name} & set(names))
    half_a_clip(top / clip)
    quick.set("manifest.settle", QUICK["manifest.settle"])
    quick.wait(state="verified")
    not_made(quick, f"B/{clip} looks as if its copy was broken off")
    assert f"the copy of B/{clip} looks broken off" in mediafs("offloads", quick.mnt).stdout
    quick.umount()
    quick.mount()
    not_made(quick, "broken off")
    assert not sealed(top) and not (top / "ascmhl").exists()
    # As Finder does when it is told to replace.
    quick.set("manifest.settle", "1h")
    os.unlink(top / clip)
    shutil.copy2(source / clip, top / clip)
    quick.set("manifest.settle", QUICK["manifest.settle"])
    settled(quick)
    assert sealed(top) and len(generations(top)) == 1 and manifest("verify", top)[0] == 0
    assert "broken off" not in mediafs("offloads", quick.mnt).stdout

    # Another one later; who unseals the folder says that it is as it is to be.
    cards.add_late(top, "THIRD", b"third")
    half_a_clip(top / CLIP / "THIRD.MXF.new")
    os.rename(top / CLIP / "THIRD.MXF.new", top / CLIP / "THIRD.MXF")
    quick.wait(state="verified")
    not_made(quick, "THIRD.MXF looks")
    mediafs("unseal", top)
    settled(quick)
    assert len(generations(top)) == 2
    refused(append, top / CLIP / "THIRD.MXF")

    # Who copies without times leaves no such trace, but Finder's own mark.
    def without_times(name):
        shutil.copytree(source, quick.mnt / name, copy_function=shutil.copyfile,
                        ignore=lambda folder, names: {clip.name} & set(names))
        half_a_clip(quick.mnt / name / clip)
    without_times("D")
    wait_for(lambda: sealed(quick.mnt / "D"), "the seal of what came without times")
    without_times("C")
    clip = quick.mnt / "C" / clip
    os.setxattr(clip, "user.com.apple.FinderInfo", b"brokMACS" + bytes(24))
    quick.wait(state="verified")
    not_made(quick, f"{clip.relative_to(quick.mnt)} looks")
    assert not sealed(quick.mnt / "C")
    assert manifest("create", quick.mnt / "C")[0] == 0
    mediafs("seal", quick.mnt / "C")
    refused(append, clip)


@pytest.mark.slow
def test_what_a_card_lacks_is_waited_for_but_not_for_ever(quick, tmp_path):
    quick.set("manifest.settle", "5s")  # it is waited for sixty times that
    source = cards.make(tmp_path / "card", "sony-xavc")
    sidecar = next((source / CLIP).glob("*M01.XML")).relative_to(source)
    for name in ("B", "C"):
        shutil.copytree(source, quick.mnt / name,
                        ignore=lambda folder, names: {sidecar.name} & set(names))
    quick.wait(state="verified")
    not_made(quick, "lacks its sidecar file")
    assert not sealed(quick.mnt / "B")
    # The copy goes on, over what is there.
    clip = quick.mnt / "B" / CLIP / sidecar.name.replace("M01.XML", ".MXF")
    os.unlink(clip)
    shutil.copy2(source / clip.relative_to(quick.mnt / "B"), clip)
    shutil.copy2(source / sidecar, quick.mnt / "B" / sidecar)
    wait_for(lambda: sealed(quick.mnt / "B"), "the whole card")
    assert not sealed(quick.mnt / "C")
    quick.set("manifest.settle", "100ms")
    settled(quick)
    assert sealed(quick.mnt / "C") and manifest("verify", quick.mnt / "C")[0] == 0


def test_a_list_beside_the_files_is_sealed_with_them(quick, tmp_path):
    quick.set("manifest.kind", "legacy")
    top = copy_card(quick, tmp_path)
    lists = list(top.glob("*.mhl"))
    assert len(lists) == 1 and not (top / "ascmhl").exists()
    for restart in (False, True):
        if restart:
            quick.umount()
            quick.mount()
        refused(append, lists[0])
        refused(lists[0].unlink)
        refused(append, next((top / CLIP).glob("*.MXF")))
    assert manifest("verify", lists[0])[0] == 0


def test_the_other_site_keeps_it_too(sites, tier, tmp_path):
    cart = sites("cart", tier=tier, settings=QUICK).mount()
    editorial = sites("editorial", join=tier, options=["rw"], settings=QUICK).mount()
    top = copy_card(cart, tmp_path)
    there = editorial.mnt / "B"
    cart.wait()
    wait_for(lambda: there.exists() and sealed(there), "the seal at editorial")
    wait_for(lambda: len(list(there.rglob("*"))) == len(list(top.rglob("*"))), "all of the card")
    clip = next((there / CLIP).glob("*.MXF"))
    refused(append, clip)
    refused(os.unlink, clip)
    refused(os.rename, clip, editorial.mnt / "out")
    assert manifest("verify", there)[0] == 0
    editorial.umount()
    editorial.mount()
    refused(append, clip)
    # What comes from the other site is sealed as it comes, a folder too.
    cards.add_late(top, "MORE", b"more" * 9)
    wait_for((there / CLIP / "MORE.MXF").exists, "the file from the cart")
    refused(append, there / CLIP / "MORE.MXF")
    (top / "Later").mkdir()
    wait_for((there / "Later").exists, "the folder from the cart")
    refused(os.rmdir, there / "Later")
    editorial.umount()
    editorial.mount()
    refused(append, there / CLIP / "MORE.MXF")
    settled(cart)
    cart.wait()
    wait_for(lambda: len(generations(there)) == 2, "the second generation at editorial")
    # A generation written at the one is no change of what is sealed at the other.
    cards.add_late(there, "LATE", b"late" * 9)
    settled(editorial)
    editorial.wait()
    wait_for(lambda: len(generations(top)) == 3, "the third generation at the cart")
    wait_for(lambda: manifest("verify", top)[0] == 0, "the late file at the cart")
    # Opened at the one, opened at the other.
    mediafs("unseal", top)
    wait_for(lambda: not sealed(there), "the folder to be open at editorial")
    append(clip)


def test_another_sites_history_seals_nothing_that_comes_meanwhile(sites, tier, tmp_path):
    cart = sites("cart", tier=tier, settings=QUICK).mount()
    editorial = sites("editorial", join=tier, options=["rw"],
                      settings={"manifest.settle": "1h"}).mount()
    top, there = copy_card(cart, tmp_path), editorial.mnt / "B"

    def has(word):
        return any(word in path.read_bytes() for path in (there / "ascmhl").glob("*.mhl"))
    cart.set("manifest.settle", "1h")
    cards.add_late(top, "MORE", b"more" * 9)
    for name in ("MORE.MXF", "MOREM01.XML"):
        wait_for((there / CLIP / name).exists, "the late clip at editorial")
    assert not has(b"MORE.MXF")
    (there / "note.txt").write_text("half")
    cart.set("manifest.settle", QUICK["manifest.settle"])
    wait_for(lambda: has(b"MORE.MXF"), "the history that tells of it")
    chain = top / "ascmhl/ascmhl_chain.xml"
    wait_for(lambda: (there / "ascmhl/ascmhl_chain.xml").read_bytes() == chain.read_bytes(),
             "its chain")
    append(there / "note.txt")


def test_what_another_site_adds_is_sealed_and_nothing_beside_it(sites, tier, tmp_path):
    cart = sites("cart", tier=tier, settings=QUICK).mount()
    editorial = sites("editorial", join=tier, options=["rw"],
                      settings={"manifest.settle": "1h"}).mount()
    top, there = copy_card(cart, tmp_path), editorial.mnt / "B"
    cart.set("manifest.settle", "1h")
    wait_for(lambda: there.exists() and sealed(there) and
             len(list(there.rglob("*"))) == len(list(top.rglob("*"))), "all of the card")
    for here, other, word in (there, top, "CART"), (top, there, "EDIT"):
        (here / f"note-{word}").write_text("half")
        (here / f"mine-{word}").mkdir()
        cards.add_late(other, word, b"more" * 9)
        (other / f"More-{word}").mkdir()
        late = here / CLIP / f"{word}.MXF"
        wait_for(lambda: late.exists() and (here / f"More-{word}").exists(),  # pylint: disable=W0640
                 "what the other site added")
        for action, path in (append, late), (os.unlink, late), (os.rmdir, here / f"More-{word}"):
            refused(action, path)
        append(here / f"note-{word}")
        (here / f"note-{word}").unlink()
        (here / f"mine-{word}").rmdir()
    # It is free where it was made, and what happens to it there is no conflict here.
    append(there / CLIP / "EDIT.MXF")
    (there / "More-EDIT").rmdir()
    wait_for(lambda: (top / CLIP / "EDIT.MXF").read_bytes() ==
             (there / CLIP / "EDIT.MXF").read_bytes(), "the change at the cart")
    wait_for(lambda: not (top / "More-EDIT").exists(), "the folder to go")
    refused(append, top / CLIP / "EDIT.MXF")
    cart.umount()
    cart.mount()
    refused(append, top / CLIP / "EDIT.MXF")
    assert not [path for path in (*top.rglob("*"), *there.rglob("*")) if "conflict" in path.name]
    mediafs("unseal", top)
    append(top / CLIP / "EDIT.MXF")


def test_what_another_site_did_before_it_knew_is_a_conflict(sites, tier, tmp_path):
    """It removed one file and wrote another while the cart sealed them."""
    cart = sites("cart", tier=tier, settings={"manifest.settle": "1h"}).mount()
    editorial = sites("editorial", join=tier, options=["rw"]).mount()
    source = cards.make(tmp_path / "card", "sony-xavc")
    shutil.copytree(source, cart.mnt / "B")
    cart.wait()
    wait_for(lambda: len(list((editorial.mnt / "B").rglob("*"))) ==
             len(list((cart.mnt / "B").rglob("*"))), "all of the card")
    names = sorted(path.name for path in (cart.mnt / "B" / CLIP).glob("*.MXF"))
    first = cart.mnt / "B" / CLIP / names[0]
    other = next(path for path in sorted((cart.mnt / "B").rglob("*"))
                 if path.is_file() and path != first)
    cart.umount()
    append(editorial.mnt / first.relative_to(cart.mnt))
    (editorial.mnt / other.relative_to(cart.mnt)).unlink()
    editorial.wait()
    mediafs("wait", editorial.mnt, "--for", "stored")
    before = picture(cart.tree / "B")
    # The cart comes back: its seal is there before it hears of anything.
    cart.set("manifest.settle", "100ms")
    tier.rename(tier.with_name("away"))
    cart.mount()
    wait_for(lambda: generations(cart.mnt / "B") and sealed(cart.mnt / "B"), "the seal")
    settled(cart)
    cart.umount()  # it is the cart's own after a start, too
    cart.mount()
    tier.with_name("away").rename(tier)
    wait_for(lambda: any(event["event"] == "refused" for event in cart.events()), "the conflict")
    for name, what in before.items():
        path = cart.mnt / "B" / name
        assert (path.read_bytes() if what else None) == (what[0] if what else None)
    assert manifest("verify", cart.mnt / "B")[0] == 0
