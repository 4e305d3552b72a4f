"""Relational distillation (Park et al., arXiv 1904.05068): the student's embeddings lie to one
another as the teacher's do.

``L = CE + 25·L_D + 50·L_A``: pairs of pictures should be as far apart, triples should span the same
angle (paper), each compared by the Huber loss l_δ with δ = 1 (independent code: RepDistiller). On
the penultimate feature, which the classifier reads; networks may differ in its size. The weights 25
and 50 are those of benchmarks (independent code: RepDistiller, mdistiller). The batch defines the
relations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from autokd.recipe.axes import preset, register
from autokd.recipe.vocabulary import Embedding, Scalar, Tensor

PAPER = "arXiv 1904.05068"


@register(
    "losses",
    "rkd_distance",
    about="distances between pictures as the teacher has them",
    paper=PAPER,
    weight=25.0,
)
def rkd_distance(student_embedding: Embedding, teacher_embedding: Embedding) -> Scalar:
    """``mean_{i,j} l_δ(d_ij / mean d, d'_ij / mean d')``, d Euclidean, its mean over the pairs that
    are apart. Returns a scalar.

    The outer mean is over all B² pairs, of which i = j give 0 (independent code: RepDistiller).
    """
    from torch.nn.functional import smooth_l1_loss

    return smooth_l1_loss(_distances(student_embedding), _distances(teacher_embedding))


@register(
    "losses",
    "rkd_angle",
    about="angles between triples of pictures as the teacher has them",
    paper=PAPER,
    weight=50.0,
)
def rkd_angle(student_embedding: Embedding, teacher_embedding: Embedding) -> Scalar:
    """``mean_{i,j,k} l_δ(cos∠ijk, cos∠'ijk)`` with the corner at i. Returns a scalar.

    The mean is over all B³ triples (independent code: RepDistiller).
    """
    from torch.nn.functional import smooth_l1_loss

    return smooth_l1_loss(_angles(student_embedding), _angles(teacher_embedding))


def _differences(e: Embedding) -> Tensor:
    """``[B, B, D]``, from the corner to the other."""
    return e[None] - e[:, None]


def _distances(e: Embedding) -> Tensor:
    """``[B, B]``, divided by their mean."""
    d = _differences(e).norm(dim=2)
    return d / (d.sum() / (d > 0).sum().clamp(min=1)).clamp(min=1e-12)


def _angles(e: Embedding) -> Tensor:
    """``[B, B, B]``, cosines."""
    import torch

    unit = torch.nn.functional.normalize(_differences(e), dim=2)
    # a product in bf16 would be a loss in bf16
    with torch.autocast(unit.device.type, enabled=False):
        return _products()(unit)


@functools.cache
def _products() -> Callable[[Tensor], Tensor]:
    """``u @ uᵀ`` for ``[B, B, D]``, with the gradient ``(g + gᵀ) @ u``: one product where autograd
    takes two of transposed operands, which was two thirds of the loss's time.
    """
    import torch

    class Products(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, u: Tensor) -> Tensor:
            ctx.save_for_backward(u)
            return u @ u.transpose(1, 2)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            (u,), (g,) = ctx.saved_tensors, gradients
            return (g + g.transpose(1, 2)) @ u

    return Products.apply


preset(
    "rkd",
    {
        "losses": {
            "ce": {"weight": 1.0},
            "rkd_distance": {"weight": 25.0},
            "rkd_angle": {"weight": 50.0},
        }
    },
    paper=PAPER,
    summary="distances and angles between the batch's embeddings as the teacher has them",
    recommended={
        "losses/rkd_distance/weight": {"log_uniform": [2.5, 250], "prior": 25.0},
        "losses/rkd_angle/weight": {"log_uniform": [5, 500], "prior": 50.0},
    },
)
