"""Points that cover a space evenly, however few of them are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autokd.space import Space
from autokd.space.tree import Free, OneOf

COUNT = 16


def spread(space: Space, seed: int) -> Iterator[dict[str, Any]]:
    """A scrambled Sobol sequence over the free places, by Optuna's names: ``COUNT`` points, the
    first few of which already lie far apart. Choices and branches take their options in equal
    shares.
    """
    import numpy as np
    from scipy.stats import qmc

    leaves = list(space.leaves())
    for draws in qmc.Sobol(len(leaves), rng=np.random.default_rng(seed)).random(COUNT):
        drawn = {leaf.name: float(u) for leaf, u in zip(leaves, draws, strict=True)}
        yield space.point(lambda node, drawn=drawn: at(node, drawn[node.name])).params  # type: ignore[misc]


def at(node: Free, u: float) -> Any:
    """The value at the share ``u`` in [0, 1) of a leaf's range, on its own scale."""
    if isinstance(node, OneOf) or node.kind == "choice":
        return node.options[int(u * len(node.options))]
    low, high = node.options
    if node.kind == "int_uniform":
        return low + int(u * (high - low + 1))
    if node.kind == "log_uniform":
        return low * (high / low) ** u
    return low + (high - low) * u
