"""NSGA-II, an evolutionary search for a Pareto front (Deb et al. 2002)."""

from __future__ import annotations

from typing import Any

from autokd.space.samplers import register


@register("nsga2", learns_from_pruned=False, order=5)
def nsga2(seed: int, jobs: int) -> Any:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed)
