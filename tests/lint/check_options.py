#!/usr/bin/env python3
"""Every option stands in the parser, in --help and in man/mediafs.1, or in none of them.

Runs the built binary ($MEDIAFS_BUILD, default build); exit 77 when it is not there.
"""
import os
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
MEDIAFS = pathlib.Path(os.environ.get("MEDIAFS_BUILD", TOP / "build")) / "src/cli/mediafs"
COMMON = {"--store", "--json", "-h", "--help"}
LINE = re.compile(r"\s+(-\w)?(?:, )?\s*(--[a-z-]+)?(?: ([A-Z]+|chain)\b)?\s")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*|-[A-Za-z])(?![\w-])")


def run(*words):
    return subprocess.run([str(MEDIAFS), *words], capture_output=True, text=True, check=False)


def commands_of_help():
    text = run("--help").stdout
    part = text.split("Commands:\n", 1)[1].split("\n\n", 1)[0]
    return [line.split()[0] for line in part.splitlines()]


def options_of_help(command):
    """{option: takes a value}, of the part under Options:."""
    part = run(command, "--help").stdout.split("\nOptions:\n", 1)[1].split("\n\n", 1)[0]
    found = {}
    for line in part.splitlines():
        letter, name, argument = LINE.match(line).groups()
        for word in (letter, name):
            if word:
                found[word] = argument is not None
    return found


def options_of_man():
    """{command: options that have a paragraph of their own}, "" for the common ones."""
    text = (TOP / "man/mediafs.1").read_text().replace("\\-", "-")
    text = text.replace("\\fR", "").replace("\\fP", "")
    found = {}
    name = None
    after_tp = False
    for line in text.splitlines():
        if line.startswith(".SS "):
            name = line[4:].strip()
            found[name] = set()
        elif line.startswith(".SH "):
            name = "" if line == ".SH COMMON OPTIONS" else None
            if name == "":
                found[name] = set()
        elif after_tp and name is not None:
            found[name] |= set(OPTION.findall(line.replace('"', " ")))
        after_tp = line == ".TP"
    return found


def parser_takes(command, option, value):
    """The parser looks at everything before --help is obeyed."""
    return run(command, option, *(["1"] if value else []), "--help").returncode == 0


def problems():
    man = options_of_man()
    commands = commands_of_help()
    if COMMON != man.get("", set()):
        yield f"man/mediafs.1, COMMON OPTIONS: {sorted(man.get('', set()) ^ COMMON)}"
    for name in sorted(set(man) - {""} - set(commands)):
        yield f"man/mediafs.1: there is no command {name}"
    for command in commands:
        if command not in man:
            yield f"man/mediafs.1: {command} is missing"
            continue
        shown = options_of_help(command)
        for option in sorted(COMMON - set(shown)):
            yield f"{command} --help: {option} is missing"
        own = set(shown) - COMMON
        for option in sorted(own - man[command]):
            yield f"man/mediafs.1, {command}: {option} is missing"
        for option in sorted(man[command] - own):
            yield f"{command} --help: {option} is missing, man/mediafs.1 has it"
        for option, value in shown.items():
            if not parser_takes(command, option, value):
                yield f"{command}: {option} of --help is not taken"
        for option in ("--no-such-option", "-?"):
            if run(command, option).returncode != 2:
                yield f"{command}: {option} is no wrong usage"


def main():
    if not MEDIAFS.exists():
        print(f"{MEDIAFS} is not built")
        return 77
    found = list(problems())
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
