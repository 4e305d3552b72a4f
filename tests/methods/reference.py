"""Values that were derived independently: for every method a function that works out, without our
code and without torch, what the method must give.

The functions stand in ``loss_values`` and ``axis_values``; ``conformance`` compares, under a
method's defaults and all variants of its case, and fails for a method that has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from autokd.recipe import axes
from autokd.recipe.axes import Axis, Method
from autokd.train import distill
from tests.methods.words import call, epoch_words, step_words

Values = Callable[..., Any]
REFERENCES: dict[tuple[Axis, str], Values] = {}


def reference(axis: Axis, kind: str) -> Callable[[Values], Values]:
    """Registers ``values(words, **hyperparameters)``: what the method must give for these words.

    The words are tensors; numbers, lists and arrays come back. All hyperparameters are handed over.
    """

    def register(values: Values) -> Values:
        REFERENCES[axis, kind] = values
        return values

    return register


ROWS, CLASSES = 6, 5
Z_S = np.array(
    [[2.0 * math.sin(1.3 * i + 0.7 * c * c) for c in range(CLASSES)] for i in range(ROWS)]
)
Z_T = np.array(
    [[3.0 * math.cos(0.9 * i - 1.1 * c) + 0.5 * c for c in range(CLASSES)] for i in range(ROWS)]
)
Z_R = np.array([[1.5 * math.sin(0.4 * i * c + 0.2) for c in range(CLASSES)] for i in range(ROWS)])
Y = np.array([3, 0, 4, 1, -1, 2])
PARTNER = np.array([1, 4, -1, 2, 0, 3])
LAM = np.array([1.0, 0.75, 0.3, 0.5, 0.9, 0.2])
TAUS = {"scalar": 2.5, "per sample": np.array([1.0, 2.0, 3.5, 5.0, 1.5, 8.0])}
EACH_TAU = pytest.mark.parametrize("tau", TAUS.values(), ids=TAUS.keys())


def tensor(array: Any) -> Any:
    return torch.tensor(array) if isinstance(array, np.ndarray) else array


def softmax(row: Any) -> list[float]:
    top = max(row)
    weights = [math.exp(v - top) for v in row]
    return [w / sum(weights) for w in weights]


def divergence(p: Any, q: Any) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def words(tau: Any = 2.5, **more: Any) -> dict[str, Any]:
    z_t = tensor(Z_T)
    return (
        step_words()
        | {
            "student_logits": tensor(Z_S),
            "teacher_logits": z_t,
            "scratch_logits": tensor(Z_R),
            "labels": tensor(Y),
            "partner_labels": tensor(PARTNER),
            "mix_weight": tensor(LAM),
            "tau": tensor(tau),
            "log_probs": distill.log_softened(z_t, tensor(tau), None),
        }
        | more
    )


def loss(kind: str, given: dict[str, Any], **settings: Any) -> float:
    with torch.no_grad():
        return float(call(axes.method("losses", kind), given, settings))


def given_to(axis: Axis) -> list[dict[str, Any]]:
    """The words on which methods of an axis are compared with their references."""
    if axis == "losses":
        return [words(tau) for tau in TAUS.values()]
    if axis == "teaching":
        return [epoch_words(members, epoch) for members in (1, 3) for epoch in (0, 1, 2, 7)]
    return [epoch_words() if axis == "view" else words()]


def compare(m: Method, settings: Mapping[str, Any]) -> None:
    """The method gives what its reference gives, to 1e-10 (float32: 1e-6)."""
    values = REFERENCES[m.axis, m.kind]
    for given in given_to(m.axis):
        with torch.no_grad():
            found = call(m, given, settings)
        own = {k: v for k, v in (m.defaults | dict(settings)).items() if k != "weight"}
        same(found, values(given, **own), f"{m.axis}/{m.kind} {dict(settings)}")


def same(found: Any, expected: Any, about: str) -> None:
    if isinstance(found, tuple):
        for one, other in zip(found, expected, strict=True):
            same(one, other, about)
    elif found is None or isinstance(found, str):
        assert found == expected, about
    else:
        rtol = 1e-6 if getattr(found, "dtype", None) == torch.float32 else 1e-10
        got, want = np.asarray(found), np.asarray(expected)
        assert got.shape in (want.shape, ()), about  # one number stands for all
        np.testing.assert_allclose(
            np.broadcast_to(got, want.shape), want, rtol=rtol, atol=1e-12, err_msg=about
        )
