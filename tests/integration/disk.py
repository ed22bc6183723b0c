"""Disks whose power can be cut, in three ways. Each takes images in a folder of its own.

A disk has .point, where its file system is mounted. cut() freezes what a power failure at this
moment would leave; restart() mounts that at .point, once for each cut. close() undoes all.
"""
import contextlib
import fcntl
import os
import pathlib
import signal
import subprocess

from lib import run, tool, wait_for

# FS_IOC_SHUTDOWN and its flag: linux/fs.h (as XFS_IOC_GOINGDOWN, fs/xfs/libxfs/xfs_fs.h).
SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
IMAGE_BYTES = 512 << 20
OUTER_BYTES = 8 << 30


def make_image(path, kind, size=IMAGE_BYTES):
    with open(path, "wb") as out:
        out.truncate(size)
    run(f"mkfs.{kind}", "-q", path)


def mount_image(image, point, kind):
    """An image or a device. A copy of an XFS may come while another mount namespace has not let the
    first one go yet, and has its UUID."""
    point.mkdir(exist_ok=True)
    run("mount", "-o", "loop,nouuid" if kind == "xfs" else "loop", image, point)


def unmount(point):
    """Who used it has been told to end, and may not have come to it yet."""
    wait_for(lambda: run("umount", point, check=False).returncode == 0, f"{point} to be unused")


class Disk:
    missing = None  # what this machine has not, and this way of cutting needs

    def __init__(self, folder, kind):
        self.folder = pathlib.Path(folder)
        self.point = self.folder / "disk"
        self.image = self.folder / "disk.img"
        self.kind = kind
        self.mounted = False
        self.start()

    def start(self):
        make_image(self.image, self.kind)
        self.mount(self.image)

    def mount(self, image):
        mount_image(image, self.point, self.kind)
        self.mounted = True

    def unmount(self):
        if self.mounted:
            unmount(self.point)
        self.mounted = False

    def cut(self):
        raise NotImplementedError

    def restart(self):
        self.unmount()
        # A process in another mount namespace may still have it: the next mount would get what
        # was shut down.
        wait_for(lambda: not run("losetup", "-j", self.image).stdout, "the disk to be let go")
        self.mount(self.image)

    def close(self):
        if self.mounted:
            run("umount", "-l", self.point, check=False)


class Shutdown(Disk):
    """The file system stops at once: nothing that is not on the disk gets there any more."""

    @classmethod
    def lacks(cls, kind):
        return "btrfs has no shutdown ioctl" if kind == "btrfs" else None

    def cut(self):
        handle = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
        finally:
            os.close(handle)


class Snapshot(Disk):
    """Copies of the image, each made in one moment by sharing its blocks: as many cuts as wanted."""

    def start(self):
        self.outer = self.folder / "outer"
        outer_image = self.folder / "outer.img"
        with open(outer_image, "wb") as out:
            out.truncate(OUTER_BYTES)
        run("mkfs.xfs", "-q", outer_image)
        mount_image(outer_image, self.outer, "xfs")
        self.image = self.outer / "disk.img"
        self.cuts = []
        super().start()

    @classmethod
    def lacks(cls, _kind):
        return None if tool("mkfs.xfs") else "no mkfs.xfs for a disk that shares blocks"

    def cut(self):
        copy = self.outer / f"cut{len(self.cuts)}.img"
        run("cp", "--reflink=always", self.image, copy)
        self.cuts.append(copy)

    def restart(self):
        self.unmount()
        if self.image.name.startswith("cut"):
            self.image.unlink()
        self.image = self.cuts.pop(0)
        self.mount(self.image)

    def close(self):
        super().close()
        run("umount", "-l", self.outer, check=False)


class Served(Disk):
    """A disk that another process is: what a disk may do to us, its filters do."""

    filters = []  # nbdkit's, and their settings
    size = IMAGE_BYTES

    @classmethod
    def lacks(cls, _kind):
        for name in ("nbdkit", "nbdfuse"):
            if not tool(name):
                return f"no {name}"
        return None if os.path.exists("/dev/fuse") else "no /dev/fuse"

    def start(self):
        make_image(self.image, self.kind, self.size)
        self.device = self.folder / "device"
        self.device.mkdir()
        self.attach()

    def attach(self):
        socket = self.folder / "nbd.sock"
        with contextlib.suppress(FileNotFoundError):
            socket.unlink()
        log = open(self.folder / "nbd.log", "ab")
        with log:
            self.server = subprocess.Popen(
                ["nbdkit", "-f", "-U", socket, *self.filters[:1], "file", self.image,
                 *self.filters[1:]], stdout=log, stderr=log)
            wait_for(socket.exists, "the disk's socket")
            self.client = subprocess.Popen(["nbdfuse", self.device, "--unix", socket],
                                           stdout=log, stderr=log)
        wait_for((self.device / "nbd").exists, "the disk")
        self.mount(self.device / "nbd")

    def detach(self):
        for process in (self.server, self.client):
            if process:
                process.send_signal(signal.SIGKILL)
                process.wait()
        self.server = self.client = None
        run("umount", "-l", self.device, check=False)

    def close(self):
        super().close()
        self.detach()


class Volatile(Served):
    """A disk with a cache of its own, of which only what was flushed is kept."""

    filters = ["--filter=cache", "cache=writeback"]

    def cut(self):
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def restart(self):
        self.unmount()
        self.detach()
        self.attach()


class Slow(Served):
    """A disk as slow as it is told to be, and large: who fills it waits for it first."""

    size = 8 << 30

    def start(self):
        self.rate = self.folder / "rate"
        self.filters = ["--filter=rate", f"rate-file={self.rate}"]
        self.write_at_most(0)
        super().start()
        self.queue_little()

    def queue_little(self):
        """Who reads, or waits for one block to be written, waits for all that is in the queue: a
        hundred MB, half a minute of a slow disk, in which nothing arrives."""
        device = run("findmnt", "-no", "SOURCE", self.point).stdout.strip()
        queue = pathlib.Path("/sys/block", os.path.basename(device), "queue")
        (queue / "nr_requests").write_text("4")
        (queue / "max_sectors_kb").write_text("128")

    def write_at_most(self, bytes_a_second):
        """And read at most, each by itself; 0: no limit."""
        self.rate.write_text(str(bytes_a_second * 8))


WAYS = {"shutdown": Shutdown, "snapshot": Snapshot, "volatile": Volatile}


def why_not(way, kind):
    """Why this machine cannot cut so, or None."""
    if os.geteuid() != 0:
        return "mounting images needs root"
    if not tool(f"mkfs.{kind}"):
        return f"no mkfs.{kind}"
    return WAYS[way].lacks(kind)

