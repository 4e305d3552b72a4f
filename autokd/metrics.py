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
    confidence, guess = probs.max(1)
    right = (guess == labels).to(probs.dtype)
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=probs.dtype, device=probs.device).index_add_(0, index, right - confidence)
    return (gap.abs().sum() / len(labels)).item()


def agreement(logits: Tensor, other: Tensor) -> float:
    """The fraction of pictures on which two networks name the same class."""
    return (logits.argmax(1) == other.argmax(1)).double().mean().item()
