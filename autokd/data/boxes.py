"""The boxes of an epoch's crops, drawn for all pictures at once: ``[N, 4]`` int64, top, left,
height, width in stored pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

TRIES = 10  # of a random box before the central one is taken, as in torchvision

Draw = Callable[[str, int], np.ndarray]  # purpose, columns -> [N, columns] in [0, 1)


def padded_crops(sizes: np.ndarray, padding: int, draw: Draw) -> np.ndarray:
    """Squares of the short side, anywhere within the padded picture. ``sizes``: ``[N, 2]``, or
    ``[1, 2]`` where all are equal.
    """
    short = sizes.min(1, keepdims=True)
    room = sizes - short + 2 * padding
    places = np.floor(draw("crop", 2) * (room + 1)).astype(np.int64).clip(max=room)
    corners = places - padding
    return np.concatenate([corners, np.broadcast_to(short, (len(corners), 1)).repeat(2, 1)], 1)


def resized_crops(
    sizes: np.ndarray, scale: Sequence[float], ratio: Sequence[float], draw: Draw
) -> np.ndarray:
    """Boxes of torchvision's RandomResizedCrop: a share of the area and an aspect (width / height),
    drawn until they fit.
    """
    whole = sizes.astype(np.float64)
    area = whole.prod(1)
    chosen = np.zeros(sizes.shape, np.int64)
    low, high = np.log(ratio)
    for k in range(TRIES):
        draws = draw(f"resized crop/{k}", 2)
        share = area * (scale[0] + draws[:, 0] * (scale[1] - scale[0]))
        aspect = np.exp(low + draws[:, 1] * (high - low))
        sides = np.stack([np.sqrt(share / aspect), np.sqrt(share * aspect)], 1)
        tried = np.round(sides).astype(np.int64)
        fits = (chosen[:, 0] == 0) & (tried > 0).all(1) & (tried <= sizes).all(1)
        chosen[fits] = tried[fits]
        if (chosen[:, 0] > 0).all():
            break
    places = np.floor(draw("resized crop", 2) * (sizes - chosen + 1)).astype(np.int64)
    corners = places.clip(0, sizes - chosen)
    left_over = chosen[:, 0] == 0
    chosen[left_over] = _central(sizes[left_over], ratio)
    corners[left_over] = (sizes[left_over] - chosen[left_over]) // 2
    return np.concatenate([corners, chosen], 1)


def _central(sizes: np.ndarray, ratio: Sequence[float]) -> np.ndarray:
    """``[n, 2]``: height and width of the largest box whose aspect is allowed."""
    height, width = sizes.T
    aspect = width / height
    height = np.where(aspect < ratio[0], np.round(width / ratio[0]).astype(np.int64), height)
    width = np.where(aspect > ratio[1], np.round(height * ratio[1]).astype(np.int64), width)
    return np.stack([height.clip(1), width.clip(1)], 1)
