"""Sets that torchvision knows: read from its files where they are there, else downloaded by it.

What torchvision does not promise stands here alone, as seen in torchvision 0.29:

- ``DTD._data_folder`` is where its archive was unpacked; there is no public name for it, and only
  the files beside the pictures say which official split a picture is in.
- The sets without ``classes`` (SVHN) have the digits 0 to 9 as labels.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autokd.data.sources.parts import Contents, Part
from autokd.errors import UserError

CLASSES = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "stl10": "STL10",
}
BY_SPLIT = {"svhn", "stl10"}  # these take split="train" where the others take train=True


def arrays(name: str, data_dir: Path) -> Contents:
    """A set whose pictures torchvision reads whole into memory."""
    from torchvision import datasets  # here, since torchvision takes seconds to import

    make = getattr(datasets, CLASSES[name])
    by_split = name in BY_SPLIT
    parts = {}
    classes: list[str] = []
    for part in ("train", "test"):
        which = {"split": part} if by_split else {"train": part == "train"}
        read = _found_or_downloaded(name, data_dir, functools.partial(make, data_dir, **which))
        pictures = np.asarray(read.data)
        labels = np.asarray(read.labels if by_split else read.targets, dtype=np.int64)
        if by_split:  # [N, C, H, W]
            pictures = pictures.transpose(0, 2, 3, 1)
        parts[part] = Part(pictures if pictures.ndim == 4 else pictures[..., None], labels)
        classes = [str(c) for c in getattr(read, "classes", range(10))]
    return Contents(classes, parts)


def dtd(name: str, data_dir: Path) -> Contents:
    """The textures of DTD, by its first official split in three parts."""
    from torchvision import datasets

    make = functools.partial(datasets.DTD, data_dir)
    root = Path(_found_or_downloaded(name, data_dir, make)._data_folder)
    lines = {
        part: (root / "labels" / f"{file}1.txt").read_text().split()
        for part, file in (("train", "train"), ("validation", "val"), ("test", "test"))
    }
    classes = sorted({line.partition("/")[0] for line in lines["train"]})
    parts = {
        part: Part(
            [f"images/{line}" for line in own],
            [classes.index(line.partition("/")[0]) for line in own],
        )
        for part, own in lines.items()
    }
    return Contents(classes, parts, root)


def _found_or_downloaded(name: str, data_dir: Path, make: Callable[..., Any]) -> Any:
    """What torchvision finds in ``data_dir``, else what it downloads there. Raises
    :class:`UserError`.
    """
    try:
        return make(download=False)
    except RuntimeError:  # "not found or corrupted"
        pass
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):
            return make(download=True)
    except (RuntimeError, OSError) as e:  # URLError is an OSError
        reason = " ".join(str(getattr(e, "reason", None) or e).split())
        raise UserError(
            f"data/name: {name} is not in {data_dir}, and downloading it failed: {reason}; where"
            " there is no network, bring torchvision's files for it, and name their folder by"
            " --data-dir or AUTOKD_DATA"
        ) from None
