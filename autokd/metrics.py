"""What a set of logits is worth: accuracy, likelihood, calibration, entropy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def evaluate(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Metrics of ``logits`` [N, C] against ``labels`` [N], at temperature 1.

    ``accuracy`` in [0, 1]; ``nll`` in nats; ``ece``, see :func:`ece`; ``entropy``: the mean entropy of the softmax, in nats.
    """
    logits = logits.double()
    log_p = logits.log_softmax(1)
    return {
        "accuracy": (logits.argmax(1) == labels).double().mean().item(),
        "nll": F.nll_loss(log_p, labels).item(),
        "ece": ece(log_p.exp(), labels),
        "entropy": -(log_p.exp() * log_p).sum(1).mean().item(),
    }


def ece(probs: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599): ``Σ_b n_b/N · |acc_b − conf_b|``.

    ``bins`` equal-width bins ``(lo, hi]`` of the largest probability; ``probs`` [N, C], ``labels`` [N].
    """
    confidence, right, _ = _binned(probs, labels, bins)
    return ((right - confidence).abs().sum() / len(labels)).item()


def reliability(logits: Tensor, labels: Tensor, bins: int = 15) -> dict[str, list[float]]:
    """What a reliability diagram draws: each bin's mean ``confidence`` and ``accuracy`` (0 where it is empty) and its ``count``."""
    confidence, right, count = _binned(logits.double().softmax(1), labels, bins)
    some = count.clamp(min=1)
    columns = {"confidence": confidence / some, "accuracy": right / some, "count": count}
    return {name: [round(v, 4) for v in column.tolist()] for name, column in columns.items()}


def _binned(probs: Tensor, labels: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over equal-width bins ``(lo, hi]`` of the largest probability: of it, of right answers, and of pictures; ``[bins]`` each."""
    confidence, guess = probs.max(1)
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    columns = (confidence, (guess == labels).to(probs.dtype), torch.ones_like(confidence))
    return tuple(torch.zeros(bins, dtype=probs.dtype, device=probs.device).index_add_(0, index, c) for c in columns)  # type: ignore[return-value]


def agreement(logits: Tensor, other: Tensor) -> float:
    """The fraction of pictures on which two networks name the same class."""
    return (logits.argmax(1) == other.argmax(1)).double().mean().item()
