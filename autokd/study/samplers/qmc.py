"""Quasi-Monte Carlo: a scrambled Sobol sequence (Bergstra & Bengio 2012)."""

from __future__ import annotations

from typing import Any

from autokd.space.samplers import register


@register("qmc", no_choices="it uses the first trial's branch for all", order=2)
def qmc(seed: int, jobs: int) -> Any:
    from optuna.samplers import QMCSampler

    return QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
