"""The axes of charts whose values are a recipe's: numbers, choices, and what trials differ in."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from autokd.recipe.document import canonical
from autokd.report.study_data import StudyData
from autokd.space.tree import Leaf, is_number
from autokd.study.choices import short

Row = dict[str, Any]  # of a trial: path → value
Rows = dict[int, Row]  # by trial


def free(rows: Iterable[Row]) -> list[str]:
    """The paths at which trials differ."""
    rows = list(rows)
    paths = dict.fromkeys(path for row in rows for path in row)
    return [p for p in paths if len({canonical(r[p]) if p in r else None for r in rows}) > 1]


@dataclass
class Axis:
    """Where a parameter's values lie between 0 and 1, and what is written beside them."""

    path: str
    values: list[Any]
    log: bool = False
    kinds: list[Any] | None = None  # of a choice: numbers in order, others as the space has them

    def at(self, value: Any, jitter: float = 0.0) -> float:
        if self.kinds is not None:
            where = next(i for i, k in enumerate(self.kinds) if canonical(k) == canonical(value))
            return (where + 0.5 + 0.5 * jitter) / len(self.kinds)
        low, high = min(self.values), max(self.values)
        if self.log:
            low = math.log(low)
            high = math.log(high)
            value = math.log(value)
        return 0.5 if high == low else (value - low) / (high - low)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        if self.kinds is not None:
            step = math.ceil(len(self.kinds) / 10)
            return [(self.at(k), short(k)) for k in self.kinds[::step]]
        low, high = min(self.values), max(self.values)
        middle = math.sqrt(low * high) if self.log else (low + high) / 2
        return [(self.at(float(v)), f"{v:.3g}") for v in (low, middle, high)]


def axis(study: StudyData, path: str, rows: Iterable[Row]) -> Axis:
    values = [row[path] for row in rows if path in row]
    leaves = [
        leaf for leaf in study.leaves.values() if leaf.path == path and isinstance(leaf, Leaf)
    ]
    listed = [v for leaf in leaves if leaf.kind == "choice" for v in leaf.options]
    ranged = [leaf for leaf in leaves if leaf.kind != "choice"]
    # in one branch a range and in another a choice is still a number
    numbers = all(is_number(v) for v in values)
    if not numbers or (listed and not ranged):
        kinds = {canonical(v): v for v in [*listed, *values]}
        used = {canonical(v) for v in values}
        own = [v for k, v in kinds.items() if k in used]
        return Axis(path, values, kinds=sorted(own) if numbers else own)
    if min(values) <= 0:
        return Axis(path, values)
    return Axis(
        path,
        values,
        log=(
            any(leaf.kind == "log_uniform" for leaf in ranged)
            if ranged
            else max(values) / min(values) > 50
        ),
    )
