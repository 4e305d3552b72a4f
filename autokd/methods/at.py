"""Attention transfer (Zagoruyko and Komodakis, arXiv 1612.03928): the student looks where the
teacher looks.

``L = CE + beta·Σ_g mean (A(F_g) − A(E_g))²``, ``A(F) = v/‖v‖₂`` with ``v = flatten(mean_c F²)``,
for each picture: the activation-based form with p = 2, the mean over pictures and positions, the
sum over stages (authors' code). ``beta = 1000`` is the loss's weight (independent code: mdistiller;
the default of the authors' code is 0). The authors' code adds plain KD where it is asked for: the
preset ``at``, with plain KD's weights (choice). ``at-alone`` is what benchmark tables call AT.

Maps are what a network gives as its stages. A wide ResNet's end with the BatchNorm and ReLU that
follow its blocks (choice: all our families but MobileNetV2's give activations). The authors' code,
and RepDistiller, read the raw sums before them, so figures for pairs of them are not quite ours.
"""

from __future__ import annotations

from autokd.recipe.axes import preset, register
from autokd.recipe.vocabulary import Maps, Scalar, Stages, Tensor

PAPER = "arXiv 1612.03928"
STAGES = 3  # at most so many, counted from the last


@register(
    "losses",
    "attention",
    about="the student looks where the teacher looks",
    paper=PAPER,
    weight=1000.0,
)
def attention(student_stages: Stages, teacher_stages: Stages) -> Scalar:
    """The student's maps F against the full teacher's E, over the last three stages of each.
    Returns a scalar.

    Stages are paired from the last one back; where a network has fewer than three, so many
    (choice). Maps of different sizes are both averaged over windows down to the smaller size
    (independent code: RepDistiller).
    """
    return _distance(student_stages, teacher_stages)


@register(
    "losses",
    "scratch_attention",
    about="the teacher trained beside the student looks where the teacher looks",
    paper="arXiv 1907.09643",
    weight=1000.0,
)
def scratch_attention(scratch_stages: Stages, teacher_stages: Stages) -> Scalar:
    """The same between the scratch teacher's maps and the full teacher's: the gradient goes to the
    scratch teacher.
    """
    return _distance(scratch_stages, teacher_stages)


def _distance(ours: Stages, theirs: Stages) -> Scalar:
    pairs = min(STAGES, len(ours), len(theirs))
    squared = []
    for f, e in zip(ours[-pairs:], theirs[-pairs:], strict=True):
        f, e = same_size(f, e)
        squared.append((_attention_map(f) - _attention_map(e)).square().mean())
    return sum(squared)  # type: ignore[return-value]


def _attention_map(maps: Maps) -> Tensor:
    """``[B, c, h, w]`` → ``[B, h·w]`` of length 1."""
    from torch.nn.functional import normalize

    return normalize(maps.square().mean(1).flatten(1), dim=1)


def same_size(one: Maps, other: Maps) -> tuple[Maps, Maps]:
    """Both at the smaller height and width."""
    for dim in (2, 3):
        size = min(one.shape[dim], other.shape[dim])
        one, other = _pool(one, dim, size), _pool(other, dim, size)
    return one, other


def _pool(maps: Maps, dim: int, size: int) -> Maps:
    """Adaptive average pooling of one dimension: entry i is the mean from ``floor(i·n/size)`` to
    ``ceil((i+1)·n/size)``.

    Torch's own has no deterministic gradient on CUDA.
    """
    import torch

    n = maps.shape[dim]
    if n % size == 0:
        return maps if n == size else maps.unflatten(dim, (size, n // size)).mean(dim + 1)
    windows = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
    return torch.stack(
        [maps.narrow(dim, start, stop - start).mean(dim) for start, stop in windows], dim
    )


_BETA = {"losses/attention/weight": {"log_uniform": [100, 10000], "prior": 1000.0}}
preset(
    "at",
    {
        "temperature": {"kind": "constant", "tau": 4.0},
        "losses": {"ce": {"weight": 0.1}, "kl": {"weight": 0.9}, "attention": {"weight": 1000.0}},
    },
    paper=PAPER,
    summary="plain KD, and the student looks where the teacher looks",
    recommended=_BETA
    | {
        "temperature/tau": {"log_uniform": [1, 16], "prior": 4.0},
        "losses/kl/weight": {"uniform": [0.1, 1.0], "prior": 0.9},
    },
)
preset(
    "at-alone",
    {"losses": {"ce": {"weight": 1.0}, "attention": {"weight": 1000.0}}},
    paper=PAPER,
    summary="attention maps and labels only, without soft targets",
    recommended=_BETA,
)
