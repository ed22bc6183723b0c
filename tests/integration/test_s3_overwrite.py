"""Two sites store different files under one name in one moment: both files are kept, and known.

Where the server refuses to overwrite (Ceph), the later one hears so. Where it cannot (Swift; Ceph
before 20 when an upload in parts is completed), the later one's object takes the place of the
earlier one's, and that must be found out.
"""
import contextlib
import json
import sqlite3

import pytest

from gate import Gate
from lib import fsck, pattern, wait_for
from s3_bucket import MIB, PART


class Race:
    """Two sites that write, each with a gate of its own in front of the server."""

    def __init__(self, bucket, sites):
        self.bucket = bucket
        self.expected = [b"base"]
        self.gates = [Gate(bucket.port), Gate(bucket.port)]
        urls = [bucket.url(gate.port) for gate in self.gates]
        settings = {"transfer.overwrite_wait": "10min"}
        self.cart = sites("cart", tier=urls[0], settings=settings).mount()
        (self.cart.mnt / "base").write_text("base")
        self.cart.wait()
        self.editorial = sites("editorial", join=urls[1], options=["rw"],
                               settings=settings).mount()
        wait_for((self.editorial.mnt / "base").exists, "what the cart has")
        self.sites = (self.cart, self.editorial)

    def begin(self, name, size=2000):
        """Both have seen that nobody has the name, and neither has stored anything under it."""
        method, query = ("POST", "?uploadId=") if size > PART else ("PUT", " ")
        for gate in self.gates:
            gate.stall = f"{method} /{self.bucket.name}/show%201/{name}{query}".encode()
        self.listen("1h")                   # an announced file would get a name of its own
        for site in self.sites:             # of one size: only the bytes tell
            unit = f"{name}: {site.name:9}".encode()
            data = unit * (size // len(unit))
            (site.mnt / name).write_bytes(data)
            self.expected.append(data)
        for gate in self.gates:
            wait_for(lambda: gate.stalled == 1, "what makes the object")  # pylint: disable=W0640

    def listen(self, every):
        for site in self.sites:
            site.set("sync.poll", every)

    def go_on(self, site):
        self.listen("100ms")
        self.gates[self.sites.index(site)].stall = None

    def files(self, site):
        return {path: path.read_bytes() for path in site.mnt.iterdir()}

    def has_all(self, site):
        try:
            return sorted(self.files(site).values()) == sorted(self.expected)
        except OSError:
            return False

    def rewrite(self, site):
        """What was written there last becomes something else."""
        old = self.expected.pop()
        path = next(path for path, data in self.files(site).items() if data == old)
        with open(path, "ab") as out:
            out.write(b", again")
        self.expected.append(old + b", again")

    def overwritten(self, site):
        return [event["path"] for event in site.events() if event["event"] == "overwritten"]


@pytest.fixture
def race(any_bucket, sites):
    race = Race(any_bucket, sites)
    yield race
    for gate in race.gates:
        gate.close()


def test_whoever_is_later_takes_nothing_away(race, sites):
    cart, editorial = race.sites
    race.begin("earlier.edl")
    race.go_on(cart)
    cart.wait()
    race.go_on(editorial)
    for site in race.sites:
        wait_for(lambda: race.has_all(site), "both files")  # pylint: disable=W0640
        site.wait()
    race.begin("together.edl")
    race.go_on(editorial)
    race.go_on(cart)
    for site in race.sites:
        wait_for(lambda: race.has_all(site), "both files")  # pylint: disable=W0640
        site.wait()
    # The other one never tells what it wrote there, since it has changed by then: found out when
    # the time for another look has come.
    race.begin("away.edl")
    race.go_on(cart)
    cart.wait()
    cart.kill()
    race.go_on(editorial)
    editorial.wait()
    race.rewrite(editorial)
    editorial.wait()
    with contextlib.closing(sqlite3.connect(cart.store / "catalog.db")) as catalog, catalog:
        looks = [key for key, in catalog.execute("SELECT key FROM doubts WHERE proven = 0")]
        catalog.execute("UPDATE doubts SET due_ns = 1 WHERE proven = 0")
    if race.bucket.kind == "swift":
        # Of "together.edl" the other one may have told already: then that look was had.
        assert {b"base", b"away.edl"} <= set(looks)
    else:  # the first file may go before it is known that nothing can be overwritten there
        assert set(looks) <= {b"base"}
    cart.mount()
    wait_for(lambda: race.has_all(cart), "all files")
    cart.wait()
    if race.bucket.kind == "swift":
        wait_for(lambda: {name[:4] for name in race.overwritten(cart)} >= {"earl", "away"},
                 "what was written over to be found out")
        cart.wait()
    else:
        assert not race.overwritten(cart)
    # Who joins has no bytes from anywhere but the bucket.
    late = sites("late", join=race.bucket.url()).mount()
    for site in (*race.sites, late):
        wait_for(lambda: race.has_all(site), "all files")  # pylint: disable=W0640
        assert fsck("--full", "--remote", "-n", site.store).returncode == 0
    stored = [race.bucket.get(name) for name in race.bucket.media()]
    assert all(data in stored for data in race.expected)


def test_what_may_still_be_written_over_stays_here(race):
    """Large files, which are made objects by another request, and which alone are evicted."""
    cart, editorial = race.sites
    rows = json.loads(cart.cmd("tier", "test", "--json").stdout)["tiers"][0]["abilities"]
    keeps = {row["what"]: row["result"] == "good" for row in rows}
    race.begin("clip.mov", PART + MIB)
    race.gates[0].stall = None  # nobody hears of anybody before it is stored
    cart.wait()
    ours = (cart.mnt / "clip.mov").read_bytes()
    done = cart.cmd("evict", cart.mnt / "clip.mov", "--json", check=False)
    if not (keeps["PUT If-None-Match"] and keeps["multipart If-None-Match"]):
        assert done.returncode != 0 and "may still write over" in done.stdout
        assert cart.state("clip.mov") == "stored"
    race.go_on(editorial)
    for site in race.sites:
        wait_for(lambda: race.has_all(site), "both files")  # pylint: disable=W0640
        site.wait()
    if not keeps["multipart If-None-Match"]:
        wait_for(lambda: race.overwritten(cart) == ["clip.mov"], "what was lost to be found out")
    cart.set("transfer.overwrite_wait", "0")
    path = next(path for path, data in race.files(cart).items() if data == ours)
    cart.cmd("evict", path)
    assert cart.state(path.name) == "evicted"
    assert path.read_bytes() == ours


class Slow:
    """A cart behind a gate, at a server that keeps no condition of PUT: it is asked before."""

    ASLEEP = 301  # what was asked is relied on for 300 s (TIER_WRITE_WITHIN_NS)

    def __init__(self, bucket, gate, sites, clock):
        self.gate, self.clock, self.bucket = gate, clock, bucket
        if bucket.kind != "swift":
            gate.reject = b"\r\nif-none-match:"
            gate.reject_with = b"501 Not Implemented", b"NotImplemented"
        self.cart = sites("cart", tier=bucket.url(gate.port),
                          settings={"transfer.overwrite_wait": "0"}).mount(env=clock.environment)
        (self.cart.mnt / "base").write_bytes(b"base")
        self.cart.wait()

    def begin(self, name, data):
        """It is on its way: the first line of the PUT of all of it."""
        self.gate.watch = f"/{self.bucket.name}/show%201/{name}".encode()
        (self.cart.mnt / name).write_bytes(data)
        return b"PUT %s HTTP/1.1" % self.gate.watch

    def refused_too_long(self, name, data):
        """Its PUT was refused, and when it may be tried again the look before it is too old. The
        first line of that PUT; what came to the gate so far."""
        self.gate.refuse = f"PUT /{self.bucket.name}/show%201/{name} ".encode()
        self.gate.retry_after = 2
        first = self.begin(name, data)
        wait_for(lambda: self.gate.refused == 1, "the refusal")
        asked = len(self.gate.seen)
        self.clock.passes_asleep(self.ASLEEP)
        self.gate.refuse = None
        return first, asked

    def check(self, name, data, first):
        """It came as an upload of one part, which only looked after the @first request's limit."""
        self.cart.wait(name)
        assert self.bucket.get(name) == data and self.bucket.uploads() == []
        lines = self.gate.seen
        parts = [line for line in lines if b"?partNumber=1&uploadId=" in line]
        assert lines.count(first) == 1 and len(parts) == 1, lines
        assert self.gate.passed[parts[0]] > len(data)
        done = next(index for index, line in enumerate(lines) if b"POST" in line and
                    b"?uploadId=" in line)
        assert any(line.startswith(b"HEAD ") for line in lines[lines.index(parts[0]):done]), lines


@pytest.fixture
def slow(any_bucket, any_gate, sites, clock):
    return Slow(any_bucket, any_gate, sites, clock)


def test_a_put_that_is_held_up_ends_and_comes_in_a_part(slow):
    """By a pause, so that nothing that was sent before it is still on its way when it ends."""
    cart, gate = slow.cart, slow.gate
    cart.set("transfer.limit", "1M")
    data = pattern(10 * MIB + 5)
    first = slow.begin("clip.mov", data)
    wait_for(lambda: gate.passed[first] > MIB, "the PUT to be on its way")
    cart.cmd("pause")
    seen = []

    def stands_still():
        seen.append(gate.passed[first])
        return seen[-50:].count(seen[-1]) == 50  # for a second
    wait_for(stands_still, "the end of what moves")
    slow.clock.passes_asleep(slow.ASLEEP)
    cart.set("transfer.limit", "0")
    cart.cmd("resume")
    slow.check("clip.mov", data, first)
    assert gate.passed[first] == seen[-1] < len(data)


def test_a_put_that_was_refused_is_not_tried_too_late(slow):
    first, _ = slow.refused_too_long("note.txt", b"a note")
    slow.check("note.txt", b"a note", first)
    assert not slow.gate.passed[first]


def test_of_an_empty_file_there_are_no_parts(slow):
    """It is sent again as it is, by a request that has looked anew."""
    first, asked = slow.refused_too_long("note.txt", b"")
    slow.cart.wait("note.txt")
    assert slow.bucket.get("note.txt") == b"" and slow.bucket.uploads() == []
    lines = slow.gate.seen[asked:]
    assert lines.count(first) == 1, lines
    assert any(line.startswith(b"HEAD ") for line in lines[:lines.index(first)]), lines


def test_a_copy_that_was_refused_is_not_tried_too_late(slow):
    """It has no body of which the sending could end."""
    _, asked = slow.refused_too_long("again", b"base")
    slow.cart.wait()
    wait_for(lambda: "again" in slow.bucket.media(), "the copy")
    assert slow.gate.seen[asked].startswith(b"HEAD "), slow.gate.seen
