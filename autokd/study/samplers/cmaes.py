"""CMA-ES (Hansen & Ostermeier 2001)."""

from __future__ import annotations

from typing import Any

from autokd.space.samplers import register


@register(
    "cmaes",
    no_choices="it draws such parameters at random",
    learns_from_pruned=False,
    order=3,
)
def cmaes(seed: int, jobs: int) -> Any:
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(seed=seed, warn_independent_sampling=False)
