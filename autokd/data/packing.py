"""Packing: the pictures of a source, decoded once and written into one file that every later run
reads.

The short side of a picture is at most ``short_side`` pixels and its aspect is kept; pictures are
made smaller, never larger. Where all are equal squares, as in CIFAR, the file is an array ``[N, S,
S, C]``; otherwise training crops of any aspect are cut from whole pictures, and what looks at a
picture without augmentation sees its central square.

Memory stays flat: pictures are decoded side by side, a few hundred at a time, and appended.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from autokd.data import packfile, pools
from autokd.data.decoding import Chunk, sums
from autokd.data.packfile import Pack
from autokd.data.sources import Contents
from autokd.errors import UserError
from autokd.files import write_atomically

LARGE = 20e9  # bytes above which a pack is made only when asked for
SAMPLED = 64  # files that are opened to predict the size of a pack

Progress = Callable[[int, int], None]  # pictures done, pictures in all


def in_memory(contents: Contents, name: str) -> Pack:
    """A small set of arrays without a file."""
    pictures = np.concatenate([part.pictures for part in contents.parts.values()])
    labels = _labels(contents)
    sizes = np.tile(np.array(pictures.shape[1:3], np.int32), (len(pictures), 1))
    flat = np.ascontiguousarray(pictures).reshape(-1)
    digests = packfile.sha256s(own.data for own in flat.reshape(len(labels), -1))
    return Pack(
        name=name,
        flat=flat,
        sizes=sizes,
        labels=labels,
        sums=sums(pictures),
        parts={part: len(own.labels) for part, own in contents.parts.items()},
        classes=contents.classes,
        fingerprint=packfile.fingerprint_of(digests, sizes, labels),
    )


def write(
    contents: Contents,
    manifest: Path,
    name: str,
    *,
    short_side: int,
    skip: bool = False,
    large: bool = False,
    progress: Progress | None = None,
) -> None:
    """Pack ``contents``. The manifest appears last; until then nothing that was written is ever
    read.

    ``skip``: leave out files that do not decode, rather than stop; ``large``: go on where the pack
    will exceed :data:`LARGE`. Raises :class:`UserError`.
    """
    began = time.monotonic()
    folder = manifest.parent
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f".{manifest.stem}-*.part"):
        old.unlink(missing_ok=True)  # of a process that was killed: ours alone, as we hold the lock
    each = _predict(contents, folder, short_side, large)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{manifest.stem}-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as f:
            index = _write_pictures(f, contents, short_side, each, skip, progress)
            facts = index.write(f, contents)
        final = folder / f"{manifest.stem}-{facts['fingerprint']}.pack"
        os.chmod(temporary, 0o644)
        os.replace(temporary, final)
        written = {
            "format": packfile.FORMAT,
            "name": name,
            "short_side": short_side,
            "listing": contents.listing,
            "file": final.name,
            "bytes": facts["bytes"],
            "pixels": index.end,
            "channels": facts["channels"],
            "parts": index.parts,
            "sections": facts["sections"],
            "index_sha256": packfile.sha256_from(final, index.end),
            "fingerprint": facts["fingerprint"],
            "classes": contents.classes,
            "skipped": index.skipped,
            "clipped": index.clipped,
            "seconds": round(time.monotonic() - began, 2),
            "pillow": Image.__version__,
        }
        write_atomically(manifest, json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    except OSError as e:
        if e.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise UserError(f"{folder}: packing {name} failed: {e.strerror or e}") from None
        raise UserError(
            f"{folder}: the disk filled up while packing {name}; nothing was kept. Free some space,"
            " or set AUTOKD_CACHE to another disk"
        ) from None
    finally:
        Path(temporary).unlink(missing_ok=True)
    for old in folder.glob(f"{manifest.stem}-*.pack"):
        if old.name != final.name:
            old.unlink(missing_ok=True)


class _Index:
    """What is noted of the pictures while they are written, a row for each that was asked for."""

    def __init__(self, contents: Contents):
        self.labels = _labels(contents)
        self.total = len(self.labels)
        self.sizes = np.zeros((self.total, 2), np.int32)
        self.kept = np.ones(self.total, bool)
        self.sums: np.ndarray | None = None  # [N, 2, C]: C is known with the first picture
        self.skipped: list[dict[str, str]] = []
        self.parts = dict.fromkeys(contents.parts, 0)
        self.clipped = 0
        self.digests = bytearray()
        self.row = 0  # of the next picture
        self.end = 0  # where the next picture begins in the file

    def note(self, part: str, chunk: Chunk) -> None:
        rows = self.row + np.flatnonzero(chunk.kept)
        if len(rows):
            if self.sums is None:
                self.sums = np.zeros((self.total, *chunk.sums.shape[1:]))
            self.sizes[rows] = chunk.sizes
            self.sums[rows] = chunk.sums
        self.kept[self.row : self.row + len(chunk.kept)] = chunk.kept
        self.row += len(chunk.kept)
        self.parts[part] += len(rows)
        self.clipped += chunk.clipped
        self.skipped += [broken._asdict() for broken in chunk.broken]
        self.end += chunk.length
        self.digests += chunk.digests

    def write(self, f: BinaryIO, contents: Contents) -> dict[str, Any]:
        """Append what belongs to the pictures that were kept; what the manifest says of that.
        UserError where a class has no training picture.
        """
        if self.sums is None:
            raise UserError(
                f"{contents.root}: none of its {self.total:,} files could be read; the first:"
                f" {self.skipped[0]['path']}: {self.skipped[0]['reason']}"
            )
        sizes = self.sizes[self.kept]
        labels = self.labels[self.kept]
        moments = self.sums[self.kept]
        trained = set(labels[: self.parts["train"]].tolist())
        missing = set(range(len(contents.classes))) - trained
        if missing:
            raise UserError(
                f"{contents.root}: class {contents.classes[min(missing)]!r} has no readable"
                " training picture: all were skipped"
            )
        f.seek(self.end)
        paths = _paths(contents, self.kept)
        arrays = {"sizes": sizes, "labels": labels, "sums": moments, "paths": paths}
        sections = packfile.append(f, arrays)
        f.flush()
        os.fsync(f.fileno())
        return {
            "bytes": f.tell(),
            "channels": moments.shape[2],
            "sections": sections,
            "fingerprint": packfile.fingerprint_of(bytes(self.digests), sizes, labels),
        }


def _write_pictures(
    f: BinaryIO,
    contents: Contents,
    short_side: int,
    each: dict[str, float],
    skip: bool,
    progress: Progress | None,
) -> _Index:
    index = _Index(contents)
    handle = f.fileno()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd but readable files
        for part, own in contents.parts.items():
            form = pools.Form(contents.root_of(part), short_side, contents.channels)
            with contextlib.closing(
                pools.decoded(own.pictures, form, each[part], handle, index.end)
            ) as chunks:
                for chunk in chunks:
                    if chunk.broken and not skip:
                        raise UserError(unreadable(*chunk.broken[0]))
                    pools.write_at(handle, chunk.pixels, index.end)
                    index.note(part, chunk)
                    if progress:
                        progress(index.row, index.total)
    return index


def unreadable(path: str, reason: str) -> str:
    """The message about a file that does not decode."""
    return (
        f"{path}: cannot be read as a picture: {reason}. Mend or remove it, or leave such files out"
        " by data/on_error: skip"
    )


def _labels(contents: Contents) -> np.ndarray:
    parts = contents.parts.values()
    return np.concatenate([np.asarray(part.labels, dtype=np.int64) for part in parts])


def _paths(contents: Contents, kept: np.ndarray) -> np.ndarray:
    if contents.root is None:
        return np.zeros(0, np.uint8)
    paths = [
        path
        for name, part in contents.parts.items()
        for path in (part.pictures if contents.root_of(name) else [""] * len(part.labels))
    ]
    blob = b"\0".join(os.fsencode(path) for path, keep in zip(paths, kept, strict=True) if keep)
    return np.frombuffer(blob, np.uint8)


def _predict(contents: Contents, folder: Path, short_side: int, large: bool) -> dict[str, float]:
    """Bytes of a picture, by part, as some files tell. UserError where the pack would be very large
    and nobody said so, or exceeds the disk.
    """
    needed = 0.0
    average = {}
    for name, part in contents.parts.items():
        n = len(part.labels)
        root = contents.root_of(name)
        if root is None:
            h, w = part.pictures.shape[1:3]
            each = h * w * contents.channels * min(1.0, short_side / min(h, w)) ** 2
        else:
            areas = []
            for path in part.pictures[:: max(1, n // SAMPLED)]:
                with contextlib.suppress(Exception), Image.open(f"{root}/{path}") as image:
                    w, h = image.size
                    areas.append(contents.channels * w * h * min(1.0, short_side / min(h, w)) ** 2)
            each = sum(areas) / max(1, len(areas))
        average[name] = each
        needed += n * each
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: the pack needs about {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are"
            " free there; choose a smaller data/store/short_side, or set AUTOKD_CACHE to another"
            " disk"
        )
    if needed > LARGE and not large:
        raise UserError(
            f"{folder}: the pack will take about {needed / 1e9:,.0f} GB there ({free / 1e9:,.0f} GB"
            " are free); set AUTOKD_LARGE=1 to go on, choose a smaller data/store/short_side, or"
            " set AUTOKD_CACHE to another disk"
        )
    return average
