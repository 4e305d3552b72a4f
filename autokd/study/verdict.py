"""The answer of a study: each finalist beside its own controls, and which of them is handed back.
Light.

A difference is paired: same seed, same pictures, same everything but the distillation. Its interval
covers seeds and pictures (:mod:`autokd.study.crossed`) where what came of each picture was kept,
else seeds alone; it leaves out what other splits, views and teachers' seeds would add.

What is handed back is the best that was confirmed: of a group's finalists and controls the one with
the highest mean on validation, a finalist where they are equal. Test is not there to choose; but
what it shows to be worse than a control is not handed back either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from autokd.space.settings import Search
from autokd.study.comparison import Pair, compare
from autokd.study.controls import CONTROLS, FINALIST, OWN, TUNED
from autokd.study.ledger import Event, Table
from autokd.study.outcomes import Outcomes
from autokd.study.statistics import LEVEL, Difference, holm, judge, mean_and_sd

Values = dict[str, dict[int, float]]  # role → seed → value


@dataclass
class Result:
    """One finalist beside its controls, and which of them is its best."""

    group: Any
    trial: int  # of the search, whose recipe the finalist has
    handed: str  # role of what is handed back: the finalist, or a control that was better
    mean: float  # of what is handed back, over its seeds; so sd, seeds and test_mean
    sd: float
    seeds: list[int]
    # its run of the first finalist seed: the student that is exported, never the best
    best_trial: int
    runs: dict[str, dict[int, int]]  # role → seed → trial
    means: dict[str, float] = field(default_factory=dict)  # role → mean on validation
    differences: list[Difference] = field(default_factory=list)  # finalist minus control
    itself: str = ""  # the control that the finalist is, if so: its runs are the control's own
    test_mean: float | None = None
    test_differences: list[Difference] = field(default_factory=list)
    # on validation the finalist was ahead, and test shows it worse than what is handed back
    overruled: bool = False
    tuned: dict[str, Any] = field(default_factory=dict)  # as of `Tuning.result`

    def against(self, own: str, differences: list[Difference]) -> Difference | None:
        """What is said of an own control's role: the difference to the one that was tuned, where
        there was to be one, else to the finalist's own.
        """
        role = TUNED[own] if TUNED[own] in self.runs else own
        return next((d for d in differences if d.control == CONTROLS[role]), None)

    @property
    def headline(self) -> list[Difference]:
        """The differences that are the answer: on test, where it was read."""
        return self.test_differences or self.differences

    @property
    def chosen_by(self) -> float:
        """The mean on validation by which it stands among others."""
        return self.means[FINALIST] if self.overruled else self.mean

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: bounds that nothing is known of are None."""
        out = asdict(self) | {"chosen_by": self.chosen_by}
        for d in (*out["differences"], *out["test_differences"]):
            d |= {bound: d[bound] if math.isfinite(d[bound]) else None for bound in ("low", "high")}
        return out


def results(table: Table, metric: str, sign: int, folder: Path | None = None) -> list[Result]:
    """Every finalist that has confirmations: group by group, first the one whose best mean is the
    best. ``folder``: the study's, where what came of each picture is kept.
    """
    judge = _Judge(table, metric, sign, folder)
    found = [judge.result(entry) for entry in table.finalists or []]
    out = [r for r in found if r is not None]
    groups = list(dict.fromkeys(str(r.group) for r in out))
    out.sort(
        key=lambda r: (groups.index(str(r.group)), -sign * r.chosen_by, -sign * r.means[FINALIST])
    )
    _correct(winners(out), sign)
    return out


def _correct(won: list[Result], sign: int) -> None:
    """Several groups are several questions, one of which chance may well answer with "better": what
    Holm's correction over the groups does not uphold is not shown.
    """
    for part in ("differences", "test_differences"):
        for control in CONTROLS.values():
            asked: list[tuple[list[Difference], int]] = []
            for r in won:
                own: list[Difference] = getattr(r, part)
                asked += [(own, i) for i, d in enumerate(own) if d.control == control]
            if len(asked) < 2:
                continue
            for (own, i), p in zip(asked, holm([own[i].p for own, i in asked]), strict=True):
                d = own[i]
                verdict = judge(d.low, d.high, sign, d.margin)
                if p > 1 - LEVEL and verdict in {"better", "worse"}:
                    verdict = "not shown"
                own[i] = replace(d, corrected=p, verdict=verdict)


class _Judge:
    """What all results of a study have in common."""

    def __init__(self, table: Table, metric: str, sign: int, folder: Path | None):
        self.table = table
        self.metric = metric
        self.sign = sign
        self.search = settings(table)
        self.outcomes = Outcomes(folder)
        self.said = _said(table)

    def result(self, entry: Event) -> Result | None:
        """A finalist beside its controls; None where no run of it came to its end."""
        runs = {role: self._complete(numbers) for role, numbers in entry["runs"].items()}
        if not runs.get(FINALIST):
            return None
        itself = [role for role in OWN if entry["runs"].get(role) == entry["runs"][FINALIST]]
        on_val = {
            role: {seed: self.table.trials[n].last[self.metric] for seed, n in own.items()}
            for role, own in runs.items()
        }
        means = {role: mean_and_sd([*v.values()], sum)[0] for role, v in on_val.items() if v}
        # the first of the best: the finalist comes before its controls
        handed = max(means, key=lambda role: self.sign * round(means[role], 9))
        first = runs[FINALIST][min(runs[FINALIST])]
        out = Result(entry["group"], entry["trial"], handed, 0.0, 0.0, [], first, runs, means)
        out.itself = OWN[itself[0]] if itself else ""
        out.tuned = entry.get("tuned", {})
        out.differences = self._against(out, "validation", self.metric, on_val)
        metric = self.metric.replace("val/", "test/")
        on_test = self._on_test(runs, metric)
        if on_test[FINALIST]:
            out.test_differences = self._against(out, "test", metric, on_test)
            self._overrule(out)
        values = on_val[out.handed]
        out.mean, out.sd = mean_and_sd([*values.values()], sum)
        out.seeds = sorted(values)
        out.best_trial = runs[out.handed][min(values)]
        if tested := on_test[out.handed]:
            out.test_mean = sum(tested.values()) / len(tested)
        return out

    def _overrule(self, out: Result) -> None:
        """Hand back the control that test shows to be better than the finalist, the best of them
        on validation.
        """
        names = {d.control for d in out.test_differences if d.verdict == "worse"}
        better = [role for role in CONTROLS if CONTROLS[role] in names and role in out.means]
        if out.handed == FINALIST and better:
            out.handed = max(better, key=lambda role: self.sign * out.means[role])
            out.overruled = True

    def _complete(self, numbers: dict[str, int]) -> dict[int, int]:
        """Seed → trial of those that ran to the end."""
        trials = self.table.trials
        return {int(seed): n for seed, n in numbers.items() if trials[n].state == "complete"}

    def _on_test(self, runs: dict[str, dict[int, int]], metric: str) -> Values:
        """Role → seed → value of the runs whose students read the test pictures, the latest
        reading.
        """
        tests: dict[str, dict[str, float]] = {
            n: m for e in self.table.tests for n, m in e["results"].items()
        }
        return {
            role: {seed: tests[str(n)][metric] for seed, n in own.items() if str(n) in tests}
            for role, own in runs.items()
        }

    def _against(self, out: Result, part: str, metric: str, values: Values) -> list[Difference]:
        """The finalist's paired differences to its controls."""
        found = []
        for role, control in CONTROLS.items():
            ours, theirs = values[FINALIST], values.get(role, {})
            # not with itself: it may be a control, and the tuned one as well
            if out.runs.get(role) == out.runs[FINALIST] or not set(ours) & set(theirs):
                continue
            pairs = {s: self._pair(out, role, s, part) for s in set(ours) & set(theirs)}
            d = compare(
                control,
                metric,
                ours,
                theirs,
                pairs,
                sign=self.sign,
                margin=self.search.margin / 100,
                overlap=self._overlap(out, part),
            )
            said = self.said.get((out.trial, part, control))
            # what was said when the outcomes were there still holds when they are gone
            found.append(said if said and not d.cases and said.n == d.n else d)
        return found

    def _overlap(self, out: Result, part: str) -> float | None:
        """Where repeats have their own splits: held-out pictures for each training picture."""
        if self.search.finalists.repeat == "seed":
            return None
        data = self.table.trials[out.trial].recipe["data"]
        held = min(max(float(data[part] or 0.0), 0.0), 0.9)
        return held / (1 - held)

    def _pair(self, out: Result, role: str, seed: int, part: str) -> Pair | None:
        trials = self.table.trials
        ours, theirs = (self.outcomes.of(trials[out.runs[r][seed]], part) for r in (FINALIST, role))
        return None if ours is None or theirs is None else (ours, theirs)


def _said(table: Table) -> dict[tuple[int, str, str], Difference]:
    """The differences over pictures that the study was closed with: by the finalist's trial, the
    part and the control.
    """
    return {
        (r["trial"], part, d["control"]): difference(d)
        for r in (table.closed or {}).get("results", [])
        for part, key in (("validation", "differences"), ("test", "test_differences"))
        for d in r[key]
        if d.get("cases")
    }


def difference(told: Mapping[str, Any]) -> Difference:
    """From :meth:`Result.to_dict`; of an older study with the verdict that it had."""
    ends = {"low": -math.inf, "high": math.inf}
    bounds = {k: end if told[k] is None else told[k] for k, end in ends.items()}
    return Difference(**{**told, **bounds})


def settings(table: Table) -> Search:
    """The block ``search:`` that the study was begun with."""
    search: Mapping[str, Any] = table.created.get("frozen", {}).get("space", {}).get("search") or {}
    return Search.model_validate(search)


def winners(found: list[Result]) -> list[Result]:
    """The first of each group."""
    first: dict[str, Result] = {}
    for r in found:
        first.setdefault(str(r.group), r)
    return list(first.values())


def overall(found: list[Result], sign: int) -> Result | None:
    """The winner over all groups: the best mean."""
    return max(found, key=lambda r: sign * r.chosen_by) if found else None
