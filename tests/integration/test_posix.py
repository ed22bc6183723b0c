"""Every call does on the mount what it does on the file system below: result, errno, effect.

Each case of posix_*.py runs twice, in a native folder and in the mount.
"""
import os

import pytest

import posix_attributes
import posix_bytes
import posix_names
from lib import Site
from posix_calls import CASES

MODULES = (posix_attributes, posix_bytes, posix_names)  # each adds its cases

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acts as several users: needs root")


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("posix"), "posix").mount("dev", "suid")
    yield site
    site.umount()


@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)
def test_as_the_file_system_below(function, volume, tmp_path):
    native = tmp_path / "native"
    mounted = volume.mnt / function.__name__
    mask = os.umask(0o022)
    try:
        for top in (native, mounted):
            os.mkdir(top)
        for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent, volume.mnt.parent,
                       volume.mnt.parent.parent):
            os.chmod(parent, 0o755)
        expected = function(native)
        actual = function(mounted)
    finally:
        os.umask(mask)
    if function is posix_names.unnamed_files and isinstance(actual, str):
        pytest.skip(actual)
    assert actual == expected
