"""Pictures of any size and aspect, on the device or in the pack, cropped when looked at."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autokd.data.gathers import crop_all
from autokd.data.uploading import upload

NUMPY = {torch.uint8: np.uint8, torch.float32: np.float32}


def shown(short: np.ndarray, share: float) -> np.ndarray:
    """Pixels of the short sides that a central square of that share has, at least one."""
    return np.maximum(np.round(short * share), 1).astype(np.int64)


class Pictures:
    """``[N, C, S, S]`` uint8 that are cropped from stored pictures of any size when they are looked
    at.

    ``flat``: the pixels, picture after picture ``[h, w, C]`` (``planar``: ``[C, h, w]``). An array,
    in memory or mapped from a pack, or a tensor on ``device``; what is looked at comes to
    ``device``. Indexing gives central squares of the side S: of the largest short side the
    ``share``.
    """

    def __init__(
        self,
        flat: np.ndarray | Tensor,
        starts: np.ndarray,
        sizes: np.ndarray,
        channels: int,
        device: str | torch.device,
        *,
        planar: bool = False,
        mapped: mmap.mmap | None = None,
        share: float = 1.0,
    ):
        self.flat = flat
        self.starts = starts
        self.sizes = sizes.astype(np.int64)
        self.planar = planar
        self.mapped = mapped
        self.device = torch.device(device)
        seen = shown(self.sizes.min(1), share)
        self.side = int(seen.max()) if len(seen) else 1
        self.shape = torch.Size((len(starts), channels, self.side, self.side))
        self.centres = np.stack([*((self.sizes - seen[:, None]) // 2).T, seen, seen], 1)

    @classmethod
    def of(cls, pictures: Tensor) -> Pictures:
        """The same pictures as ``[N, C, S, S]`` of one tensor; nothing is copied."""
        n, c, h, w = pictures.shape
        flat = pictures.contiguous().view(-1)
        return cls(
            flat.numpy() if flat.device.type == "cpu" else flat,
            np.arange(n) * (c * h * w),
            np.tile([h, w], (n, 1)),
            c,
            flat.device,
            planar=True,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        if isinstance(rows, slice):
            rows = torch.arange(len(self))[rows]
        return self.crop(rows.cpu().numpy(), self.centres, None, self.side)

    def float(self) -> Tensor:
        """All of them as float32, 0 to 255: for sets that fit."""
        return self[:].float()

    def crop(
        self,
        index: np.ndarray,
        boxes: np.ndarray,
        flips: np.ndarray | None,
        size: int,
        *,
        floats: bool = False,
    ) -> Tensor:
        """``[B, C, size, size]``: of pictures ``index`` [B] the boxes, resized; zeros beyond a
        picture's edge.

        uint8, or the same 256 levels as float32 in [0, 1] (``floats``). On a CPU the layout is
        channels last, as pictures are stored. ``boxes``: ``[N, 4]`` top, left, height, width in
        stored pixels; ``flips``: ``[N]`` bool, which are mirrored.
        """
        if not len(index):
            dtype = torch.float32 if floats else torch.uint8
            return empty((0, self.shape[1], size, size), dtype, self.device)
        mirrored = np.zeros(len(index), bool) if flips is None else flips[index]
        if self.device.type == "cpu":
            return self._crop_each(index, boxes[index], mirrored, size, floats)
        flat, starts = self.flat, self.starts[index]
        if isinstance(flat, np.ndarray):
            flat, starts = self._bring(index)
        out = crop_all(
            flat,
            starts,
            self.sizes[index],
            boxes[index],
            mirrored,
            self.shape[1],
            size,
            self.planar,
        )
        return out.float().div_(255) if floats else out

    def stored(self, row: int) -> np.ndarray:
        """``[h, w, C]``: a picture as it lies in the pack."""
        assert isinstance(self.flat, np.ndarray)
        h, w = self.sizes[row]
        c = self.shape[1]
        start = self.starts[row]
        pixels = self.flat[start : start + h * w * c]
        if self.planar:
            return pixels.reshape(c, h, w).transpose(1, 2, 0)
        return pixels.reshape(h, w, c)

    def _crop_each(
        self, index: np.ndarray, boxes: np.ndarray, flips: np.ndarray, size: int, floats: bool
    ) -> Tensor:
        dtype = torch.float32 if floats else torch.uint8
        out = empty((len(index), size, size, self.shape[1]), dtype, self.device)
        out = out.permute(0, 3, 1, 2)
        self.expect(index)
        # a disk is read in its own order
        order = np.argsort(index) if self.mapped else np.arange(len(index))
        for b, row, box, flip in zip(
            order.tolist(),
            index[order].tolist(),
            boxes[order].tolist(),
            flips[order].tolist(),
            strict=True,
        ):
            piece = self._piece(row, box, size)
            if piece is None:  # all padding
                out[b] = 0
                continue
            piece = piece.flip(3) if flip else piece
            if floats:  # while the piece is in the processor's cache
                torch.div(piece, 255, out=out[b : b + 1])
            else:
                out[b] = piece[0]
        return out

    def _piece(self, row: int, box: Sequence[int], size: int) -> Tensor | None:
        """``[1, C, size, size]`` uint8: a picture's box, padded and resized. None where the box
        lies outside of the picture.
        """
        top, left, height, width = box
        h, w = self.sizes[row].tolist()
        y0 = max(top, 0)
        x0 = max(left, 0)
        y1 = min(top + height, h)
        x1 = min(left + width, w)
        if y0 >= y1 or x0 >= x1:
            return None
        pixels = np.array(self.stored(row)[y0:y1, x0:x1])
        # channels last, and known as such by its strides
        piece = torch.from_numpy(pixels.reshape(1, *pixels.shape)).permute(0, 3, 1, 2)
        if (y1 - y0, x1 - x0) != (height, width):
            piece = F.pad(piece, (x0 - left, left + width - x1, y0 - top, top + height - y1))
        if (height, width) != (size, size):
            piece = F.interpolate(piece, (size, size), mode="bilinear", antialias=True)
        return piece

    def expect(self, index: np.ndarray) -> None:
        """Tell the system that pictures ``index`` [B] will be read, so that a disk is asked for all
        of them at once.
        """
        if self.mapped is None or not hasattr(mmap, "MADV_WILLNEED"):
            return
        starts = self.starts[index] // mmap.PAGESIZE * mmap.PAGESIZE
        ends = self.starts[index] + self.sizes[index].prod(1) * self.shape[1]
        for start, length in zip(starts.tolist(), (ends - starts).tolist(), strict=True):
            self.mapped.madvise(mmap.MADV_WILLNEED, start, length)

    def _bring(self, index: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """The pixels of pictures ``index`` on the device, and where each begins there."""
        assert isinstance(self.flat, np.ndarray)
        self.expect(index)
        lengths = self.sizes[index].prod(1) * self.shape[1]
        starts = np.concatenate([[0], np.cumsum(lengths[:-1])])
        target = np.empty(int(lengths.sum()), np.uint8)
        for b in np.argsort(index).tolist():
            target[starts[b] : starts[b] + lengths[b]] = self.flat[
                self.starts[index[b]] : self.starts[index[b]] + lengths[b]
            ]
        return upload(target, self.device), starts


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """New memory. NumPy asks for huge pages, which halves its cost on a CPU."""
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(shape, NUMPY[dtype]))
