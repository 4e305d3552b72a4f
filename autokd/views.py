"""The view stream: which augmented picture stands for training picture i in epoch e.

A view is a pure function of (view seed, epoch, picture, purpose), see :mod:`autokd.rng`; it knows nothing of batches, workers or
of who looks. Every role renders its own resolution from the same view.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from autokd import rng
from autokd.recipe import Augment


class Mix(NamedTuple):
    """Mixup: picture i becomes ``weight_i · x_i + (1 − weight_i) · x_partner(i)``; the partner has its own view of the epoch."""

    partner: Tensor  # [N] int64
    weight: Tensor  # [N] float32
    teacher_sees: str  # "mixed": the mixed picture; "parts": both pictures, whose answers are mixed


class Views:
    """The views of one epoch.

    ``pictures``: ``[N, C, H, W]`` uint8; rendered batches are ``[B, C, r, r]`` float32 in [0, 1] on the same device.
    """

    def __init__(self, pictures: Tensor, augment: Augment, seed: int, epoch: int):
        self.pictures, self.seed, self.epoch = pictures, seed, epoch
        n, _, h, w = pictures.shape
        self.size = (h, w)
        pad = augment.crop_padding
        self.windows = F.pad(pictures, (pad,) * 4).unfold(2, h, 1).unfold(3, w, 1) if pad else None  # [N, C, 2p+1, 2p+1, H, W]
        if pad:
            offsets = torch.from_numpy(self.uniforms_numpy("crop", 2)).mul(2 * pad + 1).long().clamp(max=2 * pad)
            self.y, self.x = offsets.to(pictures.device).unbind(1)
        self.flips = torch.from_numpy(self.uniforms_numpy("flip", 1)[:, 0] < 0.5).to(pictures.device) if augment.flip else None

    def uniforms_numpy(self, purpose: str, columns: int):
        return rng.uniforms(self.seed, purpose, self.epoch, len(self.pictures), columns)

    def uniforms(self, purpose: str, columns: int) -> Tensor:
        """``[N, columns]`` float64 draws of this epoch for a method's own purpose."""
        return torch.from_numpy(self.uniforms_numpy(purpose, columns)).to(self.pictures.device)

    def render(self, rows: Tensor, resolution: int, mix: Mix | None = None) -> Tensor:
        """The views of pictures ``rows`` ([B] int64), mixed if ``mix`` says so, at ``resolution`` pixels a side."""
        out = self._crop(rows)
        if mix is not None:
            weight = mix.weight[rows][:, None, None, None]
            out = weight * out + (1 - weight) * self._crop(mix.partner[rows])
        return resize(out, resolution)

    def _crop(self, rows: Tensor) -> Tensor:
        out = self.pictures[rows] if self.windows is None else self.windows[rows, :, self.y[rows], self.x[rows]]
        if self.flips is not None:
            out = torch.where(self.flips[rows][:, None, None, None], out.flip(3), out)
        return out.float() / 255


def resize(pictures: Tensor, resolution: int) -> Tensor:
    """Bilinear with antialiasing to ``[B, C, resolution, resolution]``; the same tensor where nothing changes."""
    if pictures.shape[2:] == (resolution, resolution):
        return pictures
    return F.interpolate(pictures, (resolution, resolution), mode="bilinear", antialias=True)
