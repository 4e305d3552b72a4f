"""Name -> contents, for every name that a recipe may say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autokd.data.sources import archives, embedded, imagenet, torchvision_sets
from autokd.data.sources.folders import UNLABELLED, folder, loose, resolve
from autokd.data.sources.parts import Contents, Part
from autokd.errors import UserError
from autokd.recipe.data_names import FOLDER, SOURCES, names, problem

READERS: dict[str, Callable[[str, Path], Contents]] = {
    **dict.fromkeys(torchvision_sets.CLASSES, torchvision_sets.arrays),
    "digits": embedded.digits,
    "fake": embedded.fake,
    "dtd": torchvision_sets.dtd,
    "imagenet": imagenet.imagenet,
    "tiny-imagenet": archives.tiny_imagenet,
    "cinic10": archives.cinic10,
}


def contents(name: str, data_dir: Path) -> Contents:
    """The pictures of any set: downloaded into ``data_dir`` where they are not there yet. Raises
    :class:`UserError`.
    """
    if name.startswith(FOLDER):
        return folder(resolve(name, data_dir))
    if name in names():
        read = SOURCES[name].read
        found = read(data_dir) if read else READERS[name](name, data_dir)
        _as_published(name, found)
        return found
    rule, value, hint = problem(name) or ("", "", "")
    raise UserError(f"data/name: {rule} {value!r}; {hint}")


def unlabelled(name: str, data_dir: Path) -> Contents:
    """The pictures of a recipe's ``data/unlabelled``: all below a folder, or the training part of a
    set. Raises :class:`UserError`.
    """
    if name.startswith(FOLDER):
        return loose(resolve(name, data_dir, "data/unlabelled"))
    found = contents(name, data_dir)
    train = found.parts["train"]
    part = Part(train.pictures, [-1] * len(train.labels), found.root)
    return Contents([], {UNLABELLED: part}, found.root)


def _as_published(name: str, found: Contents) -> None:
    """UserError where a tree of files has other counts than the set that was published."""
    source = SOURCES[name]
    expected = dict(source.counts)
    counts = {part: len(own.labels) for part, own in found.parts.items()}
    if expected and (counts != expected or len(found.classes) != source.classes):
        raise UserError(
            f"{found.root}: this is not {name}: it has {len(found.classes)} classes and"
            f" {_counted(counts)} pictures, and {name} has {source.classes} and"
            f" {_counted(expected)}; use it as data/name: {FOLDER}{found.root}"
        )


def _counted(counts: dict[str, int]) -> str:
    return " + ".join(f"{n:,} {part}" for part, n in counts.items())
