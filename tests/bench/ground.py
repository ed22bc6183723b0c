"""Where measuring happens: folders, sites, clips, cold caches, time and CPU seconds."""
import contextlib
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/integration"))
from lib import Site, is_mounted, run, wait_for  # noqa: E402

HOUR = 3600
TICKS = os.sysconf("SC_CLK_TCK")


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def cpu_of(pid):
    """CPU seconds that a process, which still runs, has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_of_children():
    """CPU seconds of all commands that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def forget(*paths):
    """No byte of these files is in memory any more."""
    for path in paths:
        run("sync", path)
        run("dd", f"if={path}", "iflag=nocache", "count=0")


def read(path):
    out = run("dd", f"if={path}", "of=/dev/null", "bs=1M", timeout=HOUR).stderr
    assert f"\n{path.stat().st_size} bytes" in out, f"not all of {path} was read: {out}"


def in_turns(number, *works):
    """What each of them gives, in the order of the words; another one begins each round."""
    turns = [(turn + number) % len(works) for turn in range(len(works))]
    given = {turn: works[turn]() for turn in turns}
    return [given[turn] for turn in range(len(works))]


class Ground:
    def __init__(self, options, table):
        self.rounds = range(options.rounds)
        self.size = options.size
        self.files = options.files
        self.quick = options.quick
        self.link = options.link
        self.reader = options.reader
        self.note = table.note
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mediafs-bench-", dir=options.folder))
        # The card lies elsewhere: a cp inside one file system could share extents or pages.
        self.card = pathlib.Path(tempfile.mkdtemp(prefix="mediafs-card-", dir="/dev/shm"))
        self.native = self.folder / "native"
        self.native.mkdir()
        self.sites = []
        self.mounts = []  # (mount point, process) of others
        self.servers = pathlib.Path(options.servers or self.folder)
        self.bucket = None
        self.at_end = contextlib.ExitStack()

    def sync(self):
        """The disk has nothing left to do; quick: it goes on, nobody looks at the figures."""
        if not self.quick:
            os.sync()

    def drop_caches(self, *programs):
        """Nothing of any file in memory but those programs, whose own start nobody measures."""
        self.sync()
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
        for program in programs:
            run(program, "--version")

    def clip(self, name="clip.mov", size=None):
        """A file of noise on the card."""
        path = self.card / name
        with open("/dev/urandom", "rb") as noise, open(path, "wb") as out:
            left = size or self.size
            while left > 0:
                left -= out.write(noise.read(min(left, 1 << 20)))
        return path

    def site(self, name="cart", **options):
        site = Site(self.folder, name, **options)
        self.sites.append(site)
        return site

    def drop(self, *sites):
        """A site's work is done: unmounted, its disk space free again."""
        for site in sites:
            site.umount()
            shutil.rmtree(site.store)

    def many_files(self, site, top=""):
        """Many small verified files in folders of a thousand."""
        for number in range(self.files):
            folder = site.mnt / top / str(number // 1000)
            if number % 1000 == 0:
                folder.mkdir(parents=True)
            (folder / f"{number}.dpx").write_bytes(b"%d" % number)
        site.wait(state="verified", timeout=HOUR)

    def mount(self, point, *command, env=None):
        """Another file system's daemon in the foreground: its pid once it is mounted."""
        point.mkdir(exist_ok=True)
        with open(self.folder / "mounts.log", "ab") as log:
            daemon = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                      stdout=log, stderr=log, env=env)
        self.mounts.append((point, daemon))
        wait_for(lambda: is_mounted(point) or daemon.poll() is not None, f"{command[0]} to mount")
        if daemon.poll() is not None:
            raise AssertionError(f"{command[0]} gave {daemon.returncode}\n"
                                 + (self.folder / "mounts.log").read_text()[-2000:])
        return daemon.pid

    def unmount_others(self):
        while self.mounts:
            point, daemon = self.mounts.pop()
            run("umount", point, check=False)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
            if is_mounted(point):
                run("umount", "-l", point)

    def clear(self):
        """After each topic, whatever became of it: nothing mounted, no site left."""
        self.unmount_others()
        while self.sites:
            site = self.sites.pop()
            site.close()
            shutil.rmtree(site.store, ignore_errors=True)

    def close(self):
        self.clear()
        self.at_end.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.card, ignore_errors=True)
