"""MLflow, written by the driver alone, from the ledger, with the ledger's timestamps.

A parent run a search, a nested child a trial, control and finalist. Writing is idempotent: a run is looked for by its tag before
it is made, and what it already holds is not sent again; so a store that was down is caught up later (:func:`sync`), and doing so
twice changes nothing. A search never waits for MLflow and never fails with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from autokd import ledger
from autokd.document import dump, flatten
from autokd.ledger import Event, Table, Trial

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
LONGEST = 6000  # characters of a parameter's value that MLflow takes
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "diverged": "FAILED", "oom": "FAILED", "failed": "FAILED"}
METRICS_A_CALL = 1000
PARAMS_A_CALL = 100
log = logging.getLogger("autokd.tracking")


def default_uri(root: Path) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.absolute() / 'mlflow.db'}"


class Tracker:
    """Writes one study to MLflow."""

    def __init__(self, uri: str, root: Path, study: str):
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        root.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(tracking_uri=uri)
        self.study = study
        found = self.client.get_experiment_by_name(study)
        if found is None:
            artifacts = (root.absolute() / "artifacts" / study).as_uri() if uri.startswith("sqlite:") else None
            self.experiment = self.client.create_experiment(study, artifact_location=artifacts)
        else:
            self.experiment = found.experiment_id
        self.runs: dict[str, str] = {}  # trial number, or "search" → run id
        self.sent: dict[str, int] = defaultdict(int)  # … → epochs whose metrics are there
        self.status: dict[str, str] = {}
        for run in self._all_runs():
            key = run.data.tags.get("autokd.trial")
            if key is not None:
                self.runs[key], self.status[key] = run.info.run_id, run.info.status
                self.sent[key] = int(run.data.tags.get("autokd.epochs", 0))

    def _all_runs(self) -> list[Any]:
        out, token = [], None
        while True:
            page = self.client.search_runs([self.experiment], max_results=1000, page_token=token)
            out += page
            token = page.token
            if not token:
                return out

    def write(self, table: Table) -> None:
        """Bring MLflow to what the table says."""
        self._parent(table)
        for trial in table.trials.values():
            if trial.started:
                self._child(trial)
        if table.closed:
            self._close(table)

    def _parent(self, table: Table) -> None:
        if "search" in self.runs or not table.created:
            return
        c = table.created
        tags = {"autokd.trial": "search", "autokd.role": "search", "mlflow.runName": self.study, "autokd.version": c.get("version", "")}
        run = self.client.create_run(self.experiment, start_time=_ms(c["t"]), tags=tags, run_name=self.study)
        self.runs["search"] = run.info.run_id
        frozen = c["frozen"]
        params = {f"search/{k}": v for k, v in flatten(frozen["space"].get("search", {})).items()} | {"seed": c["seed"]}
        self._params(run.info.run_id, params)
        self.client.log_text(run.info.run_id, dump({k: v for k, v in frozen["space"].items()}), "space.yaml")
        self.client.log_text(run.info.run_id, dump(frozen["base"]), "base.yaml")

    def _child(self, trial: Trial) -> None:
        from mlflow.entities import RunTag

        key = str(trial.number)
        if self.status.get(key) in {"FINISHED", "KILLED", "FAILED"} and self.sent[key] >= trial.epochs:
            return
        if key not in self.runs:
            tags = {
                "autokd.trial": key, "autokd.role": trial.role, "autokd.seed": str(trial.seed), "autokd.branch": trial.branch[:LONGEST],
                "mlflow.parentRunId": self.runs["search"],
            }  # fmt: skip
            if trial.name:
                tags["autokd.preset"] = trial.name
            if trial.parent is not None:
                tags["autokd.confirms"] = str(trial.parent)
            name = f"{trial.number:03d} {trial.name or trial.role}"
            run = self.client.create_run(self.experiment, start_time=_ms(trial.started), tags=tags, run_name=name)
            self.runs[key] = run.info.run_id
            self._params(run.info.run_id, flatten({k: v for k, v in trial.recipe.items() if k != "version"}))
            self.client.log_text(run.info.run_id, dump(trial.recipe), "recipe.yaml")
        run_id = self.runs[key]
        self._metrics(run_id, key, trial)
        state = STATUS.get(trial.state)
        if state and self.status.get(key) != state:
            self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in _tags(trial).items()])
            self.client.set_terminated(run_id, status=state, end_time=_ms(trial.ended))
            self.status[key] = state

    def _metrics(self, run_id: str, key: str, trial: Trial) -> None:
        from mlflow.entities import Metric, RunTag

        new = [e for e in sorted(trial.metrics) if e > self.sent[key]]
        if not new:
            return
        stamp = _ms(trial.started)
        rows = [Metric(name, value, stamp, e) for e in new for name, value in trial.metrics[e].items()]
        for start in range(0, len(rows), METRICS_A_CALL):
            last = start + METRICS_A_CALL >= len(rows)
            tags = [RunTag("autokd.epochs", str(new[-1]))] if last else []
            self.client.log_batch(run_id, metrics=rows[start : start + METRICS_A_CALL], tags=tags)
        self.sent[key] = new[-1]

    def _params(self, run_id: str, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        rows = [Param(name, _shorten(str(value))) for name, value in params.items()]
        for start in range(0, len(rows), PARAMS_A_CALL):
            self.client.log_batch(run_id, params=rows[start : start + PARAMS_A_CALL])

    def _close(self, table: Table) -> None:
        if self.status.get("search") == "FINISHED" or "search" not in self.runs:
            return
        run_id, closed = self.runs["search"], table.closed
        assert closed is not None
        if closed.get("recipe_text"):
            self.client.log_text(run_id, closed["recipe_text"], "recipe.yaml")
        for result in closed.get("results", []):
            for d in result["differences"]:
                name = f"group {result['group']} vs {d['control']}" if result["group"] is not None else f"vs {d['control']}"
                self.client.set_tag(run_id, f"autokd.verdict.{name}", d["verdict"])
        self.client.set_terminated(run_id, status="FINISHED", end_time=_ms(closed["t"]))
        self.status["search"] = "FINISHED"


def _tags(trial: Trial) -> dict[str, str]:
    tags = {"autokd.state": trial.state, "autokd.rungs": ",".join(map(str, trial.rungs))}
    if trial.student:
        tags["autokd.student"] = trial.student
    if trial.reason:
        tags["autokd.reason"] = trial.reason[:LONGEST]
    return tags | {f"autokd.{name}": str(value) for name, value in trial.facts.items()}


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _shorten(text: str) -> str:
    """MLflow's longest parameter, with a hash in place of what is cut off; the recipe artifact has it whole."""
    if len(text) <= LONGEST:
        return text
    import hashlib

    return f"{text[: LONGEST - 80]}… sha256:{hashlib.sha256(text.encode()).hexdigest()}"


class Background:
    """Follows a ledger from a thread of its own. Errors are counted and told once; the ledger keeps what MLflow missed."""

    def __init__(self, uri: str, root: Path, book: ledger.Ledger):
        self.uri, self.root, self.study = uri, root, book.path.name
        self.events: queue.Queue[Event | None] = queue.Queue()
        self.table = Table()
        self.failed: str = ""
        for e in book.events:
            self.table.apply(e)
        book.listeners.append(self.events.put)
        self.thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        tracker, done = None, False
        while not done:
            batch = [self.events.get()]
            until = time.monotonic() + 1.0  # gather for a second: MLflow is written in batches
            with contextlib.suppress(queue.Empty):
                while batch[-1] is not None:
                    batch.append(self.events.get(timeout=max(0.0, until - time.monotonic())))
            for event in batch:
                if event is None:
                    done = True
                else:
                    self.table.apply(event)
            try:
                tracker = tracker or Tracker(self.uri, self.root, self.study)
                tracker.write(self.table)
                self.failed = ""
            except Exception as e:
                tracker = None
                self.failed = f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"

    def close(self, seconds: float = 60.0) -> str:
        """Write what is left. Returns what went wrong, if anything: `autokd sync` then catches up."""
        self.events.put(None)
        self.thread.join(seconds)
        return self.failed or ("still writing" if self.thread.is_alive() else "")


def sync(root: Path, uri: str, names: list[str]) -> None:
    """Bring MLflow to what the ledgers say."""
    for name in names:
        _, table = ledger.read(ledger.existing(root, name))
        Tracker(uri, root, name).write(table)
