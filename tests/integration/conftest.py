"""Fixtures: sites that are always unmounted at the end."""
import os
import pathlib
import struct
import sys
import zlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from lib import Site, run, tool  # noqa: E402  (the path comes first)
import tiers  # noqa: E402
from s3_bucket import (any_bucket, any_gate, bucket, gate, servers,  # noqa: E402, F401
                       servers_base, shared_buckets)

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def reachable(tmp_path_factory):
    """Tests that act as another user must get into the folders, which pytest makes private."""
    base = tmp_path_factory.getbasetemp()
    for folder in (base, *base.parents):
        if folder.stat().st_uid == os.getuid() and "pytest" in str(folder):
            folder.chmod(0o755)


@pytest.fixture
def sites(tmp_path):
    """Make sites in the test's folder: sites("cart", tier=...)."""
    made = []
    tmp_path.chmod(0o755)

    def make(name="cart", **options):
        site = Site(tmp_path, name, **options)
        made.append(site)
        return site
    yield make
    for site in made:
        site.close()


def pytest_generate_tests(metafunc):
    """What is marked so runs with each kind of tier, unless one kind is asked for."""
    everywhere = metafunc.definition.get_closest_marker("every_tier")
    if everywhere and "MEDIAFS_TEST_TIER" not in os.environ:
        metafunc.parametrize("tier_kind", [kind if kind == "dir" else
                                           pytest.param(kind, marks=pytest.mark.slow)
                                           for kind in tiers.KINDS])


def pytest_collection_modifyitems(config, items):
    """With another kind of tier only those that have one run."""
    if tiers.KIND != "dir":
        config.hook.pytest_deselected(items=[item for item in items
                                             if "tier" not in item.fixturenames])
        items[:] = [item for item in items if "tier" in item.fixturenames]
    take_turns(config, items)


def take_turns(config, items):
    """Of two legs each gets half (contrib/run-tests --turns); the other one cannot have all."""
    turn = os.environ.get("MEDIAFS_TEST_TURN")
    if not turn:
        return

    def is_other(item):
        return (not item.get_closest_marker("one_thread") and
                (zlib.crc32(item.nodeid.encode()) & 1) != int(turn))
    config.hook.pytest_deselected(items=[item for item in items if is_other(item)])
    items[:] = [item for item in items if not is_other(item)]


def pytest_runtest_setup(item):
    """What a test needs of its tier it says itself, and why."""
    kind = tiers.KIND
    if hasattr(item, "callspec"):
        kind = item.callspec.params.get("tier_kind", kind)
    only = item.get_closest_marker("folder")
    if only and kind != "dir":
        pytest.skip(f"about a folder: {only.args[0]}")


@pytest.fixture
def tier_kind():
    return tiers.KIND


@pytest.fixture
def tier(tier_kind, tmp_path, request):
    """Where copies go: empty, the test's own (tiers.py)."""
    if tier_kind == "dir":
        folder = tiers.Folder(tmp_path / "tier")
        folder.mkdir()
        yield folder
        return
    place = tiers.new_place(request.getfixturevalue("shared_buckets")(tier_kind))
    yield place
    place.door.close()


@pytest.fixture
def cart(sites, tier):
    """A mounted cart with that tier."""
    return sites("cart", tier=tier).mount()


@pytest.fixture
def plain(sites):
    """A mounted cart without any tier."""
    return sites("plain").mount()


@pytest.fixture
def pair(sites, tier, cart):
    """A cart and an editorial site that joined it, both mounted."""
    return cart, sites("editorial", join=tier).mount()


def built(tmp_path_factory, name):
    """A library to be loaded first, of NAME.c."""
    compiler = tool("cc") or tool("gcc") or tool("clang")
    if not compiler:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp(name) / f"{name}.so"
    run(compiler, "-shared", "-fPIC", "-o", path, HERE / f"{name}.c", "-ldl")
    return path


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The failing disk, built once."""
    return built(tmp_path_factory, "fault")


@pytest.fixture(scope="session")
def clock_library(tmp_path_factory):
    return built(tmp_path_factory, "clock")


@pytest.fixture
def clock(clock_library, tmp_path):
    """How fast time passes for who is started with clock.environment."""
    path = tmp_path / "clock"

    class Clock:
        environment = {"LD_PRELOAD": str(clock_library), "MEDIAFS_CLOCK": str(path),
                       "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") +
                       ":verify_asan_link_order=0"}

        @staticmethod
        def put(index, number):
            with open(path, "r+b", buffering=0) as out:
                out.seek(index * struct.calcsize("d"))
                out.write(struct.pack("d", number))

        @classmethod
        def set(cls, speed):
            cls.put(0, speed)

        @classmethod
        def passes_asleep(cls, seconds):
            """The machine was asleep for so long by now."""
            cls.put(1, seconds)

        @classmethod
        def is_ahead(cls, seconds):
            """Of the time of day."""
            cls.put(2, seconds)
    path.write_bytes(struct.pack("ddd", 1, 0, 0))
    return Clock
