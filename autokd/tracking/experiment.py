"""One study's experiment in MLflow: its runs, what they hold already, and how they are written."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from autokd.errors import UserError
from autokd.files import write_atomically
from autokd.recipe.document import flow
from autokd.tracking.store import clean, key, milliseconds, shorten

METRICS_A_CALL, WORDS_A_CALL = 1000, 100  # words: parameters, or tags
STATUS = {
    "running": "RUNNING",
    "paused": "SCHEDULED",
    "complete": "FINISHED",
    "pruned": "KILLED",
    "interrupted": "KILLED",
    "diverged": "FAILED",
    "oom": "FAILED",
    "failed": "FAILED",
}

Metrics = list[tuple[str, Any, float, int]]  # name, value, seconds since 1970, step


@dataclass
class KnownRun:
    """What the store holds of one run."""

    run_id: str
    artifacts: str  # where its files lie
    status: str = "RUNNING"
    state: str = ""
    # attempt and epoch of the last report; None: not even the parameters are there
    sent: tuple[int, int] | None = None
    data: bool = False
    closed: str = ""
    deleted: bool = False  # by the user: left alone


@dataclass
class Batch:
    """What goes to one run with the next call."""

    params: dict[str, Any] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=list)
    tags: dict[str, Any] = field(default_factory=dict)


class Experiment:
    """The experiment of ``study``, made where there is none yet. Raises :class:`UserError` where
    its user has deleted it.
    """

    def __init__(self, uri: str, root: Path, study: str):
        from mlflow import MlflowClient

        for noisy in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        root.mkdir(parents=True, exist_ok=True)
        self.study = study
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        local = not uri.startswith(("http:", "https:", "databricks"))
        artifacts = (root.absolute() / "artifacts" / study).as_uri() if local else None
        self.id = self._found_or_made(artifacts)
        self.runs: dict[str, KnownRun] = {}  # by trial number, or "search"

    def _found_or_made(self, artifacts: str | None) -> str:
        found = self.client.get_experiment_by_name(self.study)
        if found is None:
            # else the UI takes it for a chat application's
            tags = {"mlflow.experimentKind": "custom_model_development"}
            return self.client.create_experiment(self.study, artifact_location=artifacts, tags=tags)
        if found.lifecycle_stage != "active":
            raise UserError(
                f"MLflow's experiment {self.study!r} was deleted; restore it there, or remove it"
                " for good"
            )
        return found.experiment_id

    # ------------------------------------------------------------ what is there

    def scan(self, began: set[int]) -> None:
        """Learn what the store holds. Of two runs of one trial, which a lost answer can cause, the
        older one counts.

        Only what began when this study did (``began``, in milliseconds), and the children of that:
        there may have been another study of this name, which its user has deleted, or another
        user's on the same server.
        """
        found = []
        parents = set()
        for run in self._all():
            tags, info = run.data.tags, run.info
            known = _known(run)
            if number := tags.get("autokd.trial"):
                order = (known.deleted, info.start_time, info.run_id)
                found.append((order, number, tags.get("mlflow.parentRunId"), known))
            if tags.get("autokd.trial") == "search" and info.start_time in began:
                parents.add(info.run_id)
        for _, number, parent, known in sorted(found, key=lambda f: f[0]):
            if not parents & {known.run_id, parent}:
                continue
            if self.runs.setdefault(number, known) is not known and not known.deleted:
                self.client.delete_run(known.run_id)

    def _all(self) -> Iterator[Any]:
        from mlflow.entities import ViewType

        token = None
        while True:
            page = self.client.search_runs(
                [self.id], run_view_type=ViewType.ALL, max_results=1000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    # ------------------------------------------------------------ writing

    def create_run(self, number: str, name: str, began: float, tags: dict[str, Any]) -> KnownRun:
        """``number``: the trial's, or "search". ``began``: seconds since 1970."""
        run = self.client.create_run(
            self.id, start_time=milliseconds(began), tags=clean(tags), run_name=name
        )
        known = self.runs[number] = KnownRun(run.info.run_id, run.info.artifact_uri)
        return known

    def send(self, known: KnownRun, batch: Batch) -> None:
        """As few calls as MLflow's limits allow; the tags, which say that all is there, in the last
        one.
        """
        from mlflow.entities import Metric, Param, RunTag

        params = [
            Param(key(name), shorten(value if isinstance(value, str) else flow(value)))
            for name, value in batch.params.items()
        ]
        metrics = [
            Metric(key(name), float(value), milliseconds(t), step)
            for name, value, t, step in batch.metrics
            if isinstance(value, int | float)
        ]
        tags = [RunTag(key(name), value) for name, value in clean(batch.tags).items()]
        calls: list[dict[str, Sequence[Any]]] = [
            *({"params": some} for some in _chunks(params, WORDS_A_CALL)),
            *({"metrics": some} for some in _chunks(metrics, METRICS_A_CALL)),
            *({"tags": some} for some in _chunks(tags, WORDS_A_CALL)),
        ]
        together = len(params) + len(metrics) + len(tags)
        if calls and together <= METRICS_A_CALL and len(params) <= WORDS_A_CALL >= len(tags):
            calls = [{"params": params, "metrics": metrics, "tags": tags}]
        for call in calls:
            self.client.log_batch(known.run_id, **call)

    def set_status(self, known: KnownRun, state: str, t: float) -> None:
        """``t``: seconds since 1970, of the end where it is one."""
        if STATUS[state] in {"RUNNING", "SCHEDULED"}:
            self.client.update_run(known.run_id, status=STATUS[state])
        else:
            self.client.set_terminated(known.run_id, status=STATUS[state], end_time=milliseconds(t))
        known.state = state
        known.status = STATUS[state]

    def set_tag(self, name: str, value: str) -> None:
        """Of the experiment itself."""
        self.client.set_experiment_tag(self.id, name, value)

    def write_file(self, known: KnownRun, name: str, text: str) -> None:
        """An artifact. Into a local folder it is written as MLflow would, without asking the store
        where that is.
        """
        raw = text.encode("utf-8", "replace")
        if known.artifacts.startswith("file:"):
            write_atomically(Path(url2pathname(urlparse(known.artifacts).path)) / name, raw)
            return
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / name).write_bytes(raw)
            self.client.log_artifact(known.run_id, str(Path(scratch) / name))


def _known(run: Any) -> KnownRun:
    tags, info = run.data.tags, run.info
    sent = None
    if "autokd.sent" in tags:
        attempt, epoch = tags["autokd.sent"].split(":")
        sent = int(attempt), int(epoch)
    return KnownRun(
        info.run_id,
        info.artifact_uri,
        status=info.status,
        state=tags.get("autokd.state", ""),
        sent=sent,
        data="autokd.data" in tags,
        closed=tags.get("autokd.closed", ""),
        deleted=info.lifecycle_stage != "active",
    )


def _chunks(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
