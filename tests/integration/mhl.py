"""ASC MHL and legacy lists, read and computed again from the description of the format alone."""
import fnmatch
import hashlib
import json
import os
import pathlib
import re
import subprocess
import xml.etree.ElementTree as xml

from lib import mediafs, run

ASC, CHAIN = "{urn:ASC:MHL:v2.0}", "{urn:ASC:MHL:DIRECTORY:v2.0}"
FORMATS = ("c4", "md5", "sha1", "xxh128", "xxh3", "xxh64")
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def manifest(*words, **options):
    """The exit code and what --json says."""
    done = mediafs("manifest", *words, "--json", check=False, **options)
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    assert answer["code"] == done.returncode
    return done.returncode, answer


def c4(raw):
    number, digits = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return "c4" + digits.rjust(88, "1")


def digest(form, data):
    """Raw bytes, by programs that are not ours."""
    if form in ("md5", "sha1", "c4"):
        return hashlib.new({"c4": "sha512"}.get(form, form), data).digest()
    words = {"xxh64": "-H1", "xxh128": "-H2", "xxh3": "-H3"}[form]
    done = subprocess.run(["xxhsum", words, "-"], input=data, capture_output=True, check=True)
    return bytes.fromhex(re.search("[0-9a-f]{16,}", done.stdout.decode()).group())


def text_of(form, raw):
    return c4(raw) if form == "c4" else raw.hex()


def folder_hashes(form, folder, found, top, patterns):
    """
    {relative path: (content, structure)} of all folders, as the specification has it. @patterns:
    names that are left out, which ours all are.
    """
    content, structure = [], []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if any(fnmatch.fnmatchcase(entry.name, pattern.rstrip("/")) for pattern in patterns):
            continue
        if entry.is_dir():
            one, other = folder_hashes(form, entry.path, found, top, patterns)
        else:
            one = other = digest(form, pathlib.Path(entry.path).read_bytes())
        content.append(one)
        structure.append(digest(form, entry.name.encode() + other))
    pair = (digest(form, b"".join(sorted(content))), digest(form, b"".join(sorted(structure))))
    found[os.path.relpath(folder, top)] = pair
    return pair


def values(element):
    return {child.tag.removeprefix(ASC): child.text for child in element}


def newest(scope):
    """The root element of the newest manifest of a history, whose chain is checked."""
    chain = xml.parse(scope / "ascmhl/ascmhl_chain.xml").getroot()
    assert chain.tag == CHAIN + "ascmhldirectory"
    names = []
    for number, entry in enumerate(chain, 1):
        assert entry.get("sequencenr") == str(number)
        names.append(entry.findtext(CHAIN + "path"))
        bytes_ = (scope / "ascmhl" / names[-1]).read_bytes()
        assert entry.findtext(CHAIN + "c4") == c4(hashlib.sha512(bytes_).digest())
    assert names[-1].startswith(f"{len(names):04}_")
    return xml.parse(scope / "ascmhl" / names[-1]).getroot()


def check_generation(scope, formats):
    """Compute all of the newest generation again; {path: set of actions}."""
    root = newest(scope)
    actions = {}
    for record in root.iter(ASC + "hash"):
        path = record.findtext(ASC + "path")
        data = (scope / path).read_bytes()
        assert record.find(ASC + "path").get("size") == str(len(data))
        for child in record:
            form = child.tag.removeprefix(ASC)
            if form in FORMATS:
                actions.setdefault(path, set()).add(child.get("action"))
                assert child.text == text_of(form, digest(form, data)), path
    patterns = [pattern.text for pattern in root.iter(ASC + "pattern")]
    for form in formats:
        found = {}
        folder_hashes(form, scope, found, scope, patterns)
        pairs = {record.findtext(ASC + "path"): record
                 for record in root.iter(ASC + "directoryhash")}
        pairs["."] = root.find(f"{ASC}processinfo/{ASC}roothash")
        for path, record in pairs.items():
            for part, raw in zip(("content", "structure"), found[path]):
                assert values(record.find(ASC + part))[form] == text_of(form, raw), path
    for reference in root.iter(ASC + "hashlistreference"):
        bytes_ = (scope / reference.findtext(ASC + "path")).read_bytes()
        assert reference.findtext(ASC + "c4") == c4(hashlib.sha512(bytes_).digest())
    return actions


def check_schemas(*tops):
    """Every document below @tops against its schema; how many."""
    schemas = pathlib.Path(os.environ["MEDIAFS_TEST_MHL"]) / "xsd"
    count = 0
    for top in tops:
        for file in (*top.rglob("*.mhl"), *top.rglob("ascmhl_*.xml")):
            schema = "MediaHashList_v1_1" if b"urn:ASC" not in file.read_bytes() else \
                "ASCMHL" if file.suffix == ".mhl" else "ASCMHLDirectory__combined"
            run("xmllint", "--noout", "--nonet", "--schema", schemas / f"{schema}.xsd", file)
            count += 1
    return count
