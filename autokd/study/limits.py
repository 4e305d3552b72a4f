"""When a search stops: time, epochs, a target, a plateau. Light."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autokd.space.settings import Plateau, Search
from autokd.study import asha
from autokd.study.ledger import Table
from autokd.study.objectives import value


def reached(
    table: Table, search: Search, seconds: float, finals: float = 0.0, share: float = 0.0
) -> str:
    """The limit that is reached, if any; ``seconds``: what the study took until now, ``finals``:
    what its finals are expected to take, ``share``: what is kept of the rest to tune the controls.
    After an extension each counts anew: who asks for more trials knows what the study has reached.
    """
    if search.time and seconds > (1 - share) * (search.time - finals):
        kept = [(finals, "the finals"), (share * (search.time - finals), "tuning the controls")]
        told = [f"{n:.0f} of them kept for {what}" for n, what in kept if n >= 1]
        return ", ".join([f"{search.time:g} seconds are over", *told])
    searched = [t for t in table.trials.values() if t.searching]
    spent = sum(t.epochs for t in searched if t.number >= table.since)
    longest = max((t.length for t in searched), default=0)
    if search.epochs:
        raced = search.racing.runs * asha.tells(search.asha, longest)
        ours = round(share * search.epochs)
        if spent + raced + ours >= search.epochs:
            kept = [(raced, "further seeds"), (ours, "tuning the controls")]
            told = [f"{n} of them kept for {what}" for n, what in kept if n]
            return ", ".join([f"{search.epochs} epochs are spent", *told])
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


def tuning_reached(
    table: Table, search: Search, seconds: float, finals: float, share: float
) -> str:
    """The same of the trials that tune the controls: their share of the epochs, and the time."""
    if search.time and seconds > search.time - finals:
        return f"{search.time:g} seconds are over"
    own = (t for t in table.trials.values() if t.tuning and t.number >= table.since)
    if search.epochs and sum(t.epochs for t in own) >= share * search.epochs:
        return f"their share of {search.epochs} epochs is spent"
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
