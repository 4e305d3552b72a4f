"""What every source gives: a data set before it is packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple


class Part(NamedTuple):
    """One official part (train, validation or test), as it was published; or pictures without
    labels.
    """

    pictures: Any  # an array [N, H, W, C] uint8, or paths relative to `root`
    labels: Any  # [N] integers, −1 where there is none
    root: Path | None = None  # of its files, where that is not the contents'


class Contents(NamedTuple):
    """A data set before it is packed."""

    classes: list[str]
    # train, and validation and test where they are official; unlabelled where there are such
    parts: dict[str, Part]
    root: Path | None = None  # of the pictures' files; None where pictures are arrays
    listing: str = ""  # a hash of every file's path, size and time, which tells a changed folder

    def root_of(self, part: str) -> Path | None:
        """Of the part's files; None where its pictures are arrays."""
        own = self.parts[part]
        return own.root or (None if hasattr(own.pictures, "shape") else self.root)

    @property
    def channels(self) -> int:
        """Of all its pictures, as they are packed: those of the training part."""
        return 3 if self.root_of("train") else self.parts["train"].pictures.shape[3]
