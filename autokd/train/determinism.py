"""Threads, kernels, precision and memory format: what decides a run's bytes beside its numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autokd.recipe import TrainSettings


def deterministic(train: TrainSettings, device: str) -> None:
    """Threads and kernels as the recipe says; what the environment says is of no account."""
    torch.set_num_threads(train.threads)
    if torch.device(device).type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = not train.deterministic
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(train.deterministic)
    # Without it torch fills all new memory, for no kernel of ours to read: a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many CPU threads inside, as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def precision(name: str, device: str) -> torch.autocast:
    """A context in which forward passes run in ``name``: fp32 or bf16."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=name == "bf16")


def memory_format(resolution: int) -> torch.memory_format:
    """Channels last pays from about 16 px on; it is decided by the recipe's sizes, so that it is
    the same everywhere.
    """
    return torch.channels_last if resolution >= 16 else torch.contiguous_format
