#!/usr/bin/env python3
"""Every mount option of ours stands in --help and in man/mount.mediafs.8, or in neither.

Runs the built binary ($MEDIAFS_BUILD, default build); exit 77 when it is not there.
"""
import os
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
MEDIAFS = pathlib.Path(os.environ.get("MEDIAFS_BUILD", TOP / "build")) / "src/cli/mediafs"


def of_help():
    text = subprocess.run([str(MEDIAFS), "mount", "--help"], capture_output=True, text=True,
                          check=True).stdout
    part = text.split("Mount options", 1)[1].split("\n", 1)[1]
    return {line.split()[0].rstrip("=") for line in part.splitlines() if line.strip()}


def of_manual():
    text = (TOP / "man/mount.mediafs.8").read_text().replace("\\-", "-")
    part = text.split(".SH MOUNT OPTIONS", 1)[1].split(".SH ", 1)[0]
    heads = re.findall(r"^\.TP\n\.B[IR]? (.*)$", part, re.MULTILINE)
    return {head.split()[0].rstrip("=") for head in heads} - {"suid"}  # those of mount(8)


def main():
    if not MEDIAFS.exists():
        print(f"{MEDIAFS} is not built")
        return 77
    wrong = of_help() ^ of_manual()
    for name in sorted(wrong):
        print(f"mount option {name}: only in {'--help' if name in of_help() else 'the manual'}")
    return 1 if wrong else 0


sys.exit(main())
