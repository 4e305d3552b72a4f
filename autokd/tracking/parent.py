"""The parent run of an experiment: the search itself, how it gets on, and what it ends with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autokd.recipe.document import dump, flatten, flow
from autokd.space import frozen_search
from autokd.study import verdict, words
from autokd.study.controls import FINALIST
from autokd.study.ledger import Event, Table, Trial
from autokd.tracking import view as shared
from autokd.tracking.experiment import STATUS, Batch, Experiment, KnownRun, Metrics
from autokd.tracking.model import log_model
from autokd.tracking.store import milliseconds

log = logging.getLogger("autokd.tracking")


class Parent:
    """What the ledger says of the search as a whole and the store does not hold yet."""

    def __init__(self, experiment: Experiment, folder: Path):
        self.experiment = experiment
        self.folder = folder
        self.metric = ""
        self.view = ""  # as it was shared
        self.varied: dict[str, None] = {}  # paths, in order
        self.sign = 1
        self.best: float | None = None
        self.spent = 0  # epochs
        self.improved: Metrics = []  # not sent yet

    # ------------------------------------------------------------ events in

    def created(self, e: Event) -> None:
        first = frozen_search(e["frozen"]).objectives[0]
        self.metric = first.metric
        self.sign = first.sign

    def suggested(self, e: Event) -> None:
        self.varied |= dict.fromkeys(shared.paths([e.get("varied", {})]))

    def teacher(self, e: Event) -> None:
        self.improved += [
            (f"teacher/{e['model']}/{name}", value, e["t"], 0)
            for name, value in e.get("metrics", {}).items()
        ]

    def report(self, trial: Trial, e: Event) -> None:
        """An epoch has ended."""
        self.spent += 1
        value = e["metrics"].get(self.metric)
        if not trial.searching or value is None:
            return
        if self.best is None or self.sign * value > self.sign * self.best:
            self.best = value
            self.improved.append((f"best/{self.metric}", value, e["t"], self.spent))

    # ------------------------------------------------------------ MLflow out

    def run(self, table: Table) -> KnownRun:
        """Made where there is none yet."""
        if known := self.experiment.runs.get("search"):
            return known
        c = table.created
        tags = {
            "autokd.trial": "search",
            "autokd.role": "search",
            "autokd.version": c.get("version", ""),
            "mlflow.source.name": "autokd",
            "mlflow.source.type": "LOCAL",
            "autokd.title": c["frozen"]["space"].get("title", ""),
        }
        if revision := c.get("commit"):
            tags["mlflow.source.git.commit"] = revision
        return self.experiment.create_run("search", self.experiment.study, c["t"], tags)

    def write_progress(self, known: KnownRun) -> None:
        self.experiment.send(known, Batch(metrics=self.improved))
        self.improved = []

    def write_state(self, known: KnownRun, table: Table, *, stopped: bool, now: float) -> None:
        """What the search asks for, whether it runs, and what it ended with; when the ledger has no
        more to say for now.
        """
        closed = table.closed
        if known.sent is None:
            self._write_request(known, table.created)
        state = "complete" if closed else "interrupted" if stopped else "running"
        if closed and known.closed != str(milliseconds(closed["t"])):
            self.experiment.send(known, self._answer(known, table, closed))
            known.closed = str(milliseconds(closed["t"]))
        search = frozen_search(table.created["frozen"])
        view = shared.state(search, list(self.varied), known.run_id)
        if view != self.view:
            self.experiment.set_tag(shared.TAG, view)
            self.view = view
        if (known.state, known.status) != (state, STATUS[state]):
            self.experiment.send(known, Batch(tags={"autokd.state": state}))
            self.experiment.set_status(known, state, closed["t"] if closed else now)

    def _write_request(self, known: KnownRun, created: Event) -> None:
        space = created["frozen"]["space"]
        params = {f"search/{k}": v for k, v in flatten(space.get("search", {})).items()}
        params |= {f"search/{k}": created.get(k) for k in ("trials", "seed", "jobs")}
        self.experiment.write_file(known, "space.yaml", dump(space))
        self.experiment.write_file(known, "base.yaml", dump(created["frozen"]["base"]))
        self.experiment.send(known, Batch(params, tags={"autokd.sent": "0:0"}))
        known.sent = (0, 0)

    # ------------------------------------------------------------ the answer

    def _answer(self, known: KnownRun, table: Table, closed: Event) -> Batch:
        """What a study that is over adds to its run: verdicts, recipe, page and model."""
        batch, results = Batch(), closed.get("results") or []
        if closed.get("recipe_text"):
            self.experiment.write_file(known, "recipe.yaml", closed["recipe_text"])
        self._write_page(known, batch)
        seen = set()
        for result in results:
            if (group := flow(result["group"])) in seen:
                continue  # the first of each group has won it
            seen.add(group)
            of = "" if result["group"] is None else f".{group}"
            for d in map(verdict.difference, result["test_differences"] or result["differences"]):
                batch.tags[f"autokd.verdict{of}.{d.control}"] = words.shown(d, self.metric)
        if results:
            winner = max(results, key=lambda r: self.sign * r.get("chosen_by", r["mean"]))
            self._add_winner(batch, winner, closed["t"])
            try:
                if log_model(self.experiment, self.folder, table.trials[winner["best_trial"]]):
                    batch.tags["autokd.model"] = f"autokd-{self.experiment.study}"
            except (ImportError, LookupError, TypeError, ValueError) as e:
                # the file's fault; a store's is tried again
                log.warning("model of study %s: %s: %s", self.experiment.study, type(e).__name__, e)
        batch.tags["autokd.closed"] = str(milliseconds(closed["t"]))
        return batch

    def _write_page(self, known: KnownRun, batch: Batch) -> None:
        from autokd import report

        try:
            page = report.page(self.folder)
        except (ArithmeticError, LookupError, TypeError, ValueError) as e:
            log.warning("report of study %s: %s: %s", self.experiment.study, type(e).__name__, e)
            return
        self.experiment.write_file(known, "report.html", page.html)
        # a note is markdown: only our own words
        batch.tags["mlflow.note.content"] = (
            f"{page.headline} The rest stands in the artifact report.html."
        )

    def _add_winner(self, batch: Batch, winner: Mapping[str, Any], t: float) -> None:
        rows = {f"winner/{self.metric}": winner["mean"], f"winner/{self.metric}/sd": winner["sd"]}
        if winner.get("test_mean") is not None:
            rows[f"winner/{self.metric.replace('val/', 'test/')}"] = winner["test_mean"]
        for where, differences in (
            ("val", winner["differences"]),
            ("test", winner["test_differences"]),
        ):
            for d in differences:
                rows |= {
                    f"winner/{where}/against {d['control']}/{part}": d[part]
                    for part in ("mean", "low", "high")
                    if d[part] is not None
                }
        batch.metrics += [(name, value, t, self.spent) for name, value in rows.items()]
        batch.tags |= {"autokd.winner": winner["trial"], "autokd.exported": winner["best_trial"]}
        batch.tags["autokd.handed_back"] = winner.get("handed", FINALIST)
        if told := words.tuned(winner.get("tuned") or {}):
            batch.tags["autokd.tuned"] = told
