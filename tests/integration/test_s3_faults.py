"""Every fault of a server or of what lies before it, for each kind of request: right bytes or an error.

The daemon's clock runs SPEED times faster (clock.c), so that a silence of 30 s is over soon.
MEDIAFS_TEST_ROUNDS=all: also faults that do not pass, for each kind (else for some).
"""
import contextlib
import hashlib
import json
import os
import re
import time

import pytest

from faulty import FAULTS, Faulty
from lib import BLOCK, pattern, wait_for
from s3_bucket import MIB, PART, tier_error

SPEED = 20
ALL = os.environ.get("MEDIAFS_TEST_ROUNDS") == "all"
SEED = int(os.environ.get("MEDIAFS_TEST_SEED", "1"))
LARGE = PART + 70000
SMALL = 300000

ONLY = {  # faults that make sense for some kinds only
    "down other range": {"GET"}, "down shifted": {"GET"}, "down all": {"GET"}, "down flip": {"GET"},
    "down other etag": {"PUT", "UploadPart", "HEAD", "GET"},
    "down 200 error": {"Complete", "Copy", "UploadPartCopy"},
    "up 200 error": {"Complete", "Copy", "UploadPartCopy", "Create"},
    "up flip": {"PUT", "UploadPart", "Complete"}, "up short": {"PUT", "UploadPart", "Complete"},
    "up drip": {"PUT", "UploadPart", "Complete"}, "up cut": {"PUT", "UploadPart", "Complete", "GET"},
    "up reset": {"PUT", "UploadPart", "Complete", "GET"},
}
HANGS = {"down drip head", "down drip body", "down silent", "up drip", "up silent"}
KINDS = ["PUT", "HEAD", "Copy", "Create", "UploadPart", "Complete", "ListParts", "UploadPartCopy",
         "GET"]


WORDS = {  # what is in the names of faults, and what is said of them
    "drip|silent": "silent for too long|closed with",
    "500|200 error": r"answers with failures \((InternalError|HTTP 500)\)",
    "503 after": r"not available \(HTTP 503\)",
    "503": r"fewer requests \(SlowDown\)|not available \(HTTP 503\)",
    "301|307": "is at another endpoint",
    "up flip|up short": "what is sent arrives damaged",
    "down flip|shifted": "its bytes are not those that were stored",
    "range|all|down short": "another range than it was asked for|answered with a failure",
    "": "Empty reply|reset by peer|closed with|HTTP/0.9|Send failure",
}


def words_for(fault):
    return next(words for names, words in WORDS.items() if re.search(names, fault))


def faults_for(kind):
    return [name for name in FAULTS if kind in ONLY.get(name, KINDS)]


class Scene:
    """A cart behind a faulty gate, and who looks at the bucket past it."""

    def __init__(self, bucket, gate, site):
        self.bucket, self.gate, self.site = bucket, gate, site
        self.data = {}
        self.count = 0
        for name, size in (("small", SMALL), ("large", LARGE)):
            self.write(name, pattern(size, len(name)))
        self.site.wait()

    def write(self, name, data):
        self.data[name] = data
        (self.site.mnt / name).write_bytes(data)

    def provoke(self, kind, name):
        """Write a file of which a request of that kind comes."""
        self.count += 1
        if kind in ("HEAD", "Copy"):
            self.write(name, self.data["small"])
        elif kind == "UploadPartCopy":
            self.write(name, self.data["large"])
        else:
            self.write(name, pattern(SMALL if kind == "PUT" else LARGE, self.count))

    def begin(self, kind, fault, count):
        """Let it happen so often from now on: the file of which it does."""
        name = f"{kind} {fault}"
        if kind == "GET":
            self.write(name, pattern(3 * BLOCK, self.count))
            self.site.wait(name)
            self.site.cmd("evict", self.site.mnt / name)
        if kind == "ListParts":
            # It is asked for when an upload is gone on with.
            self.gate.break_next("Complete", "up 503", 3)
        self.gate.break_next(kind, fault, count)
        if kind != "GET":
            self.provoke(kind, name)
        self.began = time.monotonic()
        return name

    def end(self, kind, name):
        assert self.gate.done[kind], f"{name}: never met"
        print(f"{name}: {time.monotonic() - self.began:.1f} s", flush=True)

    def reads(self, name):
        """Right bytes, or an error."""
        try:
            assert (self.site.mnt / name).read_bytes() == self.data[name]
            return True
        except OSError:
            return False

    def check_there(self, name):
        """What the bucket has now is what was written, as somebody else sees it."""
        data = self.data[name]
        answer = self.bucket.client.get_object(Bucket=self.bucket.name, Key=f"show 1/{name}")
        assert answer["Body"].read() == data
        parts = [data[at:at + PART] for at in range(0, len(data), PART)]
        etag = hashlib.md5(data).hexdigest()
        if len(parts) > 1:
            sums = b"".join(hashlib.md5(part).digest() for part in parts)
            etag = f"{hashlib.md5(sums).hexdigest()}-{len(parts)}"
        assert answer["ETag"].strip('"') == etag

    def is_stored(self, name):
        """And if so, rightly."""
        with contextlib.suppress(OSError):
            if self.site.state(name) == "stored":
                self.check_there(name)
                return True
        return False

    def trouble(self, name):
        """What a person is told of the tier or of this file."""
        if error := tier_error(self.site):
            return error
        out = self.site.cmd("ls", self.site.mnt / name, "--json", check=False).stdout
        rows = [row for file in json.loads(out)["files"] for row in file.get("queue", [])]
        return next((row["error"] for row in rows if row["error"]), None)


@pytest.fixture
def scene(bucket, sites, clock):
    gate = Faulty(bucket.port)
    site = sites("cart", tier=bucket.url(gate.port),
                 settings={"transfer.retry_max": "2s", "transfer.hydrate_timeout": "20s"})
    scene = Scene(bucket, gate, site.mount(env=clock.environment))
    clock.set(SPEED)
    yield scene
    gate.close()


def chosen(kind):
    """All faults of a kind, or a few: by turns others for each kind."""
    possible = faults_for(kind)
    turn = SEED + KINDS.index(kind)
    return possible if ALL else [name for index, name in enumerate(possible)
                                 if (kind, name) == ("GET", "down drip body") or
                                 name not in HANGS and (index + turn) % 5 == 0]


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [[kind] for kind in KINDS] if ALL else [KINDS])
def test_a_fault_that_passes(scene, kinds):
    """Twice, then all is well: stored, and rightly, without a person; and read, too."""
    for kind, fault in ((kind, fault) for kind in kinds for fault in chosen(kind)):
        name = scene.begin(kind, fault, 2)
        if kind == "GET":
            # Who reads does not wait for as long as who hangs is given.
            wait_for(lambda name=name: scene.reads(name), "right bytes",
                     timeout=None if fault in HANGS else 0.01)
        else:
            wait_for(lambda name=name: scene.is_stored(name), f"{name} to be stored")
        scene.end(kind, name)
    # One whose creation was done and not answered nobody knows to be ours: it is the bucket's rule
    # that removes such.
    for upload in scene.bucket.uploads():
        assert scene.gate.creations[upload["Key"]] > 1, upload


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [[kind] for kind in KINDS] if ALL else [["PUT", "GET"]])
def test_a_fault_that_stays(scene, kinds):
    """Never stored wrongly, and told in words; once it is over, nothing is left of it."""
    for kind, fault in ((kind, fault) for kind in kinds for fault in chosen(kind)):
        name = scene.begin(kind, fault, 1 << 30)
        logged = scene.site.log.stat().st_size
        if kind == "GET":
            right = scene.reads(name)
        else:
            right = wait_for(lambda name=name: scene.is_stored(name) or scene.trouble(name),
                             f"{name} to be stored or told")
        def is_told(fault=fault, logged=logged):
            return re.search(words_for(fault), scene.site.log.read_bytes()[logged:].decode())
        assert right is True or wait_for(is_told, f"{words_for(fault)} ({name})")
        scene.gate.heal()
        wait_for(lambda name=name: scene.reads(name) if kind == "GET" else scene.is_stored(name),
                 f"{name} to be well again")
        scene.end(kind, name)
