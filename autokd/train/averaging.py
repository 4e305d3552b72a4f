"""The exponential moving average of a network's weights."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(Generic[Network]):
    """``average ← decay · average + (1 − decay) · weights`` after each step, from the weights after
    the first step on: the values of torch's ``AveragedModel(use_buffers=True)``, without its
    question to the device at each step. BatchNorm's statistics are averaged too; its count of
    batches is not, as nothing reads it.

    ``network``: the averaged one, in evaluation mode.
    """

    def __init__(self, source: Network, decay: float):
        self.network: Network = copy.deepcopy(source).eval().requires_grad_(False)
        self.started = False
        self._theirs = _averaged(source)
        self._ours = _averaged(self.network)
        self._blend = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self) -> None:
        """The source has taken a step."""
        if self.started:
            self._blend(self._ours, self._theirs, None)
        else:
            torch._foreach_copy_(self._ours, self._theirs)
            self.started = True

    def state_dict(self) -> dict[str, Tensor]:
        return self.network.state_dict() if self.started else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state:
            self.network.load_state_dict(state)
            self.started = True


class Averaging(NamedTuple):
    """An average of a student's weights that is measured beside the student."""

    epochs: float  # over about how many the weights are averaged
    after: Collection[int]  # the epochs after which it is measured


def decay_over(steps: float) -> float:
    """The decay a step with which an average reaches about so many steps back."""
    return max(1 - 1 / steps, 0.0) if steps > 0 else 0.0


def _averaged(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers of floating point."""
    tensors = [p.data for p in network.parameters()]
    return tensors + [b for b in network.buffers() if b.is_floating_point()]
