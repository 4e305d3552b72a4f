"""The tree-structured Parzen estimator (Bergstra et al. 2011), multivariate and in groups: each
branch's parameters together (Falkner et al. 2018).
"""

from __future__ import annotations

from typing import Any

from autokd.space.samplers import register


@register(
    "tpe",
    note=(
        "tpe models each branch's parameters together, from about 10 finished trials on; until"
        " then it draws at random"
    ),
    order=0,
)
def tpe(seed: int, jobs: int) -> Any:
    """With several jobs, trials that still run count as bad ones: else all would ask alike."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=jobs > 1)
