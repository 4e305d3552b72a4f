"""Operations that look at a pixel's other channels or at its neighbours.

As :mod:`autokd.data.augmentation.levels`: the values of torchvision's functions on uint8 tensors,
``[B, S, S, C]`` uint8 and ``[B]`` strengths, and a picture's bytes do not depend on its batch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from autokd.data.augmentation.levels import (
    factor_and_rest,
    grey_levels,
    interleaved,
    planes,
    to_levels,
)
from autokd.data.uploading import upload

# red's, green's and blue's opposites on the colour circle
OPPOSITE = np.array([3, 2, 4], np.float32)


def saturation(pictures: Tensor, factors: np.ndarray) -> Tensor:
    """Away from a pixel's grey level, by the factor; nothing where there are not three channels."""
    if pictures.shape[3] != 3:
        return pictures
    factor, rest = (f[:, None, None] for f in factor_and_rest(factors, pictures.device))
    rgb = planes(pictures)
    grey = grey_levels(rgb).mul_(rest)
    return interleaved(to_levels(rgb.mul_(factor).add_(grey)))


def sharpness(pictures: Tensor, factors: np.ndarray) -> Tensor:
    """Away from the smoothed picture, by the factor; the outermost pixels are not smoothed."""
    b, s, _, c = pictures.shape
    if s <= 2:
        return pictures
    rows = pictures.view(b, s, s * c)
    levels = rows.short()
    three = (levels[..., : -2 * c] + levels[..., c:-c]).add_(levels[..., 2 * c :])
    nine = (three[:, :-2] + three[:, 1:-1]).add_(three[:, 2:])
    nine.add_(levels[:, 1:-1, c:-c], alpha=4)
    smooth = rows.float()
    # the thirteenth of a whole number is never halfway between two, so this is exact
    smooth[:, 1:-1, c:-c] = nine.float().mul_(1 / 13).round_()
    factor, rest = (f[:, None, None] for f in factor_and_rest(factors, pictures.device))
    return to_levels((rows * factor).add_(smooth.mul_(rest))).view_as(pictures)


def hue(pictures: Tensor, turns: np.ndarray) -> Tensor:
    """Colours turned by so much of the colour circle; nothing where there are not three channels.

    With x in [0, 6] on the circle from red, a channel is ``value − chroma · w``, where w falls to 0
    and rises to 1 as x nears and leaves that channel's colour. The differences of levels are whole
    numbers here; torchvision divides all by 255 first, and about one level in 10,000 is one less or
    more there.
    """
    if pictures.shape[3] != 3:
        return pictures
    rgb = pictures.permute(3, 0, 1, 2).contiguous().short()
    red, green, blue = rgb
    value = rgb.amax(0)
    chroma = value - rgb.amin(0)
    not_red, not_green, _ = (value - rgb).clamp_(max=1)  # 0 for the largest channel, else 1
    from_red = green - blue
    from_green = (2 * chroma).add_(blue).sub_(red)
    from_blue = (4 * chroma).add_(red).sub_(green)
    other = from_blue.sub_(from_green).mul_(not_green).add_(from_green)
    angle = other.sub_(from_red).mul_(not_red).add_(from_red)
    value, chroma = value.float(), chroma.float()
    x = angle.float().div_(chroma.clamp(min=1))
    x += upload(6 * turns.astype(np.float32), pictures.device)[:, None, None]
    x -= (x * (1 / 6)).floor_().mul_(6)
    opposite = upload(OPPOSITE, x.device)[:, None, None, None]
    below = (x - opposite).abs_().sub_(1).clamp_(0, 1).mul_(chroma)
    below[0].neg_().add_(chroma)  # red's w is the other way round: it is counted from cyan
    out = torch.sub(value, below, out=below).mul_(255.999 / 255)
    return interleaved(out.short().to(torch.uint8))
