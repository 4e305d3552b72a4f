"""A search on a real Ray cluster of two nodes, one of which is killed. Slow: run by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from autokd.study import ledger
from tests.helpers.commands import RECIPE, SPACE


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head and a second node, a CPU each, as processes of this machine."""
    import autokd.engine  # noqa: F401 - sets what Ray reads when it is imported

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def busy(node: Any) -> bool:
    """Whether a worker of this node trains."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    titles = [" ".join(p.cmdline()) for p in raylet.children(recursive=True)]
    return any(
        title.startswith("ray::") and "IDLE" not in title and "Agent" not in title
        for title in titles
    )


@pytest.mark.slow
def test_a_search_outlives_a_node(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(RECIPE.replace("epochs: 4", "epochs: 30"))
    (tmp_path / "space.yaml").write_text(SPACE.replace("trials: 6", "trials: 12"))
    file = tmp_path / "mlruns/studies/c/events.jsonl"
    command = [
        sys.executable,
        "-m",
        "autokd",
        "search",
        "--space",
        "space.yaml",
        "--name",
        "c",
        "--ray-address",
        cluster.address,
    ]
    search = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"AUTOKD_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    (second,) = cluster.worker_nodes
    deadline = time.monotonic() + 120
    while not (busy(second) and file.exists() and file.read_bytes().count(b'"epoch"') > 60):
        assert search.poll() is None and time.monotonic() < deadline, search.communicate()[0]
        time.sleep(0.05)
    assert b'"jobs":2' in file.read_bytes()  # a CPU on each node
    cluster.remove_node(second, allow_graceful=False)
    out = search.communicate(timeout=240)[0]
    assert search.returncode == 0 and "Traceback" not in out, out
    events, table = ledger.read(file.parent)
    assert table.closed and sum(t.searching for t in table.trials.values()) == 12
    assert {t.state for t in table.trials.values()} <= {"complete", "pruned"}
    assert any(e["event"] == "lost" for e in events), out
    assert not (file.parent / "ray").exists()
