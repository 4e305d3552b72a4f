"""The answer of a study: each winner beside its own controls, as paired differences over seeds.

The interval is the t interval of the paired differences (same seed, same everything but the distillation). It covers what
student weights and batch order add; it leaves out what other splits, views and teachers' seeds would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from autokd.ledger import Event, Table

CONTROLS = {"control-ce": "student alone", "control-kd": "reference KD"}
EQUAL = 1e-9  # differences that are no further apart are one, rounded
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
    trial: int  # of the search, whose recipe this is
    mean: float
    sd: float
    seeds: list[int]
    best_trial: int  # the run of the first finalist seed: the student that is exported, never the best
    runs: dict[str, dict[int, int]]  # role → seed → trial
    differences: list[Difference] = field(default_factory=list)
    itself: str = ""  # the control that the winner is, if so: its runs are the control's own
    test_mean: float | None = None
    test_differences: list[Difference] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: the bounds of a single seed's interval are None."""
        out = asdict(self)
        for d in (*out["differences"], *out["test_differences"]):
            d |= {bound: d[bound] if math.isfinite(d[bound]) else None for bound in ("low", "high")}
        return out


def paired(control: str, ours: Sequence[float], theirs: Sequence[float], sign: int = 1, level: float = 0.95) -> Difference:
    """The paired difference with its t interval. ``sign`` −1: less is better."""
    from scipy.stats import t

    d = [a - b for a, b in zip(ours, theirs, strict=True)]
    n, mean = len(d), sum(d) / len(d)
    if max(d) - min(d) < EQUAL:  # a single seed, or so few pictures that no spread shows: nothing says how far chance reaches
        return Difference(control, mean, -math.inf, math.inf, n, "not distinguishable")
    sd = math.sqrt(sum((x - mean) ** 2 for x in d) / (n - 1))
    half = float(t.ppf((1 + level) / 2, n - 1)) * sd / math.sqrt(n)
    low, high = mean - half, mean + half
    better, worse = (low > 0, high < 0) if sign > 0 else (high < 0, low > 0)
    return Difference(control, mean, low, high, n, "better" if better else "worse" if worse else "not distinguishable")


def results(table: Table, metric: str, sign: int) -> list[Result]:
    """Every finalist that has confirmations: group by group, the best mean first."""
    tests: dict[str, dict[str, float]] = {n: m for e in table.tests for n, m in e["results"].items()}
    test_metric = metric.replace("val/", "test/")
    out = []
    for entry in table.finalists or []:
        runs = {role: _complete(table, numbers) for role, numbers in entry["runs"].items()}
        if not runs.get("finalist"):
            continue
        on_val = {role: {s: table.trials[n].last[metric] for s, n in own.items()} for role, own in runs.items()}
        on_test = {role: {s: tests[str(n)][test_metric] for s, n in own.items() if str(n) in tests} for role, own in runs.items()}
        ours = on_val["finalist"]
        mean = sum(ours.values()) / len(ours)
        sd = math.sqrt(sum((v - mean) ** 2 for v in ours.values()) / max(len(ours) - 1, 1))
        result = Result(entry["group"], entry["trial"], mean, sd, sorted(ours), runs["finalist"][min(ours)], runs)
        result.itself = next((CONTROLS[role] for role in CONTROLS if entry["runs"].get(role) == entry["runs"]["finalist"]), "")
        result.differences = _against(on_val, sign, result.itself)
        if on_test["finalist"]:
            result.test_mean = sum(on_test["finalist"].values()) / len(on_test["finalist"])
            result.test_differences = _against(on_test, sign, result.itself)
        out.append(result)
    groups = list(dict.fromkeys(str(r.group) for r in out))
    return sorted(out, key=lambda r: (groups.index(str(r.group)), -sign * r.mean))


def _complete(table: Table, numbers: dict[str, int]) -> dict[int, int]:
    """Seed → trial of those that ran to the end."""
    return {int(seed): n for seed, n in numbers.items() if table.trials[n].state == "complete"}


def _against(values: dict[str, dict[int, float]], sign: int, itself: str) -> list[Difference]:
    """The winner's paired differences to its controls, over the seeds that both have."""
    ours, out = values["finalist"], []
    for role, control in CONTROLS.items():
        theirs = values.get(role, {})
        both = sorted(set(ours) & set(theirs))
        if both and control != itself:
            out.append(paired(control, [ours[s] for s in both], [theirs[s] for s in both], sign))
    return out


def winners(found: list[Result]) -> list[Result]:
    """The first of each group."""
    first: dict[str, Result] = {}
    for r in found:
        first.setdefault(str(r.group), r)
    return list(first.values())


def overall(found: list[Result], sign: int) -> Result | None:
    """The winner over all groups: the best mean."""
    return max(found, key=lambda r: sign * r.mean) if found else None


def taught(e: Event) -> str:
    """What became of a teacher, in one line."""
    if e["state"] != "taught":
        return f"teacher {e['model']}: {e['state']}: {e.get('reason', '')}"
    how = "loaded; it may have seen these pictures" if e.get("given") else "trained" if e.get("facts", {}).get("networks trained") else "from the cache"
    reached = e.get("metrics", {}).get("val/accuracy")
    good = f" val/accuracy {reached:.4f}" if reached is not None else ""
    return f"{'assistant' if e.get('assistant') else 'teacher'} {e['model']} at {e['resolution']} px:{good} ({how}, {e['seconds']:.1f} s)"


def weak_teachers(table: Table) -> list[str]:
    """A warning for each full teacher that on validation is no better than the student trained alone: there is little it could teach."""
    runs = [t for t in table.trials.values() if t.state == "complete" and t.recipe["distill"]["losses"].keys() == {"ce"} and "val/accuracy" in t.last]
    found: dict[str, list[float]] = {}
    for t in runs:
        student = t.recipe["student"]
        found.setdefault(f"{student['model']} at {student['resolution'] or t.recipe['data']['resolution']} px", []).append(t.last["val/accuracy"])
    if not found:
        return []
    alone, student = max((sum(v) / len(v), name) for name, v in found.items())
    out = []
    for e in table.teachers.values():
        reached = e.get("metrics", {}).get("val/accuracy")
        if not e.get("assistant") and reached is not None and reached <= alone:
            why = "; was it trained on pictures normalised otherwise (teacher/mean, teacher/std), or on classes in another order?" if e.get("given") else ""
            out.append(f"the teacher {e['model']} ({reached:.4f} on validation) is no better than the student {student} trained alone ({alone:.4f}){why}")
    return out


def sentence(result: Result, metric: str) -> str:
    """The answer in one line, in points where the metric is a fraction."""
    alone = next((d for d in result.differences if d.control == CONTROLS["control-ce"]), None)
    if result.itself == CONTROLS["control-ce"]:
        return "Distillation did not help: the best of all is the student trained alone."
    if alone is None:
        return "The finals have no control to compare with: there is no verdict."
    if not math.isfinite(alone.low):
        return f"No verdict: {figure(alone, metric)} against the student alone; that may be chance."
    if alone.verdict == "better":
        return f"Distillation helps: {figure(alone, metric)} against the student alone."
    if alone.verdict == "worse":
        return f"Distillation hurts: {figure(alone, metric)} against the student alone. Train without a teacher."
    return f"Distillation did not help: {figure(alone, metric)} against the student alone, which chance explains."


def figure(d: Difference, metric: str) -> str:
    """``+3.4 points [+1.8, +5.0]``."""
    by, unit = scale(metric)
    digits = 1 if unit else 3
    if not math.isfinite(d.low):
        return f"{d.mean * by:+.{digits}f}{unit} ({'one seed' if d.n == 1 else f'{d.n} equal differences'}, no interval)"
    return f"{d.mean * by:+.{digits}f}{unit} [{d.low * by:+.{digits}f}, {d.high * by:+.{digits}f}]"


def scale(metric: str) -> tuple[int, str]:
    """By what differences of the metric are multiplied to be told, and the unit behind the number: fractions are told in points."""
    return (100, " points") if metric.endswith(("accuracy", "ece", "agreement")) else (1, "")


def times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"
