"""The tier of a test: a folder, or a place in a bucket of a real server (MEDIAFS_TEST_TIER).

Both are used alike: tier / "clip.mov" with the methods of a path, tier.take_away(), tier.bring_back().
"""
import fnmatch
import os
import pathlib
import shutil
import uuid

import s3_servers
from gate import Door
from lib import flip

KINDS = ("dir", s3_servers.USUAL, "swift")
KIND = os.environ.get("MEDIAFS_TEST_TIER", "dir")


class Folder(type(pathlib.Path())):
    """A directory; what lies in it are paths of the same kind."""

    def take_away(self):
        """As a disk that is pulled out: the path is there no more."""
        self.rename(self.with_name(self.name + ".away"))

    def bring_back(self):
        self.with_name(self.name + ".away").rename(self)

    def damage(self, offset, bit=0):
        """One bit is another one, and nothing else shows it."""
        flip(self, offset, bit)

    def truncate(self, size):
        os.truncate(self, size)

    def identity(self):
        """Another one when it was made anew."""
        return self.stat().st_ino

    def remove_all(self):
        shutil.rmtree(self)


def matches(parts, wanted):
    """As pathlib's glob."""
    if not wanted or not parts:
        return not parts and all(part == "**" for part in wanted)
    if wanted[0] == "**":
        return matches(parts, wanted[1:]) or matches(parts[1:], wanted)
    return fnmatch.fnmatchcase(parts[0], wanted[0]) and matches(parts[1:], wanted[1:])


class Place:
    """What lies below a prefix of a bucket; those parts of a path's methods that tests use."""

    def __init__(self, bucket, door, prefix, parts=()):
        self.bucket, self.door, self.prefix, self.parts = bucket, door, prefix, parts

    # Names ----------------------------------------------------------------------------------

    @property
    def key(self):
        return "/".join((self.prefix, *self.parts))

    @property
    def name(self):
        return self.parts[-1]

    @property
    def parent(self):
        return Place(self.bucket, self.door, self.prefix, self.parts[:-1])

    def __truediv__(self, name):
        parts = tuple(part for part in str(name).split("/") if part not in ("", "."))
        return Place(self.bucket, self.door, self.prefix, self.parts + parts)

    def __str__(self):
        """The URL, as mediafs is given it: only the place as a whole has one."""
        assert not self.parts, f"{self.key} is an object, not a path of this machine"
        return self.bucket.url(self.door.port, prefix=self.prefix)

    def __repr__(self):
        return f"<{self.key} in {self.bucket.name}>"

    def __eq__(self, other):
        return isinstance(other, Place) and self.key == other.key

    def __lt__(self, other):
        return self.key < other.key

    def __hash__(self):
        return hash(self.key)

    def relative_to(self, other):
        assert self.parts[:len(other.parts)] == other.parts
        return pathlib.PurePosixPath(*self.parts[len(other.parts):])

    # Objects --------------------------------------------------------------------------------

    def keys(self):
        """Parts, below this place, of each object that is there."""
        client, start = self.bucket.client, self.key + "/"
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name,
                                                                     Prefix=start):
            for item in page.get("Contents", []):
                yield tuple(item["Key"][len(start):].split("/"))

    def is_file(self):
        try:
            self.bucket.client.head_object(Bucket=self.bucket.name, Key=self.key)
        except self.bucket.client.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
        return True

    def is_dir(self):
        return next(self.keys(), None) is not None

    def exists(self):
        return bool(self.parts) and self.is_file() or self.is_dir()

    def read_bytes(self):
        return self.bucket.client.get_object(Bucket=self.bucket.name,
                                             Key=self.key)["Body"].read()

    def read_text(self):
        return self.read_bytes().decode()

    def write_bytes(self, data):
        self.bucket.client.put_object(Bucket=self.bucket.name, Key=self.key, Body=data)

    def write_text(self, text):
        self.write_bytes(text.encode())

    def unlink(self):
        self.bucket.client.delete_object(Bucket=self.bucket.name, Key=self.key)

    def remove_all(self):
        for path in list(self.rglob("*")):
            path.unlink()

    def mkdir(self, **_options):
        """There are no folders."""

    def rmdir(self):
        """There are no folders."""

    def truncate(self, size):
        self.write_bytes(self.read_bytes()[:size])

    def damage(self, offset, bit=0):
        """One bit is another one: somebody has put that there, so nothing of ours is beside it."""
        data = bytearray(self.read_bytes())
        data[offset] ^= 1 << bit
        self.write_bytes(bytes(data))

    def identity(self):
        head = self.bucket.client.head_object(Bucket=self.bucket.name, Key=self.key)
        return head["LastModified"], head["ETag"], str(head["Metadata"])

    # Lists ----------------------------------------------------------------------------------

    def iterdir(self):
        return iter([self / name for name in sorted({parts[0] for parts in self.keys()})])

    def rglob(self, pattern):
        """Objects only: what ends in a name like that."""
        return iter([self / "/".join(parts) for parts in self.keys()
                     if fnmatch.fnmatchcase(parts[-1], pattern)])

    def glob(self, pattern):
        """Objects and folders: a * is never more than one part, ** any number of them."""
        found = {parts[:count] for parts in self.keys() for count in range(1, len(parts) + 1)}
        return iter([self / "/".join(parts) for parts in sorted(found)
                     if matches(parts, pattern.split("/"))])

    # The place ------------------------------------------------------------------------------

    def take_away(self):
        """Nobody answers there."""
        self.door.shut()

    def bring_back(self):
        self.door.open()


def new_place(bucket):
    return Place(bucket, Door(bucket.port), uuid.uuid4().hex[:12])
