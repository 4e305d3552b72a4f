"""The ways to decode a folder."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from autokd.data import packing, pools

DECODING = ["one by one", "threads", "processes"]


def decode_by(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        packing.os,
        "sched_getaffinity",
        lambda process: set(range(1 if how == "one by one" else 3)),
        raising=False,
    )
    monkeypatch.setattr(pools, "_may_fork", lambda files: how == "processes")


def left_behind(cache: Path) -> list[Any]:
    """Processes of ours, and files that are no finished pack."""
    return [
        *multiprocessing.active_children(),
        *(f.name for f in cache.glob("*/*") if f.suffix not in {".lock", ".pack", ".json"}),
    ]
