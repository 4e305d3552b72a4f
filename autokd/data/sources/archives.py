"""Sets that are published as one archive of pictures."""

from __future__ import annotations

from pathlib import Path

from autokd.data.sources import download
from autokd.data.sources.folders import class_folders, folder
from autokd.data.sources.parts import Contents, Part
from autokd.errors import UserError
from autokd.recipe.data_names import FOLDER, SOURCES


def cinic10(name: str, data_dir: Path) -> Contents:
    """CINIC-10: ``train/``, ``valid/`` and ``test/``, a folder a class."""
    return folder(_unpacked(name, data_dir))


def tiny_imagenet(name: str, data_dir: Path) -> Contents:
    """Tiny ImageNet. Its ``val/``, here the test part, is one folder of pictures and a table: file,
    class, box.
    """
    root = _unpacked(name, data_dir)
    found = class_folders(root, {"train": root / "train"})
    table = root / "val/val_annotations.txt"
    try:
        rows = [line.split("\t")[:2] for line in table.read_text().splitlines()]
        paths = [f"val/images/{file}" for file, _ in rows]
        test = Part(paths, [found.classes.index(c) for _, c in rows])
    except (OSError, ValueError) as e:
        raise UserError(
            f"{root}: this is not tiny-imagenet as published: {e}; use it as data/name:"
            f" {FOLDER}{root}"
        ) from None
    return Contents(found.classes, found.parts | {"test": test}, root)


def _unpacked(name: str, data_dir: Path) -> Path:
    """The set's folder: where it lies unpacked, else made from the archive, else downloaded."""
    archive = SOURCES[name].archive
    assert archive
    root = data_dir / archive.folder
    if not (root / "train").is_dir():
        path = data_dir / archive.file
        download.prepare(archive.url, archive.md5, path, root, wrapped=archive.wrapped)
    return root
