"""The main job: copy a card in, verified, stored, seen at editorial, proven by fsck."""
import contextlib
import os

import pytest

from lib import fsck, mediafs, pattern, run, same_tree, wait_for


def make_card(folder):
    """A small card: clips of several sizes, sidecars, an empty file, an empty folder."""
    (folder / "A001R2EC/CLIPS").mkdir(parents=True)
    (folder / "A001R2EC/EMPTY").mkdir()
    (folder / "A001R2EC/CLIPS/A001C001.mov").write_bytes(pattern((9 << 20) + 77))
    (folder / "A001R2EC/CLIPS/A001C002.mov").write_bytes(pattern(4 << 20, 2))
    (folder / "A001R2EC/CLIPS/A001C001.wav").write_bytes(pattern(123457, 3))
    (folder / "A001R2EC/report.txt").write_text("roll A001\n")
    (folder / "A001R2EC/empty.xml").write_bytes(b"")
    os.symlink("CLIPS/A001C001.mov", folder / "A001R2EC/first")
    os.chmod(folder / "A001R2EC/report.txt", 0o640)
    os.utime(folder / "A001R2EC/CLIPS/A001C001.mov", ns=(1, 1_600_000_000_123_456_789))
    return folder


@pytest.mark.every_tier
def test_a_card_goes_from_cart_to_editorial(pair, tmp_path):
    cart, editorial = pair
    card = make_card(tmp_path / "card")
    run("cp", "-a", card / "A001R2EC", cart.mnt)
    cart.wait(state="verified")
    cart.wait(state="stored")
    same_tree(card, cart.mnt)
    wait_for(lambda: (editorial.mnt / "A001R2EC/CLIPS/A001C001.mov").exists()
             and (editorial.mnt / "A001R2EC/first").is_symlink()
             and (editorial.mnt / "A001R2EC/report.txt").exists()
             and (editorial.mnt / "A001R2EC/empty.xml").exists()
             and (editorial.mnt / "A001R2EC/CLIPS/A001C001.wav").exists()
             and (editorial.mnt / "A001R2EC/CLIPS/A001C002.mov").exists()
             and (editorial.mnt / "A001R2EC/EMPTY").exists(), "the tree at editorial")
    same_tree(card, editorial.mnt)
    cart.umount()
    editorial.umount()
    for site in (cart, editorial):
        done = fsck("--full", site.store)
        assert done.returncode == 0, done.stdout + done.stderr


def test_everything_is_there_after_a_remount(cart, tmp_path):
    card = make_card(tmp_path / "card")
    run("cp", "-a", card / "A001R2EC", cart.mnt)
    cart.wait()
    before = {path: path.lstat().st_ino for path in cart.mnt.rglob("*")}
    cart.umount()
    cart.mount()
    assert {path: path.lstat().st_ino for path in cart.mnt.rglob("*")} == before
    same_tree(card, cart.mnt)
    assert cart.state("A001R2EC/report.txt") == "stored"


def test_kill_in_the_middle_of_a_copy_loses_nothing_verified(cart):
    (cart.mnt / "safe.mov").write_bytes(pattern(5 << 20))
    cart.wait("safe.mov", "verified")
    half = os.open(cart.mnt / "half.mov", os.O_WRONLY | os.O_CREAT)
    os.write(half, pattern(3 << 20, 5))
    cart.kill()
    with contextlib.suppress(OSError):  # its mount is gone
        os.close(half)
    cart.mount()
    assert (cart.mnt / "safe.mov").read_bytes()[16:1 << 16] != b""
    cart.wait(state="stored")
    cart.umount()
    assert fsck("--full", "--remote", cart.store).returncode == 0


def test_help_and_version_answer():
    assert "usage" in mediafs("--help").stdout.lower()
    assert mediafs("--version").stdout.startswith("mediafs ")
