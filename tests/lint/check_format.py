#!/usr/bin/env python3
"""The C code is as .clang-format says. Exit 77 when clang-format is not there."""
import pathlib
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]


def main():
    if not shutil.which("clang-format"):
        print("clang-format is not installed")
        return 77
    files = [str(path) for folder in ("src", "tests", "include")
             for path in sorted((TOP / folder).rglob("*.[ch]"))]
    return subprocess.run(["clang-format", "--dry-run", "-Werror", *files], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
