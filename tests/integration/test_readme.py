"""Every command of the README is run, in order, as it stands there."""
import os
import pathlib
import re
import shutil

import pytest

from lib import BUILD, PATIENCE, is_mounted, run

pytestmark = pytest.mark.slow
TOP = pathlib.Path(__file__).resolve().parents[2]

# Run by the one who runs this test, or by the other legs.
ELSEWHERE = ("sudo contrib/run-tests",)


def commands():
    text = (TOP / "README.md").read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        for line in block.splitlines():
            if line.strip() and line not in ELSEWHERE:
                yield line


def in_private(line, folder):
    """The same command in a private place: other folders, this build, no packages."""
    words = {
        "sudo contrib/quickstart": f"{TOP}/contrib/quickstart --no-install",
        "build/src/cli/": f"{BUILD}/src/cli/",
        "/tmp/mediafs-demo": f"{folder}/demo",
        "/srv/": f"{folder}/srv-",
        "/mnt/": f"{folder}/mnt-",
        "/media/": f"{folder}/demo/card/",
    }
    for old, new in words.items():
        line = line.replace(old, new)
    return line


def test_every_command_of_the_readme_works(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("mediafs", "mediafs-fsck"):
        (tools / name).symlink_to(BUILD / "src/cli" / name)
    for name in ("mnt-nas", "mnt-cart", "mnt-edit"):
        (tmp_path / name).mkdir()
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "MEDIAFS_BUILD": str(BUILD)}
    seen = []
    try:
        for line in commands():
            line = in_private(line, tmp_path)
            done = run("bash", "-c", line, env=env, check=False, cwd=TOP, timeout=10 * PATIENCE)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            seen.append(line)
        assert len(seen) >= 20
    finally:
        for point in [*tmp_path.glob("mnt-*"), tmp_path / "demo/cart", tmp_path / "demo/editorial"]:
            if is_mounted(point):
                run("umount", "-l", point, check=False)


def test_quickstart_goes_on_where_it_is(tmp_path):
    env = {**os.environ, "MEDIAFS_BUILD": str(BUILD)}
    start = [TOP / "contrib/quickstart", "--no-install"]
    demo = tmp_path / "demo"
    try:
        run(*start, demo, env=env, timeout=10 * PATIENCE)
        shutil.rmtree(demo / "card/SOUND_DAY01")
        run("cp", "-a", demo / "cart/SOUND_DAY01", demo / "card/")
        again = run(*start, demo, env=env, timeout=10 * PATIENCE)
        assert "every byte at editorial is the card's" in again.stdout
        run(*start, "--down", demo, env=env)
        assert not is_mounted(demo / "cart") and not is_mounted(demo / "editorial")
    finally:
        for name in ("cart", "editorial"):
            if is_mounted(demo / name):
                run("umount", "-l", demo / name, check=False)
