"""Every command, its exit codes, its JSON, and what it says when things are wrong."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import pytest

from lib import MEDIAFS, PATIENCE, Site, flip, is_mounted, mediafs, run, url, wait_for

COMMANDS = ["init", "mount", "umount", "status", "ls", "wait", "evict", "fetch", "pin", "unpin",
            "log", "conflicts", "config", "limit", "pause", "resume", "tier", "metrics"]
NOBODY = 65534
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def fails(*words, code, says="", **options):
    """The command fails with @code, saying @says; with --json the error is one JSON document."""
    done = mediafs(*words, check=False, **options)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert re.search(says, done.stderr), done.stderr
    assert done.stderr.splitlines()[-1].startswith("mediafs")
    done = mediafs(*words, "--json", check=False, **options)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    answer = json.loads(done.stdout)
    assert re.search(says, answer["error"]) and answer["code"] == code
    return answer


def one_file(site, name="A001.mov", size=100_000):
    (site.mnt / name).parent.mkdir(parents=True, exist_ok=True)
    (site.mnt / name).write_bytes(os.urandom(size))
    return name


# Usage -------------------------------------------------------------------------------------

@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_there_and_unknown_options_are_refused(command):
    assert command in mediafs("--help").stdout
    assert "--json" in mediafs(command, "--help").stdout
    fails(command, "--no-such-option", code=2, says="unknown option --no-such-option")


def test_wrong_usage_is_two():
    fails("frobnicate", code=2, says="there is no command")
    fails("init", code=2, says="an argument is missing")
    fails("pause", "x", code=2, says="one argument too many")
    done = mediafs("wait", "--for", check=False)
    assert done.returncode == 2 and "a value is missing after --for" in done.stderr
    fails("wait", "--for", "ever", code=2, says="verified or --for stored")
    fails("wait", "--timeout", "soon", code=2, says="not a time")
    fails("log", "-n", "many", code=2, says="number from 1")
    fails("config", "put", "a", code=2, says="neither get nor set")
    assert mediafs(check=False).returncode == 2


# init --------------------------------------------------------------------------------------

def test_init_says_what_it_made(tmp_path, tier):
    answer = json.loads(mediafs("init", tmp_path / "s", "--site", "cart-a", "--tier", tier,
                                "--json").stdout)
    assert answer["site"] == "cart-a" and answer["tier"] == url(tier)
    store = json.loads((tmp_path / "s/store.json").read_text())
    assert answer["volume"] in store.values()
    fails("init", tmp_path / "s", code=6, says="is a store already")


def test_init_that_fails_leaves_nothing(tmp_path, tier):
    before = sorted(tmp_path.rglob("*"))
    for words, code, says in (
            (["--site", "a/b"], 2, "no name for a site"),
            (["--tier", tmp_path / "absent"], 8, "absent"),
            (["--tier", "ftp://x/y"], 2, "not a tier's URL"),
            (["--tier", f"file://{tmp_path}/absent"], 4, "cannot be reached"),
            (["--join", tier], 8, "there is no volume at"),
            (["--join", tier, "--tier", tier], 2, "leave out --tier"),
    ):
        fails("init", tmp_path / "s", *words, code=code, says=says)
        assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("x")
    fails("init", tmp_path / "full", "--tier", tier, code=6, says="is not empty")
    assert os.listdir(tmp_path / "full") == ["file"]
    assert list(tier.iterdir()) == []


def test_init_keeps_store_and_tier_apart(tmp_path):
    (tmp_path / "s").mkdir()
    fails("init", tmp_path / "s", "--tier", tmp_path / "s", code=2, says="inside the store")
    assert os.listdir(tmp_path / "s") == []


def test_init_does_not_take_the_tier_of_another_volume(tmp_path, tier):
    mediafs("init", tmp_path / "one", "--tier", tier)
    fails("init", tmp_path / "two", "--tier", tier, code=6, says="join it with --join")
    assert not (tmp_path / "two").exists()
    first = json.loads(mediafs("status", "--json", "--store", tmp_path / "one").stdout)
    mediafs("init", tmp_path / "two", "--join", tier)
    second = json.loads(mediafs("status", "--json", "--store", tmp_path / "two").stdout)
    assert first["volume"] == second["volume"] and second["joined"] and not first["joined"]


# Stores and mounts that are wrong -----------------------------------------------------------

def test_a_bad_configuration_is_told_and_status_still_answers(sites):
    site = sites("cart")
    conf = site.store / "mediafs.conf"
    conf.write_text(conf.read_text() + "\n[ingest]\nverify = perhaps\n")
    fails("mount", site.store, site.mnt, code=7, says="mediafs.conf: .*verify")
    assert not is_mounted(site.mnt)
    fails("config", "set", "ingest.settle", "1s", "--store", site.store, code=7, says="verify")
    assert "verify" in site.status()["settings_error"]


def test_what_is_no_store_and_what_is_of_a_newer_version(sites, tmp_path):
    site = sites("cart")
    (tmp_path / "x").mkdir()
    for words in (["mount", tmp_path / "x", site.mnt], ["status", "--store", tmp_path / "x"]):
        fails(*words, code=8, says="is not a store")
    fails("mount", tmp_path / "absent", site.mnt, code=8, says="absent")
    file = site.store / "store.json"
    text = json.loads(file.read_text())
    file.write_text(json.dumps({**text, "format": 99}))
    for words in (["mount", site.store, site.mnt], ["status", "--store", site.store]):
        fails(*words, code=10, says="newer mediafs")
    file.write_text("{")
    for words in (["mount", site.store, site.mnt], ["ls", "--store", site.store]):
        fails(*words, code=5, says="store.json")
    assert not is_mounted(site.mnt)


def test_a_second_daemon_and_a_taken_mount_point_are_refused(plain, sites, tmp_path):
    other = sites("other")
    (tmp_path / "elsewhere").mkdir()
    fails("mount", plain.store, tmp_path / "elsewhere", code=6,
          says=f"mounted already, on {plain.mnt}")
    fails("mount", other.store, plain.mnt, code=6, says="is mounted already")
    fails("mount", other.store, tmp_path / "absent", code=8, says="mount point")
    (tmp_path / "file").write_text("")
    fails("mount", other.store, tmp_path / "file", code=2, says="not a folder")
    fails("mount", other.store, other.store / "tree", code=2, says="must not lie in each other")
    fails("mount", other.store, other.mnt, "-o", "frob=1", code=2, says="unknown mount option")
    assert not is_mounted(other.mnt)


@is_root
def test_others_may_not_ask():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        site = Site(folder, "cart")
        os.chmod(site.store, 0o755)
        try:
            site.mount()
            fails("status", "--store", site.store, code=9, says="only its owner and root may ask",
                  user=NOBODY, group=NOBODY, extra_groups=[])
        finally:
            site.close()


AS_USER = """
set -e
# Where only some may open the device: one that all may, seen by nobody else.
[ "$(stat -c %a /dev/fuse)" = 666 ] || {
    mknod -m 666 "$2/fuse" c 10 229; chmod 666 "$2/fuse"; mount --bind "$2/fuse" /dev/fuse; }
user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
user "$1" init "$2/store" --site mine >&2
user mkdir "$2/mnt"
user "$1" mount "$2/store" "$2/mnt"
user sh -c "echo mine > $2/mnt/file"
user "$1" wait "$2/mnt" >&2
user "$1" status "$2/mnt" --json
user "$1" umount "$2/mnt" >&2
! grep -q "$2/mnt" /proc/self/mountinfo
"""


@is_root
@pytest.mark.skipif(not shutil.which("fusermount3"), reason="needs fusermount3")
def test_an_ordinary_user_mounts_and_unmounts():
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        done = run("unshare", "-m", "--propagation", "private", "sh", "-c", AS_USER, "sh", MEDIAFS,
                   folder)
        answer = json.loads(done.stdout)
        assert answer["verified_files"] == 1 and answer["live"]


def test_mount_goes_to_the_background_and_umount_waits(sites):
    site = sites("cart")
    mediafs("mount", site.store, site.mnt)
    try:
        assert is_mounted(site.mnt)
        assert site.status()["mounted"]
        os.listdir(site.mnt)
    finally:
        mediafs("umount", site.mnt)
    assert not is_mounted(site.mnt)
    assert not (site.store / "run/control").exists()
    mediafs("mount", site.store, site.mnt)
    mediafs("umount", "-l", site.mnt)
    wait_for(lambda: not (site.store / "run/control").exists(), "the daemon's end")


def test_a_dead_daemon_is_told_and_its_mount_point_cleared(plain):
    one_file(plain)
    plain.wait("", "verified")
    plain.daemon.send_signal(signal.SIGKILL)
    plain.daemon.wait(PATIENCE)
    plain.daemon = None
    done = mediafs("status", plain.mnt)
    assert "the mount daemon died" in done.stdout and "1 file" in done.stdout
    assert mediafs("ls", plain.mnt / "A001.mov").returncode == 0
    fails("evict", plain.mnt / "A001.mov", code=4, says="not mounted")
    mediafs("umount", plain.mnt)
    assert not is_mounted(plain.mnt)


def test_umount_names_who_uses_it_and_says_what_is_pending(cart):
    cart.cmd("pause")
    one_file(cart)
    cart.wait("", "verified")
    wait_for(lambda: cart.status()["states"]["queued"]["files"] == 1, "the queue")
    with open(cart.mnt / "A001.mov", "rb"):
        fails("umount", cart.mnt, code=6, says=rf"in use by .*\({os.getpid()}\)")
    done = mediafs("umount", cart.mnt)
    assert "1 file(s)" in done.stderr and "only here" in done.stderr
    assert cart.daemon.wait(PATIENCE) == 0
    cart.daemon = None
    fails("umount", cart.mnt, code=8, says="is not where a mediafs volume is mounted")


@is_root
def test_umount_names_who_keeps_it_mounted_elsewhere(cart):
    with subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c",
                           "echo there; exec cat"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as container:
        assert container.stdout.readline() == b"there\n"
        with subprocess.Popen([MEDIAFS, "umount", cart.mnt], stderr=subprocess.PIPE,
                              text=True) as umount:
            told = next(line for line in umount.stderr if "namespace" in line)
            assert f"mount namespace of cat ({container.pid})" in told
            assert umount.poll() is None and cart.daemon.poll() is None
            container.stdin.close()
            assert umount.wait(PATIENCE) == 0
    assert cart.daemon.wait(PATIENCE) == 0
    cart.daemon = None


@is_root
def test_mount_helper_has_the_codes_of_mount(sites):
    site = sites("cart")
    helper = MEDIAFS.parent / "mount.mediafs"

    def mount(*words):
        return run(helper, *words, check=False)
    assert mount(site.store).returncode == 1
    assert mount(site.store, site.mnt, "-z").returncode == 1
    assert mount(site.store, site.mnt, "-o", "frob").returncode == 1
    assert mount(site.store / "absent", site.mnt).returncode == 32
    assert mount(site.store, site.mnt, "-f").returncode == 0 and not is_mounted(site.mnt)
    assert mount(site.store, site.mnt, "-s", "-n", "-o",
                 "rw,frob,noatime,x-systemd.automount,nofail").returncode == 0
    assert is_mounted(site.mnt)
    assert mount(site.store, site.mnt).returncode == 32
    mediafs("umount", site.mnt)


# What is asked of a volume --------------------------------------------------------------------

def test_every_answer_is_json(cart):
    one_file(cart)
    cart.wait()
    for words in (["status"], ["status", cart.mnt / "A001.mov"], ["ls"], ["ls", "-R", cart.mnt],
                  ["ls", "--pending"], ["wait", "--for", "stored"], ["config", "get"],
                  ["config", "get", "transfer.limit"], ["config", "set", "transfer.limit", "0"],
                  ["tier", "list"], ["tier", "test"], ["conflicts"], ["metrics"],
                  ["limit", "10M"], ["limit", "20M", "--for", "1h"], ["pause"], ["resume"],
                  ["pin", cart.mnt / "A001.mov"], ["unpin", cart.mnt], ["fetch", cart.mnt],
                  ["evict", cart.mnt], ["log", "--verify"]):
        answer = cart.cmd(*words, "--json").stdout
        assert isinstance(json.loads(answer), dict), words
        assert answer.count("\n") == 1
    for line in cart.cmd("log", "--json").stdout.splitlines():
        assert json.loads(line)["event"]


def test_ls_and_status_show_state_digest_and_copies(cart):
    one_file(cart, "DAY1/A001.mov")
    (cart.mnt / "DAY1/.DS_Store").write_text("finder")
    cart.wait()
    files = json.loads(cart.cmd("ls", "-R", "--json").stdout)["files"]
    by_path = {file["path"]: file for file in files}
    assert by_path["DAY1"]["type"] == "folder"
    clip = by_path["DAY1/A001.mov"]
    assert clip["state"] == "stored" and len(clip["copies"]) == 1
    assert clip["digest"] == os.getxattr(cart.mnt / "DAY1/A001.mov",
                                         "user.mediafs.digest").decode()
    assert by_path["DAY1/.DS_Store"]["ignored_by"] == ".DS_Store"
    assert json.loads(cart.cmd("ls", "--pending", "--json").stdout)["files"] == []
    assert "ignored by .DS_Store" in mediafs("ls", cart.mnt / "DAY1").stdout
    status = cart.status()
    assert status["stored_files"] == 1 and status["files"] == 2
    part = json.loads(mediafs("status", cart.mnt / "DAY1/A001.mov", "--json").stdout)
    assert part["files"] == 1 and part["path"] == "DAY1/A001.mov"
    fails("ls", cart.mnt / "absent", code=8, says="absent")


def test_paths_are_found_wherever_they_are_named(plain, tmp_path):
    names = ["plain.txt", "with blank", "line\nend", "ends\\040", "caf\u00e9",
             os.fsdecode(b"bytes-\xff\xfe"), "%:odd", "(par)"]
    for name in names:
        (plain.mnt / name).write_text("x")
    plain.wait("", "verified")
    for name in names:
        for place in (plain.mnt, plain.tree):
            status = json.loads(mediafs("status", place / name, "--json").stdout)
            assert status["files"] == 1, name
        inside = run(MEDIAFS, "status", "--json", f"./{name}", cwd=plain.mnt)
        assert json.loads(inside.stdout)["files"] == 1
        rooted = json.loads(plain.cmd("status", name, "--json", cwd=tmp_path).stdout)
        assert rooted["files"] == 1
    shown = plain.cmd("ls").stdout
    assert "line?end" in shown and len(shown.splitlines()) == len(names)
    (tmp_path / "link").symlink_to(plain.mnt)
    assert json.loads(mediafs("status", tmp_path / "link", "--json").stdout)["path"] == ""
    fails("ls", "/etc", "--store", plain.store, code=8, says="is not in the volume")


def test_status_and_the_rest_without_a_mount(cart):
    one_file(cart)
    cart.wait()
    cart.umount()
    status = cart.status()
    assert not status["mounted"] and not status["live"] and status["stored_files"] == 1
    assert "not mounted" in cart.cmd("status").stdout
    assert json.loads(cart.cmd("ls", "--json").stdout)["files"][0]["state"] == "stored"
    assert [e for e in cart.events() if e["event"] == "stored"]
    assert cart.cmd("wait", "--for", "stored").returncode == 0
    assert "mediafs_mounted 0" in cart.cmd("metrics").stdout
    fails("evict", "A001.mov", "--store", cart.store, code=4, says="not mounted")
    fails("limit", "1M", "--for", "1h", "--store", cart.store, code=4, says="not mounted")
    cart.cmd("limit", "3M")
    assert cart.cmd("config", "get", "transfer.limit").stdout == "3M\n"


def test_settings_take_effect_at_once_and_are_in_the_file(plain):
    plain.set("ingest.settle", "3s")
    assert plain.cmd("config", "get", "ingest.settle").stdout == "3s\n"
    assert "settle = 3s" in (plain.store / "mediafs.conf").read_text()
    fails("config", "set", "ingest.settle", "soon", "--store", plain.store, code=7, says="settle")
    fails("config", "set", "no.such", "1", "--store", plain.store, code=8, says="no.such")
    fails("config", "get", "no.such", "--store", plain.store, code=8, says="no.such")
    assert plain.events()[-1]["detail"] == "ingest.settle = 3s"


def test_pause_and_limit_for_a_time(cart):
    cart.cmd("limit", "7M")
    assert "until" in cart.cmd("limit", "1M", "--for", "1h").stdout
    assert (cart.status()["limit"], cart.status()["limit_rule"]) == (1 << 20, "override")
    cart.cmd("limit", "1M", "--for", "300ms")
    wait_for(lambda: cart.status()["limit_rule"] == "limit", "the limit's end")
    assert cart.cmd("config", "get", "transfer.limit").stdout == "7M\n"
    cart.cmd("pause")
    assert cart.status()["pause"] and "paused" in cart.cmd("status").stdout
    one_file(cart)
    cart.wait("", "verified")
    assert cart.wait("", "stored", timeout=1, check=False).returncode == 3
    cart.cmd("resume")
    cart.wait()


def test_metrics_are_text_of_prometheus(cart):
    one_file(cart)
    cart.wait()
    text = cart.cmd("metrics").stdout
    assert 'mediafs_files{state="stored"} 1\n' in text and "mediafs_mounted 1\n" in text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) .*|mediafs_\w+(\{[^}]*\})? -?\d+(\.\d+)?', line), line


# wait ----------------------------------------------------------------------------------------

def test_wait_has_a_code_for_each_end(cart, tier):
    cart.wait("", "verified")
    cart.cmd("pause")
    one_file(cart)
    one_file(cart, "kept here.part")
    cart.wait("", "verified")
    cart.wait_state("A001.mov", "queued")
    answer = fails("wait", cart.mnt, "--for", "stored", "--timeout", "500ms", code=3, says="pending")
    assert (answer["files"], answer["done_files"], answer["ignored_files"]) == (1, 0, 1)
    tier.take_away()
    cart.cmd("resume")
    fails("wait", cart.mnt, "--for", "stored", "--offline", "100ms", code=4,
          says="the tier is away")
    tier.bring_back()
    cart.wait()


def test_wait_calls_damage_by_its_name(plain):
    with open(plain.mnt / "A001.mov", "wb") as file:
        file.write(os.urandom(5 << 20))
        file.flush()
        flip(plain.tree / "A001.mov", 12345)
    one_file(plain, "A002.mov")
    fails("wait", plain.mnt, "--for", "verified", code=5, says="a person must look")
    done = mediafs("wait", plain.mnt, check=False)
    assert "damaged: A001.mov" in done.stderr
    done = plain.cmd("status", check=False)
    assert done.returncode == 5 and "DAMAGED" in done.stdout and "A001.mov" in done.stdout
    assert plain.cmd("wait", "A002.mov").returncode == 0
    fails("wait", plain.mnt / "A002.mov", "--for", "stored", code=4, says="no tier")


def test_wait_takes_files_that_appear_meanwhile(plain):
    def copy():
        for number in range(40):
            one_file(plain, f"clip{number:03}.mov", 300_000)
    with open(plain.mnt / "first", "wb") as first:
        first.write(b"x")
        waiting = subprocess.Popen([str(MEDIAFS), "wait", str(plain.mnt), "--json"],
                                   stdout=subprocess.PIPE)
        copier = threading.Thread(target=copy)
        copier.start()
        copier.join()
        assert waiting.poll() is None
    answer = json.loads(waiting.communicate(timeout=PATIENCE)[0])
    assert waiting.returncode == 0 and answer["files"] == answer["done_files"] == 41


# Residency -----------------------------------------------------------------------------------

def test_evict_fetch_pin_and_their_refusals(cart):
    one_file(cart, "A001.mov", 12 << 20)
    one_file(cart, "A002.mov", 12 << 20)
    cart.wait()
    cart.cmd("pin", "A001.mov")
    done = mediafs("evict", cart.mnt / "A001.mov", check=False)
    assert done.returncode == 9 and "A001.mov" in done.stderr
    with open(cart.mnt / "A002.mov", "rb"):
        done = mediafs("evict", cart.mnt / "A002.mov", check=False)
        assert done.returncode == 6 and "A002.mov" in done.stderr

    def evicted():
        answer = json.loads(mediafs("evict", cart.mnt / "A002.mov", "--json", check=False).stdout)
        return answer if answer["code"] == 0 else None
    # The kernel tells of the close a moment later.
    assert wait_for(evicted, "the eviction")["bytes"] > 0
    files = json.loads(cart.cmd("ls", "--json").stdout)["files"]
    assert [file["state"] for file in files] == ["stored", "evicted"]
    assert files[0]["pinned"] and files[1]["resident_bytes"] < files[1]["size"]
    answer = json.loads(cart.cmd("fetch", "A001.mov", "A002.mov", "--json").stdout)
    assert answer["failed"] == 0
    cart.wait_state("A002.mov", "stored")
    cart.cmd("unpin", cart.mnt / "A001.mov")
    cart.cmd("evict", cart.mnt)
    fails("evict", cart.mnt / "absent", code=8, says="absent")


# log -----------------------------------------------------------------------------------------

def test_log_by_path_by_count_and_its_chain(cart):
    for name in ("DAY1/a.mov", "DAY1/b.mov", "DAY10/c.mov"):
        one_file(cart, name)
    cart.wait()
    assert {e["path"] for e in cart.events("DAY1")} == {"DAY1/a.mov", "DAY1/b.mov"}
    everything = cart.events()
    assert [e["seq"] for e in everything] == list(range(1, len(everything) + 1))
    assert cart.events("-n", "2") == everything[-2:]
    assert "holds" in cart.cmd("log", "--verify").stdout
    cart.umount()
    run("/usr/bin/python3", "-c", "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
        "[db.execute('drop trigger ' + name) for (name,) in"
        " db.execute(\"select name from sqlite_master where type = 'trigger'\").fetchall()];"
        "db.execute(\"update events set detail = 'nothing' where seq = 2\"); db.commit()",
        cart.store / "catalog.db")
    fails("log", "--verify", "--store", cart.store, code=5, says="broken at row 2")


def test_log_follows(plain):
    follower = subprocess.Popen([str(MEDIAFS), "log", "--follow", "--json", str(plain.mnt)],
                                stdout=subprocess.PIPE, text=True)
    try:
        one_file(plain, "late.mov")
        for line in follower.stdout:
            if json.loads(line)["path"] == "late.mov":
                break
        follower.send_signal(signal.SIGINT)
        assert follower.wait(PATIENCE) == 0
    finally:
        follower.kill()
        follower.wait()


# Other sites -----------------------------------------------------------------------------------

def test_what_another_site_announced_is_listed_as_pending(pair):
    cart, editorial = pair
    cart.cmd("pause")
    one_file(cart, "DAY1/A001.mov", 5000)
    cart.wait("", "verified")

    def pending(*path):
        return json.loads(editorial.cmd("ls", "--pending", *path, "--json").stdout)["files"]
    files = wait_for(pending, "the announcement")
    assert [(file["path"], file["state"], file["site"], file["size"]) for file in files] \
        == [("DAY1/A001.mov", "announced", "cart", 5000)]
    assert pending("DAY1") == files and pending("DAY1/A001.mov") == files
    assert not (editorial.mnt / "DAY1/A001.mov").exists()
    assert editorial.status()["announced"] == {"files": 1, "bytes": 5000}
    assert "at cart, not stored yet" in editorial.cmd("ls", "--pending").stdout
    assert [file["state"] for file in json.loads(cart.cmd("ls", "--pending", "--json").stdout)
            ["files"]] == ["queued"]
    cart.cmd("resume")
    wait_for(lambda: (editorial.mnt / "DAY1/A001.mov").exists(), "the file at editorial")
    assert pending() == []


def test_conflicts_are_listed(sites, tier, cart):
    editorial = sites("editorial", join=tier).mount("rw")
    for site in (cart, editorial):
        site.cmd("pause")
        one_file(site, "notes.txt", 100)
        site.wait("", "verified")
    for site in (cart, editorial):
        site.cmd("resume")
    for site in (cart, editorial):
        listed = wait_for(lambda site=site: json.loads(
            site.cmd("conflicts", "--json").stdout)["files"], "the conflict")
        assert len(listed) == 1 and listed[0]["path"].startswith("notes (conflict ")
        wait_for(lambda site=site: site.status()["conflicts"] == 1, "the count")
        assert "1 conflict:" in site.cmd("status").stdout


# The socket ------------------------------------------------------------------------------------

def test_a_hostile_peer_changes_nothing(plain):
    for bytes_ in (b"\0" * 10, b"{\n", b"[" * 70000, b'{"request":"ls","path":"../../etc"}\n',
                   b"\xff\xfe\n", b'{"request":"status"'):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(plain.store / "run/control"))
            try:
                peer.sendall(bytes_)
            except BrokenPipeError:
                pass
    assert plain.status()["mounted"]


def test_status_answers_while_a_tier_hangs(sites, tmp_path):
    nas = sites("nas").mount()
    (nas.mnt / "tier").mkdir()
    cart = sites("cart", tier=nas.mnt / "tier").mount()
    nas.daemon.send_signal(signal.SIGSTOP)
    try:
        one_file(cart)
        cart.wait("", "verified")
        status = json.loads(cart.cmd("status", "--json", timeout=30).stdout)
        assert status["files"] == 1 and status["stored_files"] == 0
        assert cart.cmd("ls", timeout=30).returncode == 0
    finally:
        nas.daemon.send_signal(signal.SIGCONT)
    cart.wait()
    cart.umount()


def test_status_watch_shows_again_and_again(plain):
    watcher = subprocess.Popen([str(MEDIAFS), "status", "--watch", "--interval", "50ms", "--json",
                                str(plain.mnt)], stdout=subprocess.PIPE, text=True)
    try:
        looks = [json.loads(watcher.stdout.readline()) for _ in range(3)]
        assert all(look["mounted"] for look in looks)
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(PATIENCE) == 0
    finally:
        watcher.kill()
        watcher.wait()


def test_completion_knows_the_commands():
    script = pathlib.Path(__file__).parents[2] / "contrib/completion/mediafs"
    words = run("bash", "-c", f'source {script}; COMP_WORDS=({MEDIAFS} st); COMP_CWORD=1; '
                '_mediafs; echo "${COMPREPLY[@]}"').stdout.split()
    assert words == ["status"]
