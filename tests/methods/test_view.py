"""The mixup view against its references."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch

from autokd.recipe import axes
from tests.methods.words import N, call, epoch_words


def mixed(uniform: Any, **settings: Any) -> Any:
    given = epoch_words() | {
        "batch_index": torch.tensor([1, 0, 1, 0]),
        "uniforms": (
            lambda purpose, columns: torch.tensor(
                uniform if purpose == "mixup/weight" else [0.6, 0.1, 0.9, 0.3]
            )[:, None].double()
        ),
    }
    return call(axes.method("view", "mixup"), given, settings)


def test_mixup_draws_beta() -> None:
    """The Beta distribution's inverse where it has a closed form, and its own distribution function
    elsewhere.
    """
    u = [0.0, 0.2, 0.55, 0.95]
    assert mixed(u)[1].tolist() == pytest.approx(u)
    assert mixed(u, alpha=0.5)[1].tolist() == pytest.approx(
        [math.sin(math.pi * v / 2) ** 2 for v in u], rel=1e-6
    )
    for x, v in zip(mixed(u, alpha=2.0)[1].tolist(), u, strict=True):
        assert 3 * x**2 - 2 * x**3 == pytest.approx(v, abs=1e-6)
    for alpha in (1e-6, 1e-3, 0.1, 30.0, 1e5):
        assert torch.isfinite(mixed(u, alpha=alpha)[1]).all()
    many = scipy.special.betaincinv(0.4, 0.4, np.linspace(0.0005, 0.9995, 1000))
    assert many.mean() == pytest.approx(0.5, abs=1e-3)
    assert many.var() == pytest.approx(1 / (4 * 1.8), abs=1e-3)


def test_mixup_partners_and_batches() -> None:
    partner, weight, sees = mixed([0.1, 0.2, 0.3, 0.4])
    assert partner.tolist() == [1, 3, 0, 2] and sees == "mixed"
    partner, weight, sees = mixed([0.1, 0.2, 0.3, 0.4], per="batch", teacher="blend")
    assert weight.tolist() == pytest.approx([0.2, 0.1, 0.2, 0.1]) and sees == "parts"
    assert mixed([0.1, 0.2, 0.3, 0.4], alpha=0.0) is None


def test_a_picture_may_be_its_own_partner() -> None:
    own = [
        int((call(axes.method("view", "mixup"), epoch_words(epoch=e))[0] == torch.arange(N)).sum())
        for e in range(40)
    ]
    assert 0.5 < np.mean(own) < 2  # a permutation has one fixed point on average
