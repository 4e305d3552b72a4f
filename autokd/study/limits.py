"""When a search stops: time, epochs, a target, a plateau. Light."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autokd.space.settings import Plateau, Search
from autokd.study import asha
from autokd.study.controls import CONTROLS
from autokd.study.ledger import Table
from autokd.study.objectives import value


def reached(table: Table, search: Search, seconds: float, finals: float = 0.0) -> str:
    """The limit that is reached, if any; ``seconds``: what the study took until now, ``finals``:
    what its finals are expected to take. After an extension each counts anew: who asks for more
    trials knows what the study has reached.
    """
    if search.time and seconds + finals > search.time:
        rest = f", {finals:.0f} of them kept for the finals" if finals >= 1 else ""
        return f"{search.time:g} seconds are over{rest}"
    searched = [t for t in table.trials.values() if t.searching]
    spent = sum(t.epochs for t in searched if t.number >= table.since)
    longest = max((t.length for t in searched), default=0)
    kept = search.racing.runs * asha.tells(search.asha, longest)
    if search.epochs and spent + kept >= search.epochs:
        return f"{search.epochs} epochs are spent" + (
            f", {kept} of them kept for further seeds" if kept else ""
        )
    values = _values(table, search)
    sign = search.objectives[0].sign
    target = search.target
    if target is not None and any(new and v >= sign * target for v, new in values):
        return f"the target {target:g} is reached"
    if search.plateau:
        vain = _in_vain(values, search.plateau)
        if vain >= search.plateau.trials:
            return f"{vain} finished trials in a row brought nothing"
    return ""


def _values(table: Table, search: Search) -> list[tuple[float, bool]]:
    """The first objective of the complete trials, more being better, in the order in which they
    ended; and whether the latest extension began them.
    """
    first = search.objectives[0]
    done = [t for n in table.finished if (t := table.trials[n]).searching]
    return [
        (first.sign * v, t.number >= table.since)
        for t in done
        if (v := value(t, first, table.trials)) is not None
    ]


def _in_vain(values: Sequence[tuple[float, bool]], plateau: Plateau) -> int:
    """How many trials in a row, until now, were no better than the best before them."""
    best, vain = -math.inf, 0
    for v, new in values:
        best, vain = (v, 0) if v - best > plateau.margin else (best, vain + new)
    return vain


def finals_seconds(pace: float, search: Search, length: int, groups: int, jobs: int) -> float:
    """What the finals are expected to take, side by side: finalists and controls at full length.
    ``pace``: seconds an epoch.
    """
    runs = (search.finalists.top + len(CONTROLS)) * groups * search.finalists.seeds
    return math.ceil(runs / jobs) * length * pace
