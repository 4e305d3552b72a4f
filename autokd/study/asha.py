"""Asynchronous successive halving (Li et al., arXiv 1810.05934) as a pure function of what the
trials have reported. Light.

``promotion``: a trial pauses at a rung and goes on when it is among the best 1/reduction of those
that reached it. ``stopping``: it ends there unless it is. Trials are ranked within their group
(``finalists/per``; those that tune a control, among themselves) and, once it holds ``reduction``
trials, within their branch of the space: methods that start slowly are then not judged by those
that start fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from autokd.recipe.document import canonical
from autokd.space.settings import Asha, Search
from autokd.study.ledger import Trial
from autokd.study.objectives import foretold
from autokd.study.ranking import rank
from autokd.study.statistics import LEAST, spearman


def rungs(asha: Asha, epochs: int, raised: int = 0) -> list[int]:
    """The epochs after which a trial of ``epochs`` epochs is judged: grace, grace·η, …, all below
    its end, none below ``raised``.

    A ninth as grace is what recorded curves speak for where averages are judged, else a third
    (docs/BENCHMARKS.md): earlier, the ranks say little of the final ones.
    """
    if asha.form == "none":
        return []
    out = []
    rung = asha.grace_epochs or math.ceil(epochs / (9 if asha.judge == "average" else 3))
    while rung < epochs:
        out.append(rung)
        rung *= asha.reduction
    return [r for r in out if r >= raised]


def tells(asha: Asha, epochs: int) -> int:
    """The epoch after which a run of so many tells what its configuration is worth: the last rung
    where rungs judge averages of weights, else its end.
    """
    there = rungs(asha, epochs) if asha.judge == "average" else []
    return there[-1] if there else epochs


def peers(trial: Trial, rung: int, trials: Iterable[Trial], asha: Asha) -> list[Trial]:
    """Those it is ranked with at this rung, itself among them."""
    rivals = trial.rivals
    there = [t for t in trials if rung in t.metrics and t.judged and t.rivals == rivals]
    branch = [t for t in there if t.branch == trial.branch]
    return branch if asha.compare == "branch" and len(branch) >= asha.reduction else there


def best(
    trial: Trial, rung: int, trials: Iterable[Trial], asha: Asha, metric: str, sign: int
) -> set[int]:
    """The numbers of the best 1/reduction at this rung (at least one in stopping form, and of the
    few that tune a control) of those that the trial is ranked with.
    """
    ranked = sorted(peers(trial, rung, trials, asha), key=lambda t: rank(t, rung, metric, sign))
    places = len(ranked) // asha.reduction
    if asha.form == "stopping" or trial.tuning:
        places = max(places, 1)
    return {t.number for t in ranked[:places]}


def promotable(trials: Sequence[Trial], asha: Asha, metric: str, sign: int) -> Trial | None:
    """The paused trial of the highest rung that now is among its best."""
    paused = [t for t in trials if t.state == "paused"]
    paused.sort(key=lambda t: (-t.epochs, rank(t, t.epochs, metric, sign)))
    # by what is ranked together: sorted once, not once for each that waits
    found: dict[Any, set[int]] = {}
    for trial in paused:
        key = trial.epochs, trial.rivals, trial.branch
        if key not in found:
            found[key] = best(trial, trial.epochs, trials, asha, metric, sign)
        if trial.number in found[key]:
            return trial
    return None


def lacking(trials: Iterable[Trial], search: Search, metric: str, sign: int) -> Trial | None:
    """The best paused trial, of the highest rung, of a group with fewer than ``finalists/top``
    trials that ran to their end.
    """
    groups: dict[str, list[Trial]] = {}
    for t in trials:
        if t.searching:
            groups.setdefault(canonical(t.group), []).append(t)
    for own in groups.values():
        paused = [t for t in own if t.state == "paused"]
        if paused and sum(t.state == "complete" for t in own) < search.finalists.top:
            return min(paused, key=lambda t: (-t.epochs, rank(t, t.epochs, metric, sign)))
    return None


def good_enough(
    trial: Trial, rung: int, trials: Iterable[Trial], asha: Asha, metric: str, sign: int
) -> bool:
    """Whether the trial is among the best 1/reduction at this rung."""
    return trial.number in best(trial, rung, trials, asha, metric, sign)


def correlations(
    trials: Iterable[Trial], metric: str, asha: Asha
) -> list[tuple[int, float | None, int]]:
    """``(rung, Spearman's rank correlation with the final value, n)`` for each rung; fewer than
    ``LEAST`` trials: None, not known.

    Only trials that ran to their end whatever their rank are counted (baselines and the exempt):
    the promoted would flatter it.
    """
    free = [t for t in trials if t.searching and t.exempt and t.state == "complete"]
    out: list[tuple[int, float | None, int]] = []
    for rung in sorted({r for t in free for r in rungs(asha, t.length)}):
        pairs = [
            (early, t.last[metric])
            for t in free
            if rung in t.metrics and (early := foretold(t.metrics[rung], metric)) is not None
        ]
        found = None
        if len(pairs) >= LEAST:
            found = spearman(pairs)
            found = 0.0 if found is None else found  # all alike
        out.append((rung, found, len(pairs)))
    return out


def raised(
    trials: Iterable[Trial], metric: str, asha: Asha, grace: int
) -> Iterator[dict[str, Any]]:
    """The rungs from ``grace`` on that are to be left out, the lowest first, since they say little
    of how trials end: each as its ``grace`` event.
    """
    if asha.raise_grace_below is None:
        return
    for rung, correlation, n in correlations(trials, metric, asha):
        if rung < grace:
            continue
        if correlation is None or correlation >= asha.raise_grace_below:
            return
        grace = rung * asha.reduction
        yield {"rung": rung, "correlation": round(correlation, 4), "n": n, "epochs": grace}
