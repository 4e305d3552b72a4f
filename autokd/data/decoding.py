"""One picture to pixels: what Pillow makes of a file, turned as EXIF says and made smaller, never
larger; and what is noted of a chunk of pictures on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from autokd.data.packfile import sha256s

MAX_ASPECT = 32  # a longer side of more than so many times the shorter is no picture but a mistake
# where a file may say how it is to be turned
ORIENTED = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}


class Broken(NamedTuple):
    """A file that did not decode."""

    path: str
    reason: str


class Chunk(NamedTuple):
    """Decoded pictures, one after the other; ``kept`` says for each that was asked for whether it
    is among them.
    """

    pixels: bytes  # empty where a process has written them already
    length: int  # bytes of all pixels
    digests: bytes  # the pictures' SHA-256, 32 bytes each
    sizes: list[tuple[int, int]]  # height, width
    sums: np.ndarray  # [n, 2, C], see Pack
    kept: list[bool]
    broken: list[Broken]
    clipped: int


def decode(path: str, short_side: int) -> tuple[Image.Image, bool]:
    """A file as an RGB picture, and whether it was clipped: what Pillow's ``convert("RGB")`` makes
    of its first frame, turned as EXIF says, and made smaller. Raises whatever Pillow does.
    """
    with Image.open(path) as image:
        width, height = image.size
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise ValueError(
                f"it is {width}×{height} pixels, and a side of more than {MAX_ASPECT} times the"
                " other is no picture"
            )
        if image.format == "JPEG":
            # the decoder itself halves very large pictures; they stay twice as large as needed
            scale = 2 * short_side / min(width, height)
            image.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
        image.load()
        turned: Image.Image = image
        if image.format in {"TIFF", "MPO"} or not ORIENTED.isdisjoint(image.info):
            turned = ImageOps.exif_transpose(image)
        clipped = False
        if turned.mode.startswith("I"):
            _, highest = turned.getextrema()
            clipped = highest > 255  # type: ignore[operator]
        rgb = turned if turned.mode == "RGB" else turned.convert("RGB")
        return smaller(rgb, short_side), clipped


def smaller(image: Image.Image, short_side: int) -> Image.Image:
    """The picture with its short side at ``short_side`` pixels and its aspect kept; the picture
    itself where it is no larger.
    """
    least = min(image.size)
    if least <= short_side:
        return image
    width, height = (
        side if side == short_side else max(short_side, side * short_side // least)
        for side in image.size
    )
    return image.resize((width, height), Image.Resampling.BILINEAR)


def sums(pixels: np.ndarray) -> np.ndarray:
    """``[n, 2, C]`` float64 of ``[n, h, w, C]`` uint8: of each picture and channel the sum, and the
    sum of squares. Both are exact.
    """
    n, h, w, c = pixels.shape
    # whole numbers below 2^24 are exact in float32, which is twice as fast
    exact = np.float32 if h * 255**2 < 1 << 24 else np.float64
    rows = pixels.reshape(n, h, w * c).astype(exact)
    columns = np.stack([rows.sum(1), np.square(rows, out=rows).sum(1)], 1)
    return columns.reshape(n, 2, w, c).sum(2, dtype=np.float64)


def decode_chunk(
    pictures: Sequence[Any], root: Path | None, short_side: int, channels: int
) -> Chunk:
    """Decode paths below ``root``, or take arrays ``[h, w, C]`` where there is no root, with 3
    ``channels`` or as grey.
    """
    pixels: list[bytes] = []
    sizes: list[tuple[int, int]] = []
    kept: list[bool] = []
    broken: list[Broken] = []
    clipped = 0
    for picture in pictures:
        if root is None:
            small = _with_channels(_smaller_array(picture, short_side), channels)
            pixels.append(small.tobytes())
            sizes.append((small.shape[0], small.shape[1]))
        else:
            path = f"{root}/{picture}"
            try:
                image, clips = decode(path, short_side)
                image = image if channels == 3 else image.convert("L")
                pixels.append(image.tobytes())
            except MemoryError:
                raise
            except Exception as e:  # Pillow answers a broken file with nearly any error
                broken.append(Broken(path, _reason(e)))
                kept.append(False)
                continue
            sizes.append((image.height, image.width))
            clipped += clips
        kept.append(True)
    joined = b"".join(pixels)
    return Chunk(
        pixels=joined,
        length=len(joined),
        digests=sha256s(pixels),
        sizes=sizes,
        sums=_sums_of_each(pixels, joined, sizes, channels),
        kept=kept,
        broken=broken,
        clipped=clipped,
    )


def _reason(e: Exception) -> str:
    said = e.strerror if isinstance(e, OSError) and e.strerror else str(e) or type(e).__name__
    return "it is no picture that Pillow knows" if "cannot identify" in said else said


def _sums_of_each(
    pixels: list[bytes], joined: bytes, sizes: list[tuple[int, int]], channels: int
) -> np.ndarray:
    if len(set(sizes)) == 1 and len(pixels[0]) <= 1 << 12:  # small pictures: all in one call
        return sums(np.frombuffer(joined, np.uint8).reshape(len(sizes), *sizes[0], channels))
    arrays = (
        np.frombuffer(own, np.uint8).reshape(1, *size, channels)
        for own, size in zip(pixels, sizes, strict=True)
    )
    return np.concatenate([np.zeros((0, 2, channels)), *map(sums, arrays)])


def _smaller_array(pixels: np.ndarray, short_side: int) -> np.ndarray:
    if min(pixels.shape[:2]) <= short_side:
        return pixels
    small = smaller(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), short_side)
    return np.asarray(small).reshape(small.height, small.width, -1)


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Grey as three equal channels, or colours as grey, by Pillow's weights."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return pixels.repeat(3, 2)
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
