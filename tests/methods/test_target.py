"""Targets against their references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from autokd.recipe import axes
from autokd.train import distill
from tests.methods.axis_values import wrong
from tests.methods.reference import CLASSES, ROWS, TAUS, Z_T, Y, softmax, tensor, words
from tests.methods.words import call


def target(kind: str, **settings: Any) -> tuple[Any, Any, list[Any]]:
    notes: list[Any] = []
    given = words(note=lambda name, values: notes.append((name, values.tolist())))
    logits, cold = call(axes.method("target", kind), given, settings)
    return logits.numpy(), None if cold is None else cold.tolist(), notes


def test_what_is_adjusted_is_noted() -> None:
    adjusted = wrong(words())
    assert any(adjusted) and not all(adjusted)
    for kind in ("shift", "smooth"):
        assert target(kind)[2] == [("target/adjusted", adjusted)]


def test_shifting_logits_is_shifting_probabilities() -> None:
    logits, _, _ = target("shift")
    for i in np.flatnonzero(wrong(words())):
        for tau in (1.0, 4.0):
            assert softmax(logits[i] / tau)[Y[i]] == pytest.approx(
                max(softmax(Z_T[i] / tau)), rel=1e-12
            )


@pytest.mark.parametrize("eps", [0.1, 0.4])
def test_adjusted_rows_are_not_softened(eps: float) -> None:
    logits, cold, _ = target("smooth", eps=eps)
    assert cold == wrong(words())
    for tau in (2.5, tensor(TAUS["per sample"])):
        p = distill.log_softened(torch.tensor(logits), tau, torch.tensor(cold)).exp().numpy()
        for i, t in enumerate(np.broadcast_to(np.asarray(tau), ROWS)):
            smoothed = [1 - eps if c == Y[i] else eps / (CLASSES - 1) for c in range(CLASSES)]
            assert p[i] == pytest.approx(smoothed if cold[i] else softmax(Z_T[i] / t), rel=1e-12)
