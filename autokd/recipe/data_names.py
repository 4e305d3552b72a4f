"""The data sets that a recipe may name. Light: where their pictures are found,
:mod:`autokd.data.sources` knows.

A name is one of :data:`SOURCES`, or ``folder:PATH`` for any tree of class folders, with or without
``train``, ``val`` and ``test`` above them. A named set is exactly the published one: what differs
from it is used as ``folder:PATH``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from autokd.errors import nearest
from autokd.recipe import plugins

FOLDER = "folder:"
EMBEDDED = {"digits", "fake"}  # made in a moment, so never packed
Reader = Callable[[Path], Any]
PATTERN = f"{FOLDER}PATH"  # what `autokd datasets` adds to the list


class Archive(NamedTuple):
    """Where a set is published: it is fetched as ``file`` and unpacked as ``folder``."""

    url: str
    md5: str
    file: str
    folder: str  # holds train/ and the other parts, once unpacked
    wrapped: bool  # whether the archive itself has that folder at its top


@dataclass(frozen=True)
class Source:
    """One line for people; ``counts``: pictures in each official part, asserted where they come
    from a tree of files.
    """

    summary: str
    files: bool = False  # pictures are files, so that they have paths (data/group_by)
    counts: tuple[tuple[str, int], ...] = ()
    classes: int = 0
    archive: Archive | None = None
    read: Callable[[Path], Any] | None = None  # of a plugin's set: the folder of data → Contents


SOURCES = {
    "digits": Source(
        "1,797 handwritten digits, 8×8 grey, 10 classes; inside scikit-learn, nothing to download"
    ),
    "fake": Source("1,200 patterns made up for tests, 32×32, 10 classes; nothing to download"),
    "cifar10": Source("60,000 pictures, 32×32, 10 classes; 170 MB from torchvision"),
    "cifar100": Source("60,000 pictures, 32×32, 100 classes; 170 MB from torchvision"),
    "svhn": Source("99,289 house numbers, 32×32, 10 classes; 250 MB from torchvision"),
    "mnist": Source("70,000 handwritten digits, 28×28 grey, 10 classes; 12 MB from torchvision"),
    "fashion-mnist": Source(
        "70,000 pieces of clothing, 28×28 grey, 10 classes; 30 MB from torchvision"
    ),
    "kmnist": Source(
        "70,000 cursive Japanese characters, 28×28 grey, 10 classes; 21 MB from torchvision"
    ),
    "stl10": Source("13,000 labelled pictures, 96×96, 10 classes; 2.6 GB from torchvision"),
    "dtd": Source(
        "5,640 textures, 300 to 640 px, 47 classes, the first official split in three parts; 600 MB"
        " from torchvision",
        files=True,
        counts=(("train", 1880), ("validation", 1880), ("test", 1880)),
        classes=47,
    ),
    "imagenet": Source(
        "1,331,167 pictures, 1,000 classes (ILSVRC2012, its val as test); bring the archives or"
        " train/ and val/ under --data-dir",
        files=True,
        counts=(("train", 1_281_167), ("test", 50_000)),
        classes=1000,
    ),
    "tiny-imagenet": Source(
        "110,000 pictures, 64×64, 200 classes (its val as test); 240 MB",
        files=True,
        counts=(("train", 100_000), ("test", 10_000)),
        classes=200,
        archive=Archive(
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "90528d7ca1a48142e341f4ef8d21d0de",
            "tiny-imagenet-200.zip",
            "tiny-imagenet-200",
            wrapped=True,
        ),
    ),
    "cinic10": Source(
        "270,000 pictures, 32×32, 10 classes, with an official validation part; 660 MB",
        files=True,
        counts=(("train", 90_000), ("validation", 90_000), ("test", 90_000)),
        classes=10,
        archive=Archive(
            "https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz",
            "6ee4d0c996905fe93221de577967a372",
            "CINIC-10.tar.gz",
            "CINIC-10",
            wrapped=False,
        ),
    ),
}


def register(name: str, summary: str, **about: Any) -> Callable[[Reader], Reader]:
    """Register the decorated function as the data set ``name`` (see :mod:`autokd.recipe.plugins`).

    It is called with the folder where downloads go (a ``Path``) and returns
    ``autokd.data.Contents``. ``about``: fields of :class:`Source`.
    """

    def decorate(read: Reader) -> Reader:
        SOURCES[name] = Source(summary, **about, read=read)
        return read

    return decorate


def names() -> list[str]:
    plugins.load()
    return list(SOURCES)


def problem(name: str) -> tuple[str, Any, str] | None:
    """``(rule, value, hint)`` where no data set has that name. Whether a folder exists is asked
    when it is read.
    """
    if name.startswith(FOLDER):
        if name.removeprefix(FOLDER).strip():
            return None
        return ("names no folder", name, "write folder:PATH")
    if name in names():
        return None
    if "/" in name or Path(name).is_dir():
        hint = f"write {FOLDER}{name} for a folder"
    else:
        hint = nearest(name, [*SOURCES, PATTERN])
    return ("unknown data set", name, hint)


def has_files(name: str) -> bool:
    """Whether the set's pictures are files with paths."""
    return name.startswith(FOLDER) or (name in SOURCES and SOURCES[name].files)
