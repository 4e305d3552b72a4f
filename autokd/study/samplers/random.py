"""Independent draws."""

from __future__ import annotations

from typing import Any

from autokd.space.samplers import register


@register("random", order=1)
def random(seed: int, jobs: int) -> Any:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)
