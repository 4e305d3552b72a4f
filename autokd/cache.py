"""Where what is computed once is kept: teachers, tables, packed data. Looking at it and clearing it. Light."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from platformdirs import user_cache_path

from autokd.document import UserError, nearest

KINDS = {
    "networks": "teachers and assistants, trained once",
    "tables": "teachers' logits, one file an epoch and view setting",
    "data": "packed pictures",
    "downloads": "data sets as they were fetched",
}


def default_cache() -> Path:
    """``AUTOKD_CACHE``, else the platform's cache folder."""
    return Path(os.environ.get("AUTOKD_CACHE") or user_cache_path("autokd")).absolute()


def contents(root: Path) -> dict[str, tuple[int, int]]:
    """Kind → (files, bytes)."""
    out = {}
    for kind in KINDS:
        files = [p for p in (root / kind).rglob("*") if p.is_file() and p.suffix != ".lock"] if (root / kind).is_dir() else []
        out[kind] = (len(files), sum(p.stat().st_size for p in files))
    return out


def clear(root: Path, kinds: list[str]) -> None:
    """Delete these kinds. What a running search still needs of it is computed again. Raises :class:`UserError`."""
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"the cache has no {kind!r}; {nearest(kind, KINDS)}")
    for kind in kinds:
        shutil.rmtree(root / kind, ignore_errors=True)
