"""The answer of a study: each winner beside its own controls, as paired differences over seeds.
Light.

The interval is the t interval of the paired differences (same seed, same everything but the
distillation). It covers what student weights and batch order add; it leaves out what other splits,
views and teachers' seeds would.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from autokd.study.controls import CONTROLS, FINALIST
from autokd.study.ledger import Event, Table
from autokd.study.statistics import Difference, mean_and_sd, paired


@dataclass
class Result:
    """One group's winner."""

    group: Any
    trial: int  # of the search, whose recipe this is
    mean: float
    sd: float
    seeds: list[int]
    # the run of the first finalist seed: the student that is exported, never the best
    best_trial: int
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


def results(table: Table, metric: str, sign: int) -> list[Result]:
    """Every finalist that has confirmations: group by group, the best mean first."""
    found = [_result(table, entry, metric, sign) for entry in table.finalists or []]
    out = [r for r in found if r is not None]
    groups = list(dict.fromkeys(str(r.group) for r in out))
    return sorted(out, key=lambda r: (groups.index(str(r.group)), -sign * r.mean))


def _result(table: Table, entry: Event, metric: str, sign: int) -> Result | None:
    """A finalist beside its controls; None where no run of it came to its end."""
    runs = {role: _complete(table, numbers) for role, numbers in entry["runs"].items()}
    if not runs.get(FINALIST):
        return None
    on_val = {
        role: {seed: table.trials[n].last[metric] for seed, n in own.items()}
        for role, own in runs.items()
    }
    ours = on_val[FINALIST]
    mean, sd = mean_and_sd([*ours.values()], sum)
    best_trial = runs[FINALIST][min(ours)]
    out = Result(entry["group"], entry["trial"], mean, sd, sorted(ours), best_trial, runs)
    same = (role for role in CONTROLS if entry["runs"].get(role) == entry["runs"][FINALIST])
    out.itself = next((CONTROLS[role] for role in same), "")
    out.differences = _against(on_val, sign, out.itself)
    on_test = _on_test(table, runs, metric.replace("val/", "test/"))
    if on_test[FINALIST]:
        out.test_mean = sum(on_test[FINALIST].values()) / len(on_test[FINALIST])
        out.test_differences = _against(on_test, sign, out.itself)
    return out


def _on_test(
    table: Table, runs: dict[str, dict[int, int]], metric: str
) -> dict[str, dict[int, float]]:
    """Role → seed → value of the runs whose students read the test pictures, the latest reading."""
    tests: dict[str, dict[str, float]] = {
        n: m for e in table.tests for n, m in e["results"].items()
    }
    return {
        role: {seed: tests[str(n)][metric] for seed, n in own.items() if str(n) in tests}
        for role, own in runs.items()
    }


def _complete(table: Table, numbers: dict[str, int]) -> dict[int, int]:
    """Seed → trial of those that ran to the end."""
    return {int(seed): n for seed, n in numbers.items() if table.trials[n].state == "complete"}


def _against(values: dict[str, dict[int, float]], sign: int, itself: str) -> list[Difference]:
    """The winner's paired differences to its controls, over the seeds that both have."""
    ours, out = values[FINALIST], []
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
