"""Operations that send each of a picture's 256 levels to another one.

Values are those of ``torchvision.transforms.functional`` on uint8 tensors, which differ from
Pillow's by a level here and there. A picture's bytes do not depend on its batch: sums are of whole
numbers, and products and sums of float32 are rounded one by one, never fused. All operations take
``[B, S, S, C]`` uint8 and ``[B]`` strengths.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from autokd.data.uploading import upload

SHARES = (0.2989, 0.587, 0.114)  # of red, green and blue in a grey level


def brightness(pictures: Tensor, factors: np.ndarray) -> Tensor:
    """Levels times the factor."""
    scaled = _rows(pictures).float().mul_(_column(factors, pictures, torch.float32))
    return to_levels(scaled).view_as(pictures)


def contrast(pictures: Tensor, factors: np.ndarray) -> Tensor:
    """Away from the picture's mean grey level, by the factor."""
    b, s, _, c = pictures.shape
    grey = grey_levels(planes(pictures)) if c == 3 else pictures.view(b, s, s * c).float()
    total = grey.sum(2).double().sum(1)  # exact: whole numbers, in a row below 2^24
    mean = (total / grey[0].numel()).float()
    factor, rest = factor_and_rest(factors, pictures.device)
    moved = _rows(pictures).float().mul_(factor[:, None]).add_((rest * mean)[:, None])
    return to_levels(moved).view_as(pictures)


def solarize(pictures: Tensor, thresholds: np.ndarray) -> Tensor:
    """Levels from the threshold on are inverted."""
    rows = _rows(pictures)
    inverted = rows >= _column(np.ceil(thresholds), pictures, torch.int16)
    return (rows ^ inverted.to(torch.uint8).neg_()).view_as(pictures)


def posterize(pictures: Tensor, bits: np.ndarray) -> Tensor:
    """Only the highest bits of a level stay."""
    kept = 256 - (1 << (8 - bits.astype(np.int64)))
    return (_rows(pictures) & _column(kept, pictures, torch.uint8)).view_as(pictures)


def autocontrast(pictures: Tensor, _strengths: np.ndarray) -> Tensor:
    """Each channel's levels spread from 0 to 255."""
    b, s, _, c = pictures.shape
    rows = pictures.view(b, s, s * c)
    low = rows.amin(1).view(b, s, c).amin(1).float()
    high = rows.amax(1).view(b, s, c).amax(1).float()
    flat = (low == high).float()  # of one level: stays as it is
    lowest = (low * (1 - flat)).repeat(1, s)[:, None]
    scale = (255 / (high - low + 255 * flat)).repeat(1, s)[:, None]
    return to_levels(rows.float().sub_(lowest).mul_(scale)).view_as(pictures)


def equalize(pictures: Tensor, _strengths: np.ndarray) -> Tensor:
    """Each channel's levels spread so that all are about as frequent, as Pillow does it."""
    b, s, _, c = pictures.shape
    first = torch.arange(b * c, device=pictures.device, dtype=torch.int32) * 256
    each = first.view(b, 1, c).expand(b, s, c).reshape(b, 1, s * c)
    places = pictures.view(b, s, s * c).int().add_(each).view(-1)  # in tables [B, C, 256]
    counts = torch.bincount(places, minlength=b * c * 256).view(b, c, 256)
    levels = torch.arange(256, device=pictures.device)
    highest = ((counts > 0) * levels).amax(2, keepdim=True)
    step = (s * s - counts.gather(2, highest)) // 255
    below = counts.cumsum(2) - counts
    spread = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    tables = (spread + (levels - spread) * (step == 0)).to(torch.uint8)
    return tables.view(-1).index_select(0, places).view_as(pictures)


def planes(pictures: Tensor) -> Tensor:
    """``[C, B, S, S]`` float32 of ``[B, S, S, C]`` uint8."""
    return pictures.permute(3, 0, 1, 2).contiguous().float()


def interleaved(levels: Tensor) -> Tensor:
    """``[B, S, S, C]`` of ``[C, B, S, S]`` uint8."""
    return torch.stack(levels.unbind(0), 3)


def grey_levels(rgb: Tensor) -> Tensor:
    """``[B, S, S]`` float32, whole numbers, of three planes."""
    red, green, blue = (plane * share for plane, share in zip(rgb, SHARES, strict=True))
    return red.add_(green).add_(blue).floor_()


def factor_and_rest(factors: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """``[B]`` float32: what a picture is multiplied by, and what is put in its place."""
    given = upload(factors, device)
    return given.float(), (1 - given).float()


def to_levels(values: Tensor) -> Tensor:
    """uint8 of float32, towards 0, which is written to. By way of int16: three times as fast."""
    return values.clamp_(0, 255).short().to(torch.uint8)


def _rows(pictures: Tensor) -> Tensor:
    return pictures.view(len(pictures), -1)


def _column(values: np.ndarray, pictures: Tensor, dtype: torch.dtype) -> Tensor:
    """``[B, 1]``: a number for each picture, on its device."""
    return upload(values, pictures.device).to(dtype)[:, None]
