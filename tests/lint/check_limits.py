#!/usr/bin/env python3
"""Files of at most 600 lines, functions of at most 80, and no marks of unfinished work."""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
FILE_LINES = 600
FUNCTION_LINES = 80
MARKS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
SLEEPS = re.compile(r"(^|[^a-z_])(u?sleep|nanosleep|time\.sleep)\s*\(")


def functions(lines):
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start:
            yield start, number - start + 1
            start = None


def problems():
    sources = sorted([*(TOP / "src").rglob("*.[ch]"), *(TOP / "tests").rglob("*.[ch]"),
                      *(TOP / "tests").rglob("*.py")])
    for path in sources:
        if path == pathlib.Path(__file__).resolve():
            continue
        name = path.relative_to(TOP)
        lines = path.read_text().splitlines()
        if len(lines) > FILE_LINES:
            yield f"{name}: {len(lines)} lines"
        if path.suffix == ".c":
            for start, length in functions(lines):
                if length > FUNCTION_LINES:
                    yield f"{name}:{start}: function of {length} lines"
        for number, line in enumerate(lines, 1):
            if MARKS.search(line):
                yield f"{name}:{number}: unfinished: {line.strip()}"
            if name.parts[0] == "tests" and SLEEPS.search(line):
                yield f"{name}:{number}: sleeps: wait for a state instead"
            if path.suffix in (".c", ".h") and number == 1 and "SPDX-License-Identifier" not in line:
                yield f"{name}: no licence line"


def main():
    found = list(problems())
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
