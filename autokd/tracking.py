"""MLflow, written by the driver alone, from the ledger's file, with the ledger's timestamps.

A parent run a search, a nested child a trial, control and finalist. Writing is idempotent: a run is looked for by its tag
``autokd.trial`` before it is made, what it holds already is not sent again (``autokd.sent``: attempt and epoch of its last
report), and what a crash left half written is sent again with equal timestamps, which MLflow stores once. So a store that was
down is caught up later (:func:`sync`), and doing so twice changes nothing. A search never waits for MLflow and never fails
with it: a thread follows the file at its own pace and keeps nothing that it has written.

| in MLflow | what |
|---|---|
| parameters | the recipe by slash path (a branch's own ones where they live); of the parent: the search block |
| metrics | ``train/*``, ``val/*`` by epoch; ``test/*`` as often as read; ``run/seconds``, ``run/peak_memory_mb``, ``student/params``, … |
| parent's metrics | ``best/<objective>`` by epochs spent; ``teacher/<network>/…`` on validation; ``winner/…`` |
| tags | ``autokd.state``, ``.role``, ``.preset``, ``.rung``, ``.seed``, ``.branch``, ``.group``, ``.confirms``, …; verdicts on the parent |
| status | running RUNNING; paused SCHEDULED; complete FINISHED; pruned, interrupted KILLED; diverged, oom, failed FAILED |
| artifacts | a trial's recipe.yaml; the parent's space.yaml, base.yaml, recipe.yaml, report.html |
| model | the winner, safetensors and a loader in plain Python, registered as ``autokd-<study>`` |
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import tempfile
import threading
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from filelock import FileLock, Timeout

from autokd import ledger
from autokd.document import UserError, canonical, dump, flatten, flow, write_atomically
from autokd.ledger import ENDED, Event, Table, Trial
from autokd.settings import Search
from autokd.verdict import CONTROLS

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # we try again ourselves, off the search's path
}.items():  # fmt: skip
    os.environ.setdefault(_name, _value)

LONGEST = 6000  # characters of a parameter's value that MLflow takes; tags take more
METRICS_A_CALL, WORDS_A_CALL = 1000, 100  # words: parameters, or tags
EVENTS_AT_ONCE = 5000
GATHER = 1.0  # seconds: MLflow is written in batches
PATIENCE = 60.0  # seconds, the longest pause between two tries
STATUS = {
    "running": "RUNNING", "paused": "SCHEDULED", "complete": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED",
    "diverged": "FAILED", "oom": "FAILED", "failed": "FAILED",
}  # fmt: skip
log = logging.getLogger("autokd.tracking")


def default_uri(root: Path) -> str:
    """``MLFLOW_TRACKING_URI``, else the SQLite file beside the studies."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.absolute() / 'mlflow.db'}"


class Reader:
    """Hands out the events of a ledger that may still grow, each once."""

    def __init__(self, file: Path):
        self.file, self.offset = file, 0

    def read(self, most: int) -> list[Event]:
        out: list[Event] = []
        with self.file.open("rb") as f:
            f.seek(self.offset)
            for raw in f:
                if not raw.endswith(b"\n"):
                    break  # it is being written
                out.append(json.loads(raw))
                self.offset += len(raw)
                if len(out) == most:
                    break
        return out


@dataclass
class Known:
    """What the store holds of one run."""

    run_id: str
    artifacts: str  # where its files lie
    status: str = "RUNNING"
    state: str = ""
    sent: tuple[int, int] | None = None  # attempt and epoch of the last report; None: not even the parameters are there
    data: bool = False
    closed: str = ""
    deleted: bool = False  # by the user: left alone


@dataclass
class Batch:
    """What goes to one run with the next call."""

    params: dict[str, Any] = field(default_factory=dict)
    metrics: list[tuple[str, Any, float, int]] = field(default_factory=list)  # name, value, seconds since 1970, step
    tags: dict[str, Any] = field(default_factory=dict)


class Tracker:
    """Brings one study in MLflow to what its ledger says."""

    def __init__(self, uri: str, root: Path, study: str):
        from mlflow import MlflowClient

        for noisy in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.study, self.folder = root, study, ledger.folder(root, study)
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self.experiment = self._experiment(local=not uri.startswith(("http:", "https:", "databricks")))
        self.runs: dict[str, Known] = {}  # trial number, or "search"
        self.reader = Reader(self.folder / "events.jsonl")
        self._scan(Reader(self.reader.file).read(1))
        self.table = Table()
        self.reports: dict[int, list[Event]] = defaultdict(list)  # not sent yet
        self.open: dict[int, None] = {}  # trials that may have something to send, in order
        self.tests: list[Event] = []
        self.digests: dict[str, str] = {}  # a recipe's data block → the data's fingerprint
        self.metric, self.sign, self.best, self.spent, self.now = "", 1, None, 0, 0.0  # type: str, int, float | None, int, float
        self.improved: list[tuple[str, Any, float, int]] = []
        self.stopped = False

    def _experiment(self, *, local: bool) -> str:
        found = self.client.get_experiment_by_name(self.study)
        if found is None:
            artifacts = (self.root.absolute() / "artifacts" / self.study).as_uri() if local else None
            tags = {"mlflow.experimentKind": "custom_model_development"}  # else the UI takes it for a chat application's
            return self.client.create_experiment(self.study, artifact_location=artifacts, tags=tags)
        if found.lifecycle_stage != "active":
            raise UserError(f"MLflow's experiment {self.study!r} was deleted; restore it there, or remove it for good")
        return found.experiment_id

    def _scan(self, first: list[Event]) -> None:
        """Learn what the store holds. Of two runs of one trial, which a lost answer can cause, the older one counts.

        Only what began when this study did, as its ``first`` event says, and the children of that: there may have been another
        study of this name, which its user has deleted, or another user's on the same server.
        """
        from mlflow.entities import ViewType

        began = {_ms(e["t"]) for e in first}
        found, parents, token = [], set(), None
        while True:
            page = self.client.search_runs([self.experiment], run_view_type=ViewType.ALL, max_results=1000, page_token=token)
            for run in page:
                tags, info = run.data.tags, run.info
                sent = tuple(map(int, tags["autokd.sent"].split(":"))) if "autokd.sent" in tags else None
                known = Known(info.run_id, info.artifact_uri, info.status, tags.get("autokd.state", ""), sent)  # type: ignore[arg-type]
                known.data, known.closed, known.deleted = "autokd.data" in tags, tags.get("autokd.closed", ""), info.lifecycle_stage != "active"
                if "autokd.trial" in tags:
                    found.append((known.deleted, info.start_time, info.run_id, tags["autokd.trial"], tags.get("mlflow.parentRunId"), known))
                if tags.get("autokd.trial") == "search" and info.start_time in began:
                    parents.add(info.run_id)
            token = page.token
            if not token:
                break
        for deleted, _, run_id, key, parent, known in sorted(found, key=lambda f: f[:3]):
            if not parents & {run_id, parent}:
                continue
            if self.runs.setdefault(key, known) is not known and not deleted:
                self.client.delete_run(run_id)

    # ------------------------------------------------------------ events in

    def catch_up(self, *, stopped: bool = False) -> None:
        """Write all that the ledger holds by now. ``stopped``: nobody works on the study, so nothing of it is running."""
        while True:
            events = self.reader.read(EVENTS_AT_ONCE)
            for e in events:
                self._feed(e)
            last = len(events) < EVENTS_AT_ONCE
            self.stopped = stopped and last and self.table.closed is None
            self._flush(last)
            if last:
                return

    def _feed(self, e: Event) -> None:
        self.now = e["t"]
        if e["event"] == "epoch":
            self._report(self.table.trials[e["trial"]], e)
        else:
            self.table.apply(e)
        if e["event"] == "created":
            first = Search.model_validate(e["frozen"]["space"].get("search") or {}).objectives[0]
            self.metric, self.sign = first.metric, first.sign
        elif e["event"] == "test":
            self.tests.append(e)
        elif e["event"] == "teacher":
            self.improved += [(f"teacher/{e['model']}/{name}", value, e["t"], 0) for name, value in e.get("metrics", {}).items()]
        elif e.get("trial", -1) >= 0 and e["event"] != "suggested":
            self.open[e["trial"]] = None

    def _report(self, trial: Trial, e: Event) -> None:
        trial.metrics = {e["epoch"]: e["metrics"]}  # the last one: the table of a long study must not grow with its epochs
        known = self.runs.get(str(trial.number))
        if known is None or known.sent is None or (e["attempt"], e["epoch"]) > known.sent:
            self.reports[trial.number].append(e)
        self.spent += 1
        value = e["metrics"].get(self.metric)
        if trial.searching and value is not None and (self.best is None or self.sign * value > self.sign * self.best):
            self.best = value
            self.improved.append((f"best/{self.metric}", value, e["t"], self.spent))

    # ------------------------------------------------------------ MLflow out

    def _flush(self, caught_up: bool) -> None:
        """Write what is new. A state that may pass is written when the ledger has no more to say for now."""
        if not self.table.created:
            return
        parent = self.runs.get("search") or self._create_parent()
        if parent.deleted:
            return
        for number in list(self.open):
            if self._child(self.table.trials[number], caught_up):
                del self.open[number]
        for event in self.tests:
            self._tested(event)
        self.tests.clear()
        self._send(parent, Batch(metrics=self.improved))
        self.improved = []
        if caught_up:
            self._parent(parent)

    def _create_parent(self) -> Known:
        c = self.table.created
        tags = {"autokd.trial": "search", "autokd.role": "search", "autokd.version": c.get("version", ""), "mlflow.source.name": "autokd"}
        tags |= {"mlflow.source.type": "LOCAL", "autokd.title": c["frozen"]["space"].get("title", "")}
        if revision := c.get("commit"):
            tags["mlflow.source.git.commit"] = revision
        run = self.client.create_run(self.experiment, start_time=_ms(c["t"]), tags=_clean(tags), run_name=self.study)
        known = self.runs["search"] = Known(run.info.run_id, run.info.artifact_uri)
        return known

    def _create_child(self, trial: Trial) -> Known:
        tags = {
            "autokd.trial": trial.number, "autokd.role": trial.role, "autokd.seed": trial.recipe.get("seed", ""), "autokd.branch": trial.branch,
            "autokd.preset": trial.name, "autokd.exempt": "yes" if trial.exempt else "", "mlflow.parentRunId": self.runs["search"].run_id,
            "autokd.group": "" if trial.group is None else flow(trial.group), "autokd.confirms": ", ".join(map(str, self._confirms(trial))),
        }  # fmt: skip
        name = f"{trial.number:03d} {trial.name or trial.role}"
        if trial.parent is not None:
            name = f"{trial.number:03d} {CONTROLS.get(trial.role, f'finalist {trial.parent}')}, seed {trial.seed}"
        run = self.client.create_run(self.experiment, start_time=_ms(trial.started), tags=_clean(tags), run_name=_shorten(name))
        known = self.runs[str(trial.number)] = Known(run.info.run_id, run.info.artifact_uri)
        return known

    def _confirms(self, trial: Trial) -> list[int]:
        """The trials of the search that a finalist or control belongs to; controls may be shared."""
        groups = self.table.finalists or []
        owners = {g["trial"] for g in groups for runs in g.get("runs", {}).values() if trial.number in runs.values()}
        return sorted(owners | ({trial.parent} if trial.parent is not None else set()))

    def _child(self, trial: Trial, caught_up: bool) -> bool:
        """Write what is new of a trial. Returns whether nothing can follow."""
        state = "interrupted" if self.stopped and trial.state == "running" else trial.state
        if not trial.started or state not in STATUS:
            return False
        known = self.runs.get(str(trial.number)) or self._create_child(trial)
        if known.deleted:
            return True
        batch, ended = Batch(), state in ENDED
        if known.sent is None:
            batch.params = flatten({k: v for k, v in trial.recipe.items() if k != "version"})
            self._file(known, "recipe.yaml", dump(trial.recipe))
        for e in self.reports.pop(trial.number, []):
            batch.metrics += [(name, value, e["t"], e["epoch"]) for name, value in e["metrics"].items()]
            known.sent = (e["attempt"], e["epoch"])
        if known.sent is None:
            known.sent = (0, 0)
            batch.tags["autokd.sent"] = "0:0"
        if batch.metrics:
            batch.tags["autokd.sent"] = "{}:{}".format(*known.sent)
        moved = (known.state, known.status) != (state, STATUS[state]) and (ended or caught_up)
        if moved:
            self._ended(trial, state, batch)
        if ended:
            self._dataset(trial, known, batch)
        self._send(known, batch)
        if moved:
            self._status(known, state, trial.ended if ended else self.now)
        if ended:  # all that is needed of it from here on
            trial.recipe, trial.params, trial.varied = {k: trial.recipe[k] for k in ("data", "seed") if k in trial.recipe}, {}, {}
            trial.facts, trial.metrics = {}, {trial.epochs: {}}
        return ended and known.data

    @staticmethod
    def _ended(trial: Trial, state: str, batch: Batch) -> None:
        """The tags of a state, and what the worker said about the run."""
        batch.tags |= {"autokd.state": state, "autokd.rung": max(trial.rungs, default=""), "autokd.epochs": trial.epochs}
        batch.tags |= {"autokd.student": trial.student, "autokd.reason": trial.reason}
        for name, value in trial.facts.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "pid":
                batch.metrics.append((name if "/" in name else f"run/{name}", value, trial.ended, trial.epochs))
            elif name != "reliability":
                batch.tags[f"autokd.{name}"] = value if isinstance(value, str) else flow(value)

    def _dataset(self, trial: Trial, known: Known, batch: Batch) -> None:
        """The data as MLflow's own kind of input, once its fingerprint is known (a trial that ended early does not say)."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        spec = trial.recipe.get("data", {})
        if trial.facts.get("data"):
            self.digests[canonical(spec)] = str(trial.facts["data"])
        digest = self.digests.get(canonical(spec))
        if known.data or digest is None:
            return
        data = Dataset(name=_shorten(str(spec.get("name", "data")))[:500], digest=digest[:36], source_type="autokd", source=canonical(spec))
        self.client.log_inputs(known.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
        known.data, batch.tags["autokd.data"] = True, digest

    def _tested(self, event: Event) -> None:
        for number, results in event["results"].items():
            known = self.runs.get(str(number))
            if known is not None and not known.deleted:
                step = self.table.trials[int(number)].epochs
                self._send(known, Batch(metrics=[(name, value, event["t"], step) for name, value in results.items()]))

    def _status(self, known: Known, state: str, t: float) -> None:
        if STATUS[state] in {"RUNNING", "SCHEDULED"}:
            self.client.update_run(known.run_id, status=STATUS[state])
        else:
            self.client.set_terminated(known.run_id, status=STATUS[state], end_time=_ms(t))
        known.state, known.status = state, STATUS[state]

    def _send(self, known: Known, batch: Batch) -> None:
        """As few calls as MLflow's limits allow; the tags, which say that all is there, in the last one."""
        from mlflow.entities import Metric, Param, RunTag

        params = [Param(_key(name), _shorten(value if isinstance(value, str) else flow(value))) for name, value in batch.params.items()]
        numbers = [(n, v, t, s) for n, v, t, s in batch.metrics if isinstance(v, int | float)]
        metrics = [Metric(_key(name), float(value), _ms(t), step) for name, value, t, step in numbers]
        tags = [RunTag(_key(name), value) for name, value in _clean(batch.tags).items()]
        calls: list[dict[str, Sequence[Any]]] = [{"params": some} for some in _chunks(params, WORDS_A_CALL)]
        calls += [{"metrics": some} for some in _chunks(metrics, METRICS_A_CALL)]
        calls += [{"tags": some} for some in _chunks(tags, WORDS_A_CALL)]
        if len(params) <= WORDS_A_CALL >= len(tags) and len(params) + len(metrics) + len(tags) <= METRICS_A_CALL:
            calls = [{"params": params, "metrics": metrics, "tags": tags}] if calls else []
        for call in calls:
            self.client.log_batch(known.run_id, **call)

    def _file(self, known: Known, name: str, text: str) -> None:
        """An artifact. Into a local folder it is written as MLflow would, without asking the store where that is."""
        raw = text.encode("utf-8", "replace")
        if known.artifacts.startswith("file:"):
            write_atomically(Path(url2pathname(urlparse(known.artifacts).path)) / name, raw)
            return
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / name).write_bytes(raw)
            self.client.log_artifact(known.run_id, str(Path(scratch) / name))

    # ------------------------------------------------------------ the parent

    def _parent(self, known: Known) -> None:
        table, closed = self.table, self.table.closed
        if known.sent is None:
            space, created = table.created["frozen"]["space"], table.created
            params = {f"search/{k}": v for k, v in flatten(space.get("search", {})).items()}
            params |= {"search/trials": created.get("trials"), "search/seed": created.get("seed"), "search/jobs": created.get("jobs")}
            self._file(known, "space.yaml", dump(space))
            self._file(known, "base.yaml", dump(created["frozen"]["base"]))
            self._send(known, Batch(params, tags={"autokd.sent": "0:0"}))
            known.sent = (0, 0)
        state = "complete" if closed else "interrupted" if self.stopped else "running"
        if closed and known.closed != str(_ms(closed["t"])):
            self._send(known, self._answer(known, closed))
            known.closed = str(_ms(closed["t"]))
        if (known.state, known.status) != (state, STATUS[state]):
            self._send(known, Batch(tags={"autokd.state": state}))
            self._status(known, state, closed["t"] if closed else self.now)

    def _answer(self, known: Known, closed: Event) -> Batch:
        """What a study that is over adds to its run: verdicts, recipe, page and model."""
        from autokd import report

        batch, results = Batch(), closed.get("results") or []
        if closed.get("recipe_text"):
            self._file(known, "recipe.yaml", closed["recipe_text"])
        try:
            page = report.page(self.folder)
            self._file(known, "report.html", page.html)
            batch.tags["mlflow.note.content"] = f"{page.headline} The rest stands in the artifact report.html."  # a note is markdown: only our own words
        except (ArithmeticError, LookupError, TypeError, ValueError) as e:
            log.warning("report of study %s: %s: %s", self.study, type(e).__name__, e)
        seen = set()
        for result in results:
            if (group := flow(result["group"])) in seen:
                continue  # the first of each group has won it
            seen.add(group)
            of = "" if result["group"] is None else f".{group}"
            for d in result["differences"]:
                batch.tags[f"autokd.verdict{of}.{d['control']}"] = d["verdict"]
        if results:
            winner = max(results, key=lambda r: self.sign * r["mean"])
            self._winner(winner, batch, closed["t"])
            try:
                if self._model(winner):
                    batch.tags["autokd.model"] = f"autokd-{self.study}"
            except (ImportError, LookupError, TypeError, ValueError) as e:  # the file's fault; a store's is tried again
                log.warning("model of study %s: %s: %s", self.study, type(e).__name__, e)
        batch.tags["autokd.closed"] = str(_ms(closed["t"]))
        return batch

    def _winner(self, winner: Mapping[str, Any], batch: Batch, t: float) -> None:
        rows = {f"winner/{self.metric}": winner["mean"], f"winner/{self.metric}/sd": winner["sd"]}
        if winner.get("test_mean") is not None:
            rows[f"winner/{self.metric.replace('val/', 'test/')}"] = winner["test_mean"]
        for where, differences in (("val", winner["differences"]), ("test", winner["test_differences"])):
            for d in differences:
                rows |= {f"winner/{where}/against {d['control']}/{part}": d[part] for part in ("mean", "low", "high")}
        batch.metrics += [(name, value, t, self.spent) for name, value in rows.items()]
        batch.tags |= {"autokd.winner": winner["trial"], "autokd.exported": winner["best_trial"]}

    # ------------------------------------------------------------ the model

    def _model(self, winner: Mapping[str, Any]) -> bool:
        """The exported student as a logged and registered model, once. Returns whether there is one."""
        from mlflow.entities import LoggedModelOutput

        trial = self.table.trials[winner["best_trial"]]
        run = self.runs.get(str(trial.number))
        weights = self.folder / "trials" / str(trial.number) / str(trial.attempt) / "student.safetensors"
        if run is None or run.deleted or not weights.exists():
            return False
        tags = {"autokd.student": trial.student, "autokd.trial": str(trial.number)}
        logged = [m for m in self._logged() if m.tags.get("autokd.student") == trial.student and str(m.status) == "READY"]
        if not logged:
            made = self.client.create_logged_model(self.experiment, name="student", source_run_id=run.run_id, tags=tags, model_type="image classifier")
            with tempfile.TemporaryDirectory() as scratch:
                save_model(Path(scratch) / "model", weights, run.run_id, made.model_id)
                self.client.log_model_artifacts(made.model_id, str(Path(scratch) / "model"))
            logged = [self.client.finalize_logged_model(made.model_id, "READY")]
            self.client.log_outputs(run.run_id, [LoggedModelOutput(made.model_id, trial.epochs)])
        self._register(logged[0], tags)
        return True

    def _logged(self) -> Iterator[Any]:
        token = None
        while True:
            page = self.client.search_logged_models([self.experiment], page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _register(self, model: Any, tags: dict[str, str]) -> None:
        from mlflow.exceptions import MlflowException

        name = f"autokd-{self.study}"
        try:
            self.client.create_registered_model(name, description=f"The best student of the AutoKD study {self.study}.")
        except MlflowException as e:
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if all(v.tags.get("autokd.student") != tags["autokd.student"] for v in self.client.search_model_versions(f"name = '{name}'")):
            self.client.create_model_version(
                name, model.artifact_location, model.source_run_id, tags=tags, await_creation_for=0, model_id=model.model_id
            )  # fmt: skip


LOADER = '''"""Loads the student beside this file for MLflow: pictures in, logits out. Needs autokd; the weights are safetensors."""

import json
from pathlib import Path


class Student:
    def __init__(self, path):
        from safetensors import safe_open

        from autokd import models

        with safe_open(path, "pt") as f:
            self.about = json.loads(f.metadata()["autokd"])
        a = self.about
        self.network = models.build(a["model"], classes=len(a["classes"]), channels=a["channels"], resolution=a["resolution"])
        models.load_weights(self.network, path)
        self.network.eval()

    def predict(self, pictures, params=None):
        """``pictures`` [N, channels, side, side] float32 in [0, 1], at the student's resolution; logits [N, classes]."""
        import numpy as np
        import torch

        with torch.inference_mode():
            return self.network(torch.from_numpy(np.asarray(pictures, dtype=np.float32))).numpy()


def _load_pyfunc(path):
    return Student(Path(path))
'''


def save_model(path: Path, weights: Path, run_id: str, model_id: str) -> None:
    """An MLflow model in folder ``path``: the weights, a loader in plain Python, signature and input example; nothing pickled."""
    warnings.filterwarnings("ignore", ".*Any type hint is inferred", UserWarning)  # of MLflow about itself, when it is imported
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec
    from safetensors import safe_open

    with safe_open(weights, "np") as f:
        about = json.loads(f.metadata()["autokd"])
    shape = (about["channels"], about["resolution"], about["resolution"])
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *shape))]), outputs=Schema([TensorSpec(np.dtype("float32"), (-1, len(about["classes"])))])
    )  # fmt: skip
    from autokd.export import versions

    needs = [f"{name}=={version}" for name, version in versions().items() if name in {"autokd", "torch", "torchvision"}]
    with tempfile.TemporaryDirectory() as scratch:
        loader = Path(scratch) / "autokd_student_loader.py"
        loader.write_text(LOADER, encoding="utf-8")
        pyfunc.save_model(
            path, loader_module=loader.stem, data_path=str(weights), code_paths=[str(loader)], signature=signature, pip_requirements=[*needs, "safetensors"],
            input_example=np.full((1, *shape), 0.5, dtype=np.float32), mlflow_model=Model(run_id=run_id, model_id=model_id),
            metadata={"classes": about["classes"], "student": about["model"]},
        )  # fmt: skip


# ---------------------------------------------------------------- small things


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _chunks(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _clean(tags: Mapping[str, Any]) -> dict[str, str]:
    """As MLflow takes them; what is empty is left out."""
    return {name: _shorten(str(value)) for name, value in tags.items() if value not in ("", None)}


def _key(name: str) -> str:
    """A name with what MLflow allows in one."""
    name = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)
    return name if len(name) <= 250 else f"{name[:230]} {hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _shorten(text: str) -> str:
    """MLflow's longest parameter, with a hash in place of what is cut off; the recipe artifact has it whole."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 80]}… sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _lock(folder: Path) -> FileLock:
    """One process at a time writes a study to MLflow."""
    return FileLock(folder / "mlflow.lock", timeout=0, thread_local=False)


class Background:
    """Follows a ledger from a thread of its own, and tries again as long as it must. It never blocks the search, nor fails it."""

    def __init__(self, uri: str, root: Path, book: ledger.Ledger):
        self.uri, self.root, self.study, self.folder = uri, root, book.path.name, book.path
        self.trouble = ""
        self.wake, self.closing = threading.Event(), threading.Event()
        self.wake.set()  # the store and the experiment are there before the first worker writes anything
        book.listeners.append(lambda event: self.wake.set())
        self.thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        tracker: Tracker | None = None
        lock, pause = _lock(self.folder), GATHER
        while True:
            self.wake.wait()
            self.wake.clear()
            done = self.closing.wait(pause)
            try:
                if not lock.is_locked:
                    lock.acquire()  # and keep it: nobody else shall think that the study stands still
                tracker = tracker or Tracker(self.uri, self.root, self.study)
                tracker.catch_up(stopped=done)
                self.trouble, pause = "", GATHER
            except Timeout:
                self.trouble = "another process is writing this study"
            except Exception as e:  # of any kind: the ledger keeps what MLflow missed
                tracker = None
                self.trouble, pause = _told(e), min(2 * pause, PATIENCE)
            if done:
                lock.release()
                return
            if self.trouble:
                self.wake.set()  # the next try does not wait for an event

    def close(self, seconds: float = 60.0) -> str:
        """Write what is left, for so long. Returns what went wrong, if anything: `autokd sync` then catches up."""
        self.closing.set()
        self.wake.set()
        self.thread.join(min(seconds, 10.0) if self.trouble else seconds)
        return "still writing" if self.thread.is_alive() else self.trouble


def _told(e: Exception) -> str:
    lines = str(e).splitlines() or [""]
    return f"{type(e).__name__}: {lines[0][:300]}"


def sync(root: Path, uri: str, names: Iterable[str]) -> None:
    """Bring MLflow to what the ledgers say. Raises :class:`UserError`, after all that could be brought, for what could not."""
    problems = []
    for name in names:
        folder = ledger.existing(root, name)
        try:
            with _lock(folder):
                Tracker(uri, root, name).catch_up(stopped=True)
        except Timeout:
            print(f"{name}: its search is running and writes to MLflow itself", file=sys.stderr)
        except Exception as e:
            problems.append(f"{name}: {e if isinstance(e, UserError) else _told(e)}")
    if problems:
        raise UserError(f"MLflow at {uri}:\n" + "\n".join(problems))
