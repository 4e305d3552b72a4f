"""Counter-based randomness: every number is a pure function of (seed, purpose, epoch, position),
never of a generator's state.

So mixup cannot shift crops, a resumed run draws what the uninterrupted one drew, and picture i
draws the same numbers whatever is drawn for the others. NumPy's Philox bit stream is guaranteed not
to change between releases.
"""

from __future__ import annotations

import hashlib

import numpy as np


def key(*parts: object) -> int:
    """128 bits from the parts' text."""
    return int.from_bytes(
        hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:16], "little"
    )


def uniforms(seed: int, purpose: str, epoch: int, rows: int, columns: int = 1) -> np.ndarray:
    """``[rows, columns]`` float64 in [0, 1)."""
    raw = np.random.Philox(key=key(seed, purpose, epoch)).random_raw(rows * columns)
    return ((raw >> np.uint64(11)) * 2.0**-53).reshape(rows, columns)


def permutation(seed: int, purpose: str, epoch: int, n: int) -> np.ndarray:
    """``[n]`` int64: a shuffle of 0…n−1."""
    return np.argsort(np.random.Philox(key=key(seed, purpose, epoch)).random_raw(n), kind="stable")
