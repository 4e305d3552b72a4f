"""ImageNet (ILSVRC2012), which nobody may download without an account: its folders or its three
archives, where a user has put them.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from autokd.data.sources.folders import class_folders
from autokd.data.sources.parts import Contents
from autokd.errors import UserError

ARCHIVES = (
    "ILSVRC2012_devkit_t12.tar.gz",
    "ILSVRC2012_img_train.tar",
    "ILSVRC2012_img_val.tar",
)


def imagenet(name: str, data_dir: Path) -> Contents:
    """``train/`` and ``val/`` as they lie, in ``data_dir`` or its ``imagenet/``; else the three
    archives, which torchvision unpacks. Its val is the test part. Raises :class:`UserError`.
    """
    places = [data_dir / "imagenet", data_dir / "ImageNet", data_dir]
    for place in places:
        if (place / "train").is_dir() and (place / "val").is_dir():
            return _unpacked(place)
    for place in places:
        if all((place / file).is_file() for file in ARCHIVES):
            _unpack(place)
            return _unpacked(place)
    raise UserError(
        f"data/name: imagenet cannot be downloaded without an account, and is not in {data_dir}:"
        f" put train/ and val/ (a folder a class), or {', '.join(ARCHIVES)}, into a folder and name"
        " it by --data-dir or AUTOKD_DATA"
    )


def _unpacked(place: Path) -> Contents:
    return class_folders(place, {"train": place / "train", "test": place / "val"})


def _unpack(place: Path) -> None:
    from torchvision import datasets  # here, since torchvision takes seconds to import

    try:
        for split in ("train", "val"):
            with contextlib.redirect_stdout(sys.stderr):
                datasets.ImageNet(place, split)
    except (RuntimeError, OSError) as e:
        raise UserError(f"{place}: ImageNet's archives could not be unpacked: {e}") from None
