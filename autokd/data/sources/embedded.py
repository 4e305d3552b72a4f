"""Sets that are made in a moment, without a file: handwritten digits, and patterns for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autokd import rng
from autokd.data.sources.parts import Contents, Part


def digits(name: str, data_dir: Path) -> Contents:
    """scikit-learn's handwritten digits, ``[1797, 8, 8, 1]``, from 16 levels to 256."""
    from sklearn.datasets import load_digits  # here, since scikit-learn takes a second to import

    bunch = load_digits()
    pictures = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    return Contents(
        [str(c) for c in bunch.target_names],
        {"train": Part(pictures, bunch.target.astype(np.int64))},
    )


def fake(name: str, data_dir: Path) -> Contents:
    """Each class is a 4×4 pattern of colours; a picture is its class's pattern, shifted by up to 3
    px, under noise. Integers only.
    """
    patterns = _bytes("patterns", 10, 4, 4, 3).repeat(8, 1).repeat(8, 2)
    parts = {}
    for part, n in (("train", 1000), ("test", 200)):
        labels = np.arange(n, dtype=np.int64) % 10
        shifts = _bytes(f"{part}/shift", n, 2) % 7 - 3
        noise = _bytes(f"{part}/noise", n, 32, 32, 3) - 128
        shifted = np.stack(
            [np.roll(patterns[c], tuple(s), (0, 1)) for c, s in zip(labels, shifts, strict=True)]
        )
        parts[part] = Part((shifted + noise // 2).clip(0, 255).astype(np.uint8), labels)
    return Contents([f"pattern {i}" for i in range(10)], parts)


def _bytes(purpose: str, *shape: int) -> np.ndarray:
    """int64 from 0 to 255, the same on every machine."""
    generator = np.random.Philox(key=rng.key("fake", purpose))
    drawn = generator.random_raw(int(np.prod(shape))) >> np.uint64(56)
    return drawn.astype(np.int64).reshape(shape)
