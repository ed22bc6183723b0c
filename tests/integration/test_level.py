"""After a kill the daemon brings the catalog level with the tree before anybody uses it."""
import json
import os
import random
import shutil
import subprocess
import threading

import pytest

from lib import BLOCK, MEDIAFS, flip, fsck, pattern, run

ROUNDS = int(os.environ.get("MEDIAFS_TEST_ROUNDS", "4"))


def errors(site, *options):
    done = fsck("--json", *options, site.store)
    report = json.loads(done.stdout)
    return [found for found in report["findings"] if found["outcome"] != "note"] + report["errors"]


def work(site, dice, stop, folder):
    """Until the mount dies: files that come, change, move and go."""
    try:
        top = site.mnt / folder
        top.mkdir(exist_ok=True)
        count = 0
        while not stop.is_set() and os.path.ismount(site.mnt):
            count += 1
            name = top / f"f{dice.randrange(20)}"
            match dice.randrange(6):
                case 0:
                    name.unlink(missing_ok=True)
                case 1 if name.exists():
                    name.rename(top / f"f{dice.randrange(20)}")
                case 2:
                    (top / f"d{dice.randrange(3)}").mkdir(exist_ok=True)
                case 3 if (top / "d0").exists():
                    shutil.rmtree(top / "moved", ignore_errors=True)
                    (top / "d0").rename(top / "moved")
                case 4 if name.exists():
                    name.chmod(0o600 | dice.randrange(0o77))
                case _:
                    name.write_bytes(pattern(dice.randrange(400_000), count))
    except OSError:
        pass  # the daemon died under us


def test_after_a_kill_the_daemon_levels_while_people_work(cart):
    dice = random.Random(7)
    (cart.mnt / "kept.mov").write_bytes(pattern(BLOCK + 9))
    cart.wait("kept.mov", "verified")
    for number in range(ROUNDS):
        stop = threading.Event()
        workers = [threading.Thread(target=work, args=(cart, random.Random(number * 10 + i), stop,
                                                       f"w{i}")) for i in range(3)]
        for worker in workers:
            worker.start()
        threading.Event().wait(dice.uniform(0.1, 1.2))
        cart.kill()
        for worker in workers:
            worker.join()
        cart.mount()
        stop = threading.Event()
        busy = threading.Thread(target=work, args=(cart, random.Random(number), stop, "w0"))
        busy.start()
        assert not errors(cart)
        stop.set()
        busy.join()
    cart.wait(state="stored", timeout=120)
    assert not [row for row in cart.events() if row["event"] == "damaged"]
    assert not errors(cart, "--full", "--remote")
    cart.umount()
    assert not errors(cart, "--full", "--remote")


def test_what_happened_behind_our_back(cart):
    (cart.mnt / "folder").mkdir()
    for name in ("folder/moved.mov", "changed.mov", "gone.mov", "flipped.mov"):
        (cart.mnt / name).write_bytes(pattern(BLOCK + 10, len(name)))
    cart.wait(state="stored")
    cart.kill()
    (cart.tree / "folder").rename(cart.tree / "renamed")
    (cart.tree / "changed.mov").write_bytes(pattern(100, 3))
    (cart.tree / "gone.mov").unlink()
    (cart.tree / "added.mov").write_bytes(pattern(200, 4))
    flip(cart.tree / "flipped.mov", 5)
    cart.mount()
    assert cart.state("renamed/moved.mov") == "stored"
    cart.wait("changed.mov", "stored")
    cart.wait("added.mov", "stored")
    missing = [row for row in cart.events() if row["event"] == "missing"]
    assert [row["path"] for row in missing] == ["gone.mov"] and len(missing[0]["digest"]) == 32
    # Only its ctime tells: it is read first of all, and not served as if it were right.
    cart.wait_state("flipped.mov", "damaged")
    assert [found["what"] for found in errors(cart)] == ["damaged"]


def test_a_kill_in_the_middle_of_levelling_goes_on_at_the_next_start(cart):
    cart.kill()
    (cart.tree / "frames").mkdir()
    for number in range(3000):
        (cart.tree / f"frames/f{number:05}.dpx").write_bytes(b"x")
    for pause in (0.02, 0.05, 0.1):
        with subprocess.Popen([MEDIAFS, "mount", "-f", cart.store, cart.mnt],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
            threading.Event().wait(pause)
            daemon.kill()
        run("umount", "-l", cart.mnt, check=False)
    cart.mount()
    cart.wait(state="verified", timeout=240)
    assert not errors(cart)


@pytest.mark.parametrize("how", ["umount", "kill"])
def test_a_clean_store_is_not_walked(cart, how):
    (cart.mnt / "a").write_bytes(b"x")
    cart.wait()
    getattr(cart, how)()
    run("rm", "-f", cart.log)
    cart.mount()
    cart.umount()
    assert ("catalog level" in cart.log_text()) == (how == "kill")
