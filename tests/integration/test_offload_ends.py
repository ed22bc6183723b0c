"""`mediafs offload` that ends early: killed, interrupted, the card pulled out, the volume gone."""
import contextlib
import errno
import json
import os
import pathlib
import random
import signal
import subprocess

import pytest

from disk import Shutdown
from lib import BLOCK, MEDIAFS, PATIENCE, pattern, run, same_bytes, same_tree, wait_for
from offload_help import MARKER, REEL, cards, check_honest, faulty, images, leftovers, \
    names_below, no_histories, offload, results  # noqa: F401  (fixtures)

SEED = int(os.environ.get("MEDIAFS_TEST_SEED", "11"))
ROUNDS = int(os.environ.get("MEDIAFS_TEST_ROUNDS", "2"))


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
            same_bytes(top / name, copy / name)
        disk.restart()
        again = results(offload(card, plain.mnt / "x", "--name", "pulled"))
        assert {path for path, what in again.items() if what == "there"} == set(there)
        assert not leftovers(top)
        for path in again:
            same_bytes(top / path, copy / path)
    finally:
        disk.close()


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


def test_who_puts_a_command_aside_and_goes_on_gets_his_answer(plain):
    """^Z and fg while the daemon is asked: that ends a recv() with a time limit by EINTR."""
    os.kill(plain.daemon.pid, signal.SIGSTOP)
    try:
        with subprocess.Popen([str(MEDIAFS), "metrics", "--store", plain.store],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asking:
            call = pathlib.Path(f"/proc/{asking.pid}/syscall")
            wait_for(lambda: call.read_text(encoding="ascii").startswith("45 "), "recv()")
            asking.send_signal(signal.SIGSTOP)
            wait_for(lambda: stat_of(asking)[0] == "T", "it to be put aside")
            asking.send_signal(signal.SIGCONT)
            wait_for(lambda: stat_of(asking)[0] != "T", "it to go on")
            os.kill(plain.daemon.pid, signal.SIGCONT)
            out, err = asking.communicate(timeout=PATIENCE)
    finally:
        os.kill(plain.daemon.pid, signal.SIGCONT)
    assert asking.returncode == 0 and "mediafs_" in out, (asking.returncode, err)
