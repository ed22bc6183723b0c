#!/usr/bin/env python3
"""A file includes only its own layer and those named for it; a foreign header has one home."""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
MAY_USE = {
    "util": [],
    "hash": ["util"],
    "catalog": ["util", "hash"],
    "store": ["util", "hash"],
    "tier": ["util", "hash"],
    "card": ["util"],
    "manifest": ["util", "hash"],
    "transfer": ["util", "hash", "catalog", "store", "tier"],
    "sync": ["util", "hash", "catalog", "store", "tier", "transfer"],
    "volume": ["util", "hash", "card", "catalog", "store", "tier", "manifest", "transfer", "sync"],
    "fs": ["util", "hash", "catalog", "store", "volume"],
    "control": ["util", "hash", "card", "catalog", "store", "tier", "transfer", "sync", "volume"],
    "cli": ["util", "hash", "card", "catalog", "store", "tier", "transfer", "sync", "volume", "fs",
            "control", "manifest"],
    # A program of its own: nothing else includes it, for what it links has another licence.
    "probe": ["util", "hash", "store"],
}
HOME = {
    r"xxhash\.h": "hash",
    r"openssl/.*": "hash tier",  # tier signs requests
    r"sqlite3\.h": "catalog",
    r"fuse.*\.h": "fs",
    r"jansson\.h": "util",
    r"zstd.*\.h": "util",
    r"ini\.h": "store",
    r"curl/.*": "tier",
    r"expat\.h": "util",
    r"archive.*\.h": "manifest",
    r"lib(av|sw).*": "probe",
    r"sndfile\.h": "probe",
    r"utf8proc\.h": "manifest",
    r"seccomp\.h": "util",
}
ALWAYS = {"mediafs"}  # include/mediafs: the contract with the outside


def problems():
    for path in sorted((TOP / "src").rglob("*.[ch]")):
        layer = path.relative_to(TOP / "src").parts[0]
        if layer not in MAY_USE:
            yield f"{path.relative_to(TOP)}: folder {layer} is no layer"
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not found:
                continue
            where = f"{path.relative_to(TOP)}:{number}"
            kind, name = found.groups()
            if kind == '"':
                target = name.split("/")[0]
                if "/" not in name:
                    yield f"{where}: \"{name}\" lacks its folder"
                elif target != layer and target not in MAY_USE[layer] and target not in ALWAYS:
                    yield f"{where}: {layer} may not include {name}"
            else:
                for pattern, home in HOME.items():
                    if re.fullmatch(pattern, name) and layer not in home.split():
                        yield f"{where}: <{name}> belongs to {home}"


def main():
    found = list(problems())
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
