"""Teachers' logits made into soft targets, and mixed where each picture is mixed of two."""

from __future__ import annotations

import torch
from torch import Tensor


def log_softened(logits: Tensor, tau: Tensor | float, cold: Tensor | None) -> Tensor:
    """``log softmax(z/tau)`` [B, C], tau a number or [B]; rows in ``cold`` [B] are not softened."""
    if cold is not None:
        tau = torch.where(cold, logits.new_ones(()), tau)
    if isinstance(tau, Tensor):
        tau = tau.to(logits.dtype)[:, None]
    return (logits / tau).log_softmax(1)


def mixed_logits(parts: list[Tensor], weights: list[Tensor]) -> Tensor:
    """``Σ w·z`` of logits [B, C] with weights [B]; a single part is itself."""
    if len(parts) == 1:
        return parts[0]
    weighted = (w[:, None] * z for z, w in zip(parts, weights, strict=True))
    return sum(weighted)  # type: ignore[return-value]


def mixed_log_probs(parts: list[Tensor], weights: list[Tensor]) -> Tensor:
    """``log Σ w·p`` of log-probabilities [B, C] with weights [B]; a single part is itself."""
    if len(parts) == 1:
        return parts[0]
    weighted = [
        log_p + w.clamp(min=1e-30).log()[:, None] for log_p, w in zip(parts, weights, strict=True)
    ]
    return torch.logsumexp(torch.stack(weighted), 0)
