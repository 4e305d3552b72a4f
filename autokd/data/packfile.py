"""The file format of a pack: all pictures of a data set in one memory-mapped file of uint8.

A pack is a file ``NAME-KEY-FINGERPRINT.pack`` beside its manifest ``NAME-KEY.json``. The file holds
the pictures one after the other, each ``[height, width, channels]``, then what belongs to them:
sizes, labels, sums, paths. The manifest is written last, and names the file with its checksums:
what is half-written, damaged or of another version of the folder is not used but made again
(:mod:`autokd.data.packing`).
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

FORMAT = 2  # raised when the same pictures would be packed to other bytes
ALIGN = 64


@dataclass
class Pack:
    """A data set as it was packed. Rows are numbered through its official parts: train, then
    validation and test where there are such.
    """

    name: str
    flat: np.ndarray  # uint8, all pictures: in memory, or a read-only map of the file
    sizes: np.ndarray  # [N, 2] int32: height, width
    labels: np.ndarray  # [N] int64
    # [N, 2, C] float64: per channel the sum of the values and of their squares; whole numbers, so
    # exact
    sums: np.ndarray
    parts: dict[str, int]  # pictures in each official part
    classes: list[str]
    fingerprint: str  # of pictures and labels: packs of the same content share it
    # path and reason of each file that was left out
    skipped: list[dict[str, str]] = field(default_factory=list)
    clipped: int = 0  # 16-bit grey pictures with values above 255, which Pillow makes white
    # What follows has a pack on disk alone.
    manifest: Path | None = None
    file: Path | None = None
    sections: dict[str, list[int]] = field(default_factory=dict)  # name -> first byte, bytes
    mapped: mmap.mmap | None = None

    @property
    def channels(self) -> int:
        return self.sums.shape[2]

    @property
    def starts(self) -> np.ndarray:
        """``[N]`` int64: where each picture begins in ``flat``."""
        lengths = self.sizes[:-1].prod(1, dtype=np.int64) * self.channels
        return np.concatenate([[0], np.cumsum(lengths)])

    @property
    def side(self) -> int | None:
        """Pixels a side, where all pictures are equal squares."""
        side = int(self.sizes[0, 0])
        return side if bool((self.sizes == side).all()) else None

    def rows(self, part: str) -> np.ndarray:
        """``[n]`` int64: the rows of an official part; none where there is no such part."""
        names = list(self.parts)
        first = sum(self.parts[name] for name in names[: names.index(part)]) if part in names else 0
        return np.arange(first, first + self.parts.get(part, 0))

    def about(self) -> dict[str, Any]:
        """What a person wants to know of it."""
        least, most = self.sizes.min(0), self.sizes.max(0)
        if bool((least == most).all()):
            size = f"{least[0]}×{least[1]}"
        else:
            size = f"{least[0]} to {most[0]} px high, {least[1]} to {most[1]} px wide"
        facts = {
            "name": self.name,
            "classes": len(self.classes),
            **self.parts,
            "stored": f"{size}, {'RGB' if self.channels == 3 else 'grey'}",
            "bytes": int(self.flat.size),
            "skipped": len(self.skipped),
            "clipped": self.clipped,
            "fingerprint": self.fingerprint,
        }
        return facts | ({"file": str(self.file)} if self.file else {})

    def paths(self) -> list[str]:
        """Relative to the source, one a row; empty where pictures are not files."""
        if self.file is None or not self.sections["paths"][1]:
            return []
        start, size = self.sections["paths"]
        with open(self.file, "rb") as f:
            f.seek(start)
            return os.fsdecode(f.read(size)).split("\0")


def sha256s(pictures: Iterable[Any]) -> bytes:
    """The SHA-256 of each picture's bytes, 32 bytes each, one after the other."""
    return b"".join([hashlib.sha256(picture).digest() for picture in pictures])


def fingerprint_of(digests: bytes, sizes: np.ndarray, labels: np.ndarray) -> str:
    """16 hex digits of the content: of the pictures' own SHA-256 in their order (:func:`sha256s`),
    their sizes and labels.
    """
    content = hashlib.sha256(digests).digest() + sizes.tobytes() + labels.tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def append(f: BinaryIO, arrays: dict[str, np.ndarray]) -> dict[str, list[int]]:
    """Write the arrays at aligned places; where each lies, and its bytes."""
    places = {}
    for name, array in arrays.items():
        f.write(bytes(-f.tell() % ALIGN))
        places[name] = [f.tell(), array.nbytes]
        f.write(array.tobytes())
    return places


def sha256_from(file: Path, start: int) -> str:
    """Of a file's bytes from ``start`` on: a pack's index."""
    with open(file, "rb") as f:
        f.seek(start)
        return hashlib.file_digest(f, "sha256").hexdigest()


def read(manifest: Path) -> Pack | None:
    """The pack behind a manifest; None where there is none, or it is not whole. Pictures themselves
    are checked by :func:`intact`.
    """
    try:
        facts = json.loads(manifest.read_text(encoding="utf-8"))
        file = manifest.parent / facts["file"]
        if (
            facts["format"] != FORMAT
            or file.stat().st_size != facts["bytes"]
            or sha256_from(file, facts["pixels"]) != facts["index_sha256"]
        ):
            return None
        with open(file, "rb") as f:
            mapped = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    n = sum(facts["parts"].values())

    def section(name: str, dtype: Any, *shape: int) -> np.ndarray:
        start, size = facts["sections"][name]
        return np.frombuffer(mapped, np.uint8, size, start).view(dtype).reshape(shape)

    return Pack(
        name=facts["name"],
        flat=np.frombuffer(mapped, np.uint8, facts["pixels"]),
        sizes=section("sizes", np.int32, n, 2),
        labels=section("labels", np.int64, n),
        sums=section("sums", np.float64, n, 2, facts["channels"]),
        parts=facts["parts"],
        classes=facts["classes"],
        fingerprint=facts["fingerprint"],
        skipped=facts["skipped"],
        clipped=facts["clipped"],
        manifest=manifest,
        file=file,
        sections=facts["sections"],
        mapped=mapped,
    )


def listing(manifest: Path) -> str | None:
    """The hash of the folder that was packed; None where nothing was."""
    try:
        return json.loads(manifest.read_text(encoding="utf-8"))["listing"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def intact(pack: Pack) -> bool:
    """Whether every picture, size and label is what was packed: reads all of it."""
    starts = pack.starts.tolist()
    ends = [*starts[1:], pack.flat.size]
    pictures = (pack.flat[start:end].data for start, end in zip(starts, ends, strict=True))
    return fingerprint_of(sha256s(pictures), pack.sizes, pack.labels) == pack.fingerprint
