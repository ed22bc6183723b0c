"""The bench still measures all that it should; how fast is none of a test's business."""
import json
import os
import pathlib
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from lib import PATIENCE
from net import has_tun
from s3_bucket import servers  # noqa: F401  (a fixture)

BENCH = pathlib.Path(__file__).parents[1] / "bench/bench.py"
sys.path.insert(0, str(BENCH.parent))
from table import ROWS, TOPICS, Table  # noqa: E402


def bench(tmp_path, *words, **env):
    out = tmp_path / "result.json"
    done = subprocess.run([sys.executable, BENCH, "--quick", "--folder", tmp_path, "--json", out,
                           *words], env={**os.environ, **env}, timeout=10 * PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done, json.loads(out.read_text())


@pytest.mark.slow
def test_every_row_is_measured(tmp_path, tmp_path_factory, servers):  # noqa: F811
    if not servers("ceph"):
        pytest.skip("no packages for ceph")
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    left_out = "" if has_tun() else "link"
    topics = [topic for topic in TOPICS if topic != left_out]
    done, result = bench(tmp_path, "--rows", ",".join(topics), "--servers", base,
                         "--plot", tmp_path / "plot.svg")
    assert done.returncode == 0, done.stdout
    rows = [row for row in ROWS if row.key.split()[0] != left_out]
    assert [row["row"] for row in result["rows"]] == [row.key for row in rows]
    points = ElementTree.parse(tmp_path / "plot.svg").iter("{http://www.w3.org/2000/svg}circle")
    assert len(list(points)) == sum(bool(row.goal) for row in rows)


@pytest.mark.parametrize("topic, missing", [("verified", "xxhsum"), ("small", "gcc")])
def test_a_row_that_cannot_be_measured_is_told(tmp_path, topic, missing):
    """Programs that are missing stand for all that breaks: the row fails, the others stay."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for tool in pathlib.Path(folder).glob("*"):
            if tool.name != missing and not (tools / tool.name).exists():
                (tools / tool.name).symlink_to(tool)
    done, result = bench(tmp_path, "--rows", f"cp,{topic}", PATH=str(tools))
    assert done.returncode == 1 and topic in result["not measured"], done.stdout
    assert missing in result["not measured"][topic], result["not measured"]
    assert [row["row"] for row in result["rows"]] == ["cp"], done.stdout


@pytest.mark.parametrize("topic, wrong", [
    ("cp", []), ("cp", [(1, None)]), ("cp", [(1, 0)]), ("cp", [(float("nan"), 1)]),
    ("cp", [(1, 1), (1, 1)]), ("cp", [(1e6, 1)]), ("resent", [(-1, 5)]), ("resent", [(None, 5)])])
def test_what_is_no_measurement_is_told(topic, wrong):
    table = Table(files=1)
    assert [*table.check(topic, 0)] == []
    for ours, theirs in wrong:
        table.samples.setdefault(topic, []).append((ours, theirs))
    assert [*table.check(topic, 1)]
    table.samples[topic] = [(1, 1000 / 1001)]
    assert [*table.check(topic, 1)] == []
