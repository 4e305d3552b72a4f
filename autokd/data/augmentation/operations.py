"""The operations by name, and how those of a batch are done: of pictures that get the same one
together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autokd.data.augmentation import geometry, levels, pixels
from autokd.data.uploading import upload


def identity(pictures: Tensor, _: np.ndarray) -> Tensor:
    return pictures


# Of pictures [B, S, S, C] uint8 and strengths [B] the new pictures.
OPERATIONS: dict[str, Callable[[Tensor, np.ndarray], Tensor]] = {
    operation.__name__: operation
    for operation in (
        identity,
        geometry.shear_x,
        geometry.shear_y,
        geometry.translate_x,
        geometry.translate_y,
        geometry.rotate,
        levels.brightness,
        pixels.saturation,
        levels.contrast,
        pixels.sharpness,
        levels.posterize,
        levels.solarize,
        levels.autocontrast,
        levels.equalize,
        pixels.hue,
    )
}
NAMES = tuple(OPERATIONS)


class Step(NamedTuple):
    """One operation for each picture; a step follows the one before it."""

    operations: np.ndarray  # [N] int64, places in NAMES
    strengths: np.ndarray  # [N] float64, as the operation understands them


@torch.inference_mode()
def done(pictures: Tensor, steps: list[Step], rows: np.ndarray) -> Tensor:
    """``[B, S, S, C]`` uint8: ``pictures`` after the steps of pictures ``rows`` [B] of the set."""
    order = np.arange(len(rows))
    for step in steps:
        turn = np.argsort(step.operations[rows[order]], kind="stable")
        order = order[turn]
        pictures = _picked(pictures, turn)
        kinds, strengths = step.operations[rows[order]], step.strengths[rows[order]]
        ends = [*(np.flatnonzero(kinds[1:] != kinds[:-1]) + 1).tolist(), len(rows)]
        parts = [
            OPERATIONS[NAMES[kinds[first]]](pictures[first:end], strengths[first:end])
            for first, end in itertools.pairwise([0, *ends])
        ]
        pictures = parts[0] if len(parts) == 1 else torch.cat(parts)
    return _picked(pictures, np.argsort(order))


def _picked(pictures: Tensor, places: np.ndarray) -> Tensor:
    if (places[:-1] < places[1:]).all():  # as they are
        return pictures
    return pictures.index_select(0, upload(places, pictures.device))
