"""An MLflow store, read row by row and run by run."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

SMALL = {"per": False, "finals": 2, "epochs": 12}


def store(root: Path) -> str:
    return f"sqlite:///{root / 'mlflow.db'}"


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs(uri: str, name: str) -> dict[str, Any]:
    """The experiment's runs by trial number, or "search"."""
    c = client(uri)
    found = c.search_runs([c.get_experiment_by_name(name).experiment_id], max_results=1000)
    keys = [r.data.tags["autokd.trial"] for r in found]
    assert len(set(keys)) == len(keys)
    return {r.data.tags["autokd.trial"]: r for r in found}


def content(root: Path) -> dict[str, list[Any]]:
    """All that the store holds, row by row."""
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as db:
        tables = [
            name for (name,) in db.execute("select name from sqlite_master where type = 'table'")
        ]
        return {name: sorted(map(repr, db.execute(f'select * from "{name}"'))) for name in tables}


def effective(uri: str, name: str) -> dict[str, Any]:
    """What does not depend on run ids: to compare two stores."""
    c, out = client(uri), {}
    for key, r in runs(uri, name).items():
        tags = {
            k: v
            for k, v in r.data.tags.items()
            if k
            not in {"mlflow.parentRunId", "mlflow.artifactLocation", "mlflow.source.git.commit"}
        }
        points = {
            m: [(p.step, p.timestamp, p.value) for p in c.get_metric_history(r.info.run_id, m)]
            for m in r.data.metrics
        }
        data = [(i.dataset.name, i.dataset.digest) for i in r.inputs.dataset_inputs]
        out[key] = (
            r.info.status,
            r.info.start_time,
            r.info.end_time,
            r.data.params,
            tags,
            {m: sorted(set(p)) for m, p in points.items()},
            data,
        )
    return out
