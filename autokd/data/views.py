"""The view stream: which augmented picture stands for training picture i in epoch e.

A view is a pure function of (view seed, epoch, picture, purpose), see :mod:`autokd.rng`; it knows
nothing of batches, workers or of who looks. Every role renders its own resolution from the same
view.

Equal squares that fit on the device are one tensor, from which crops are copied. All else is
:class:`Pictures`: of any aspect, on the device or read from the pack when looked at. There, and for
random-resized-crops, a view is a box, cropped and resized as uint8 with antialiasing, as Pillow
does: on the CPU picture by picture, on a GPU all of a batch in one pass of gathers.

What else a recipe asks for (:mod:`autokd.data.augmentation`) is done to the uint8 picture, in the
order crop, flip, colour jitter, RandAugment or TrivialAugment, erasing, and then mixing: at the
stored size and before a role's resizing, or at the role's resolution where random-resized-crop has
already made it so large. Which operation, its strength and sign, and boxes are the same for every
role; lengths are shares of the side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autokd import rng
from autokd.data.augmentation import done, patched, steps
from autokd.data.boxes import erased_boxes, padded_crops, resized_crops
from autokd.data.pictures import Pictures, empty
from autokd.data.uploading import upload
from autokd.recipe import Augment

# Pixels that are augmented at once: what fits a processor's cache, and what keeps a GPU busy. A
# picture's bytes do not depend on it.
PIECE = {"cpu": 1 << 16, "cuda": 1 << 23}


class Mix(NamedTuple):
    """Mixup: picture i becomes ``weight_i · x_i + (1 − weight_i) · x_partner(i)``; with ``boxes``
    CutMix: it shows its partner inside of its box. The partner has its own view of the epoch.
    """

    partner: np.ndarray  # [N] int64
    weight: Tensor  # [N] float32
    teacher_sees: str  # "mixed": the mixed picture; "parts": both pictures, whose answers are mixed
    # [N, 4] float32: top, left, bottom, right as shares of the side; the weight is the area outside
    boxes: Tensor | None = None


class Views:
    """The views of one epoch.

    ``pictures``: ``[N, C, H, W]`` uint8; rendered batches are ``[B, C, r, r]`` float32 in [0, 1] on
    the same device. Which pictures are looked at is known on the host, so that the device is not
    asked. ``side``: of pictures in which TrivialAugment's 32 pixels are pixels (left out: the
    stored side). ``mean``: the colour of erased boxes, ``[C]`` in [0, 1], to the nearest of 256
    levels (left out: black).
    """

    def __init__(
        self,
        pictures: Tensor | Pictures,
        augment: Augment,
        seed: int,
        epoch: int,
        *,
        side: int | None = None,
        mean: Sequence[float] | None = None,
    ):
        self.pictures = pictures
        self.seed = seed
        self.epoch = epoch
        crop = augment.random_resized_crop
        self.padding = augment.crop_padding
        self.resized = crop.scale is not None
        self.source = pictures
        if self.resized and isinstance(pictures, Tensor):
            self.source = Pictures.of(pictures)
        if isinstance(self.source, Pictures):
            sizes = self.source.sizes
        else:
            sizes = np.array([pictures.shape[2:]])
        self.flips: np.ndarray | None = None  # [N] bool
        if augment.flip:
            self.flips = self.uniforms_numpy("flip", 1)[:, 0] < 0.5
        self.boxes: np.ndarray | None = None  # [N, 4]; None: the central squares
        if crop.scale:
            self.boxes = resized_crops(sizes, crop.scale, crop.ratio, self.uniforms_numpy)
        elif self.padding:
            self.boxes = padded_crops(sizes, self.padding, self.uniforms_numpy)
        self.steps = steps(augment, side or pictures.shape[-1], self.uniforms_numpy)
        self.erased: np.ndarray | None = None  # [N, 4] shares of the side
        erasing = augment.erasing
        if erasing.probability:
            self.erased = erased_boxes(
                erasing.probability, erasing.scale, erasing.ratio, self.uniforms_numpy
            )
        levels = np.rint(np.array(mean or [0.0] * pictures.shape[1]) * 255).astype(np.uint8)
        self.colour = upload(levels, pictures.device)  # [C]
        self._device_flips = _to(self.flips, pictures.device)
        self._device_boxes = _to(self.boxes, pictures.device)

    def uniforms_numpy(self, purpose: str, columns: int) -> np.ndarray:
        """The same as :meth:`uniforms`, in memory."""
        return rng.uniforms(self.seed, purpose, self.epoch, len(self.pictures), columns)

    def uniforms(self, purpose: str, columns: int) -> Tensor:
        """``[N, columns]`` float64 draws of this epoch for a method's own purpose."""
        return upload(self.uniforms_numpy(purpose, columns), self.pictures.device)

    def render(self, rows: np.ndarray | Tensor, resolution: int, mix: Mix | None = None) -> Tensor:
        """The views of pictures ``rows`` ([B] int64, in the host's memory), mixed if ``mix`` says
        so, at ``resolution`` pixels a side.
        """
        index = np.asarray(rows)
        if mix is None:
            return resize(self._look(index, resolution), resolution)
        there, partners = upload(index, self.pictures.device), np.asarray(mix.partner)[index]
        if mix.boxes is not None:
            out = self._augmented(index, resolution, partners, mix.boxes[there])
        else:
            weight = mix.weight[there][:, None, None, None]
            out = weight * self._look(index, resolution)
            out = out + (1 - weight) * self._look(partners, resolution)
        return resize(out, resolution)

    def _look(self, index: np.ndarray, resolution: int) -> Tensor:
        """Unmixed views, at the stored size or at ``resolution``."""
        if self.steps or self.erased is not None:
            return self._augmented(index, resolution)
        if isinstance(self.source, Pictures):
            return self._cropped(index, resolution, floats=True)
        return self._cropped(index, resolution).float().div_(255)

    def _augmented(
        self,
        index: np.ndarray,
        resolution: int,
        partners: np.ndarray | None = None,
        boxes: Tensor | None = None,
    ) -> Tensor:
        """The same, augmented, with ``partners`` inside of ``boxes``."""
        levels = self._levels(index, resolution)
        if partners is not None and boxes is not None:
            levels = patched(levels, self._levels(partners, resolution), boxes)
        out = empty(tuple(levels.shape), torch.float32, levels.device)
        for own in _pieces(levels):
            torch.div(levels[own], 255, out=out[own])
        return out.permute(0, 3, 1, 2)

    def _levels(self, index: np.ndarray, resolution: int) -> Tensor:
        """``[B, S, S, C]`` uint8: cropped and flipped, then operations and erasing."""
        out = self._cropped(index, resolution).permute(0, 2, 3, 1).contiguous()
        for own in _pieces(out) if self.steps or self.erased is not None else ():
            made = done(out[own], self.steps, index[own])
            if self.erased is not None and self.erased[index[own]].any():
                made = patched(made, self.colour, upload(self.erased[index[own]], out.device))
            out[own] = made
        return out

    def _cropped(self, index: np.ndarray, resolution: int, *, floats: bool = False) -> Tensor:
        """``[B, C, S, S]`` uint8: cropped and flipped. ``floats``: as of :meth:`Pictures.crop`."""
        if isinstance(self.source, Pictures):
            boxes = self.source.centres if self.boxes is None else self.boxes
            size = resolution if self.resized else self.source.side
            return self.source.crop(index, boxes, self.flips, size, floats=floats)
        if self.boxes is not None and self.source.device.type == "cpu":
            return self._pasted(index)
        rows = upload(index, self.source.device)
        if self.boxes is None:
            return self._flipped(self.source[rows], rows)
        return self._windowed(rows)

    def _flipped(self, pictures: Tensor, rows: Tensor) -> Tensor:
        flips = self._device_flips
        if flips is None:
            return pictures
        return torch.where(flips[rows][:, None, None, None], pictures.flip(3), pictures)

    def _windowed(self, rows: Tensor) -> Tensor:
        """Padded crops of equal squares, as one gather."""
        boxes = self._device_boxes
        assert isinstance(self.source, Tensor) and boxes is not None
        _, _, h, w = self.source.shape
        windows = F.pad(self.source[rows], (self.padding,) * 4).unfold(2, h, 1).unfold(3, w, 1)
        top, left = (boxes[rows, :2] + self.padding).unbind(1)
        each = torch.arange(len(rows), device=rows.device)
        return self._flipped(windows[each, :, top, left], rows)

    def _pasted(self, index: np.ndarray) -> Tensor:
        """The same, copied one by one: on a CPU twice to three times as fast."""
        assert isinstance(self.source, Tensor) and self.boxes is not None
        _, c, h, w = self.source.shape
        stored = self.source.numpy()
        out = np.zeros((len(index), c, h, w), np.uint8)
        flips = np.zeros(len(index), bool) if self.flips is None else self.flips[index]
        corners = self.boxes[index, :2].tolist()
        for b, (row, (top, left), flip) in enumerate(
            zip(index.tolist(), corners, flips.tolist(), strict=True)
        ):
            y0 = max(top, 0)
            x0 = max(left, 0)
            y1 = min(top + h, h)
            x1 = min(left + w, w)
            if y0 >= y1 or x0 >= x1:  # all padding
                continue
            piece = stored[row, :, y0:y1, x0:x1]
            below = slice(y0 - top, y1 - top)
            if flip:
                out[b, :, below, w - (x1 - left) : w - (x0 - left)] = piece[:, :, ::-1]
            else:
                out[b, :, below, x0 - left : x1 - left] = piece
        return torch.from_numpy(out)


def _pieces(pictures: Tensor) -> Iterator[slice]:
    """``pictures`` [B, S, S, C] in turn."""
    size = max(1, PIECE[pictures.device.type] // pictures.shape[1] ** 2)
    return (slice(i, i + size) for i in range(0, len(pictures), size))


def _to(array: np.ndarray | None, device: torch.device) -> Tensor | None:
    return None if array is None else upload(array, device)


def resize(pictures: Tensor, resolution: int) -> Tensor:
    """Bilinear with antialiasing to ``[B, C, resolution, resolution]``; the same tensor where
    nothing changes.
    """
    if pictures.shape[2:] == (resolution, resolution):
        return pictures
    return F.interpolate(pictures, (resolution, resolution), mode="bilinear", antialias=True)
