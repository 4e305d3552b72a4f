"""Temperatures against their references."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from autokd.recipe import axes
from tests.methods.reference import Z_T, tensor, words
from tests.methods.words import call, noise


def temperature(kind: str, **settings: Any) -> tuple[Any, dict[str, Any]]:
    notes: dict[str, Any] = {}
    return call(axes.method("temperature", kind), words(note=notes.__setitem__), settings), notes


def test_what_is_clamped_is_noted() -> None:
    how = {"beta": 7.0, "tau_min": 0.5, "tau_max": 11.0}
    tau, notes = temperature("flsw", **how)
    clamped = [v in (0.5, 11.0) for v in tau.tolist()]
    assert notes["tau/clamped"].tolist() == clamped
    assert any(clamped) and not all(clamped)


def test_flsw_is_warmer_for_the_clear() -> None:
    """A picture on which both agree has the highest temperature, one on which they are opposed the
    lowest.
    """
    given = words(student_logits=tensor(np.vstack([Z_T[:3], -Z_T[3:]])))
    tau = call(axes.method("temperature", "flsw"), given)
    assert tau[:3].min() > tau[3:].max()


def test_flsw_survives_rounding() -> None:
    """Equal logits: 1 − cos is 0 up to rounding, of either sign; a fractional power of a negative
    number would be NaN.
    """
    z = noise(500, 7, scale=1e4, dtype=torch.float32)
    given = {"student_logits": z, "teacher_logits": z, "note": lambda *_: None}
    assert torch.isfinite(call(axes.method("temperature", "flsw"), given, {"gamma": 0.3})).all()


def test_temperatures_that_do_not_spread_are_numbers() -> None:
    for kind in ("flsw", "cwsm"):
        assert temperature(kind, beta=0.0, tau=4.3)[0] == 4.3 == temperature("constant", tau=4.3)[0]
        assert temperature(kind, beta=0.0, tau=0.5)[0] == 1.0
        assert temperature(kind, beta=0.0, tau=9.0, tau_max=6.0)[0] == 6.0
