"""The data sets that a recipe may name. Light: the pictures themselves are fetched and packed by ``data``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autokd.document import nearest


@dataclass(frozen=True)
class Source:
    summary: str


SOURCES = {"digits": Source("1,797 handwritten digits, 8×8 grey, 10 classes; inside scikit-learn, nothing to download")}


def problem(name: str) -> tuple[str, Any, str] | None:
    """``(rule, value, hint)`` where no data set has that name."""
    return None if name in SOURCES else ("unknown data set", name, nearest(name, SOURCES))
