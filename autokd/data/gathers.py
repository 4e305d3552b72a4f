"""Crops of a whole batch on a GPU: gathers and weighted sums in place of a loop over pictures."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from autokd.data.uploading import upload

PIECE = 64  # pictures of one pass


def crop_all(
    flat: Tensor,
    starts: np.ndarray,
    sizes: np.ndarray,
    boxes: np.ndarray,
    flips: np.ndarray,
    channels: int,
    size: int,
    planar: bool,
) -> Tensor:
    """``[B, C, size, size]`` uint8: what ``Pictures.crop`` does, in gathers over a batch instead of
    picture by picture.

    Antialiased bilinear resizing in two passes, columns then rows. A picture's bytes do not depend
    on the batch: taps are summed one by one, and those that only another picture needs have weight
    0.
    """
    out = []
    for i in range(0, len(starts), PIECE):
        piece = slice(i, i + PIECE)
        acc = _resized(flat, starts[piece], sizes[piece], boxes[piece], channels, size, planar)
        mirrored = upload(flips[piece], flat.device)[:, None, None, None]
        rounded = torch.where(mirrored, acc.flip(3), acc).add_(0.5).floor_().clamp_(0, 255)
        out.append(rounded.to(torch.uint8))
    return torch.cat(out)


def _resized(
    flat: Tensor,
    starts: np.ndarray,
    sizes: np.ndarray,
    boxes: np.ndarray,
    channels: int,
    size: int,
    planar: bool,
) -> Tensor:
    """``[b, C, size, size]`` float32, 0 to 255: of one pass, before rounding."""
    begin, pixels, box = (upload(a, flat.device) for a in (starts, sizes, boxes))
    h, w = pixels.unbind(1)
    if planar:  # how far apart in ``flat`` neighbours lie: below, to the right, of the next channel
        steps = (w, torch.ones_like(w), h * w)
    else:
        steps = (w * channels, torch.full_like(w, channels), torch.ones_like(w))
    down, right, deeper = (step[:, None, None, None] for step in steps)
    channel = torch.arange(channels, device=flat.device)[:, None, None]
    base = begin[:, None, None, None] + channel * deeper
    tallest = int(boxes[:, 2].max())
    taps = 2 * math.ceil(max(boxes[:, 2:].max() / size, 1.0)) + 1
    y = box[:, :1] + torch.arange(tallest, device=flat.device)
    inside = ((y >= 0) & (y < h[:, None]))[:, None, :, None]
    rows = base + y.clamp(min=0).minimum(h[:, None] - 1)[:, None, :, None] * down
    acc = None
    for x, weight in _taps(box[:, 3], size, taps):
        x = x + box[:, 1:2]
        weight = weight * ((x >= 0) & (x < w[:, None]))
        place = rows + x.clamp(min=0).minimum(w[:, None] - 1)[:, None, None, :] * right
        part = flat[place] * weight[:, None, None, :]
        acc = part if acc is None else acc + part
    assert acc is not None
    columns = acc * inside  # [b, C, tallest, size]
    acc = None
    for y, weight in _taps(box[:, 2], size, taps):
        place = y[:, None, :, None].expand(-1, channels, -1, size)
        part = columns.gather(2, place) * weight[:, None, :, None]
        acc = part if acc is None else acc + part
    assert acc is not None
    return acc


def _taps(length: Tensor, size: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Of each output pixel the input pixels ([B, size] int64, in the box) and weights ([B, size]
    float32) of an antialiased triangle.
    """
    scale = length[:, None].double() / size
    support = scale.clamp(min=1.0)
    centre = (torch.arange(size, device=length.device) + 0.5) * scale
    first = (centre - support + 0.5).long().clamp(min=0)
    last = (centre + support + 0.5).long().minimum(length[:, None]) - 1
    made = []
    for k in range(count):
        at = first + k
        weight = (1 - ((at + 0.5 - centre) / support).abs()).clamp(min=0) * (at <= last)
        made.append((at.minimum(last), weight))
    total = made[0][1]
    for _, weight in made[1:]:
        total = total + weight
    return [(at, (weight / total).float()) for at, weight in made]
