"""Killed at random moments and resumed, a search ends as if nothing had happened. Slow: run by
hand.

Real training on digits. The driver, a worker, or everything of Ray is killed with SIGKILL: inside
an epoch, while a table is written, in the finals.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from autokd.study import ledger
from tests.helpers.commands import RECIPE, SPACE, autokd

TRIALS = 24


def rows(where: Path) -> list:
    table = ledger.read(where / "mlruns/studies/k")[1]
    out = [
        (t.number, t.role, t.params, t.state, t.rungs, t.metrics, t.student)
        for t in table.trials.values()
    ]
    return [*out, table.finalists, [e["results"] for e in table.tests]]


def prepared(where: Path) -> Path:
    where.mkdir(exist_ok=True)
    (where / "base.yaml").write_text(RECIPE.replace("epochs: 4", "epochs: 8"))
    (where / "space.yaml").write_text(SPACE.replace("trials: 6", f"trials: {TRIALS}"))
    return where


def launch(where: Path, jobs: int) -> subprocess.Popen[str]:
    begun = (where / "mlruns/studies/k/events.jsonl").exists()
    args = (
        ["--resume", "k"]
        if begun
        else ["--space", "space.yaml", "--name", "k", "--jobs", str(jobs)]
    )
    env = os.environ | {"AUTOKD_CACHE": str(where / "cache")}
    command = [sys.executable, "-m", "autokd", "search", *args, "--quiet"]
    return subprocess.Popen(
        command, cwd=where, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def events(where: Path) -> int:
    file = where / "mlruns/studies/k/events.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def strike(process: subprocess.Popen[str], whom: str) -> str:
    """SIGKILL to the driver, to one worker, to Ray's raylet, or to the driver and everything of
    Ray. Returns who it was: the driver, where there is no such process yet.
    """
    family = psutil.Process(process.pid).children(recursive=True)
    # ray::Worker, or ray::ResourceTrainable.train() while it trains
    titles = {p: " ".join(p.cmdline()) for p in family}
    workers = [
        p
        for p, title in titles.items()
        if title.startswith("ray::") and "Agent" not in title and "IDLE" not in title
    ]
    raylets = [p for p, title in titles.items() if title.split(" ")[0].endswith("raylet/raylet")]
    for p in {
        "worker": random.sample(workers, min(1, len(workers))),
        "raylet": raylets,
        "ray": family,
    }.get(whom, []):
        p.kill()
    if whom == "ray" or not {"worker": workers, "raylet": raylets}.get(whom):
        process.kill()
        return "ray" if whom == "ray" else "driver"
    return whom


def until(where: Path, process: subprocess.Popen[str], moment: str, wait: float) -> str:
    """Wait for a moment of that kind, then a little. Returns what the moment turned out to be."""
    start = events(where)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if moment == "table":
            tables = (
                len(list((where / "cache/tables").rglob("*.safetensors")))
                if (where / "cache/tables").exists()
                else 0
            )
            if tables or list((where / "cache").rglob(".part-*")):
                return "table"
        elif events(where) > start + wait:
            time.sleep(random.uniform(0, 0.03))  # an epoch takes about as long
            break
        time.sleep(0.002)
    if process.poll() is not None:
        return "over"
    table = ledger.read(where / "mlruns/studies/k")[1]
    return "finals" if table.finalists is not None else "epoch"


@pytest.mark.slow
@pytest.mark.timeout(9000)
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_at_random_moments_it_ends_as_the_uninterrupted(tmp_path: Path, jobs: int) -> None:
    random.seed(jobs)
    whole = prepared(tmp_path / "whole")
    autokd(
        "search", "--space", "space.yaml", "--name", "k", "--jobs", str(jobs), "--quiet", cwd=whole
    )
    total = events(whole)
    moments: list[str] = []
    studies = 0
    while (
        len(moments) < 20
        or moments.count("finals") < 3
        or moments.count("table") < 2
        or moments.count("epoch") < 8
    ):
        where = prepared(tmp_path / f"cut{studies}")
        studies += 1
        for _ in range(60):
            fresh = random.random() < 0.15
            if fresh:
                # so that tables are written again
                shutil.rmtree(where / "cache", ignore_errors=True)
            before = ledger.read(where / "mlruns/studies/k")[1] if events(where) else ledger.Table()
            finished = {n: t.attempt for n, t in before.trials.items() if t.state == "complete"}
            process = launch(where, jobs)
            moment = until(
                where, process, "table" if fresh else "event", random.uniform(1, total / 2)
            )
            if moment != "over":
                whom = random.choice(["driver", "driver", "worker", "raylet", "ray"])
                whom = strike(process, whom)
                moments.append(moment)
                print(
                    f"killed {whom} in {moment} behind event {events(where)} of about {total}",
                    flush=True,
                )
            if moment == "over" or whom in {"worker", "raylet"}:
                out = process.communicate(timeout=300)[0]
                assert process.returncode == 0, out
            process.wait()
            after = ledger.read(where / "mlruns/studies/k")[1]
            assert all(after.trials[n].attempt == attempt for n, attempt in finished.items()), (
                "a finished trial was run again"
            )
            if after.closed:
                break
        assert after.closed
        if jobs == 1:
            assert rows(where) == rows(whole)
        assert {t.state for t in after.trials.values()} <= {"complete", "pruned"}
        assert sum(t.searching for t in after.trials.values()) == TRIALS
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{where}/mlruns/mlflow.db")
        experiment = client.get_experiment_by_name("k")
        assert experiment
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        assert "RUNNING" not in {r.info.status for r in runs} and len(runs) == len(after.trials) + 1
    print(moments)
