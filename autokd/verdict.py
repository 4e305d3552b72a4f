"""The answer of a study: each winner beside its own controls, as paired differences over seeds.

The interval is the t interval of the paired differences (same seed, same everything but the distillation). It covers what
student weights and batch order add; it leaves out what other splits, views and teachers' seeds would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from autokd.ledger import Table, Trial

CONTROLS = {"control-ce": "student alone", "control-kd": "reference KD"}
LEFT_OUT = "over seeds of student weights and batch order; other splits, views and teacher seeds are not in it"


@dataclass(frozen=True)
class Difference:
    """Winner minus control, in the metric's own unit (accuracy: a fraction)."""

    control: str
    mean: float
    low: float
    high: float
    n: int
    verdict: Literal["better", "worse", "not distinguishable"]


@dataclass
class Result:
    """One group's winner."""

    group: Any
    trial: int
    place: int
    mean: float
    sd: float
    seeds: list[int]
    best_trial: int  # the run of the first finalist seed: the student that is exported
    differences: list[Difference] = field(default_factory=list)
    is_reference: bool = False  # the winner is the reference KD itself
    test_mean: float | None = None
    test_differences: list[Difference] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def paired(control: str, ours: Sequence[float], theirs: Sequence[float], sign: int = 1, level: float = 0.95) -> Difference:
    """The paired difference with its t interval. ``sign`` −1: less is better."""
    from scipy.stats import t

    d = [a - b for a, b in zip(ours, theirs, strict=True)]
    n, mean = len(d), sum(d) / len(d)
    if n < 2:
        return Difference(control, mean, -math.inf, math.inf, n, "not distinguishable")
    sd = math.sqrt(sum((x - mean) ** 2 for x in d) / (n - 1))
    half = float(t.ppf((1 + level) / 2, n - 1)) * sd / math.sqrt(n)
    low, high = mean - half, mean + half
    better, worse = (low > 0, high < 0) if sign > 0 else (high < 0, low > 0)
    return Difference(control, mean, low, high, n, "better" if better else "worse" if worse else "not distinguishable")


def results(table: Table, metric: str, sign: int) -> list[Result]:
    """Every finalist that has confirmations, in the order of the groups."""
    tests: dict[str, dict[str, float]] = table.tests[0]["results"] if table.tests else {}
    test_metric = metric.replace("val/", "test/")
    out = []
    for entry in table.finalists or []:
        rows = {role: _by_seed(table, entry["trial"], role) for role in ("finalist", *CONTROLS)}
        finalist = rows["finalist"]
        if not finalist:
            continue
        values = [t.last[metric] for t in finalist.values()]
        mean = sum(values) / len(values)
        sd = math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1))
        first = finalist[min(finalist)]
        result = Result(entry["group"], entry["trial"], entry["place"], mean, sd, sorted(finalist), first.number)
        on_test = {s: tests[str(t.number)][test_metric] for s, t in finalist.items() if str(t.number) in tests}
        if on_test:
            result.test_mean = sum(on_test.values()) / len(on_test)
        for role, control in CONTROLS.items():
            both = sorted(set(finalist) & set(rows[role]))
            if not both:
                continue
            result.differences.append(paired(control, [finalist[s].last[metric] for s in both], [rows[role][s].last[metric] for s in both], sign))
            both = [s for s in both if s in on_test and str(rows[role][s].number) in tests]
            if both:
                theirs = [tests[str(rows[role][s].number)][test_metric] for s in both]
                result.test_differences.append(paired(control, [on_test[s] for s in both], theirs, sign))
        has_control = any(t.parent == entry["trial"] and t.role == "control-kd" for t in table.trials.values())
        result.is_reference = not has_control
        out.append(result)
    return out


def _by_seed(table: Table, parent: int, role: str) -> dict[int, Trial]:
    return {t.seed: t for t in table.trials.values() if t.parent == parent and t.role == role and t.state == "complete"}


def overall(found: list[Result], sign: int) -> Result | None:
    """The winner over all groups: the best mean of the first places."""
    first = [r for r in found if r.place == 0]
    return max(first, key=lambda r: sign * r.mean) if first else None


def sentence(result: Result, metric: str) -> str:
    """The answer in one line, in points where the metric is a fraction."""
    alone = next((d for d in result.differences if d.control == CONTROLS["control-ce"]), None)
    if alone is None:
        return "The finals have no control to compare with: there is no verdict."
    if alone.verdict == "better":
        return f"Distillation helps: {figure(alone, metric)} against the student alone."
    if alone.verdict == "worse":
        return f"Distillation hurts: {figure(alone, metric)} against the student alone. Train without a teacher."
    return f"Distillation did not help: {figure(alone, metric)} against the student alone, which chance explains."


def figure(d: Difference, metric: str) -> str:
    """``+3.4 points [+1.8, +5.0]``."""
    scale, unit = (100, " points") if metric.endswith(("accuracy", "ece", "agreement")) else (1, "")
    digits = 1 if scale == 100 else 3
    if not math.isfinite(d.low):
        return f"{d.mean * scale:+.{digits}f}{unit} (one seed, no interval)"
    return f"{d.mean * scale:+.{digits}f}{unit} [{d.low * scale:+.{digits}f}, {d.high * scale:+.{digits}f}]"
