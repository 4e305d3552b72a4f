"""Operations that move pixels: shears, translations, rotation. Each pixel comes from the nearest to
its source, and is black where that is outside.

All take ``[B, S, S, C]`` uint8 and ``[B]`` strengths. Coordinates are in whole 1/65536 pixels, so
that all devices agree. torchvision's are float32: where a source lies halfway between two pixels,
to about 1e-4, it may take the other one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autokd.data.uploading import upload

FINE = 16  # bits of a coordinate behind the point


def shear_x(pictures: Tensor, slopes: np.ndarray) -> Tensor:
    """Rows moved left by ``slope`` times their distance from the top."""
    return _slid(pictures, _sheared(slopes, pictures.shape[1]), columns=False)


def shear_y(pictures: Tensor, slopes: np.ndarray) -> Tensor:
    """Columns moved up by ``slope`` times their distance from the left."""
    return _slid(pictures, _sheared(slopes, pictures.shape[1]), columns=True)


def translate_x(pictures: Tensor, shares: np.ndarray) -> Tensor:
    """Moved right by a share of the side, in whole pixels."""
    return _slid(pictures, _translated(shares, pictures.shape[1]), columns=False)


def translate_y(pictures: Tensor, shares: np.ndarray) -> Tensor:
    """Moved down by a share of the side, in whole pixels."""
    return _slid(pictures, _translated(shares, pictures.shape[1]), columns=True)


def rotate(pictures: Tensor, degrees: np.ndarray) -> Tensor:
    """Turned counter-clockwise about the middle."""
    side = pictures.shape[1]
    angles = np.radians(degrees)[:, None]
    middle = (side - 1) / 2
    from_middle = np.arange(side) - middle
    cos, sin = np.cos(angles) * from_middle, np.sin(angles) * from_middle
    nearest = middle + 0.5  # of what is cut off below the point
    across, down = _fixed(cos), _fixed(-sin + nearest)  # of x: by column, by row
    right, along = _fixed(sin), _fixed(cos + nearest)  # of y
    on = pictures.device
    x = upload(across, on)[:, None, :] + upload(down, on)[:, :, None]
    y = upload(right, on)[:, None, :] + upload(along, on)[:, :, None]
    return _from(pictures, x.bitwise_right_shift_(FINE), y.bitwise_right_shift_(FINE))


def _sheared(slopes: np.ndarray, side: int) -> np.ndarray:
    """``[B, S]`` int32: how far from a line its source lies, for each line."""
    return _fixed(slopes[:, None] * (np.arange(side) + 0.5) + 0.5) >> FINE


def _translated(shares: np.ndarray, side: int) -> np.ndarray:
    """The same. Towards 0, as ``int`` does; what is whole but for rounding stays whole."""
    pixels = np.sign(shares) * np.floor(np.abs(shares) * side + 1e-9)
    return np.broadcast_to(-pixels[:, None].astype(np.int32), (len(shares), side))


def _fixed(coordinates: np.ndarray) -> np.ndarray:
    return np.rint(coordinates * (1 << FINE)).astype(np.int32)


def _slid(pictures: Tensor, shifts: np.ndarray, *, columns: bool) -> Tensor:
    """Each row, or column, from ``shift`` [B, S] int32 pixels further along itself."""
    form = copied if pictures.device.type == "cpu" else gathered
    return form(pictures, shifts, columns=columns)


def gathered(pictures: Tensor, shifts: np.ndarray, *, columns: bool) -> Tensor:
    """:func:`_slid` as one gather."""
    b, side = shifts.shape
    line = torch.arange(side, device=pictures.device, dtype=torch.int32)
    across = line.view(1, 1, side) + upload(shifts, pictures.device)[:, :, None]
    along = line.view(1, side, 1).expand(b, side, side)
    if columns:
        return _from(pictures, along.transpose(1, 2), across.transpose(1, 2))
    return _from(pictures, across, along)


def copied(pictures: Tensor, shifts: np.ndarray, *, columns: bool) -> Tensor:
    """:func:`_slid` in slices of lines that move alike: on a CPU in a quarter of the time."""
    out = torch.zeros_like(pictures)
    given, made = pictures.numpy(), out.numpy()
    if columns:
        given, made = given.swapaxes(1, 2), made.swapaxes(1, 2)
    side = shifts.shape[1]
    begins = np.ones(shifts.shape, bool)
    begins[:, 1:] = shifts[:, 1:] != shifts[:, :-1]
    first = np.flatnonzero(begins)
    picture, shift = first // side, shifts.reshape(-1)[first]
    last = np.append(first[1:], shifts.size)
    start, stop = np.maximum(0, -shift), side - np.maximum(0, shift)
    runs = (picture, first - picture * side, last - picture * side, start, stop, shift)
    for b, top, bottom, left, right, by in zip(*(a.tolist() for a in runs), strict=True):
        if left < right:
            made[b, top:bottom, left:right] = given[b, top:bottom, left + by : right + by]
    return out


def _from(pictures: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Each pixel from column ``x`` and row ``y``, [B, S, S] int32."""
    b, s, _, c = pictures.shape
    wide = s + 2  # with a black frame, from which comes what is beyond
    first = torch.arange(b, device=pictures.device, dtype=torch.int32) * wide**2 + wide + 1
    places = y.clamp(-1, s).mul_(wide).add_(x.clamp(-1, s)).add_(first[:, None, None])
    framed = F.pad(pictures, (0, 0, 1, 1, 1, 1)).view(b * wide**2, c)
    return framed.index_select(0, places.reshape(-1)).view(b, s, s, c)
