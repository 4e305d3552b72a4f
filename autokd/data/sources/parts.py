"""What every source gives: a data set before it is packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple


class Part(NamedTuple):
    """One official part (train, validation or test), as it was published."""

    pictures: Any  # an array [N, H, W, C] uint8, or paths relative to the contents' root
    labels: Any  # [N] integers


class Contents(NamedTuple):
    """A data set before it is packed."""

    classes: list[str]
    parts: dict[str, Part]  # train, and validation and test where they are official
    root: Path | None = None  # of the pictures' files; None where pictures are arrays
    listing: str = ""  # a hash of every file's path, size and time, which tells a changed folder
