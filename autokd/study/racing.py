"""Contenders run again with other seeds before the finalists are chosen. Light.

One seed's value says as much of its luck as of its configuration, and the best of many is the
luckiest (on digits the finals of two seeds correlate by 0.7 within the better half). So the last
places are raced for: when nothing new is begun any more, the most promising trials get further
seeds, one run at a time, each where it may still change who is first. Finalists are then chosen by
the mean of a trial's seeds, shrunk towards that of its rivals (empirical Bayes; Efron and Morris
1973): the fewer its seeds, the more. The finals' own seeds stay fresh.

Where rungs judge averages of weights, such a run ends at the last rung: what is seen there says as
much of a configuration as another run's end (docs/BENCHMARKS.md), for a third of the epochs. It
counts as what the full trials gained from that rung on would make of it.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from autokd.recipe import parse
from autokd.recipe.document import canonical
from autokd.space.settings import Search
from autokd.study.ledger import Trial
from autokd.study.objectives import feasible, foretold

REPEAT = "repeat"  # role of such a run; its parent is the contender
FIRST_SEED = 1_000_000  # above the contender's own: none of the finals' seeds
LEAST_NOISE = 1e-4  # of a seed, in the metric's unit, so that equal values are no certainty


class Belief(NamedTuple):
    """What is known of a trial's true value, more being better."""

    mean: float
    sd: float


def repeats(trials: Mapping[int, Trial]) -> dict[int, list[Trial]]:
    """Contender → its further runs, whatever their state."""
    out: dict[int, list[Trial]] = {}
    for t in list(trials.values()):  # a view may look on while the study goes on
        if t.role == REPEAT and t.parent is not None:
            out.setdefault(t.parent, []).append(t)
    return out


def believed(trials: Mapping[int, Trial], metric: str, sign: int) -> dict[int, Belief]:
    """Of each complete trial of the search, by what its seeds and its group's trials say."""
    again = repeats(trials)
    groups: dict[str, dict[int, list[float]]] = {}
    full = [
        t
        for t in list(trials.values())
        if t.searching and t.state == "complete" and metric in t.last
    ]
    gains: dict[int, float] = {}
    for t in full:
        seeds = [t.last[metric]]
        for run in again.get(t.number, []):
            if run.state == "complete" and metric in run.last:
                seeds.append(run.last[metric])
            elif run.state == "pruned" and (seen := foretold(run.last, metric)) is not None:
                if run.epochs not in gains:
                    gains[run.epochs] = _gain(full, run.epochs, metric)
                seeds.append(seen + gains[run.epochs])
        groups.setdefault(canonical(t.group), {})[t.number] = [sign * v for v in seeds]
    return {n: belief for own in groups.values() for n, belief in beliefs(own).items()}


def _gain(full: list[Trial], epoch: int, metric: str) -> float:
    """From what was foretold after that epoch to the end, in the median of the full trials."""
    early = [(t, foretold(t.metrics.get(epoch, {}), metric)) for t in full]
    return statistics.median([t.last[metric] - v for t, v in early if v is not None] or [0.0])


def beliefs(seen: Mapping[int, list[float]]) -> dict[int, Belief]:
    """Trial → values of its seeds, as posteriors under a normal prior: that of the better half of
    the trials. The variance of a seed is that within trials with several.
    """
    means = {n: statistics.fmean(v) for n, v in seen.items()}
    better = sorted(means.values())[len(means) // 2 :]
    middle, spread = statistics.fmean(better), statistics.pvariance(better)
    freedom = sum(len(v) - 1 for v in seen.values())
    within = sum((x - means[n]) ** 2 for n, v in seen.items() for x in v)
    noise = max(within / freedom if freedom else spread / 2, LEAST_NOISE**2)
    runs = statistics.harmonic_mean(map(len, seen.values()))
    between = max(spread - noise / runs, noise / 10)
    out = {}
    for n, v in seen.items():
        precision = 1 / between + len(v) / noise
        out[n] = Belief((middle / between + sum(v) / noise) / precision, precision**-0.5)
    return out


def contender(trials: Mapping[int, Trial], search: Search) -> Trial | None:
    """Whose seed is run next: in the group with the fewest such runs, of the trials with fewer than
    ``racing/seeds``, the one that may be the best (the upper end of what is believed of it). None
    when the race is over.
    """
    race, first = search.racing, search.objectives[0]
    again = repeats(trials)
    if sum(map(len, again.values())) >= race.runs:
        return None
    belief = believed(trials, first.metric, first.sign)
    able = [
        trials[n]
        for n in belief
        if len(again.get(n, [])) < race.seeds - 1 and feasible(trials[n], search)
    ]
    runs = Counter(canonical(trials[n].group) for n, own in again.items() for _ in own)

    def order(t: Trial) -> tuple[int, float, int]:
        return runs[canonical(t.group)], -belief[t.number].mean - belief[t.number].sd, t.number

    return min(able, key=order, default=None)


def another_seed(trial: Trial, trials: Mapping[int, Trial]) -> dict[str, Any]:
    """The contender's recipe with the next seed."""
    number = len(repeats(trials).get(trial.number, []))
    return parse(trial.recipe).with_({"seed": trial.seed + FIRST_SEED + number}).to_dict()
