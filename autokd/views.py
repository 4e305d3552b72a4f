"""The view stream: which augmented picture stands for training picture i in epoch e.

A view is a pure function of (view seed, epoch, picture, purpose), see :mod:`autokd.rng`; it knows nothing of batches, workers or
of who looks. Every role renders its own resolution from the same view.

Equal squares that fit on the device are one tensor, from which crops are copied. All else is :class:`Pictures`: of any aspect, on the
device or read from the pack when looked at. There, and for random-resized-crops, a view is a box, cut out and resized as uint8
with antialiasing, as Pillow does: on the CPU picture by picture, on a GPU all of a batch in one pass of gathers.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autokd import rng
from autokd.recipe import Augment

TRIES = 10  # of a random box before the central one is taken, as in torchvision
PIECE = 64  # pictures of one pass on a GPU


class Mix(NamedTuple):
    """Mixup: picture i becomes ``weight_i · x_i + (1 − weight_i) · x_partner(i)``; the partner has its own view of the epoch."""

    partner: Tensor  # [N] int64
    weight: Tensor  # [N] float32
    teacher_sees: str  # "mixed": the mixed picture; "parts": both pictures, whose answers are mixed


class Pictures:
    """``[N, C, S, S]`` uint8 that are cut out of stored pictures of any size when they are looked at.

    ``flat``: the pixels, picture after picture ``[h, w, C]`` (``planar``: ``[C, h, w]``). An array, in memory or mapped from a pack,
    or a tensor on ``device``; what is looked at comes to ``device``. Indexing gives central squares of the side S, the largest short side.
    """

    def __init__(
        self, flat: np.ndarray | Tensor, starts: np.ndarray, sizes: np.ndarray, channels: int, device: str | torch.device,
        *, planar: bool = False, mapped: mmap.mmap | None = None,
    ):  # fmt: skip
        self.flat, self.starts, self.sizes, self.planar, self.mapped = flat, starts, sizes.astype(np.int64), planar, mapped
        self.device = torch.device(device)
        short = self.sizes.min(1)
        self.side = int(short.max()) if len(short) else 1
        self.shape = torch.Size((len(starts), channels, self.side, self.side))
        self.centres = np.stack([*((self.sizes - short[:, None]) // 2).T, short, short], 1)

    @classmethod
    def of(cls, pictures: Tensor) -> Pictures:
        """The same pictures as ``[N, C, S, S]`` of one tensor; nothing is copied."""
        n, c, h, w = pictures.shape
        flat = pictures.contiguous().view(-1)
        return cls(flat.numpy() if flat.device.type == "cpu" else flat, np.arange(n) * (c * h * w), np.tile([h, w], (n, 1)), c, flat.device, planar=True)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        if isinstance(rows, slice):
            rows = torch.arange(len(self))[rows]
        return self.cut(rows, self.centres, None, self.side)

    def float(self) -> Tensor:
        """All of them as float32, 0 to 255: for sets that fit."""
        return self[:].float()

    def cut(self, rows: Tensor, boxes: np.ndarray, flips: np.ndarray | None, size: int, *, floats: bool = False) -> Tensor:
        """``[B, C, size, size]``: of pictures ``rows`` [B] the boxes, resized; zeros beyond a picture's edge.

        uint8, or the same 256 levels as float32 in [0, 1] (``floats``). On a CPU the layout is channels last, as pictures are stored.
        ``boxes``: ``[N, 4]`` top, left, height, width in stored pixels; ``flips``: ``[N]`` bool, which are mirrored.
        """
        index = rows.cpu().numpy()
        if not len(index):
            return torch.empty((0, self.shape[1], size, size), dtype=torch.float32 if floats else torch.uint8, device=self.device)
        mirrored = np.zeros(len(index), bool) if flips is None else flips[index]
        if self.device.type == "cpu":
            return self._cut_each(index, boxes[index], mirrored, size, floats)
        flat, starts = self.flat, self.starts[index]
        if isinstance(flat, np.ndarray):
            flat, starts = self._bring(index)
        out = cut_all(flat, starts, self.sizes[index], boxes[index], mirrored, self.shape[1], size, self.planar)
        return out.float().div_(255) if floats else out

    def stored(self, row: int) -> np.ndarray:
        """``[h, w, C]``: a picture as it lies in the pack."""
        assert isinstance(self.flat, np.ndarray)
        (h, w), c, start = self.sizes[row], self.shape[1], self.starts[row]
        pixels = self.flat[start : start + h * w * c]
        return pixels.reshape(c, h, w).transpose(1, 2, 0) if self.planar else pixels.reshape(h, w, c)

    def _cut_each(self, index: np.ndarray, boxes: np.ndarray, flips: np.ndarray, size: int, floats: bool) -> Tensor:
        # numpy asks for huge pages: half the cost of new memory
        out = torch.from_numpy(np.empty((len(index), size, size, self.shape[1]), np.float32 if floats else np.uint8)).permute(0, 3, 1, 2)
        self._expect(index)
        order = np.argsort(index) if self.mapped else np.arange(len(index))  # a disk is read in its own order
        for b, row, (top, left, height, width), flip in zip(order.tolist(), index[order].tolist(), boxes[order].tolist(), flips[order].tolist(), strict=True):
            h, w = self.sizes[row].tolist()
            y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + height, h), min(left + width, w)
            if y0 >= y1 or x0 >= x1:  # all padding
                out[b] = 0
                continue
            pixels = np.array(self.stored(row)[y0:y1, x0:x1])
            piece = torch.from_numpy(pixels.reshape(1, *pixels.shape)).permute(0, 3, 1, 2)  # channels last, and known as such by its strides
            if (y1 - y0, x1 - x0) != (height, width):
                piece = F.pad(piece, (x0 - left, left + width - x1, y0 - top, top + height - y1))
            if (height, width) != (size, size):
                piece = F.interpolate(piece, (size, size), mode="bilinear", antialias=True)
            piece = piece.flip(3) if flip else piece
            if floats:
                torch.div(piece, 255, out=out[b : b + 1])  # while the piece is in the processor's cache
            else:
                out[b] = piece[0]
        return out

    def _expect(self, index: np.ndarray) -> None:
        """Tell the system which pages will be read, so that a disk is asked for all of them at once."""
        if self.mapped is None or not hasattr(mmap, "MADV_WILLNEED"):
            return
        starts = self.starts[index] // mmap.PAGESIZE * mmap.PAGESIZE
        ends = self.starts[index] + self.sizes[index].prod(1) * self.shape[1]
        for start, length in zip(starts.tolist(), (ends - starts).tolist(), strict=True):
            self.mapped.madvise(mmap.MADV_WILLNEED, start, length)

    def _bring(self, index: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """The pixels of pictures ``index`` on the device, and where each begins there."""
        assert isinstance(self.flat, np.ndarray)
        self._expect(index)
        lengths = self.sizes[index].prod(1) * self.shape[1]
        starts = np.concatenate([[0], np.cumsum(lengths[:-1])])
        host = torch.empty(int(lengths.sum()), dtype=torch.uint8)
        target = host.numpy()
        for b in np.argsort(index).tolist():
            target[starts[b] : starts[b] + lengths[b]] = self.flat[self.starts[index[b]] : self.starts[index[b]] + lengths[b]]
        return host.to(self.device), starts


def cut_all(flat: Tensor, starts: np.ndarray, sizes: np.ndarray, boxes: np.ndarray, flips: np.ndarray, channels: int, size: int, planar: bool) -> Tensor:
    """``[B, C, size, size]`` uint8: what ``Pictures.cut`` does, in gathers over a batch instead of picture by picture.

    Antialiased bilinear resizing in two passes, columns then rows. A picture's bytes do not depend on the batch: taps are summed one by
    one, and those that only another picture needs have weight 0.
    """
    out = []
    for i in range(0, len(starts), PIECE):
        begin, pixels, box = (torch.from_numpy(np.ascontiguousarray(a[i : i + PIECE])).to(flat.device) for a in (starts, sizes, boxes))
        h, w = pixels.unbind(1)
        steps = (w, torch.ones_like(w), h * w) if planar else (w * channels, torch.full_like(w, channels), torch.ones_like(w))
        down, right, deeper = (s[:, None, None, None] for s in steps)
        base = begin[:, None, None, None] + torch.arange(channels, device=flat.device)[:, None, None] * deeper
        tallest, largest = int(boxes[i : i + PIECE, 2].max()), boxes[i : i + PIECE, 2:].max() / size
        taps = 2 * math.ceil(max(largest, 1.0)) + 1
        y = box[:, :1] + torch.arange(tallest, device=flat.device)
        inside = ((y >= 0) & (y < h[:, None]))[:, None, :, None]
        rows = base + y.clamp(min=0).minimum(h[:, None] - 1)[:, None, :, None] * down
        acc = None
        for x, weight in _taps(box[:, 3], size, taps):
            x = x + box[:, 1:2]
            weight = weight * ((x >= 0) & (x < w[:, None]))
            part = flat[rows + x.clamp(min=0).minimum(w[:, None] - 1)[:, None, None, :] * right] * weight[:, None, None, :]
            acc = part if acc is None else acc + part
        assert acc is not None
        columns, acc = acc * inside, None  # [B, C, tallest, size]
        for y, weight in _taps(box[:, 2], size, taps):
            part = columns.gather(2, y[:, None, :, None].expand(-1, channels, -1, size)) * weight[:, None, :, None]
            acc = part if acc is None else acc + part
        assert acc is not None
        mirrored = torch.from_numpy(flips[i : i + PIECE]).to(flat.device)[:, None, None, None]
        out.append(torch.where(mirrored, acc.flip(3), acc).add_(0.5).floor_().clamp_(0, 255).to(torch.uint8))
    return torch.cat(out)


def _taps(length: Tensor, size: int, count: int) -> list[tuple[Tensor, Tensor]]:
    """Of each output pixel the input pixels ([B, size] int64, in the box) and weights ([B, size] float32) of an antialiased triangle."""
    scale = length[:, None].double() / size
    support = scale.clamp(min=1.0)
    centre = (torch.arange(size, device=length.device) + 0.5) * scale
    first = (centre - support + 0.5).long().clamp(min=0)
    last = (centre + support + 0.5).long().minimum(length[:, None]) - 1
    made = []
    for k in range(count):
        at = first + k
        made.append((at.minimum(last), ((1 - ((at + 0.5 - centre) / support).abs()).clamp(min=0) * (at <= last))))
    total = made[0][1]
    for _, weight in made[1:]:
        total = total + weight
    return [(at, (weight / total).float()) for at, weight in made]


class Views:
    """The views of one epoch.

    ``pictures``: ``[N, C, H, W]`` uint8; rendered batches are ``[B, C, r, r]`` float32 in [0, 1] on the same device.
    """

    def __init__(self, pictures: Tensor | Pictures, augment: Augment, seed: int, epoch: int):
        self.pictures, self.seed, self.epoch = pictures, seed, epoch
        crop = augment.random_resized_crop
        self.flips = self.uniforms_numpy("flip", 1)[:, 0] < 0.5 if augment.flip else None
        self.padding, self.resized = augment.crop_padding, crop.scale is not None
        self.source = Pictures.of(pictures) if self.resized and isinstance(pictures, Tensor) else pictures
        sizes = self.source.sizes if isinstance(self.source, Pictures) else np.array([pictures.shape[2:]])
        self.boxes = self._resized(sizes, crop.scale, crop.ratio) if crop.scale else self._moved(sizes)
        self.on_device = tuple(None if a is None else torch.from_numpy(a).to(pictures.device) for a in (self.boxes, self.flips))

    def uniforms_numpy(self, purpose: str, columns: int) -> np.ndarray:
        return rng.uniforms(self.seed, purpose, self.epoch, len(self.pictures), columns)

    def uniforms(self, purpose: str, columns: int) -> Tensor:
        """``[N, columns]`` float64 draws of this epoch for a method's own purpose."""
        return torch.from_numpy(self.uniforms_numpy(purpose, columns)).to(self.pictures.device)

    def render(self, rows: Tensor, resolution: int, mix: Mix | None = None) -> Tensor:
        """The views of pictures ``rows`` ([B] int64), mixed if ``mix`` says so, at ``resolution`` pixels a side."""
        out = self._look(rows, resolution)
        if mix is not None:
            weight = mix.weight[rows][:, None, None, None]
            out = weight * out + (1 - weight) * self._look(mix.partner[rows], resolution)
        return resize(out, resolution)

    def _look(self, rows: Tensor, resolution: int) -> Tensor:
        """Unmixed views, at the stored size or at ``resolution``."""
        if isinstance(self.source, Pictures):
            boxes = self.source.centres if self.boxes is None else self.boxes
            return self.source.cut(rows, boxes, self.flips, resolution if self.resized else self.source.side, floats=True)
        if self.boxes is None:
            out = self._flipped(self.source[rows], rows)
        else:
            out = self._pasted(rows) if self.source.device.type == "cpu" else self._windowed(rows)
        return out.float().div_(255)

    def _flipped(self, pictures: Tensor, rows: Tensor) -> Tensor:
        flips = self.on_device[1]
        return pictures if flips is None else torch.where(flips[rows][:, None, None, None], pictures.flip(3), pictures)

    def _windowed(self, rows: Tensor) -> Tensor:
        """Padded crops of equal squares, as one gather."""
        boxes = self.on_device[0]
        assert isinstance(self.source, Tensor) and boxes is not None
        _, _, h, w = self.source.shape
        windows = F.pad(self.source[rows], (self.padding,) * 4).unfold(2, h, 1).unfold(3, w, 1)
        top, left = (boxes[rows, :2] + self.padding).unbind(1)
        return self._flipped(windows[torch.arange(len(rows), device=rows.device), :, top, left], rows)

    def _pasted(self, rows: Tensor) -> Tensor:
        """The same, copied one by one: on a CPU twice to three times as fast."""
        assert isinstance(self.source, Tensor) and self.boxes is not None
        _, c, h, w = self.source.shape
        index, stored = rows.numpy(), self.source.numpy()
        out = np.zeros((len(index), c, h, w), np.uint8)
        flips = np.zeros(len(index), bool) if self.flips is None else self.flips[index]
        for b, (row, (top, left), flip) in enumerate(zip(index.tolist(), self.boxes[index, :2].tolist(), flips.tolist(), strict=True)):
            y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + h, h), min(left + w, w)
            if y0 >= y1 or x0 >= x1:  # all padding
                continue
            piece = stored[row, :, y0:y1, x0:x1]
            if flip:
                out[b, :, y0 - top : y1 - top, w - (x1 - left) : w - (x0 - left)] = piece[:, :, ::-1]
            else:
                out[b, :, y0 - top : y1 - top, x0 - left : x1 - left] = piece
        return torch.from_numpy(out)

    def _moved(self, sizes: np.ndarray) -> np.ndarray | None:
        """``[N, 4]`` boxes: squares of the short side, anywhere within the padded picture. None without padding: the centre."""
        if not self.padding:
            return None
        short = sizes.min(1, keepdims=True)
        room = sizes - short + 2 * self.padding
        corners = np.floor(self.uniforms_numpy("crop", 2) * (room + 1)).astype(np.int64).clip(max=room) - self.padding
        return np.concatenate([corners, np.broadcast_to(short, (len(corners), 1)).repeat(2, 1)], 1)

    def _resized(self, sizes: np.ndarray, scale: Sequence[float], ratio: Sequence[float]) -> np.ndarray:
        """``[N, 4]`` boxes of torchvision's RandomResizedCrop: a share of the area and an aspect (width / height), drawn until they fit."""
        whole = sizes.astype(np.float64)
        area, chosen = whole.prod(1), np.zeros(sizes.shape, np.int64)
        low, high = np.log(ratio)
        for k in range(TRIES):
            draws = self.uniforms_numpy(f"resized crop/{k}", 2)
            share, aspect = area * (scale[0] + draws[:, 0] * (scale[1] - scale[0])), np.exp(low + draws[:, 1] * (high - low))
            tried = np.stack([np.round(np.sqrt(share / aspect)), np.round(np.sqrt(share * aspect))], 1).astype(np.int64)
            fits = (chosen[:, 0] == 0) & (tried > 0).all(1) & (tried <= sizes).all(1)
            chosen[fits] = tried[fits]
            if (chosen[:, 0] > 0).all():
                break
        corners = np.floor(self.uniforms_numpy("resized crop", 2) * (sizes - chosen + 1)).astype(np.int64).clip(0, sizes - chosen)
        left_over = chosen[:, 0] == 0  # the largest central box whose aspect is allowed
        height, width = sizes[left_over].T
        aspect = width / height
        height = np.where(aspect < ratio[0], np.round(width / ratio[0]).astype(np.int64), height)
        width = np.where(aspect > ratio[1], np.round(height * ratio[1]).astype(np.int64), width)
        chosen[left_over] = np.stack([height.clip(1), width.clip(1)], 1)
        corners[left_over] = (sizes[left_over] - chosen[left_over]) // 2
        return np.concatenate([corners, chosen], 1)


def resize(pictures: Tensor, resolution: int) -> Tensor:
    """Bilinear with antialiasing to ``[B, C, resolution, resolution]``; the same tensor where nothing changes."""
    if pictures.shape[2:] == (resolution, resolution):
        return pictures
    return F.interpolate(pictures, (resolution, resolution), mode="bilinear", antialias=True)
