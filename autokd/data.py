"""Packed pictures on the device, and the hashed split into train, validation and test."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autokd import rng
from autokd.document import UserError
from autokd.recipe import Data as Spec


class Pack(NamedTuple):
    """A data set as it was packed: official train and test pictures, before any split of ours."""

    pictures: np.ndarray  # [N, C, H, W] uint8
    labels: np.ndarray  # [N] int64
    test_pictures: np.ndarray | None
    test_labels: np.ndarray | None
    classes: list[str]
    fingerprint: str


class Split(NamedTuple):
    pictures: Tensor  # [N, C, H, W] uint8, on the device
    labels: Tensor  # [N] int64; −1 where a training picture has no label

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """What one run sees. ``test`` is handed out by :meth:`read_test` alone, so that every reading can be counted."""

    train: Split
    validation: Split
    classes: list[str]
    mean: list[float]  # of the training pictures in [0, 1], a value a channel
    std: list[float]
    fingerprint: str
    _test: Split

    @property
    def channels(self) -> int:
        return self.train.pictures.shape[1]

    def read_test(self) -> Split:
        return self._test


def fingerprint(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=4)
def pack(name: str) -> Pack:
    if name == "digits":
        from sklearn.datasets import load_digits

        bunch = load_digits()
        pictures = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
        labels = bunch.target.astype(np.int64)
        return Pack(pictures, labels, None, None, [str(c) for c in bunch.target_names], fingerprint(pictures, labels))
    raise UserError(f"data/name: {name!r} is no data set known here")


def stratified(labels: np.ndarray, count: int, seed: int, purpose: str) -> np.ndarray:
    """``[N]`` bool with ``count`` True, each class in proportion (largest remainder), by a hash of seed and position."""
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * (count / len(labels))
    quota = np.floor(exact).astype(int)
    for i in np.argsort(-(exact - quota), kind="stable")[: count - quota.sum()]:
        quota[i] += 1
    draws = rng.uniforms(seed, purpose, 0, len(labels))[:, 0]
    chosen = np.zeros(len(labels), dtype=bool)
    for c, q in zip(classes, quota, strict=True):
        rows = np.flatnonzero(labels == c)
        chosen[rows[np.argsort(draws[rows], kind="stable")[:q]]] = True
    return chosen


def load(spec: Spec, device: str = "cpu") -> Data:
    """Split as the recipe says. Raises :class:`UserError` where there are too few pictures for that."""
    p = pack(spec.name)
    seed, labels, pictures = spec.split_seed, p.labels, p.pictures
    if p.test_pictures is None:
        held = stratified(labels, round(spec.test * len(labels)), seed, "split/test")
        test_pictures, test_labels = pictures[held], labels[held]
        pictures, labels = pictures[~held], labels[~held]
    else:
        assert p.test_labels is not None
        test_pictures, test_labels = p.test_pictures, p.test_labels
    held = stratified(labels, round(spec.validation * len(labels)), seed, "split/validation")
    validation_pictures, validation_labels = pictures[held], labels[held]
    pictures, labels = pictures[~held], labels[~held]
    for path, count in (("data/limit", spec.limit), ("data/labelled", spec.labelled)):
        available = min(len(labels), spec.limit or len(labels)) if path == "data/labelled" else len(labels)
        if count is not None and not len(p.classes) <= count <= available:
            raise UserError(f"{path}: {count} is outside what the split leaves: {len(p.classes)} (one a class) to {available} pictures")
    if spec.limit is not None:
        kept = stratified(labels, spec.limit, seed, "split/limit")
        pictures, labels = pictures[kept], labels[kept]
    if spec.label_noise:
        labels = noisy(labels, len(p.classes), spec.label_noise, seed)
    if spec.labelled is not None:
        labels = np.where(stratified(labels, spec.labelled, seed, "split/labelled"), labels, -1)
    counts = np.bincount(labels[labels >= 0], minlength=len(p.classes))
    if counts.min() == 0:
        rare = p.classes[int(counts.argmin())]
        raise UserError(f"data: class {rare!r} has no labelled training picture left after the split; hold out less, or raise data/limit")
    moments = pictures.astype(np.float64) / 255
    return Data(
        train=_to(pictures, labels, device),
        validation=_to(validation_pictures, validation_labels, device),
        classes=p.classes,
        mean=[round(float(v), 6) for v in moments.mean((0, 2, 3))],
        std=[round(max(float(v), 1e-3), 6) for v in moments.std((0, 2, 3))],
        fingerprint=fingerprint(pictures, labels),
        _test=_to(test_pictures, test_labels, device),
    )


def noisy(labels: np.ndarray, classes: int, fraction: float, seed: int) -> np.ndarray:
    """Symmetric label noise: each label becomes another class, all equally likely, with probability ``fraction``."""
    draws = rng.uniforms(seed, "split/noise", 0, len(labels), 2)
    other = (labels + 1 + np.floor(draws[:, 1] * (classes - 1)).astype(np.int64)) % classes
    return np.where(draws[:, 0] < fraction, other, labels)


def _to(pictures: np.ndarray, labels: np.ndarray, device: str) -> Split:
    return Split(torch.from_numpy(np.ascontiguousarray(pictures)).to(device), torch.from_numpy(labels.astype(np.int64)).to(device))
