"""Manifests: ASC MHL histories and legacy lists, read, continued, made.

tests/mhl holds trees of the reference implementations. What we write is computed again here, with
hashlib and xxhsum, from the description of the format alone. MEDIAFS_TEST_MHL names a folder with
the schemas (xsd/ASCMHL.xsd ...), which are not ours to carry: without it that one test is skipped.
"""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import xml.etree.ElementTree as xml

import pytest

from lib import MEDIAFS, PATIENCE, mediafs, run, tool, wait_for
from mhl import (ASC, CHAIN, FORMATS, c4, check_generation, check_schemas, digest, manifest,
                 newest)
from nth import CLASSES, nth, nth_library  # pylint: disable=unused-import

VECTORS = pathlib.Path(__file__).parents[1] / "mhl"

# What we say; the reference's exit code where it says something else, with our reason.
HISTORIES = {
    "v1-basic/A001R1AB": 0, "v2-history/B002R2CD": 0, "v3-nested/Reels": 0,
    "v5-negative/good": 0, "v5-negative/missing-file": 10, "v5-negative/missing-emptydir": 10,
    "v5-negative/new-file": 21, "v5-negative/new-dir": 0, "v5-negative/manifest-tampered": 31,
    "v5-negative/chain-missing": 32, "v5-negative/no-history": 30, "v5-negative/element-order": 0,
    "v5-negative/upper-hex": 0,  # reference: 11; the value is the same
    "v5-negative/dir-trailing-slash": 0,  # reference: 10; the specification's own example
}
LISTS = {
    "seal-md5/C003/C003_2026-11-22_131252": 0, "seal-sha1/C003/C003_2026-11-22_131252": 0,
    "seal-xxhash/C003/C003_2026-11-22_131252": 0, "seal-xxhash64/C003/C003_2026-11-22_131252": 0,
    "seal-xxhash64be/C003/C003_2026-11-22_131252": 0, "zero/zero_2026-11-22_131252": 0,
    "hand/upper_md5": 0, "hand/xxh32_padded": 0, "hand/null": 0, "hand/extra_elem": 0,
    "hand/version1_0": 0, "hand/no_hashdate": 0, "hand/size0": 0,
    "hand/bad_md5": 11, "hand/bad_size": 11,  # reference: 16, 15
    "hand/missing": 10, "hand/backslash": 10,  # reference: 3
    "hand/unknown_hash": 1, "hand/version2": 1,  # reference: 11
    "hand/xxh32_unpadded": 0,  # reference: 11; the schema allows it
    "hand/dotdot": 1,  # reference: 0; leads out of the folder
    "hand/empty": 1,  # reference: 0; proves nothing
}


@pytest.fixture
def vectors(tmp_path):
    """A copy of the trees, with the empty folders that git does not keep."""
    copy = tmp_path / "mhl"
    shutil.copytree(VECTORS, copy)
    (copy / "v1-basic/A001R1AB/EmptyDir").mkdir(exist_ok=True)
    (copy / "v5-negative/new-dir/N").mkdir(exist_ok=True)
    return copy


@pytest.fixture
def card(tmp_path):
    """A folder like a card, with names that are hard and nothing recorded."""
    top = tmp_path / "A007R1ZZ"
    (top / "Clips/Sub").mkdir(parents=True)
    (top / "Empty").mkdir()
    for number in range(3):
        (top / f"Clips/C{number}.mov").write_bytes(os.urandom(5000 + number))
    (top / "Clips/Sub/ take 1 & <2>\".wav").write_bytes(b"sound")
    (top / "Kölner_Straße.txt").write_text("notes")
    (top / "two\nlines\t.txt").write_text("odd")
    (top / "empty.bin").touch()
    (top / ".DS_Store").write_text("Finder")
    return top


def problems(answer):
    return {(finding["problem"], finding["path"]) for finding in answer["findings"]}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_of_the_reference_gets_its_verdict(vectors, name):
    code, answer = manifest("verify", vectors / name)
    assert code == HISTORIES[name], answer


@pytest.mark.parametrize("name", LISTS)
def test_a_legacy_list_gets_its_verdict(vectors, name):
    code, answer = manifest("verify", vectors / "v6-legacy" / f"{name}.mhl")
    assert code == LISTS[name], answer


def test_a_packing_list_of_the_reference_names_the_renamed_file(vectors):
    """The reference forgets in it that the file was renamed: its old name is missing."""
    file = next((vectors / "v4-flatten").glob("*/*.mhl"))
    code, answer = manifest("verify", file, "--root", vectors / "v2-history/B002R2CD")
    assert code == 10
    assert problems(answer) == {("missing", "Clips/B002C001.mov")}
    with open(file, "ab") as out:
        out.write(b"\n")
    assert manifest("verify", file, "--root", vectors / "v2-history/B002R2CD")[0] == 31


def test_what_is_made_is_right_in_every_format(card):
    code, answer = manifest("create", card, "--hash", ",".join(FORMATS), "--process", "transfer",
                            "--author", "Ann \"A\" <DIT>", "--email", "ann@example.com",
                            "--location", "Stage 5 & 6", "--comment", "day 1")
    assert code == 0, answer
    actions = check_generation(card, FORMATS)
    assert set(actions) == {path.relative_to(card).as_posix() for path in card.rglob("*")
                            if path.is_file() and "ascmhl" not in path.parts
                            and path.name != ".DS_Store"}
    assert all(found == {"original"} for found in actions.values())
    root = newest(card)
    assert root.findtext(f"{ASC}processinfo/{ASC}process") == "transfer"
    assert root.findtext(f"{ASC}creatorinfo/{ASC}author") == "Ann \"A\" <DIT>"
    assert manifest("verify", card)[0] == 0


@pytest.mark.parametrize("name", ["v1-basic/A001R1AB", "v2-history/B002R2CD", "v3-nested/Reels"])
def test_a_history_of_the_reference_is_continued_and_kept(vectors, name):
    top = vectors / name
    before = {path: path.read_bytes() for path in top.rglob("ascmhl/*.mhl")}
    assert manifest("create", top)[0] == 0
    assert {path: path.read_bytes() for path in before} == before
    scopes = [path.parent for path in top.rglob("ascmhl")]
    for scope in scopes:
        actions = check_generation(scope, ["xxh128"])
        assert all(found == {"verified"} for found in actions.values()), scope
    after = set(top.rglob("ascmhl/*.mhl"))
    assert len(after) == len(before) + len(scopes)
    assert manifest("verify", top)[0] == 0


def test_each_problem_is_named(card):
    assert manifest("create", card)[0] == 0
    clip = card / "Clips/C0.mov"
    data = bytearray(clip.read_bytes())
    data[17] ^= 1
    clip.write_bytes(data)
    (card / "Clips/C1.mov").unlink()
    (card / "extra").touch()
    (card / "link").symlink_to("empty.bin")
    code, answer = manifest("verify", card)
    assert code == 11
    assert problems(answer) == {("damaged", "Clips/C0.mov"), ("missing", "Clips/C1.mov"),
                                ("new", "extra"), ("skipped", "link")}
    (card / "link").unlink()
    # The next generation says so, and the good bytes are right again.
    assert manifest("create", card)[0] == 11
    actions = check_generation(card, ["xxh128"])
    assert actions["Clips/C0.mov"] == {"failed"} and actions["extra"] == {"original"}
    data[17] ^= 1
    clip.write_bytes(data)
    code, answer = manifest("create", card, "--hash", "md5,xxh128")
    assert code == 10 and problems(answer) >= {("missing", "Clips/C1.mov")}
    assert check_generation(card, ["md5"])["Clips/C0.mov"] == {"verified"}


def test_a_folder_hash_that_is_wrong_is_told(card):
    """Files are right, the hash of a folder is not: only a wrong manifest can say so."""
    assert manifest("create", card, "--hash", "md5")[0] == 0
    file = next((card / "ascmhl").glob("0001*"))
    root = xml.parse(file)
    content = root.getroot().find(f".//{ASC}directoryhash/{ASC}content/{ASC}md5")
    content.text = "0" * 32
    root.write(file, "utf-8", xml_declaration=True)
    assert manifest("verify", card)[0] == 31
    chain = card / "ascmhl/ascmhl_chain.xml"
    tree = xml.parse(chain)
    tree.getroot()[0].find(CHAIN + "c4").text = c4(hashlib.sha512(file.read_bytes()).digest())
    tree.write(chain, "utf-8", xml_declaration=True)
    assert manifest("verify", card)[0] == 12


def test_renames_are_followed(card):
    """A file, a folder with all it holds, and two that swap names; twice in a row."""
    assert manifest("create", card)[0] == 0
    (card / "Clips").rename(card / "Takes")
    (card / "empty.bin").rename(card / "void.bin")
    code, answer = manifest("create", card)
    assert code == 0, answer
    assert ("renamed", "Takes/C1.mov") in problems(answer)
    previous = {record.findtext(ASC + "path"): record.findtext(ASC + "previousPath")
                for record in newest(card).iter() if record.find(ASC + "path") is not None}
    assert previous["Takes"] == "Clips" and previous["Takes/Sub"] == "Clips/Sub"
    assert previous["Takes/C1.mov"] == "Clips/C1.mov" and previous["void.bin"] == "empty.bin"
    # As the reference writes it: in a nested history it finds no other.
    assert check_generation(card, ["xxh128"])["Takes/C1.mov"] == {"original"}
    (card / "Takes").rename(card / "Rushes")
    assert manifest("create", card, "--hash", "sha1")[0] == 0
    assert manifest("verify", card)[0] == 0


def test_nested_histories_stay_their_own(tmp_path):
    top = tmp_path / "Shuttle"
    for reel in ("A001", "A002"):
        (top / reel / "Clips").mkdir(parents=True)
        (top / reel / "Clips/c.mov").write_text(reel)
        assert manifest("create", top / reel)[0] == 0
    (top / "notes.txt").write_text("notes")
    code, answer = manifest("create", top, "--ignore", "*.tmp", "--ignore", "/only-here")
    assert code == 0, answer
    assert set(check_generation(top, ["xxh128"])) == {"notes.txt"}
    assert len(list(newest(top).iter(ASC + "hashlistreference"))) == 2
    patterns = [pattern.text for pattern in newest(top / "A001").iter(ASC + "pattern")]
    assert "*.tmp" in patterns and "/only-here" not in patterns
    (top / "A001/x.tmp").touch()
    (top / "only-here").touch()
    assert manifest("verify", top)[0] == 0
    # The child goes on alone: the parent's reference to an older generation is legal.
    (top / "A002/more").write_text("more")
    assert manifest("create", top / "A002")[0] == 0
    assert manifest("verify", top)[0] == 0
    shutil.rmtree(top / "A001/ascmhl")
    code, answer = manifest("verify", top)
    assert code == 21 and ("new", "A001/Clips/c.mov") in problems(answer)
    assert manifest("create", top)[0] == 30


def test_legacy_lists_are_made_and_checked(card):
    (card / "empty.bin").unlink()  # the schema wants sizes above 0
    code, answer = manifest("create", card, "--format", "legacy", "--hash", "md5,sha1,xxh64")
    assert code == 0, answer
    file = card / answer["written"][0]
    spelling = {"md5": "md5", "sha1": "sha1", "xxhash64be": "xxh64"}
    records = list(xml.parse(file).getroot().iter("hash"))
    assert len(records) == 6
    for record in records:
        data = (card / record.findtext("file")).read_bytes()
        assert record.findtext("size") == str(len(data))
        for name, form in spelling.items():
            assert record.findtext(name) == digest(form, data).hex()
    assert manifest("verify", card)[0] == 0  # the one list in a folder without history
    (card / "Clips/C2.mov").write_bytes(b"short")
    code, answer = manifest("verify", file)
    assert code == 11 and problems(answer) == {("size", "Clips/C2.mov")}


def test_both_kinds_from_one_pass(card):
    code, answer = manifest("create", card, "--format", "both")
    assert code == 0, answer
    assert len(answer["written"]) == 2
    legacy = next(name for name in answer["written"] if "ascmhl" not in name)
    assert legacy in check_generation(card, ["xxh128", "xxh64"])
    assert manifest("verify", card)[0] == 0
    assert manifest("verify", card / legacy)[0] == 0


def test_a_packing_list_says_what_the_histories_say(card, tmp_path):
    assert manifest("create", card, "--hash", "xxh64")[0] == 0
    (card / "empty.bin").rename(card / "void.bin")
    assert manifest("create", card, "--hash", "md5")[0] == 0
    out = tmp_path / "out"
    out.mkdir()
    code, answer = manifest("flatten", card, out)
    assert code == 0, answer
    file = pathlib.Path(answer["written"][0])
    records = {record.findtext(ASC + "path"): record
               for record in xml.parse(file).getroot().iter(ASC + "hash")}
    assert len(records) == 7 and "void.bin" in records
    assert records["void.bin"].findtext(ASC + "previousPath") == "empty.bin"
    for path, record in records.items():
        for form in ("md5", "xxh64"):
            assert record.findtext(ASC + form) == digest(form, (card / path).read_bytes()).hex()
    assert records["void.bin"].find(ASC + "xxh64").get("action") == "original"
    assert manifest("verify", file, "--root", card)[0] == 0
    (card / "more").touch()
    assert manifest("verify", file, "--root", card)[0] == 21


def test_names_that_xml_cannot_carry_are_refused_before_anything_is_written(card):
    (card / "Clips" / "bell\a.mov").touch()
    (card / os.fsdecode(b"latin1-\xe4.txt")).touch()
    code, answer = manifest("create", card, "--format", "both")
    assert code == 1
    assert problems(answer) == {("name", "Clips/bell\a.mov"), ("name", "%:latin1-%e4.txt")}
    assert not (card / "ascmhl").exists() and not list(card.glob("*.mhl"))


@pytest.mark.parametrize("text", [
    "<!DOCTYPE hashlist [<!ENTITY a \"aaaa\">]>", "<!DOCTYPE hashlist SYSTEM \"file:///etc/passwd\">"])
def test_a_document_with_a_dtd_is_refused(card, text):
    assert manifest("create", card, "--format", "legacy")[0] == 0
    file = next(card.glob("*.mhl"))
    file.write_text(file.read_text().replace("<hashlist", f"{text}\n<hashlist", 1))
    assert manifest("verify", file)[0] == 1


def test_what_cannot_be_read_is_named_and_nothing_is_written(card, tmp_path):
    tmp_path.chmod(0o755)
    clip = card / "Clips/C0.mov"
    clip.chmod(0)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    for path in (card, *card.rglob("*")):
        if user:
            os.chown(path, 65534, 65534)
    done = run(*user, MEDIAFS, "manifest", "create", card, "--json", check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and problems(answer) == {("unreadable", "Clips/C0.mov")}
    assert not (card / "ascmhl").exists()
    clip.chmod(stat.S_IRUSR)
    assert manifest("create", card)[0] == 0


def test_what_a_crash_leaves_is_no_obstacle(card):
    """A half-made history, and a manifest that its chain does not name yet."""
    half = card / ".ascmhl-tmp-0b1e9b6e-7f44-4c1e-9b7a-000000000000"
    half.mkdir()
    (half / ".tmp-00").write_text("half")
    assert manifest("create", card)[0] == 0
    assert not half.exists()
    stray = card / "ascmhl/0002_A007R1ZZ_2026-01-01_000000Z.mhl"
    stray.write_bytes(next((card / "ascmhl").glob("0001*")).read_bytes())
    code, answer = manifest("verify", card)
    assert code == 0 and ("note", f"ascmhl/{stray.name}") in problems(answer)
    assert manifest("create", card)[0] == 0
    check_generation(card, ["xxh128"])
    assert stray.with_name(stray.name + ".unlisted").exists() and not stray.exists()
    assert problems(manifest("verify", card)[1]) == set()


@pytest.mark.parametrize("kind", ["write", "sync", "name", "open", "alloc", "read"])
def test_whatever_fails_the_old_history_is_valid(card, nth, kind):  # pylint: disable=redefined-outer-name
    """The Nth call fails, for N along the whole run; first for a new history, then for the next."""
    for first in (True, False):
        shutil.rmtree(card / "ascmhl", ignore_errors=True)
        if not first:
            assert manifest("create", card)[0] == 0

        def create():
            return run(MEDIAFS, "manifest", "create", card, check=False,
                       env={**os.environ, **nth.environment}).returncode
        total = nth.count(kind, create)
        before = len(list((card / "ascmhl").glob("*.mhl")))
        for number in range(1, total + 1, max(1, total // 24)):
            nth.arm(kind, (number, 0))
            code = create()
            nth.disarm()
            assert code in (0, 1), (kind, number)
            assert manifest("verify", card)[0] == 0, (kind, number)
            if code == 0:
                before += 1
                check_generation(card, ["xxh128"])
        code, answer = manifest("create", card)
        assert code == 0, answer


def test_an_interrupted_run_writes_nothing(card):
    with open(card / "big.mov", "wb") as file:
        file.truncate(20 << 30)
    child = subprocess.Popen([MEDIAFS, "manifest", "create", card, "--hash", "sha1"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: any(str(card) in os.readlink(link)
                         for link in pathlib.Path(f"/proc/{child.pid}/fd").iterdir()
                         if link.is_symlink() and "big.mov" in os.readlink(link)), "the reading")
    child.send_signal(signal.SIGINT)
    assert child.wait(PATIENCE) == 1
    assert b"interrupted" in child.stderr.read()
    assert not (card / "ascmhl").exists()


def test_in_a_mounted_volume(cart):
    """Made through the mount; evicted files are read through it, so from the tier."""
    top = cart.mnt / "A001"
    (top / "Clips").mkdir(parents=True)
    (top / "Clips/c.mov").write_bytes(os.urandom((9 << 20) + 5))
    (top / "n.txt").write_text("n")
    assert manifest("create", top)[0] == 0
    check_generation(top, ["xxh128"])
    cart.wait()
    mediafs("evict", top / "Clips/c.mov")
    assert cart.state("A001/Clips/c.mov") == "evicted"
    assert manifest("verify", top)[0] == 0
    assert manifest("create", top, "--hash", "sha1")[0] == 0
    check_generation(cart.tree / "A001", ["sha1"])


@pytest.mark.parametrize("words", [
    ("create",), ("no-such", "x"), ("create", "x", "--hash", "crc32"), ("create", "x", "--format", "x"),
    ("create", "x", "--process", "x"), ("create", "x", "--root", "x"), ("flatten", "x"),
    ("create", "x", "--author", "a\a"), ("create", "x", "--author", "a", "--email", "nobody"),
    ("create", "x", "--format", "legacy", "--hash", "c4")])
def test_wrong_usage_is_told(words):
    assert mediafs("manifest", *words, check=False).returncode == 2


def test_all_that_is_written_is_valid(card, vectors, tmp_path):
    if not (os.environ.get("MEDIAFS_TEST_MHL") and tool("xmllint")):
        pytest.skip("MEDIAFS_TEST_MHL names no folder with the schemas, or there is no xmllint")
    (card / "empty.bin").unlink()  # of size 0: no list with it is valid, the schema says
    out = tmp_path / "out"
    out.mkdir()
    for words in (["--hash", ",".join(FORMATS), "--format", "both", "--author", "A",
                   "--email", "a@b.example", "--location", "L", "--comment", "C"],
                  ["--process", "transfer", "--ignore", "*.tmp"]):
        assert manifest("create", card, *words)[0] == 0
    (card / "Clips").rename(card / "Takes")
    assert manifest("create", card)[0] == 0
    assert manifest("flatten", card, out)[0] == 0
    for name in ("v2-history/B002R2CD", "v3-nested/Reels"):
        assert manifest("create", vectors / name)[0] == 0
        assert manifest("flatten", vectors / name, out)[0] == 0
    assert check_schemas(card, out, vectors / "v2-history", vectors / "v3-nested") > 20
