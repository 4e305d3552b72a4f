"""Packed pictures on the device, and the hashed split into train, validation and test.

``load`` is all that a run needs: the set is fetched and packed where it is not yet (``sources``, ``packing``), split, and put where it
fits: on the device as one tensor, or else behind :class:`autokd.views.Pictures`, which read the pack when they are looked at.

Validation is cut from the training pictures; so is test, where the data has no official one. An official validation part is used as
it is. All cuts are stratified, and a pure function of ``data/split_seed`` and a picture's place in the data.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from autokd import packing, rng, sources
from autokd.document import UserError
from autokd.packing import Pack
from autokd.recipe import Data as Spec
from autokd.views import Pictures

BLOCK = 1 << 20  # bytes copied at a time


class Split(NamedTuple):
    pictures: Tensor | Pictures  # [N, C, H, W] uint8, on the device, or brought there when looked at
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
    fingerprint: str  # of the training pictures and their labels, as split, cut down and made noisy
    _test: Callable[[], Split]
    summary: dict[str, Any] = field(default_factory=dict)  # counts for people: pictures a split, labels, files skipped, …
    pack: str = ""  # the pack's fingerprint: of all pictures and labels, before any split

    @property
    def channels(self) -> int:
        return self.train.pictures.shape[1]

    def read_test(self) -> Split:
        return self._test()


# --- where pictures are ------------------------------------------------------------------------------------------------------------


def folder(data_dir: str | Path | None = None) -> Path:
    """Where downloads go and torchvision's files are looked for: ``data_dir``, else ``AUTOKD_DATA``, else in the cache."""
    from autokd.cache import default_cache

    given = data_dir or os.environ.get("AUTOKD_DATA")
    return Path(given).expanduser().absolute() if given else default_cache() / "downloads"


def pack(spec: Spec, *, data_dir: str | Path | None = None, large: bool | None = None) -> Pack:
    """The packed pictures of a recipe's data, made now where they are not yet. A process looks at a folder once.

    ``large``: packs above 20 GB are made too (default: where ``AUTOKD_LARGE`` is 1). Raises :class:`UserError`.
    """
    from autokd.cache import default_cache

    where, name = folder(data_dir), spec.name
    large = os.environ.get("AUTOKD_LARGE") == "1" if large is None else large
    if name.startswith(sources.FOLDER):
        named = data_dir or os.environ.get("AUTOKD_DATA")
        name = sources.FOLDER + str(sources.resolve(name, where if named else None))
        where = Path()  # of no account from here on
    return _pack(name, spec.short_side, spec.on_error == "skip", where, default_cache() / "data", large)


def too_small(spec: Spec) -> str:
    """A note where every picture has to be enlarged for the recipe's resolution; ``""`` where one need not be. UserError as :func:`pack`."""
    largest = int(pack(spec).sizes.min(1).max())
    if largest >= spec.resolution:
        return ""
    return f"data/resolution is {spec.resolution}, and no picture's short side has more than {largest} px: all are enlarged"


@functools.lru_cache(maxsize=4)
def _pack(name: str, short_side: int, skip: bool, data_dir: Path, cache: Path, large: bool) -> Pack:
    contents = functools.cache(lambda: sources.contents(name, data_dir))
    if name in sources.EMBEDDED:
        return packing.in_memory(contents(), name)
    return packing.obtain(
        manifest(name, short_side, cache), contents, name, short_side=short_side, skip=skip, large=large,
        fresh=lambda: contents().listing if name.startswith(sources.FOLDER) else None,
    )  # fmt: skip


def manifest(name: str, short_side: int, cache: Path) -> Path:
    """The manifest of a set's pack. Named sets are the published ones, wherever they lie; a folder is its path."""
    return cache / f"{packing.stem(name, short_side)}.json"


def verify(spec: Spec, *, data_dir: str | Path | None = None) -> str:
    """Read every byte of the pack again. Returns its fingerprint; raises :class:`UserError` where it is damaged."""
    found = pack(spec, data_dir=data_dir)
    if found.manifest is not None and not packing.intact(found):
        name = found.manifest.name
        raise UserError(f"{found.file}: damaged: its checksum is not the one in {name}; remove {name}, and it will be packed again")
    return found.fingerprint


# --- the split ---------------------------------------------------------------------------------------------------------------------


def stratified(labels: np.ndarray, count: int, seed: int, purpose: str) -> np.ndarray:
    """``[N]`` bool with ``count`` True, each class in proportion (largest remainder), by a hash of seed and position."""
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * (count / len(labels))
    quota = np.floor(exact).astype(int)
    for i in np.argsort(-(exact - quota), kind="stable")[: count - quota.sum()]:
        quota[i] += 1
    draws = rng.uniforms(seed, purpose, 0, len(labels))[:, 0]
    order = np.lexsort((draws, labels))  # class by class, in the order of the draws
    chosen = np.zeros(len(labels), dtype=bool)
    for first, q in zip(np.cumsum(sizes) - sizes, quota, strict=True):
        chosen[order[first : first + q]] = True
    return chosen


def grouped(labels: np.ndarray, groups: np.ndarray, count: int, seed: int, purpose: str) -> np.ndarray:
    """Like :func:`stratified`, but groups (``[N]`` int64) are chosen whole, so ``count`` and proportions are met as nearly as they allow.

    Each class takes groups in the order of a hash for as long as that brings it nearer to its share; a group of several classes counts
    for the most frequent.
    """
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    classes, which = np.unique(labels, return_inverse=True)
    votes = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(votes, (member, which), 1)
    owner = votes.argmax(1)
    first = np.unique(member, return_index=True)[1]
    draws = rng.uniforms(seed, purpose, 0, len(labels))[first, 0]
    chosen = np.zeros(len(names), dtype=bool)
    for c in range(len(classes)):
        own = np.flatnonzero(owner == c)
        missing = sizes[own].sum() * (count / len(labels))
        for group in own[np.argsort(draws[own], kind="stable")]:
            if abs(missing - sizes[group]) < abs(missing):
                chosen[group] = True
                missing -= sizes[group]
    return chosen[member]


def groups_of(found: Pack, pattern: str) -> np.ndarray:
    """``[N]`` int64: pictures whose paths match alike share a number (the first group of the expression where it has one, else all of it).

    A path that does not match is a group of its own. Raises :class:`UserError` where none matches, or all match alike.
    """
    expression, paths = re.compile(pattern), found.paths()
    numbers: dict[Any, int] = {}
    keys: list[Any] = []
    for path in paths:
        match = expression.search(path)
        keys.append((match.group(1 if expression.groups else 0),) if match else path)
    if not any(isinstance(key, tuple) for key in keys):
        raise UserError(f"data/group_by: {pattern!r} matches none of the {len(paths):,} paths, such as {paths[0]}")
    groups = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    if len(numbers) == 1:
        raise UserError(f"data/group_by: {pattern!r} puts all {len(paths):,} pictures into one group; it should match what near-duplicates share")
    return groups


def cut(found: Pack, spec: Spec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of train, validation and test, ascending. Raises :class:`UserError` where a class is too small for that."""
    rows = {part: found.rows(part) for part in ("train", "validation", "test")}
    groups = groups_of(found, spec.group_by) if spec.group_by is not None else None

    def held(fraction: float, purpose: str) -> np.ndarray:
        left = rows["train"]
        labels, count = found.labels[left], round(fraction * len(left))
        if groups is None:
            chosen = stratified(labels, count, spec.split_seed, purpose)
        else:
            chosen = grouped(labels, groups[left], count, spec.split_seed, purpose)
        rows["train"] = left[~chosen]
        return left[chosen]

    cuts = []
    if "test" not in found.parts:
        rows["test"] = held(spec.test, "split/test")
        cuts += [("test", spec.test)] if spec.test else []
    if "validation" not in found.parts or not spec.validation:
        rows["validation"] = held(spec.validation, "split/validation")
        cuts += [("validation", spec.validation)] if spec.validation else []
    _large_enough(found, rows, cuts, groups)
    return rows["train"], rows["validation"], rows["test"]


def _large_enough(found: Pack, rows: dict[str, np.ndarray], cuts: list[tuple[str, float]], groups: np.ndarray | None) -> None:
    """UserError where a class has no picture in some part, with what would work for the smallest such class."""
    has = {part: np.bincount(found.labels[rows[part]], minlength=len(found.classes)) for part in ("train", *(part for part, _ in cuts))}
    all_of = np.sum(list(has.values()), 0)
    small = [c for c in range(len(found.classes)) if any(counts[c] == 0 for counts in has.values())]
    if not small:
        return
    c = min(small, key=lambda c: all_of[c])
    n, fractions = int(all_of[c]), [fraction for _, fraction in cuts]
    unit = "picture" if n == 1 else "pictures"
    if groups is None:
        enough = next((m for m in range(n + 1, 100_000) if _suffices(m, fractions)), None)
        share = next((x / 100 for x in range(1, 60) if _suffices(n, [max(f, x / 100) for f in fractions])), None)
        advice = [f"{' and '.join(f'data/{part}' for part, _ in cuts)} of at least {share:g}"] if share else []
        advice += [f"at least {enough:,} pictures in the class"] if enough else []
    else:
        unit += f" in {len(np.unique(groups[found.labels == c]))} group(s)"
        advice = ["a data/group_by that makes more groups of it"]
    raise UserError(
        f"data: class {found.classes[c]!r} has {n:,} {unit}, of which the split makes {', '.join(f'{counts[c]} for {part}' for part, counts in has.items())}; "
        f"each part needs one{f' ({len(small)} classes are too small)' if len(small) > 1 else ''}. What would work: "
        f"{', or '.join([*advice, 'leaving the class out'])}"
    )


def _suffices(n: int, fractions: list[float]) -> bool:
    """Whether n pictures of a class leave one for every part, however the fractions are rounded."""
    for fraction in fractions:
        if n * (fraction - 0.002) < 1:
            return False
        n -= math.ceil(n * fraction)
    return n >= 1


def noisy(labels: np.ndarray, classes: int, fraction: float, seed: int) -> np.ndarray:
    """Symmetric label noise: each label becomes another class, all equally likely, with probability ``fraction``."""
    draws = rng.uniforms(seed, "split/noise", 0, len(labels), 2)
    other = (labels + 1 + np.floor(draws[:, 1] * (classes - 1)).astype(np.int64)) % classes
    return np.where(draws[:, 0] < fraction, other, labels)


def load(spec: Spec, device: str = "cpu", *, data_dir: str | Path | None = None, budget: int | None = None) -> Data:
    """Fetch, pack and split as the recipe says. The latest is kept for the next run of the process.

    ``budget``: bytes of pictures that may live on the device; what exceeds it is read from the pack when looked at (default: half of
    what a GPU has free, 256 MiB on a CPU). Results do not depend on it.
    Raises :class:`UserError` where the data is not there, broken, or has too few pictures for the split.
    """
    found = pack(spec, data_dir=data_dir)
    key = (found.file, found.fingerprint, spec.model_dump_json(), str(device), budget)
    if key not in _latest:
        _latest.clear()  # before the next is made: memory for one, not for two
        _latest[key] = _load(found, spec, device, _budget(device) if budget is None else budget)
    return _latest[key]


_latest: dict[Any, Data] = {}


def _load(p: Pack, spec: Spec, device: str, budget: int) -> Data:
    seed = spec.split_seed
    train, validation, test = cut(p, spec)
    labels = p.labels[train]
    for path, count in (("data/limit", spec.limit), ("data/labelled", spec.labelled)):
        available = min(len(labels), spec.limit or len(labels)) if path == "data/labelled" else len(labels)
        if count is not None and not len(p.classes) <= count <= available:
            raise UserError(f"{path}: {count} is outside what the split leaves: {len(p.classes)} (one a class) to {available} pictures")
    if spec.limit is not None:
        kept = stratified(labels, spec.limit, seed, "split/limit")
        _each_class(p, labels, labels[kept], "data/limit")
        train, labels = train[kept], labels[kept]
    clean = labels
    if spec.label_noise:
        labels = noisy(labels, len(p.classes), spec.label_noise, seed)
    changed = int((labels != clean).sum())
    if spec.labelled is not None:
        known = stratified(labels, spec.labelled, seed, "split/labelled")
        _each_class(p, labels, labels[known], "data/labelled")
        labels = np.where(known, labels, -1)
    n = p.sizes[train].prod(1, dtype=np.int64).sum()
    total, squares = p.sums[train].sum(0)
    mean = total / (255 * n)
    std = np.sqrt((squares / (255**2 * n) - mean**2).clip(0))
    digest = hashlib.sha256(f"{p.fingerprint}".encode() + train.tobytes() + labels.tobytes())
    used = 0

    def split(rows: np.ndarray, own: np.ndarray) -> Split:
        nonlocal used
        pictures, size = _place(p, rows, device, budget - used)
        used += size
        return Split(pictures, torch.from_numpy(own.astype(np.int64)).to(device))

    ours, held = split(train, labels), split(validation, p.labels[validation])
    stored = f"{p.side}×{p.side}" if p.side else f"short side up to {int(p.sizes.min(1).max())}"
    summary = {
        "name": p.name, "classes": len(p.classes), "train": len(train), "validation": len(validation), "test": len(test),
        "labelled": int((labels >= 0).sum()), "labels_changed": changed, "skipped": len(p.skipped), "clipped": p.clipped, "stored": stored,
        "mapped": isinstance(ours.pictures, Pictures) and ours.pictures.mapped is not None,
    }  # fmt: skip
    return Data(
        train=ours,
        validation=held,
        classes=p.classes,
        mean=[round(float(v), 6) for v in mean],
        std=[round(max(float(v), 1e-3), 6) for v in std],
        fingerprint=digest.hexdigest()[:16],
        _test=functools.cache(lambda: split(test, p.labels[test])),
        summary=summary,
        pack=p.fingerprint,
    )


def _each_class(p: Pack, labels: np.ndarray, chosen: np.ndarray, key: str) -> None:
    """UserError where a choice of labels leaves a class without any."""
    counts = np.bincount(chosen, minlength=len(p.classes))
    if counts.min() == 0:
        rare = int(counts.argmin())
        works = math.ceil(len(labels) / max(1, int((labels == rare).sum())))
        raise UserError(
            f"{key}: {len(chosen)} pictures leave class {p.classes[rare]!r} no labelled training picture; at least {min(works, len(labels))} would work, "
            "or leave the class out"
        )


def _place(p: Pack, rows: np.ndarray, device: str, budget: int) -> tuple[Tensor | Pictures, int]:
    """The pictures of these rows, and the bytes that they take on the device: 0 where they stay in the pack."""
    starts, sizes, side = p.starts[rows], p.sizes[rows], p.side
    lengths = sizes.prod(1, dtype=np.int64) * p.channels
    size = int(lengths.sum())
    if size > budget and p.map is not None:
        return Pictures(p.flat, starts, sizes, p.channels, device, mapped=p.map), 0
    if side is not None:
        stored = p.flat.reshape(-1, side, side, p.channels)
        pictures = np.empty((len(rows), p.channels, side, side), np.uint8)
        step = max(1, BLOCK // (side * side * p.channels))
        for i in range(0, len(rows), step):  # numpy: torch's threads cost ten times as much here on a busy machine
            pictures[i : i + step] = stored[rows[i : i + step]].transpose(0, 3, 1, 2)
        return torch.from_numpy(pictures).to(device), size
    flat = np.empty(size, np.uint8)
    begins = np.concatenate([[0], np.cumsum(lengths[:-1])])
    for begin, start, length in zip(begins.tolist(), starts.tolist(), lengths.tolist(), strict=True):
        flat[begin : begin + length] = p.flat[start : start + length]
    own = flat if torch.device(device).type == "cpu" else torch.from_numpy(flat).to(device)
    return Pictures(own, begins, sizes, p.channels, device), size


def _budget(device: str) -> int:
    """Half of what a GPU has free. On a CPU only what is copied in a moment: mapped pages serve all processes of a machine at once."""
    return torch.cuda.mem_get_info(device)[0] // 2 if torch.device(device).type == "cuda" else 256 << 20
