"""The optimizer and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from autokd.recipe import TrainSettings


def optimizer(train: TrainSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """All parameters in one pass over memory (``fused``)."""
    if train.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=train.lr,
            momentum=train.momentum,
            weight_decay=train.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(parameters, lr=train.lr, weight_decay=train.weight_decay, fused=True)


def learning_rate(train: TrainSettings, progress: float) -> float:
    """The rate at ``progress`` in [0, 1): a linear rise over ``warmup``, then the schedule over
    what is left.
    """
    if progress < train.warmup:
        return train.lr * progress / train.warmup
    if train.schedule == "cosine":
        angle = math.pi * (progress - train.warmup) / (1 - train.warmup)
        return train.lr * 0.5 * (1 + math.cos(angle))
    if train.schedule == "step":
        return train.lr * train.decay ** sum(progress * train.epochs >= m for m in train.milestones)
    return train.lr
