"""Asynchronous successive halving (Li et al., arXiv 1810.05934) as a pure function of what the trials have reported. Light.

``promotion``: a trial pauses at a rung and goes on when it is among the best 1/reduction of those that reached it. ``stopping``:
it ends there unless it is. Trials are ranked within their group (``finalists/per``) and, once it holds ``reduction`` trials,
within their branch of the space: methods that start slowly are then not judged by those that start fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from autokd.ledger import Trial
from autokd.settings import Asha


def rungs(asha: Asha, epochs: int, raised: int = 0) -> list[int]:
    """The epochs after which a trial of ``epochs`` epochs is judged: grace, grace·η, …, all below its end, none below ``raised``.

    A third as grace is what recorded curves speak for (docs/BENCHMARKS.md): earlier, the ranks say little of the final ones.
    """
    if asha.form == "none":
        return []
    out, rung = [], asha.grace_epochs or math.ceil(epochs / 3)
    while rung < epochs:
        out.append(rung)
        rung *= asha.reduction
    return [r for r in out if r >= raised]


def rank(trial: Trial, rung: int, metric: str, sign: int) -> tuple[float, float, int]:
    """Smaller is better; equal values go by lower validation loss, then by age."""
    m = trial.metrics[rung]
    return (-sign * m.get(metric, -sign * float("inf")), m.get("val/nll", float("inf")), trial.number)


def peers(trial: Trial, rung: int, trials: Iterable[Trial], asha: Asha) -> list[Trial]:
    """Those it is ranked with at this rung, itself among them."""
    there = [t for t in trials if rung in t.metrics and t.searching and t.group == trial.group]
    branch = [t for t in there if t.branch == trial.branch]
    return branch if asha.compare == "branch" and len(branch) >= asha.reduction else there


def best(trial: Trial, rung: int, trials: Iterable[Trial], asha: Asha, metric: str, sign: int) -> set[int]:
    """The numbers of the best 1/reduction at this rung (in stopping form at least one) of those that the trial is ranked with."""
    ranked = sorted(peers(trial, rung, trials, asha), key=lambda t: rank(t, rung, metric, sign))
    places = len(ranked) // asha.reduction
    if asha.form == "stopping":
        places = max(places, 1)
    return {t.number for t in ranked[:places]}


def good_enough(trial: Trial, rung: int, trials: Iterable[Trial], asha: Asha, metric: str, sign: int) -> bool:
    """Whether the trial is among the best 1/reduction at this rung."""
    return trial.number in best(trial, rung, trials, asha, metric, sign)


def correlations(trials: Iterable[Trial], metric: str, asha: Asha) -> list[tuple[int, float | None, int]]:
    """``(rung, Spearman's rank correlation with the final value, n)`` for each rung; fewer than 8 trials: None, not known.

    Only trials that ran to their end whatever their rank are counted (baselines and the exempt): the promoted would flatter it.
    """
    free = [t for t in trials if t.searching and t.exempt and t.state == "complete"]
    out: list[tuple[int, float | None, int]] = []
    for rung in sorted({r for t in free for r in rungs(asha, t.recipe["train"]["epochs"])}):
        pairs = [(t.metrics[rung][metric], t.last[metric]) for t in free if rung in t.metrics and metric in t.metrics[rung]]
        known = len(pairs) >= 8
        out.append((rung, _spearman(pairs) if known else None, len(pairs)))
    return out


def _spearman(pairs: list[tuple[float, float]]) -> float:
    from scipy.stats import spearmanr

    a, b = zip(*pairs, strict=True)
    return float(spearmanr(a, b).statistic) if len(set(a)) > 1 and len(set(b)) > 1 else 0.0
