"""The tests of export: a cache of their own, and a recipe as a stranger has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(run: Callable) -> None:
    """No test meets another's cache, nor the user's; and threads are as they were."""


@pytest.fixture
def exported(home: Path, tmp_path: Path) -> Path:
    """The exported recipe as a stranger has it: alone, in a folder of its own."""
    return Path(shutil.copy(home / "out" / "recipe.yaml", tmp_path / "recipe.yaml"))
