"""The hashed split into train, validation and test, as rows of a pack.

Validation is cut from the training pictures; so is test, where the data has no official one. An
official validation part is used as it is. All cuts are stratified, and a pure function of
``data/split_seed`` and a picture's place in the data.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from autokd import rng
from autokd.data.packfile import Pack
from autokd.data.sources.folders import VALIDATION
from autokd.errors import UserError
from autokd.recipe import DataSettings


def stratified(labels: np.ndarray, count: int, seed: int, purpose: str) -> np.ndarray:
    """``[N]`` bool with ``count`` True, each class in proportion (largest remainder), by a hash of
    seed and position.
    """
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


def grouped(
    labels: np.ndarray, groups: np.ndarray, count: int, seed: int, purpose: str
) -> np.ndarray:
    """Like :func:`stratified`, but groups (``[N]`` int64) are chosen whole, so ``count`` and
    proportions are met as nearly as they allow.

    Each class takes groups in the order of a hash for as long as that brings it nearer to its
    share; a group of several classes counts for the most frequent.
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


def groups_of(pack: Pack, pattern: str) -> np.ndarray:
    """``[N]`` int64: pictures whose paths match alike share a number (the first group of the
    expression where it has one, else all of it).

    A path that does not match is a group of its own. Raises :class:`UserError` where none matches,
    or all match alike.
    """
    expression, paths = re.compile(pattern), pack.paths()
    numbers: dict[Any, int] = {}
    keys: list[Any] = []
    for path in paths:
        match = expression.search(path)
        keys.append((match.group(1 if expression.groups else 0),) if match else path)
    if not any(isinstance(key, tuple) for key in keys):
        raise UserError(
            f"data/group_by: {pattern!r} matches none of the {len(paths):,} paths, such as"
            f" {paths[0]}"
        )
    groups = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    if len(numbers) == 1:
        raise UserError(
            f"data/group_by: {pattern!r} puts all {len(paths):,} pictures into one group; it should"
            " match what near-duplicates share"
        )
    return groups


def cases(pack: Pack, settings: DataSettings) -> np.ndarray:
    """``[N]`` int64: what chance draws together, a group of `data/group_by` or a picture."""
    if settings.group_by is None:
        return np.arange(len(pack.labels), dtype=np.int64)
    return groups_of(pack, settings.group_by)


def tested_on_val(pack: Pack) -> str | None:
    """The folder, named as one of validation pictures are, that is the test part for want of a
    test folder; None where there is no such thing.
    """
    if "test" not in pack.parts or "validation" in pack.parts:
        return None
    paths, first = pack.paths(), int(pack.rows("test")[0])
    top = paths[first].partition("/")[0] if paths else ""
    return top if top.lower() in VALIDATION else None


def note(pack: Pack, settings: DataSettings) -> str:
    """What one would not expect of the parts: that val/ is read as test; ``""``: nothing."""
    if settings.validation == "folder" or (top := tested_on_val(pack)) is None:
        return ""
    return (
        f"there is no test/, so the pictures of {top}/ are the test pictures, and validation is cut"
        " from train; data: {validation: folder} makes them validation"
    )


def cut(pack: Pack, settings: DataSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of train, validation and test, ascending. Raises :class:`UserError` where a class is
    too small for that.
    """
    rows = {part: pack.rows(part) for part in ("train", "validation", "test")}
    groups = groups_of(pack, settings.group_by) if settings.group_by is not None else None

    def held(fraction: float, purpose: str) -> np.ndarray:
        left = rows["train"]
        labels, count = pack.labels[left], round(fraction * len(left))
        if groups is None:
            chosen = stratified(labels, count, settings.split_seed, purpose)
        else:
            chosen = grouped(labels, groups[left], count, settings.split_seed, purpose)
        rows["train"] = left[~chosen]
        return left[chosen]

    cuts = []
    parts = set(pack.parts)
    if settings.validation == "folder":
        if "validation" not in parts and (tested_on_val(pack) is None):
            raise UserError("data/validation: folder: the data has no val/ beside its train/")
        if "validation" not in parts:
            rows["validation"], rows["test"] = rows["test"], rows["validation"]
            parts = {"train", "validation"}
    if "test" not in parts:
        rows["test"] = held(settings.test, "split/test")
        cuts += [("test", settings.test)] if settings.test else []
    share = settings.validation
    if isinstance(share, float) and ("validation" not in parts or not share):
        rows["validation"] = held(share, "split/validation")
        cuts += [("validation", share)] if share else []
    _large_enough(pack, rows, cuts, groups)
    return rows["train"], rows["validation"], rows["test"]


def _large_enough(
    pack: Pack,
    rows: dict[str, np.ndarray],
    cuts: list[tuple[str, float]],
    groups: np.ndarray | None,
) -> None:
    """UserError where a class has no picture in some part, with what would work for the smallest
    such class.
    """
    has = {
        part: np.bincount(pack.labels[rows[part]], minlength=len(pack.classes))
        for part in ("train", *(part for part, _ in cuts))
    }
    all_of = np.sum(list(has.values()), 0)
    small = [c for c in range(len(pack.classes)) if any(counts[c] == 0 for counts in has.values())]
    if not small:
        return
    c = min(small, key=lambda c: all_of[c])
    n = int(all_of[c])
    unit = "picture" if n == 1 else "pictures"
    if groups is None:
        advice = _advice(n, cuts)
    else:
        unit += f" in {len(np.unique(groups[pack.labels == c]))} group(s)"
        advice = ["a data/group_by that makes more groups of it"]
    made = ", ".join(f"{counts[c]} for {part}" for part, counts in has.items())
    others = f" ({len(small)} classes are too small)" if len(small) > 1 else ""
    raise UserError(
        f"data: class {pack.classes[c]!r} has {n:,} {unit}, of which the split makes {made}; each"
        f" part needs one{others}. What would work:"
        f" {', or '.join([*advice, 'leaving the class out'])}"
    )


def _advice(n: int, cuts: list[tuple[str, float]]) -> list[str]:
    """Fractions, or a number of pictures, with which a class of n is in every part."""
    fractions = [fraction for _, fraction in cuts]
    enough = next((m for m in range(n + 1, 100_000) if _suffices(m, fractions)), None)
    larger = ([max(f, percent / 100) for f in fractions] for percent in range(1, 60))
    share = next((p / 100 for p, own in enumerate(larger, 1) if _suffices(n, own)), None)
    advice = []
    if share:
        paths = " and ".join(f"data/{part}" for part, _ in cuts)
        advice.append(f"{paths} of at least {share:g}")
    if enough:
        advice.append(f"at least {enough:,} pictures in the class")
    return advice


def _suffices(n: int, fractions: list[float]) -> bool:
    """Whether n pictures of a class leave one for every part, however the fractions are rounded."""
    for fraction in fractions:
        if n * (fraction - 0.002) < 1:
            return False
        n -= math.ceil(n * fraction)
    return n >= 1
