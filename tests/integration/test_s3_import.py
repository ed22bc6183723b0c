"""`mediafs import --bucket`: what awscli, rclone and s3fs put into the bucket becomes the volume's."""
import json
import os
import subprocess

import pytest

import s3_servers
from lib import BLOCK, MEDIAFS, PATIENCE, is_mounted, pattern, run, tool, wait_for
from s3_bucket import MIB, SIDE_BY_SIDE

AWS = "import sys; from awscli.clidriver import main; sys.exit(main())"
MTIME = 1_700_000_000


class Clients:
    """Three programs of others that write below "show 1/"."""

    def __init__(self, bucket, folder):
        self.bucket, self.folder = bucket, folder
        self.access = s3_servers.access_key(bucket.kind)
        self.clean = {key: value for key, value in os.environ.items()
                      if not key.startswith(("AWS_", "RCLONE_"))}

    def make(self, name, data):
        path = self.folder / name.replace("/", "_")
        path.write_bytes(data)
        os.utime(path, (MTIME, MTIME))
        return path

    def aws(self, name, data):
        run("/usr/bin/python3", "-c", AWS, "--endpoint-url", self.bucket.server, "s3", "cp", "--quiet",
            self.make(name, data), f"s3://{self.bucket.name}/show 1/{name}",
            env={**self.clean, "AWS_ACCESS_KEY_ID": self.access, "AWS_DEFAULT_REGION": "us-east-1",
                 "AWS_SECRET_ACCESS_KEY": s3_servers.SECRET})

    def rclone(self, name, data):
        run("rclone", "copyto", "--s3-no-check-bucket", self.make(name, data),
            f"their:{self.bucket.name}/show 1/{name}",
            env={**self.clean, "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_THEIR_TYPE": "s3",
                 "RCLONE_CONFIG_THEIR_PROVIDER": "Other",
                 "RCLONE_CONFIG_THEIR_REGION": "us-east-1",
                 "RCLONE_CONFIG_THEIR_ENDPOINT": self.bucket.server,
                 "RCLONE_CONFIG_THEIR_ACCESS_KEY_ID": self.access,
                 "RCLONE_CONFIG_THEIR_SECRET_ACCESS_KEY": s3_servers.SECRET})

    def s3fs(self, files):
        """Through its mount; a folder and a link too, which are objects of its own kind."""
        point = self.folder / "s3fs.mnt"
        point.mkdir()
        # By the environment: Swift's names of users have a colon, which its file of keys ends at.
        daemon = subprocess.Popen(
            ["s3fs", self.bucket.name, point, "-f", "-o",
             f"url={self.bucket.server},use_path_request_style,endpoint=us-east-1"],
            env={**self.clean, "AWSACCESSKEYID": self.access, "AWS_ACCESS_KEY_ID": self.access,
                 "AWSSECRETACCESSKEY": s3_servers.SECRET,
                 "AWS_SECRET_ACCESS_KEY": s3_servers.SECRET}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: is_mounted(point) or daemon.poll() is not None, "s3fs")
            assert daemon.poll() is None
            for name, data in files.items():
                path = point / "show 1" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                path.chmod(0o600)
                os.utime(path, (MTIME, MTIME))
            (point / "show 1/link").symlink_to("target")
        finally:
            run("umount", point, check=False)
            daemon.wait()


def imported(site, *args, check=True):
    return site.cmd("import", "--bucket", *args, check=check)


def test_what_others_put_there_is_adopted(any_bucket, sites, tmp_path):
    bucket = any_bucket
    if not tool("rclone") or not tool("s3fs"):
        pytest.skip("rclone or s3fs is not there")
    clients = Clients(bucket, tmp_path)
    cart = sites("cart", tier=bucket.url()).mount()
    (cart.mnt / "ours.mov").write_bytes(b"ours")
    (cart.mnt / "same.mov").write_bytes(b"the same bytes")
    (cart.mnt / "taken.mov").write_bytes(b"the cart's")
    cart.wait()
    data = {"aws/a b+c.mov": pattern(9 * MIB + 5, 1), "rclone/é.mov": pattern(2 * BLOCK, 2),
            "s3fs/clip.mov": pattern(BLOCK + 1, 3), "rclone/empty": b"", "aws/empty": b"", "s3fs/x.txt": b"text"}
    for name, content in data.items():
        if not name.startswith("s3fs"):
            getattr(clients, name.split("/")[0])(name, content)
    clients.s3fs({name: data[name] for name in data if name.startswith("s3fs")})
    # Names that the tree has: for other bytes, and for these; and what can be no name here.
    (cart.mnt / "new.mov").write_bytes(b"here, and soon there")
    bucket.put("taken.mov~", b"not adopted: known to nobody")
    cart.cmd("pause")
    (cart.mnt / "clash.mov").write_bytes(b"written on the cart")
    bucket.put("clash.mov", b"put there meanwhile")
    for name in ("bad/../name", "a\nline", "folder/", ".mediafs/v1/w/x", "junk.tmp"):
        bucket.put(name, b"x")
    cart.set("rules.ignore", "*.tmp")
    data["taken.mov~"] = b"not adopted: known to nobody"

    dry = imported(cart, "--dry-run")
    assert "s3fs/x.txt" in dry.stdout and not (cart.mnt / "aws").exists()
    done = imported(cart, "--json")
    answer = json.loads(done.stdout)
    results = {}
    for item in answer["objects"]:
        results.setdefault(item["result"], []).append(item["key"])
    assert sorted(results["adopted"]) == sorted(data)
    assert results["conflict"] == ["clash.mov"]
    assert sorted(results["refused"]) == sorted(["bad/../name", "a\nline", "link"])
    assert answer["ignored"] == 1 and set(results) == {"adopted", "conflict", "refused"}
    cart.cmd("resume")
    cart.wait()

    editorial = sites("editorial", join=bucket.url()).mount()
    conflict, = (name for name in os.listdir(cart.mnt) if name.startswith("clash (conflict bucket"))
    data[conflict] = b"put there meanwhile"
    data["clash.mov"] = b"written on the cart"
    wait_for(lambda: all((editorial.mnt / name).exists() for name in data), "the tree at editorial")
    for site in (cart, editorial):
        for name, content in data.items():
            if site is editorial or name != "clash.mov":
                assert site.state(name) == ("stored" if not content else "evicted"), name
            assert (site.mnt / name).read_bytes() == content
            if name.startswith(("rclone", "s3fs")):
                assert (site.mnt / name).stat().st_mtime == MTIME, name
        assert (site.mnt / "s3fs/x.txt").stat().st_mode & 0o777 == 0o600
        assert (site.mnt / "aws/a b+c.mov").stat().st_mode & 0o777 == 0o644
    # Once more there is nothing to do; and what a person removes does not come back.
    gone = [cart.mnt / name for name in ("aws/a b+c.mov", "rclone/empty", "again.mov", "ours.mov")]
    (cart.mnt / "again.mov").write_bytes(data["aws/a b+c.mov"])
    cart.wait()
    assert "again.mov" in bucket.media()
    for path in gone:
        path.unlink()
    done = imported(cart)
    assert done.stdout.startswith("0 objects adopted"), done.stdout
    assert not any(path.exists() for path in gone)
    assert "imported" in {event["event"] for event in cart.events()}


def test_ours_are_recognised_and_checked(bucket, gate, sites, tmp_path):
    """Objects of another volume's site, moved below ours: believed where their bytes are known."""
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    data = pattern(3 * BLOCK + 5)
    (cart.mnt / "clip.mov").write_bytes(data)
    os.utime(cart.mnt / "clip.mov", (MTIME, MTIME))
    (cart.mnt / "clip.mov").chmod(0o640)
    cart.wait()
    where = {"Bucket": bucket.name, "CopySource": f"{bucket.name}/show 1/clip.mov"}
    bucket.client.copy_object(**where, Key="show 1/day 2/moved.mov")
    gate.watch = b"moved.mov"
    imported(cart, "day 2/")
    assert [line.split()[0] for line in gate.seen] == [b"HEAD"]
    assert (cart.mnt / "day 2/moved.mov").read_bytes() == data
    info = (cart.mnt / "day 2/moved.mov").stat()
    assert info.st_mtime == MTIME and info.st_mode & 0o777 == 0o640
    # Metadata that promise other bytes than there are.
    meta = bucket.client.head_object(Bucket=bucket.name, Key="show 1/clip.mov")["Metadata"]
    meta["mediafs-xxh3-128"] = "0" * 32
    bucket.client.put_object(Bucket=bucket.name, Key="show 1/false.mov", Body=b"x" * 100,
                             Metadata=meta)
    done = imported(cart, check=False)
    assert done.returncode == 5 and "false.mov" in done.stderr
    assert not (cart.mnt / "false.mov").exists()
    # A file is where a folder would have to be.
    bucket.put("clip.mov/below", b"x")
    done = imported(cart, check=False)
    assert "clip.mov/below: left alone" in done.stderr
    # Cut off in the middle, and again: nothing twice.
    for index in range(3):
        bucket.put(f"more/{index}.mov", pattern(6 * BLOCK, index))
    gate.stall = b"more/2.mov"
    running = subprocess.Popen([MEDIAFS, "import", "--bucket", "--store",
                                cart.store], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_for(lambda: gate.stalled == 1, "the third object")
    cart.kill()
    gate.cut()
    running.wait()
    gate.stall = None
    cart.mount()
    imported(cart, check=False)
    assert sorted(os.listdir(cart.mnt / "more")) == ["0.mov", "1.mov", "2.mov"]
    assert (cart.mnt / "more/2.mov").read_bytes() == bucket.get("more/2.mov")
    for words, code in (((), 5), (("nowhere", ""), 8)):
        assert imported(cart, *words, check=False).returncode == code
    gate.shut()
    assert imported(cart, check=False).returncode == 4


def test_only_buckets_and_where_it_is_written(bucket, sites, cart):
    done = imported(cart, check=False)
    assert done.returncode == 1 and "bucket" in done.stderr
    first = sites("first", tier=bucket.url()).mount()
    bucket.put("theirs.mov", b"theirs")
    editorial = sites("second", join=bucket.url()).mount()
    assert imported(editorial, check=False).returncode == 9
    assert imported(first).stdout.startswith("1 objects adopted")


def start_import(site, *args):
    return subprocess.Popen([MEDIAFS, "import", "--bucket", *args, "--store", site.store],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_objects_are_read_side_by_side(bucket, gate, sites):
    """And become files in the order of the list, whichever of them was read first."""
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    takes = {f"in/take{index:02}.mov": pattern(1000 + index, index) for index in range(20)}
    for name, data in {"in/a": b"a file", "in/a/below": b"not below a file", **takes}.items():
        bucket.put(name, data)
    bucket.client.put_object(Bucket=bucket.name, Key="show 1/in/false.mov", Body=b"x", Metadata={
        "mediafs-size": "1", "mediafs-xxh3-128": "0" * 32})
    gate.stall = gate.watch = b"/in/"
    running = start_import(cart, "--json")
    wait_for(lambda: gate.stalled == SIDE_BY_SIDE, "as many requests as may go at one time")
    gate.stall = b"/in/a "
    wait_for(lambda: len(gate.seen) == 23, "all to be read but the first")
    gate.stall = None
    answer = json.loads(running.communicate(timeout=PATIENCE)[0])
    assert running.returncode == 5
    assert gate.stalled_most == SIDE_BY_SIDE and len(gate.seen) == 23
    assert [(item["key"], item["result"]) for item in answer["objects"]] == [
        ("in/a", "adopted"), ("in/a/below", "refused"), ("in/false.mov", "failed"),
        *((name, "adopted") for name in sorted(takes))]
    assert answer["done_files"] == 23 and answer["done_bytes"] == answer["bytes"]
    told = [event["path"] for event in cart.events() if event["event"] == "imported"]
    assert told == ["in/a", *sorted(takes)]
    for name, data in takes.items():
        assert (cart.mnt / name).read_bytes() == data


def test_an_import_keeps_to_the_limit_and_ends_with_who_asked(bucket, gate, sites):
    cart = sites("cart", tier=bucket.url(gate.port)).mount()
    for index in range(40):
        bucket.put(f"in/take{index:02}.mov", pattern(64 << 10, index))
    bucket.put("in/large.mov", pattern(16 * MIB))
    cart.set("transfer.limit", "64K")
    gate.watch = b"/in/"
    with start_import(cart) as running:
        wait_for(lambda: gate.seen and cart.threads("import") == SIDE_BY_SIDE, "the first objects")
        running.kill()
    wait_for(lambda: not cart.threads("import"), "the end, minutes before the large one's")
    assert len(gate.seen) < 30, "at this rate the others take 40 s"
