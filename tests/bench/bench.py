#!/usr/bin/env python3
"""mediafs side by side with what a user would pick instead, as ratios of one run.

usage: bench.py [--rows 1,2,3,4,5] [--rounds N] [--size 1G] [--files N] [--folder DIR]
                [--quick] [--json FILE]

  1  cp of a large file into the volume / cp onto the backing file system (rate)
  2  copy + everything verified / cp + sync + cold xxhsum -c (time)
  3  sequential read of a resident file / of the backing file, cold and from memory (rate)
  4  creating, listing, stat-ing many small files / libfuse's passthrough_ll (rate)
  5  mount of a volume with many files: time to the first ls, resident memory

Rounds alternate; medians and the range are shown. Wants root (to drop caches) and a
quiet machine; builds nothing. MEDIAFS_BUILD names the build (default: build).
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/integration"))
from lib import BUILD, Site, mediafs, run, wait_for  # noqa: E402

GOALS = {"1": (">=", 0.90), "2": ("<=", 0.75), "3 cold": (">=", 0.97), "3 memory": (">=", 0.97),
         "4 create": (">=", 0.8), "4 stat": (">=", 0.8), "4 list": (">=", 0.8)}
# The fastest passthrough example that Debian ships the source of.
PASSTHROUGH = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"


def bytes_of(text):
    units = {"K": 10, "M": 20, "G": 30}
    return int(text[:-1]) << units[text[-1]] if text[-1] in units else int(text)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as out:
        out.write("3")


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


class Bench:
    def __init__(self, options):
        self.options = options
        self.size = bytes_of(options.size)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mediafs-bench-", dir=options.folder))
        # The card lies elsewhere: a cp inside one file system could share extents or pages.
        self.card = pathlib.Path(tempfile.mkdtemp(prefix="mediafs-card-", dir="/dev/shm"))
        self.clip = self.card / "clip.mov"
        self.ratios = {}
        self.native = self.folder / "native"
        self.native.mkdir()

    def make_clip(self):
        if not self.clip.exists():
            with open("/dev/urandom", "rb") as noise, open(self.clip, "wb") as out:
                left = self.size
                while left > 0:
                    left -= out.write(noise.read(min(left, 1 << 20)))

    def note(self, row, ours, theirs, higher_is_better=True):
        ratio = theirs / ours if higher_is_better else ours / theirs
        self.ratios.setdefault(row, []).append(ratio)
        print(f"  row {row}: ours {ours:.3f} s, theirs {theirs:.3f} s, ratio {ratio:.2f}", flush=True)

    def fresh_site(self, name="cart"):
        shutil.rmtree(self.folder / f"{name}.store", ignore_errors=True)
        return Site(self.folder, name).mount()

    def row1(self):
        site = self.fresh_site()
        for _ in range(self.options.rounds):
            theirs = seconds(lambda: run("cp", self.clip, self.native / "clip.mov"))
            (self.native / "clip.mov").unlink()
            os.sync()
            ours = seconds(lambda: run("cp", self.clip, site.mnt / "clip.mov"))
            site.wait(state="verified", timeout=600)
            (site.mnt / "clip.mov").unlink()
            os.sync()
            self.note("1", ours, theirs)
        site.umount()

    def row2(self):
        def by_hand():
            target = self.native / "clip.mov"
            run("cp", self.clip, target)
            run("sync", target)
            subprocess.run(["dd", f"if={target}", "iflag=nocache", "count=0"], check=True,
                           stderr=subprocess.DEVNULL)
            run("xxhsum", "-q", "-c", self.card / "sums", cwd=self.native)

        def with_mediafs():
            run("cp", self.clip, site.mnt / "clip.mov")
            site.wait("clip.mov", "verified", timeout=600)
        site = self.fresh_site()
        sums = run("xxhsum", "-H2", "clip.mov", cwd=self.card).stdout
        (self.card / "sums").write_text(sums)
        for _ in range(self.options.rounds):
            theirs = seconds(by_hand)
            (self.native / "clip.mov").unlink()
            os.sync()
            ours = seconds(with_mediafs)
            (site.mnt / "clip.mov").unlink()
            os.sync()
            self.note("2", ours, theirs, higher_is_better=False)
        site.umount()

    def row3(self):
        site = self.fresh_site()
        run("cp", self.clip, site.mnt / "clip.mov")
        site.wait(state="verified", timeout=600)
        run("cp", self.clip, self.native / "clip.mov")

        def read(path):
            run("dd", f"if={path}", "of=/dev/null", "bs=1M")
        for _ in range(self.options.rounds):
            for kind in ("cold", "memory"):
                times = []
                for path in (site.mnt / "clip.mov", self.native / "clip.mov"):
                    if kind == "cold":
                        drop_caches()
                    else:
                        read(path)
                    times.append(seconds(lambda path=path: read(path)))
                self.note(f"3 {kind}", *times)
        (self.native / "clip.mov").unlink()
        site.umount()

    def row4(self):
        program = self.folder / "passthrough_ll"
        if not os.path.exists(PASSTHROUGH):
            print("  row 4: libfuse3-dev's passthrough_ll.c is missing")
            return
        flags = run("pkg-config", "--cflags", "--libs", "fuse3").stdout.split()
        run("gcc", "-O2", "-o", program, PASSTHROUGH, *flags)
        point = self.folder / "ll.mnt"
        source = self.folder / "ll.tree"
        point.mkdir()
        source.mkdir()
        site = self.fresh_site()
        with subprocess.Popen([program, "-f", "-o", f"source={source},cache=always", point], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as daemon:
            wait_for(lambda: os.path.ismount(point))
            for round_number in range(self.options.rounds):
                self.small_files(site.mnt, point, round_number)
            run("umount", point)
            daemon.wait()
        site.umount()

    def small_files(self, ours, theirs, round_number):
        def create(top):
            for number in range(self.options.files):
                if number % 1000 == 0:
                    os.makedirs(top / f"r{round_number}/{number // 1000}")
                with open(top / f"r{round_number}/{number // 1000}/{number}.dpx", "wb") as out:
                    out.write(b"frame" * 800)

        def stat(top):
            for folder, _, names in os.walk(top / f"r{round_number}"):
                for name in names:
                    os.stat(os.path.join(folder, name))

        def listing(top):
            run("ls", "-R", top / f"r{round_number}")
        for name, work in (("create", create), ("stat", stat), ("list", listing)):
            if name != "create":
                drop_caches()
            self.note(f"4 {name}", seconds(lambda work=work: work(ours)),
                      seconds(lambda work=work: work(theirs)))

    def row5(self):
        site = self.fresh_site("many")
        count = self.options.files
        for number in range(count):
            if number % 1000 == 0:
                os.makedirs(site.mnt / f"{number // 1000}")
            with open(site.mnt / f"{number // 1000}/{number}.dpx", "wb") as out:
                out.write(b"x")
        site.wait(state="verified", timeout=3600)
        site.umount()
        start = time.perf_counter()
        site.mount()
        os.listdir(site.mnt)
        took = time.perf_counter() - start
        run("find", site.mnt, "-type", "f", "-size", "+1k")
        with open(f"/proc/{site.daemon.pid}/status", encoding="ascii") as lines:
            rss = next(line for line in lines if line.startswith("VmRSS")).split()[1]
        print(f"  row 5: {count} files: {took:.2f} s to the first ls, "
              f"RSS {int(rss) >> 10} MiB after find", flush=True)
        self.ratios["5 mount s"] = [took]
        self.ratios["5 rss MiB"] = [int(rss) / 1024]
        site.umount()

    def close(self):
        for point in self.folder.glob("*.mnt"):
            if os.path.ismount(point):
                run("umount", "-l", point, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.card, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1,2,3,4,5")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", default="1G")
    parser.add_argument("--files", type=int, default=20000)
    parser.add_argument("--folder", default="/var/tmp")
    parser.add_argument("--quick", action="store_true", help="small: does measuring work at all")
    parser.add_argument("--json")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.size, options.files = 1, "32M", 500
    bench = Bench(options)
    try:
        print(mediafs("--version").stdout.strip(), "from", BUILD)
        bench.make_clip()
        for row in options.rows.split(","):
            getattr(bench, f"row{row}")()
    finally:
        bench.close()
    table = {}
    print("\nrow          median   range          goal")
    for row, ratios in bench.ratios.items():
        goal = GOALS.get(row)
        table[row] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
        print(f"{row:12} {statistics.median(ratios):6.2f}   {min(ratios):.2f} to {max(ratios):.2f}"
              f"   {goal[0] + ' ' + str(goal[1]) if goal else ''}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(table, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
