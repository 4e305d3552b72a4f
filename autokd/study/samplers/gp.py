"""Bayesian optimisation with a Gaussian process."""

from __future__ import annotations

from typing import Any

from autokd.space.samplers import register


@register("gp", learns_from_pruned=False, several_objectives=False, order=4)
def gp(seed: int, jobs: int) -> Any:
    """The objective is noisy: another seed gives another value."""
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, deterministic_objective=False)
