"""The Nth call fails in a daemon that is asked something: it says what is so, or that it cannot. How
many N: nth.py."""
import pytest

import cards
from lib import mediafs
from nth import CLASSES, ROUNDS, SEED, is_of_a_library, nth, nth_library  # pylint: disable=unused-import

pytestmark = pytest.mark.slow
KINDS = ("alloc", "read", "open") if ROUNDS != "1" else ("alloc",)
QUESTIONS = (("offloads", "--json"), ("ls", "--json"), ("ls", "--clips", "--json"),
             ("conflicts", "--json"))


@pytest.fixture
def asked(sites, tier, nth):
    site = sites("cart", tier=tier, settings={"manifest.kind": "none"})  # or lists of ours come meanwhile
    site.environment = nth.environment
    site.mount(env=nth.environment)
    cards.make(site.mnt / "day1", "red")
    cards.make(site.mnt / "day1/sound", "sound-mono")
    (site.mnt / "day1/note.txt").write_bytes(b"of nobody")
    site.wait()
    return site


def is_known(site, code):
    """The daemon may end for a library's sake; then it is there again."""
    died = site.daemon.poll()
    if died is None:
        return True
    assert is_of_a_library(died, site.log_text()), f"the daemon died: {died}"
    site.close()
    site.mount(env=site.environment)
    return code > 0


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_what_the_daemon_says(asked, nth, question):
    site, found = asked, []

    def ask():
        return site.cmd(*question, check=False)
    right = ask()
    assert right.returncode == 0, right.stderr
    for kind in KINDS:
        turns, reached = nth.turns(kind, ask), 0
        for turn in turns:
            before = len(site.log_text())
            nth.arm(kind, turn)
            said = ask()
            reached += nth.disarm()[1]
            # In some places glibc's takes missing memory for a path that does not match.
            good = "libc.so.6(regexec+" in site.log_text()[before:] or (
                said.stdout == right.stdout if said.returncode == 0 else
                said.returncode > 0 and said.stdout + said.stderr)
            if not good or not is_known(site, said.returncode):
                found.append(f"{question}, {kind} {turn}, seed {SEED}: exit {said.returncode}\n"
                             f"{said.stdout}{said.stderr}\n{site.log_text()[-3000:]}")
                print("FOUND", found[-1], flush=True)
        print(f"{question}, {kind}: {len(turns)} turns, {reached} made to fail")
    assert not found, f"{len(found)} found, such as {found[0]}"
