"""What one run sees of a data set: its pictures on the device, split, and the labels it may use.

``load`` is all that a run needs: the set is fetched and packed where it is not yet (``sources``,
``packs``), split (``splits``), and put where it fits (``placing``).
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from autokd import rng
from autokd.data.packfile import Pack
from autokd.data.packs import pack
from autokd.data.pictures import Pictures
from autokd.data.placing import default_budget, place
from autokd.data.sources import UNLABELLED
from autokd.data.splits import cases, cut, note, stratified
from autokd.data.unlabelled import added
from autokd.errors import UserError
from autokd.recipe import DataSettings


class Split(NamedTuple):
    """The training, validation or test pictures of a run."""

    # [N, C, H, W] uint8, on the device, or brought there when looked at
    pictures: Tensor | Pictures
    labels: Tensor  # [N] int64; −1 where a training picture has no label
    # [N] int64: pictures of one group (`data/group_by`) share a number, others have their own; it
    # says which picture is which, whoever looks
    cases: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """What one run sees. ``test`` is handed out by :meth:`read_test` alone, so that every reading
    can be counted.
    """

    train: Split
    validation: Split
    classes: list[str]
    mean: list[float]  # of the training pictures in [0, 1], a value a channel
    std: list[float]
    fingerprint: str  # of the training pictures and their labels, as split, cut down and made noisy
    _test: Callable[[], Split]
    # counts for people: pictures a split, labels, files skipped, …
    summary: dict[str, Any] = field(default_factory=dict)
    pack: str = ""  # the pack's fingerprint: of all pictures and labels, before any split

    @property
    def channels(self) -> int:
        return self.train.pictures.shape[1]

    def read_test(self) -> Split:
        """The test pictures: a study reads them once, at its end."""
        return self._test()


def load(
    settings: DataSettings,
    device: str = "cpu",
    *,
    data_dir: str | Path | None = None,
    budget: int | None = None,
) -> Dataset:
    """Fetch, pack and split as the recipe says. The latest is kept for the next run of the process.

    ``budget``: bytes of pictures that may live on the device; what exceeds it is read from the pack
    when looked at (default: half of what a GPU has free, 256 MiB on a CPU). Results do not depend
    on it. Raises :class:`UserError` where the data is not there, broken, or has too few pictures
    for the split.
    """
    found = pack(settings, data_dir=data_dir)
    key = (found.file, found.fingerprint, settings.model_dump_json(), str(device), budget)
    if key not in _latest:
        _latest.clear()  # before the next is made: memory for one, not for two
        room = default_budget(device) if budget is None else budget
        _latest[key] = _load(found, settings, device, room)
    return _latest[key]


_latest: dict[Any, Dataset] = {}


def notes(settings: DataSettings) -> list[str]:
    """What one would not expect of the data: that every picture has to be enlarged for the recipe's
    resolution, that val/ is read as test; and what is added without labels. UserError as
    :func:`load`.
    """
    found = pack(settings)
    out = [told] if (told := note(found, settings)) else []
    largest = int(found.sizes.min(1).max())
    if largest < settings.resolution:
        out.append(
            f"data/resolution is {settings.resolution}, and no picture's short side has more than"
            f" {largest} px: all are enlarged"
        )
    if settings.unlabelled is not None:
        rows = _chosen(found, settings)
        more, all_of_it = int(rows.more.sum()), found.parts[UNLABELLED]
        out.append(
            f"data/unlabelled: {more:,} pictures without labels are added to the"
            f" {len(rows.train) - more:,} for training"
            + (f"; {all_of_it - more:,} are left out" if all_of_it > more else "")
            + (", since they are among the data's own" if all_of_it > more else "")
        )
    return out


class _Chosen(NamedTuple):
    """Rows of a pack."""

    train: np.ndarray
    labels: np.ndarray  # of these, as a run sees them
    more: np.ndarray  # bool: which of these `data/unlabelled` adds
    changed: int  # labels that noise has changed
    validation: np.ndarray
    test: np.ndarray


def _chosen(found: Pack, settings: DataSettings) -> _Chosen:
    own, validation, test = cut(found, settings)
    own, labels, changed = _training(found, settings, own)
    extra = added(found, cases(found, settings), own, validation, test)
    more = np.arange(len(own) + len(extra)) >= len(own)
    labels = np.concatenate([labels, np.full(len(extra), -1)])
    return _Chosen(np.concatenate([own, extra]), labels, more, changed, validation, test)


def _load(found: Pack, settings: DataSettings, device: str, budget: int) -> Dataset:
    train, labels, more, changed, validation, test = _chosen(found, settings)
    together = cases(found, settings)
    mean, std = _mean_and_std(found, train)
    content = found.fingerprint.encode() + train.tobytes() + labels.tobytes()
    used = 0

    def split(rows: np.ndarray, own: np.ndarray, share: float = settings.crop_share) -> Split:
        nonlocal used
        pictures, size = place(found, rows, device, budget - used, share)
        used += size
        own = own.astype(np.int64)
        return Split(pictures, torch.from_numpy(own).to(device), together[rows])

    ours = split(train, labels, share=1.0)
    held = split(validation, found.labels[validation])
    largest = int(found.sizes.min(1).max())
    summary = {
        "name": found.name,
        "classes": len(found.classes),
        "train": len(train),
        "validation": len(validation),
        "test": len(test),
        "labelled": int((labels >= 0).sum()),
        "unlabelled": int(more.sum()),  # those that `data/unlabelled` adds
        "unlabelled_left_out": found.parts.get(UNLABELLED, 0) - int(more.sum()),
        "labels_changed": changed,
        "skipped": len(found.skipped),
        "clipped": found.clipped,
        "stored": f"{found.side}×{found.side}" if found.side else f"short side up to {largest}",
        "mapped": isinstance(ours.pictures, Pictures) and ours.pictures.mapped is not None,
    }
    summary |= {"note": told} if (told := note(found, settings)) else {}
    return Dataset(
        train=ours,
        validation=held,
        classes=found.classes,
        mean=mean,
        std=std,
        fingerprint=hashlib.sha256(content).hexdigest()[:16],
        _test=functools.cache(lambda: split(test, found.labels[test])),
        summary=summary,
        pack=found.fingerprint,
    )


def _training(
    found: Pack, settings: DataSettings, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """The training rows and their labels, cut down, made noisy and hidden as the recipe says; and
    how many labels the noise has changed.
    """
    seed = settings.split_seed
    classes = len(found.classes)
    labels = found.labels[rows]
    left = min(len(labels), settings.limit or len(labels))
    _within("data/limit", settings.limit, classes, len(labels))
    _within("data/labelled", settings.labelled, classes, left)
    if settings.limit is not None:
        kept = stratified(labels, settings.limit, seed, "split/limit")
        _each_class(found, labels, labels[kept], "data/limit")
        rows, labels = rows[kept], labels[kept]
    clean = labels
    if settings.label_noise:
        labels = noisy(labels, classes, settings.label_noise, seed)
    changed = int((labels != clean).sum())
    if settings.labelled is not None:
        known = stratified(labels, settings.labelled, seed, "split/labelled")
        _each_class(found, labels, labels[known], "data/labelled")
        labels = np.where(known, labels, -1)
    return rows, labels, changed


def _mean_and_std(found: Pack, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Per channel, of these pictures in [0, 1]; a std of less than 0.001 counts as that."""
    n = found.sizes[rows].prod(1, dtype=np.int64).sum()
    total, squares = found.sums[rows].sum(0)
    mean = total / (255 * n)
    std = np.sqrt((squares / (255**2 * n) - mean**2).clip(0))
    return [round(float(v), 6) for v in mean], [round(max(float(v), 1e-3), 6) for v in std]


def noisy(labels: np.ndarray, classes: int, fraction: float, seed: int) -> np.ndarray:
    """Symmetric label noise: each label becomes another class, all equally likely, with probability
    ``fraction``.
    """
    draws = rng.uniforms(seed, "split/noise", 0, len(labels), 2)
    other = (labels + 1 + np.floor(draws[:, 1] * (classes - 1)).astype(np.int64)) % classes
    return np.where(draws[:, 0] < fraction, other, labels)


def _within(path: str, count: int | None, least: int, most: int) -> None:
    if count is not None and not least <= count <= most:
        raise UserError(
            f"{path}: {count} is outside what the split leaves: {least} (one a class)"
            f" to {most} pictures"
        )


def _each_class(found: Pack, labels: np.ndarray, chosen: np.ndarray, path: str) -> None:
    """UserError where a choice of labels leaves a class without any."""
    counts = np.bincount(chosen, minlength=len(found.classes))
    if counts.min() == 0:
        rare = int(counts.argmin())
        works = math.ceil(len(labels) / max(1, int((labels == rare).sum())))
        raise UserError(
            f"{path}: {len(chosen)} pictures leave class {found.classes[rare]!r} no labelled"
            f" training picture; at least {min(works, len(labels))} would work, or leave the class"
            " out"
        )
