"""What a set of logits is worth: accuracy, likelihood, calibration, entropy. And the averages of
an epoch's figures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def evaluate(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Metrics of ``logits`` [N, C] against ``labels`` [N], at temperature 1.

    ``accuracy`` in [0, 1]; ``nll`` in nats; ``ece``, see :func:`ece`; ``entropy``: the mean entropy
    of the softmax, in nats.
    """
    logits = logits.double()
    log_p = logits.log_softmax(1)
    return {
        "accuracy": (logits.argmax(1) == labels).double().mean().item(),
        "nll": F.nll_loss(log_p, labels).item(),
        "ece": ece(log_p.exp(), labels),
        "entropy": -(log_p.exp() * log_p).sum(1).mean().item(),
    }


def relabelled(logits: Tensor, labels: Tensor) -> float:
    """The accuracy of ``logits`` [N, C] against ``labels`` [N] if each output stood for the class
    that makes the sum largest, one to one (Kuhn 1955).
    """
    from scipy.optimize import linear_sum_assignment

    classes = logits.shape[1]
    pairs = (logits.argmax(1) * classes + labels).cpu()
    counts = pairs.bincount(minlength=classes**2).reshape(classes, classes).numpy()
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))


def outcomes(logits: Tensor, labels: Tensor, teacher: Tensor | None = None) -> dict[str, Tensor]:
    """Picture by picture ``[N]``, at temperature 1: the true class (``label``) and the
    ``predicted`` one, whether they are equal (``correct``), the ``nll`` and ``entropy`` in nats,
    and the ``confidence``, the largest probability. With the teacher's logits also its
    prediction, ``teacher``, and its confidence, ``teacher_confidence``.
    """
    log_p = logits.double().log_softmax(1)
    confidence, guess = log_p.exp().max(1)
    found = {}
    if teacher is not None:
        sure, said = teacher.double().softmax(1).max(1)
        found = {"teacher": said, "teacher_confidence": sure}
    return found | {
        "label": labels,
        "predicted": guess,
        "correct": guess == labels,
        "nll": -log_p.gather(1, labels[:, None])[:, 0],
        "confidence": confidence,
        "entropy": -(log_p.exp() * log_p).sum(1),
    }


def ece(probs: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599): ``Σ_b n_b/N · |acc_b −
    conf_b|``.

    ``bins`` equal-width bins ``(lo, hi]`` of the largest probability; ``probs`` [N, C], ``labels``
    [N].
    """
    confidence, right, _ = reliability_bins(probs, labels, bins)
    return ((right - confidence).abs().sum() / len(labels)).item()


def reliability(logits: Tensor, labels: Tensor, bins: int = 15) -> dict[str, list[float]]:
    """What a reliability diagram draws: each bin's mean ``confidence`` and ``accuracy`` (0 where it
    is empty) and its ``count``.
    """
    confidence, right, count = reliability_bins(logits.double().softmax(1), labels, bins)
    some = count.clamp(min=1)
    columns = {"confidence": confidence / some, "accuracy": right / some, "count": count}
    return {name: [round(v, 4) for v in column.tolist()] for name, column in columns.items()}


def reliability_bins(probs: Tensor, labels: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over equal-width bins ``(lo, hi]`` of the largest probability: of it, of right answers,
    and of pictures; ``[bins]`` each.
    """
    confidence, guess = probs.max(1)
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    columns = (confidence, (guess == labels).to(probs.dtype), torch.ones_like(confidence))
    zeros = torch.zeros(bins, dtype=probs.dtype, device=probs.device)
    sums = (zeros.index_add(0, index, column) for column in columns)
    return tuple(sums)  # type: ignore[return-value]


def agreement(logits: Tensor, other: Tensor) -> float:
    """The fraction of pictures on which two networks name the same class."""
    return (logits.argmax(1) == other.argmax(1)).double().mean().item()


class Averages:
    """An epoch's figures, gathered on the device: means, and extremes for names that end in
    ``/min`` or ``/max``.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def __call__(self, name: str, values: Any) -> None:
        """Add ``values``, a tensor of any shape or a number."""
        values = torch.as_tensor(values).detach().float()
        if name.endswith("/min"):
            lowest = values.min()
            self.sums[name] = torch.minimum(self.sums.get(name, lowest), lowest)
            self.counts[name] = 1
        elif name.endswith("/max"):
            highest = values.max()
            self.sums[name] = torch.maximum(self.sums.get(name, highest), highest)
            self.counts[name] = 1
        else:
            self.sums[name] = self.sums.get(name, 0.0) + values.sum()
            self.counts[name] = self.counts.get(name, 0) + values.numel()

    def means(self) -> dict[str, float]:
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}
