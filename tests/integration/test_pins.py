"""Pins: a folder's pin counts for what comes into it later."""
import json
import os
import random

import pytest

from lib import BLOCK, fsck, mediafs, pattern, wait_for

CLIP = 3 * BLOCK + 12345  # more than the ends, which are never evicted
LATE = "user.mediafs.pin"


def pinned(path):
    return os.getxattr(path, LATE) == b"1"


def resident(site, name):
    return (site.tree / name).stat().st_blocks * 512


def put(site, name, seed=1, size=CLIP):
    (site.mnt / name).parent.mkdir(parents=True, exist_ok=True)
    (site.mnt / name).write_bytes(pattern(size, seed))


def told(site):
    site.wait()
    wait_for(lambda: site.status()["unpublished"] == 0, "the records")


def stays(site, name):
    """It came by itself, without a reader, and nobody can evict it."""
    site.wait_state(name, "stored")
    assert resident(site, name) >= (site.mnt / name).stat().st_size
    refused = site.cmd("evict", site.mnt / name, check=False)
    assert refused.returncode != 0 and "pinned" in refused.stderr, refused.stderr
    assert pinned(site.mnt / name)


def goes(site, name):
    """It can be evicted, a moment after it came at the latest."""
    wait_for(lambda: site.cmd("evict", site.mnt / name, check=False).returncode == 0, "eviction")


def clean(site):
    site.umount()
    done = fsck("-n", "--full", "--json", site.store)
    assert done.returncode == 0 and not json.loads(done.stdout)["findings"], done.stdout


def test_what_comes_later_is_fetched_and_kept(pair):
    cart, editorial = pair
    put(cart, "A001/first.mov")
    (cart.mnt / "B002").mkdir()
    told(cart)
    wait_for((editorial.mnt / "A001/first.mov").exists, "the reel")
    mediafs("pin", editorial.mnt / "A001")
    stays(editorial, "A001/first.mov")
    put(cart, "A001/second.mov", 2)
    put(cart, "A001/Clip/Sub/third.mov", 3)
    put(cart, "B002/other.mov", 4)
    cart.wait()
    for name in "A001/second.mov", "A001/Clip/Sub/third.mov":
        stays(editorial, name)
        assert (editorial.tree / name).read_bytes() == (cart.tree / name).read_bytes()
    assert pinned(editorial.mnt / "A001/Clip/Sub")
    wait_for((editorial.mnt / "B002/other.mov").exists, "what nobody pinned")
    assert editorial.state("B002/other.mov") == "evicted" and not pinned(editorial.mnt / "B002")
    listed = {item["path"]: item["pinned"] for item in
              json.loads(editorial.cmd("ls", "-R", "--json", editorial.mnt).stdout)["files"]}
    assert listed["A001"] and listed["A001/Clip/Sub/third.mov"] and not listed["B002/other.mov"]
    assert "[pinned]" in editorial.cmd("ls", editorial.mnt).stdout
    clean(editorial)


@pytest.mark.parametrize("pending", ["hide", "show"])
def test_a_reel_is_pinned_before_it_has_a_file(sites, tier, pending):
    cart = sites("cart", tier=tier, settings={"ingest.settle": "3s"}).mount()
    editorial = sites("editorial", join=tier, options=[f"pending={pending}"]).mount()
    (cart.mnt / "A001").mkdir()
    wait_for((editorial.mnt / "A001").exists, "the folder")
    mediafs("pin", editorial.mnt / "A001")
    put(cart, "A001/clip.mov")
    cart.wait()
    stays(editorial, "A001/clip.mov")
    # Another site's next version of it, too.
    put(cart, "A001/clip.mov", 2, CLIP + 1)
    wait_for(lambda: (editorial.tree / "A001/clip.mov").stat().st_size == CLIP + 1, "the next one")
    stays(editorial, "A001/clip.mov")


def test_the_whole_volume_is_pinned(pair):
    cart, editorial = pair
    mediafs("pin", editorial.mnt)
    put(cart, "clip.mov")
    put(cart, "DAY1/A001/clip.mov", 2)
    cart.wait()
    stays(editorial, "clip.mov")
    stays(editorial, "DAY1/A001/clip.mov")
    editorial.umount()
    editorial.mount()
    put(cart, "later.mov", 3)
    cart.wait()
    stays(editorial, "later.mov")
    mediafs("unpin", editorial.mnt)
    put(cart, "DAY1/A001/free.mov", 4)
    cart.wait()
    wait_for((editorial.mnt / "DAY1/A001/free.mov").exists, "the last one")
    assert editorial.state("DAY1/A001/free.mov") == "evicted"
    goes(editorial, "clip.mov")


def test_one_file_of_a_pinned_folder_is_unpinned(pair):
    cart, editorial = pair
    for number in range(3):
        put(cart, f"A001/{number}.mov", number)
    told(cart)
    wait_for(lambda: len(os.listdir(editorial.mnt / "A001")) == 3, "the reel")
    mediafs("pin", editorial.mnt / "A001")
    for number in range(3):
        stays(editorial, f"A001/{number}.mov")
    mediafs("unpin", editorial.mnt / "A001/1.mov")
    goes(editorial, "A001/1.mov")
    put(cart, "A001/3.mov", 3)
    cart.wait()
    stays(editorial, "A001/3.mov")
    # It stays so when its site writes it again or calls it something else.
    put(cart, "A001/1.mov", 11, CLIP + 1)
    wait_for(lambda: (editorial.mnt / "A001/1.mov").stat().st_size == CLIP + 1, "the new version")
    assert not pinned(editorial.mnt / "A001/1.mov")
    os.rename(cart.mnt / "A001/1.mov", cart.mnt / "A001/1b.mov")
    wait_for((editorial.mnt / "A001/1b.mov").exists, "the new name")
    assert not pinned(editorial.mnt / "A001/1b.mov") and editorial.state("A001/1b.mov") == "evicted"
    stays(editorial, "A001/0.mov")
    mediafs("unpin", editorial.mnt / "A001")
    put(cart, "A001/4.mov", 4)
    cart.wait()
    wait_for((editorial.mnt / "A001/4.mov").exists, "the next file")
    assert editorial.state("A001/4.mov") == "evicted" and not pinned(editorial.mnt / "A001/4.mov")
    goes(editorial, "A001")


def test_names_that_people_give(cart):
    """Made, linked and moved into a pinned folder, within it, and out of it."""
    top = cart.mnt
    for name in "pinned/known", "free/deep/er/one", "free/single", "free/over":
        put(cart, name, size=100)
    os.setxattr(top / "pinned", LATE, b"1")  # as `mediafs pin` does
    assert pinned(top / "pinned/known")
    put(cart, "pinned/sub/new", size=100)
    handle = os.open(top / "pinned", os.O_TMPFILE | os.O_RDWR)
    os.link(f"/proc/self/fd/{handle}", top / "pinned/unnamed", src_dir_fd=handle)  # it follows
    os.close(handle)
    os.link(top / "free/single", top / "pinned/link")
    os.mkfifo(top / "pinned/fifo")
    os.symlink("known", top / "pinned/best")
    os.rename(top / "free/deep", top / "pinned/deep")
    for name in ("sub", "sub/new", "unnamed", "link", "deep", "deep/er", "deep/er/one"):
        assert pinned(top / "pinned" / name), name
    assert pinned(top / "free/single") and not pinned(top / "free/over")
    # What leaves keeps its own mark, and a folder its own rule.
    os.rename(top / "pinned/deep", top / "free/deep")
    os.rename(top / "pinned/known", top / "free/known")
    put(cart, "free/deep/next", size=100)
    put(cart, "free/next", size=100)
    assert pinned(top / "free/known") and pinned(top / "free/deep/er/one")
    assert pinned(top / "free/deep/next") and not pinned(top / "free/next")
    # What somebody unpinned stays so under any name in its folder, and comes in pinned again.
    cart.cmd("unpin", top / "pinned/sub/new")
    os.rename(top / "pinned/sub/new", top / "pinned/sub/other")
    os.link(top / "pinned/sub/other", top / "pinned/sub/third")
    assert not pinned(top / "pinned/sub/other")
    os.rename(top / "pinned/sub/other", top / "pinned/moved")
    assert pinned(top / "pinned/moved") and pinned(top / "pinned/sub/third")
    # A program that saves beside and renames over keeps the pin.
    put(cart, "free/beside", size=100)
    cart.cmd("pin", top / "free/over")
    os.rename(top / "free/beside", top / "free/over")
    assert pinned(top / "free/over")
    os.removexattr(top / "pinned", LATE)
    assert not any(pinned(path) for path in (top / "pinned").rglob("*")
                   if path.is_file() and not path.is_symlink())
    put(cart, "pinned/after", size=100)
    assert not pinned(top / "pinned/after")
    cart.wait()
    clean(cart)


def test_a_killed_editorial_loses_no_pin(pair):
    """Killed when a name is on the disk, and mostly not in the catalog yet."""
    cart, editorial = pair
    chance = random.Random(int(os.environ.get("MEDIAFS_TEST_SEED", "1")))
    (cart.mnt / "A001").mkdir()
    wait_for((editorial.mnt / "A001").exists, "the folder")
    mediafs("pin", editorial.mnt / "A001")
    names = []
    for turn in range(int(os.environ.get("MEDIAFS_TEST_ROUNDS", "4"))):
        fresh = [f"A001/{turn}/{number}.mov" for number in range(12)]
        names += fresh
        last = editorial.tree / chance.choice(fresh)
        for name in fresh:
            put(cart, name, size=1000)
        wait_for(last.exists, "a name")
        editorial.kill()
        editorial.mount()
    cart.wait()
    for name in names:
        stays(editorial, name)
    clean(editorial)


def test_a_killed_daemon_pins_what_was_just_made(cart):
    (cart.mnt / "A001").mkdir()
    cart.cmd("pin", cart.mnt / "A001")
    (cart.mnt / "out").write_bytes(b"out")
    os.rename(cart.mnt / "out", cart.mnt / "A001/in")
    (cart.mnt / "A001/new").write_bytes(b"new")
    (cart.mnt / "A001/sub").mkdir()
    cart.kill()
    cart.mount()
    (cart.mnt / "A001/sub/late").write_bytes(b"late")
    for name in "in", "new", "sub", "sub/late":
        assert pinned(cart.mnt / "A001" / name), name


@pytest.mark.parametrize("verb", ["pin", "fetch"])
def test_who_cannot_ask_other_sites_says_so(pair, tier, verb):
    cart, editorial = pair
    put(cart, "A001/clip.mov", size=1000)
    told(cart)
    folder = editorial.mnt / "A001"
    wait_for((folder / "clip.mov").exists, "the clip")
    (folder / "clip.mov").read_bytes()
    editorial.wait_state("A001/clip.mov", "stored")
    code = 4 if verb == "fetch" else 0

    def ask(*more, path=folder):
        return mediafs(verb, path, *more, check=False)

    def all_is_well():
        done = ask()
        return (done.returncode == 0 and "cannot be asked" not in done.stderr
                and "1 file" in done.stdout)
    wait_for(all_is_well, "an answer")
    assert json.loads(ask("--json").stdout)["unheard"] is None
    tier.take_away()
    wait_for(lambda: "other sites cannot be asked" in ask().stderr, "the outage")
    for _ in range(2):  # also when it was never heard since the start
        done = ask("--json")
        told_now = json.loads(done.stdout)
        assert done.returncode == told_now["code"] == code and told_now["files"] == 1, done
        assert told_now["unheard"] and not told_now["failures"]
        assert ask().returncode == code and "1 file" in ask().stdout
        # One file is known, or is not.
        assert "cannot be asked" not in ask(path=folder / "clip.mov").stderr
        editorial.umount()
        editorial.mount()
    tier.bring_back()
    wait_for(all_is_well, "the tier")
