#!/usr/bin/env python3
"""mediafs beside what a user would pick instead: one table, ratios of one run.

usage: bench.py [--rows TOPIC,...] [--rounds N] [--size 1G] [--files N] [--folder DIR]
                [--link UP,DELAY,LOSS[,DOWN[,QUEUE]]] [--reader MB/S]
                [--quick] [--json FILE] [--plot FILE.svg]

Both sides work in turns in every round; the table shows medians, the range of the ratio, and
the goal of DESIGN section 7. Wants root (it mounts, and drops caches) and a quiet machine; builds
nothing: MEDIAFS_BUILD names the build (default: build). Exit code 1: something could not be
measured. How fast it was is no reason to fail.
"""
import argparse
import json
import os
import pathlib
import platform
import signal
import sys
import time
import traceback

from ground import Ground
from table import TOPICS, Table, plot

from lib import BUILD, mediafs  # after ground, which knows where it lies
import rows_archive
import rows_bytes
import rows_cards
import rows_link
import rows_names
import rows_s3
import rows_sites

MEASURES = {name.removeprefix("measure_"): function
            for module in (rows_archive, rows_bytes, rows_cards, rows_link, rows_names, rows_s3,
                           rows_sites)
            for name, function in vars(module).items() if name.startswith("measure_")}


def bytes_of(text):
    units = {"K": 10, "M": 20, "G": 30}
    return int(text[:-1]) << units[text[-1]] if text[-1] in units else int(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(TOPICS), help=f"default: {','.join(TOPICS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=bytes_of, default="1G", help="of large files")
    parser.add_argument("--files", type=int, default=20000, help="where there are many small ones")
    parser.add_argument("--folder", default="/var/tmp", help="on the disk that is measured")
    parser.add_argument("--link", metavar="LINE",
                        help="Mbit/s, ms each way, %% lost, Mbit/s down, ms that may wait "
                             "(50,20,0.1)")
    # The best that a reader at USB 3.2 gives; cards in faster ones are no faster than 1 400.
    parser.add_argument("--reader", type=int, default=900, metavar="RATE",
                        help="of the card, in MB/s; 0: as fast as memory")
    parser.add_argument("--servers", help="folder of servers that another run has started")
    parser.add_argument("--quick", action="store_true", help="small: does measuring work at all")
    parser.add_argument("--json")
    parser.add_argument("--plot")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.size, options.files = 1, 32 << 20, 300
    options.link = options.link or ("50,20,0.1,200" if options.quick else "50,20,0.1")
    unknown = set(options.rows.split(",")) - set(TOPICS)
    if unknown:
        parser.error(f"no such rows: {', '.join(sorted(unknown))}")
    return options


def measure(topic, ground, table, rounds):
    start = time.perf_counter()
    try:
        MEASURES[topic](ground)
        wrong = list(table.check(topic, rounds))
        if wrong:
            table.failed[topic] = "; ".join(wrong)
    except Exception as error:  # one row that breaks must not take the others with it
        traceback.print_exc()
        table.failed[topic] = f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        ground.clear()
    print(f"  {topic}: took {time.perf_counter() - start:.0f} s", flush=True)


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # after it has tidied up
    table = Table(options.files)
    ground = Ground(options, table)
    about = {"version": mediafs("--version").stdout.split("\n")[0], "build": BUILD.name,
             "kernel": platform.release(), "cpus": os.cpu_count(), "size": options.size,
             "files": options.files, "rounds": options.rounds, "link": options.link,
             "reader": options.reader,
             "tcp": pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
             "load": [os.getloadavg()[0]]}
    try:
        for topic in options.rows.split(","):
            measure(topic, ground, table, options.rounds)
    finally:
        ground.close()
    about["load"].append(os.getloadavg()[0])
    title = (f"{about['version']}, Linux {about['kernel']}, {about['cpus']} CPUs, load "
             f"{about['load'][0]:.1f} to {about['load'][1]:.1f}; {options.rounds} rounds, "
             f"{options.size >> 20} MiB, {options.files} files; {about['tcp']}")
    print(f"\n{title}", *table.lines(), sep="\n")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(
            {**about, "rows": table.results(), "not measured": table.failed}, indent=1) + "\n")
    if options.plot:
        pathlib.Path(options.plot).write_text(plot(table.results(), title))
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
