"""Brings one study in MLflow to what its ledger says, as far as it has been written by now."""

from __future__ import annotations

from pathlib import Path

from autokd.study import ledger
from autokd.study.ledger import Event, Table
from autokd.tracking.children import Children
from autokd.tracking.experiment import Experiment
from autokd.tracking.parent import Parent
from autokd.tracking.reader import LedgerReader
from autokd.tracking.store import milliseconds

EVENTS_AT_ONCE = 5000


class Tracker:
    """One study in the MLflow store at ``uri``. Raises what MLflow raises where it cannot be
    reached, and :class:`UserError` where the experiment was deleted.
    """

    def __init__(self, uri: str, root: Path, study: str):
        folder = ledger.folder(root, study)
        self.experiment = Experiment(uri, root, study)
        self.reader = LedgerReader(folder / "events.jsonl")
        first = LedgerReader(self.reader.file).read(1)
        self.experiment.scan({milliseconds(e["t"]) for e in first})
        self.table = Table()
        self.parent = Parent(self.experiment, folder)
        self.children = Children(self.experiment)
        self.now = 0.0  # of the last event

    def catch_up(self, *, stopped: bool = False) -> None:
        """Write all that the ledger holds by now. ``stopped``: nobody works on the study, so
        nothing of it is running.
        """
        while True:
            events = self.reader.read(EVENTS_AT_ONCE)
            for e in events:
                self._feed(e)
            last = len(events) < EVENTS_AT_ONCE
            self._flush(last, stopped and last and self.table.closed is None)
            if last:
                return

    def _feed(self, e: Event) -> None:
        self.now = e["t"]
        if e["event"] == "epoch":
            trial = self.table.trials[e["trial"]]
            # the last one: the table of a long study must not grow with its epochs
            trial.metrics = {e["epoch"]: e["metrics"]}
            self.children.report(trial, e)
            self.parent.report(trial, e)
        else:
            self.table.apply(e)
        if e["event"] == "created":
            self.parent.created(e)
        elif e["event"] == "suggested":
            self.parent.suggested(e)
        elif e["event"] == "test":
            self.children.tests.append(e)
        elif e["event"] == "teacher":
            self.parent.teacher(e)
        elif e.get("trial", -1) >= 0 and e["event"] != "suggested":
            self.children.open[e["trial"]] = None

    def _flush(self, caught_up: bool, stopped: bool) -> None:
        """Write what is new. A state that may pass is written when the ledger has no more to say
        for now.
        """
        if not self.table.created:
            return
        run = self.parent.run(self.table)
        if run.deleted:
            return
        self.children.write(self.table, caught_up=caught_up, stopped=stopped, now=self.now)
        self.parent.write_progress(run)
        if caught_up:
            self.parent.write_state(run, self.table, stopped=stopped, now=self.now)
