"""Folders of pictures, and their packs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autokd import data
from autokd.data import dataset, packfile, packs
from autokd.data.views import Pictures
from autokd.recipe import DataSettings

PETS = """\
data:    {name: "folder:pets", resolution: 16, validation: 0.25, test: 0.25}
teacher: {model: cnn-2x8, train: {epochs: 1, batch_size: 8}}
student: {model: cnn-1x4}
distill: {preset: kd}
train:   {epochs: 1, batch_size: 8}
"""
PETS_SPACE = (
    "base: base.yaml\nsearch: {trials: 2, asha: {grace_epochs: 2}, finalists: {seeds: 1}}\nvary:"
    " {distill/temperature/tau: {uniform: [1, 8]}}\n"
)


def forget() -> None:
    """As a new process starts."""
    packs._pack.cache_clear()
    dataset._latest.clear()


def picture(seed: int, h: int = 20, w: int = 20, mode: str = "RGB") -> Image.Image:
    shape = (h, w) if mode == "L" else (h, w, len(mode))
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8),
        mode if mode in {"L", "RGB", "RGBA"} else None,
    )


def tree(
    root: Path, counts: dict[str, int], size: tuple[int, int] = (20, 20), seed: int = 0
) -> Path:
    """A folder of class folders with so many pictures each."""
    for c, (name, n) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            picture(seed + 1000 * c + i, *size).save(root / name / f"{i:03}.png")
    return root


def spec(where: Any, **more: Any) -> DataSettings:
    return DataSettings(
        name=f"folder:{where}" if isinstance(where, Path) else where, resolution=16, **more
    )


def packed(where: Any, **more: Any) -> packfile.Pack:
    forget()
    return data.pack(spec(where, **more))


def stored(pack: packfile.Pack, row: int) -> np.ndarray:
    return Pictures(pack.flat, pack.starts, pack.sizes, pack.channels, "cpu").stored(row)
