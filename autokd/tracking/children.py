"""The nested runs of an experiment: one a trial, control and finalist."""

from __future__ import annotations

from collections import defaultdict

from autokd.recipe import parse
from autokd.recipe.document import canonical, dump, flatten, flow
from autokd.study.choices import branch, method
from autokd.study.controls import CONTROLS
from autokd.study.ledger import ENDED, Event, Table, Trial
from autokd.study.racing import REPEAT
from autokd.tracking.experiment import STATUS, Batch, Experiment, KnownRun
from autokd.tracking.store import shorten


class Children:
    """What the ledger says of trials and the store does not hold yet."""

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        self.reports: dict[int, list[Event]] = defaultdict(list)  # not sent yet
        self.open: dict[int, None] = {}  # trials that may have something to send, in order
        self.tests: list[Event] = []
        self.digests: dict[str, str] = {}  # a recipe's data block → the data's fingerprint

    def report(self, trial: Trial, e: Event) -> None:
        """An epoch has ended."""
        known = self.experiment.runs.get(str(trial.number))
        if known is None or known.sent is None or (e["attempt"], e["epoch"]) > known.sent:
            self.reports[trial.number].append(e)

    def write(self, table: Table, *, caught_up: bool, stopped: bool, now: float) -> None:
        """Write what is new; the parent run is there. A state that may pass is written when the
        ledger has no more to say for now (``caught_up``).
        """
        for number in list(self.open):
            trial = table.trials[number]
            state = "interrupted" if stopped and trial.state == "running" else trial.state
            if not trial.attempt or state not in STATUS:
                continue
            known = self.experiment.runs.get(str(number)) or self._create(trial, table)
            if known.deleted or self._write(trial, known, state, caught_up, now):
                del self.open[number]
        for event in self.tests:
            self._tested(event, table)
        self.tests.clear()

    def _create(self, trial: Trial, table: Table) -> KnownRun:
        tags = {
            "autokd.trial": trial.number,
            "autokd.role": trial.role,
            "autokd.seed": trial.recipe.get("seed", ""),
            "autokd.branch": branch(trial.varied),
            "autokd.preset": method(trial),
            "autokd.exempt": "yes" if trial.exempt else "",
            "mlflow.parentRunId": self.experiment.runs["search"].run_id,
            "autokd.group": "" if trial.group is None else flow(trial.group),
            "autokd.confirms": ", ".join(map(str, _confirms(trial, table))),
        }
        name = f"{trial.number:03d} {method(trial) or trial.role}"
        if trial.parent is not None:
            roles = CONTROLS | {REPEAT: f"trial {trial.parent} again"}
            role = roles.get(trial.role, f"finalist {trial.parent}")
            role = f"tuning {CONTROLS[trial.control]}" if trial.tuning else role
            name = f"{trial.number:03d} {role}, seed {trial.seed}"
        return self.experiment.create_run(str(trial.number), shorten(name), trial.started, tags)

    def _write(
        self, trial: Trial, known: KnownRun, state: str, caught_up: bool, now: float
    ) -> bool:
        """Write what is new of a trial. Returns whether nothing can follow."""
        batch, ended = Batch(), state in ENDED
        if known.sent is None:
            read = parse(trial.recipe).read()
            batch.params = flatten({k: v for k, v in read.items() if k != "version"})
            self.experiment.write_file(known, "recipe.yaml", dump(read))
        for e in self.reports.pop(trial.number, []):
            batch.metrics += [
                (name, value, e["t"], e["epoch"]) for name, value in e["metrics"].items()
            ]
            known.sent = (e["attempt"], e["epoch"])
        if known.sent is None:
            known.sent = (0, 0)
            batch.tags["autokd.sent"] = "0:0"
        if batch.metrics:
            batch.tags["autokd.sent"] = "{}:{}".format(*known.sent)
        moved = (known.state, known.status) != (state, STATUS[state]) and (ended or caught_up)
        if moved:
            _add_state(batch, trial, state)
        if ended:
            self._add_dataset(batch, trial, known)
        self.experiment.send(known, batch)
        if moved:
            self.experiment.set_status(known, state, trial.ended if ended else now)
        if ended:
            _forget(trial)
        return ended and known.data

    def _add_dataset(self, batch: Batch, trial: Trial, known: KnownRun) -> None:
        """The data as MLflow's own kind of input, once its fingerprint is known (a trial that ended
        early does not say).
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        spec = trial.recipe.get("data", {})
        if trial.facts.get("data"):
            self.digests[canonical(spec)] = str(trial.facts["data"])
        digest = self.digests.get(canonical(spec))
        if known.data or digest is None:
            return
        data = Dataset(
            name=shorten(str(spec.get("name", "data")))[:500],
            digest=digest[:36],
            source_type="autokd",
            source=canonical(spec),
        )
        tags = [InputTag("mlflow.data.context", "training")]
        self.experiment.client.log_inputs(known.run_id, [DatasetInput(data, tags)])
        known.data = True
        batch.tags["autokd.data"] = digest

    def _tested(self, event: Event, table: Table) -> None:
        for number, results in event["results"].items():
            known = self.experiment.runs.get(str(number))
            if known is not None and not known.deleted:
                step = table.trials[int(number)].epochs
                metrics = [(name, value, event["t"], step) for name, value in results.items()]
                self.experiment.send(known, Batch(metrics=metrics))


def _confirms(trial: Trial, table: Table) -> list[int]:
    """The trials of the search that a finalist or control belongs to; controls may be shared."""
    groups = table.finalists or []
    owners = {
        g["trial"]
        for g in groups
        for runs in g.get("runs", {}).values()
        if trial.number in runs.values()
    }
    return sorted(owners | ({trial.parent} if trial.parent is not None else set()))


def _add_state(batch: Batch, trial: Trial, state: str) -> None:
    """The tags of a state, and what the worker said about the run."""
    batch.tags |= {
        "autokd.state": state,
        "autokd.rung": max(trial.rungs, default=""),
        "autokd.epochs": trial.epochs,
        "autokd.student": trial.student,
        "autokd.reason": trial.reason,
    }
    for name, value in trial.facts.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "pid":
            metric = name if "/" in name else f"run/{name}"
            batch.metrics.append((metric, value, trial.ended, trial.epochs))
        elif name not in {"reliability", "outcomes"}:
            batch.tags[f"autokd.{name}"] = value if isinstance(value, str) else flow(value)


def _forget(trial: Trial) -> None:
    """All but what is needed of it from its end on: the table of a long study must not grow."""
    trial.recipe = {k: trial.recipe[k] for k in ("data", "seed") if k in trial.recipe}
    trial.params = {}
    trial.varied = {}
    trial.facts = {}
    trial.metrics = {trial.epochs: {}}
