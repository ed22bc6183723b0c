#!/usr/bin/env python3
"""Every key of the settings table stands in man/mediafs.conf.5 with its default, and no other."""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
TABLE = TOP / "src/store/settings_table.c"
PAGE = TOP / "man/mediafs.conf.5"

# { SETTING_X or -1, TYPE_X, "key", "default", ...
ROW = re.compile(r'\{\s*(?:SETTING_\w+|-1),\s*TYPE_\w+,\s*"([^"]+)",\s*"([^"]*)"')


def keys_of_table():
    return dict(ROW.findall(TABLE.read_text()))


def keys_of_page():
    """{key: default} of the paragraphs in sections with a name in brackets."""
    found = {}
    section = key = None
    for line in PAGE.read_text().replace("\\-", "-").splitlines():
        if line.startswith((".SS ", ".SH ")):
            match = re.fullmatch(r"\.SS \[(\w+)\]", line)
            section, key = (match.group(1) if match else None), None
        elif section and line.startswith(".B ") and key is None:
            key = f"{section}.{line[3:]}"
            found[key] = ""
        elif line == ".TP":
            key = None
        elif key and (match := re.match(r"\(.*default \\fB([^\\]+)\\fR\)", line)):
            found[key] = match.group(1)
        elif section and key is None:
            key = ""  # text before the first paragraph
    found.pop("", None)
    return found


def main():
    table, page = keys_of_table(), keys_of_page()
    wrong = [f"{key}: not in {PAGE.name}" for key in table.keys() - page.keys()]
    wrong += [f"{key}: in {PAGE.name} but not in the table" for key in page.keys() - table.keys()]
    wrong += [f"{key}: default is {table[key]!r}, {PAGE.name} says {page[key]!r}"
              for key in table.keys() & page.keys() if table[key] != page[key]]
    if not table:
        wrong.append(f"no keys found in {TABLE}")
    print("\n".join(sorted(wrong)), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
