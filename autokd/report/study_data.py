"""A study as the page reads it: what is read from the ledger once, for all sections."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from autokd.recipe.document import DocumentError, canonical, get
from autokd.space import frozen_search, thaw
from autokd.space.tree import Free, Leaf
from autokd.study import racing, ranking, verdict
from autokd.study.controls import CONTROLS, FINALIST
from autokd.study.ledger import BROKEN, Event, Table, Trial
from autokd.study.ranking import place

ROLES = {FINALIST: "winner"} | {
    role: CONTROLS[role] for role in reversed(CONTROLS)
}  # in the order of the charts


class StudyData:
    """A study's ledger, and what several sections ask of it. ``folder``: where it keeps what came
    of each picture.

    ``ranked``: the search's trials that have a value, full-length ones first, then best
    first. ``complete``: those of them that ran to their end; ``rivals``: the same by group
    (`finalists/per`), as a winner is looked for in each.
    """

    def __init__(self, name: str, events: list[Event], table: Table, folder: Path | None = None):
        self.name = name
        self.folder = folder
        self.events = events
        self.table = table
        frozen = table.created.get("frozen", {"space": {}, "base": {}})
        self.title = str(frozen["space"].get("title") or f"Study {name}")
        self.search = frozen_search(frozen)
        self.leaves = _leaves(frozen)  # by Optuna's names
        first = self.search.objectives[0]
        self.metric = first.metric
        self.sign = first.sign
        self.results = verdict.results(table, self.metric, self.sign, folder)
        self.best = verdict.overall(self.results, self.sign)
        self.trials = list(table.trials.values())
        self.searched = [t for t in self.trials if t.searching]
        self.again = racing.repeats(table.trials)  # trial → its runs with further seeds
        able = [t for t in self.searched if self.value(t) is not None]
        if self.again:
            self.ranked = ranking.best(able, self.search, table.trials)
        else:
            self.ranked = sorted(able, key=lambda t: place(t, self.metric, self.sign))
        self.complete = [t for t in self.ranked if t.state == "complete"]
        groups = {canonical(t.group): t.group for t in self.searched if t.group is not None}
        self.groups = sorted(groups.values(), key=lambda g: (str(type(g)), g))
        self.rivals = {
            key: [t for t in self.complete if canonical(t.group) == key]
            for key in dict.fromkeys(canonical(t.group) for t in self.complete)
        }
        self.won = [table.trials[r.trial] for r in verdict.winners(self.results)]

    def value(self, t: Trial, epoch: int | None = None) -> float | None:
        """The objective after its last epoch, or after that one; None for a run that broke off, and
        for what is not finite.
        """
        if t.state in BROKEN:
            return None
        v = t.metrics.get(t.epochs if epoch is None else epoch, {}).get(self.metric)
        return v if v is not None and math.isfinite(v) else None

    def points(self, t: Trial) -> list[tuple[int, float]]:
        """The objective epoch by epoch, of a run that broke off too, without what is not finite."""
        return [
            (e, m[self.metric])
            for e, m in sorted(t.metrics.items())
            if math.isfinite(m.get(self.metric, math.nan))
        ]

    def full(self, t: Trial) -> bool:
        return t.full

    def runs(self, role: str) -> list[Trial]:
        """The overall winner's runs, or its controls'."""
        return (
            [self.table.trials[n] for n in self.best.runs.get(role, {}).values()]
            if self.best
            else []
        )

    @property
    def roles(self) -> dict[str, str]:
        """The roles whose runs differ: what is the winner itself, or both controls, is not drawn
        twice.
        """
        out: dict[str, str] = {}
        for role, name in ROLES.items():
            if (own := self.runs(role)) and not any(own == self.runs(r) for r in out):
                out[role] = name
        return out


def stands_at(node: Free) -> str:
    """The path under which :func:`choices.settings` has the values of a free value of the space."""
    if isinstance(node, Leaf):
        return node.path
    return f"{node.path}/{node.name.rpartition('/')[2]}".lstrip("/")


def _leaves(frozen: dict[str, Any]) -> dict[str, Free]:
    try:
        return {leaf.name: leaf for leaf in thaw(frozen).leaves()}
    except (DocumentError, KeyError):  # of another version, say: the trials themselves then tell
        return {}


def setting(t: Trial, path: str) -> Any:
    """What stands in a trial's recipe; ``""`` where it has no such place."""
    try:
        return get(t.recipe, path)
    except KeyError:
        return ""
