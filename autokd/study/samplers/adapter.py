"""Optuna's study behind ours: what it is asked, and what it is told. It lives in memory alone, and
asking it the same again, in the same order, gives the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from autokd.space import Space, samplers
from autokd.space.settings import Search
from autokd.space.tree import Free, OneOf, Point
from autokd.study.ledger import Trial
from autokd.study.objectives import foretold

optuna.logging.set_verbosity(optuna.logging.WARNING)

STATES = {
    "complete": TrialState.COMPLETE,
    "diverged": TrialState.COMPLETE,  # with a value that is worse than any other
    "oom": TrialState.COMPLETE,
    "failed": TrialState.FAIL,
}  # as Optuna is told; of all others, PRUNED


class Adapter:
    """A sampler, seeded once, and Optuna's record of the trials."""

    def __init__(self, search: Search, seed: int, jobs: int):
        self.metric = search.objectives[0].metric
        # of a trial that was pruned Optuna can rank what it reported by one objective only
        self.ranks_pruned = len(search.objectives) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # several are marked experimental
            made = samplers.sampler(search.sampler).make(seed, jobs)
        directions = ["maximize" if o.sign > 0 else "minimize" for o in search.objectives]
        self.study = optuna.create_study(sampler=made, directions=directions)
        self.asked: dict[int, optuna.Trial] = {}  # by our number, until it is told of
        self._extra = 0  # records in Optuna's study beyond one an ask
        self._distributions: dict[int, dict[str, BaseDistribution]] = {}  # of those told of

    @property
    def asks(self) -> int:
        """How often it has been asked."""
        return len(self.study.get_trials(deepcopy=False)) - self._extra

    def ask(self, space: Space, fixed: Mapping[str, Any]) -> tuple[Point, optuna.Trial]:
        """The next point; ``fixed``: values that are given, by Optuna's names."""
        if fixed:
            self.study.enqueue_trial(dict(fixed))
        asked = self.study.ask()
        return space.point(lambda node: suggest(asked, node)), asked

    def has_asked(self, fixed: Mapping[str, Any]) -> bool:
        """Whether a point with these values is known."""
        known = self.study.get_trials(deepcopy=False)
        return any(fixed.items() <= t.params.items() for t in known)

    def refuse(self, asked: optuna.Trial) -> None:
        """Pruned before its first epoch, which TPE ranks last. Of a failed trial it learns nothing,
        and what it has not seen it likes best.
        """
        self.study.tell(asked, state=TrialState.PRUNED)

    def tell(self, trial: Trial, reached: Sequence[float] | None) -> None:
        """Tell the truth: complete, or pruned with its intermediate values. ``reached``: the
        objectives, None where one is not known.

        A paused trial is told as pruned, or the sampler would not learn from it; if it is promoted
        later, what it then reaches is one more trial of the same parameters.
        """
        state = STATES.get(trial.state, TrialState.PRUNED)
        if state == TrialState.COMPLETE and reached is None:
            state = TrialState.FAIL
        values = reached if state == TrialState.COMPLETE else None
        reports = {
            epoch: value
            for epoch, m in trial.metrics.items()
            if self.ranks_pruned and (value := foretold(m, self.metric)) is not None
        }
        asked = self.asked.pop(trial.number, None)
        if asked is not None:
            for epoch, v in reports.items():
                asked.report(v, epoch)
            self.study.tell(asked, values, state=state)
            told = self.study.get_trials(deepcopy=False)[asked.number]
            self._distributions[trial.number] = dict(told.distributions)
        else:
            more = optuna.trial.create_trial(
                params=trial.params,
                distributions=self._distributions[trial.number],
                intermediate_values=reports,
                state=state,
                values=values,
            )
            self.study.add_trial(more)
            self._extra += 1


def distribution(leaf: Free) -> BaseDistribution:
    """A free place as Optuna describes it."""
    if isinstance(leaf, OneOf):
        return CategoricalDistribution(leaf.labels)
    if leaf.kind == "choice":
        return CategoricalDistribution(leaf.encoded)
    low, high = leaf.options
    if leaf.kind == "int_uniform":
        return IntDistribution(low, high)
    return FloatDistribution(low, high, log=leaf.kind == "log_uniform")


def suggest(trial: optuna.Trial, node: Free) -> Any:
    """One value from Optuna, under the name that carries its branch."""
    d = distribution(node)
    if isinstance(d, CategoricalDistribution):
        value = trial.suggest_categorical(node.name, d.choices)
        return value if isinstance(node, OneOf) else node.options[node.encoded.index(value)]
    if isinstance(d, IntDistribution):
        return trial.suggest_int(node.name, d.low, d.high)
    assert isinstance(d, FloatDistribution)
    return trial.suggest_float(node.name, d.low, d.high, log=d.log)
