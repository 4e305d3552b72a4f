"""FitNets (Romero et al., arXiv 1412.6550): the student's middle stage predicts the teacher's.

``L = CE + 100·mean (r(F) − E)²``, r a regressor trained along with the student (paper). Changed, as
later benchmarks do (independent code: mdistiller and its ``ConvReg``): one training with both terms
instead of a hint stage before it, weight 100 beside a CE of 1, and r is a convolution, BatchNorm
and ReLU. Ours is a 1×1 convolution at every size, and maps of different sizes are averaged to the
smaller one (choice).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autokd.methods.at import same_size
from autokd.recipe.axes import preset, register
from autokd.recipe.vocabulary import Maps, Module, Scalar, Stages

PAPER = "arXiv 1412.6550"


def _middle(stages: Stages) -> Maps:
    return stages[(len(stages) - 1) // 2]


def widths(
    student: Any, teacher: Any, shape: tuple[int, int, int], width: Callable[[Any], int]
) -> list[int]:
    """The ``width`` of what either network makes of a picture, found by a dry run. ``shape``:
    channels of the pictures, and the pixels a side that student and teacher see.
    """
    import torch

    channels, low, high = shape
    out = []
    for network, size in ((student, low), (teacher, high)):
        training, like = network.training, next(network.parameters())
        network.eval()
        with torch.no_grad():
            pictures = torch.zeros(1, channels, size, size, device=like.device, dtype=like.dtype)
            out.append(width(network.features(pictures)))
        network.train(training)
    return out


def regressor(student: Any, teacher: Any, shape: tuple[int, int, int]) -> Module:
    """1×1 convolution, BatchNorm and ReLU, from the channels of the student's middle stage to those
    of the teacher's. Without the two, a small student's labels drown in this loss's gradient.
    ``shape``: see :func:`widths`.
    """
    import torch

    ours, theirs = widths(student, teacher, shape, lambda out: _middle(out.stages).shape[1])
    return torch.nn.Sequential(
        torch.nn.Conv2d(ours, theirs, kernel_size=1),
        torch.nn.BatchNorm2d(theirs),
        torch.nn.ReLU(),
    )


@register(
    "losses",
    "fitnets",
    about="the student's middle features predict the teacher's",
    paper=PAPER,
    weight=100.0,
    build_modules=regressor,
)
def fitnets(student_stages: Stages, teacher_stages: Stages, modules: Module) -> Scalar:
    """``mean (r(F) − E)²`` over all elements, F and E the middle stages (the lower of two), at the
    smaller size. Returns a scalar.
    """
    theirs = _middle(teacher_stages)
    ours, theirs = same_size(modules(_middle(student_stages)).to(theirs.dtype), theirs)
    return (ours - theirs).square().mean()


preset(
    "fitnets",
    {"losses": {"ce": {"weight": 1.0}, "fitnets": {"weight": 100.0}}},
    paper=PAPER,
    summary="the student's middle stage predicts the teacher's",
    recommended={"losses/fitnets/weight": {"log_uniform": [1, 1000], "prior": 100.0}},
)
