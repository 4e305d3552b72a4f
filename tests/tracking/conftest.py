"""Stores: with tables and nothing in them, and of a finished study."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autokd.tracking.follower import sync
from tests.helpers.synthetic import study
from tests.tracking.mlflow_store import SMALL, client, store


@pytest.fixture
def ready(tmp_path: Path, empty: Path) -> Path:
    """A folder whose store has its tables: to lay them out takes MLflow longer than most of these
    tests.
    """
    shutil.copy(empty, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="session")
def empty(once: Callable) -> Path:
    return once("empty", lambda root: client(store(root)).search_experiments()) / "mlflow.db"


@pytest.fixture(scope="session")
def written(once: Callable, empty: Path) -> Path:
    """A finished study and its store; the folder of both."""

    def make(root: Path) -> None:
        shutil.copy(empty, root / "mlflow.db")
        study(root / "studies" / "done", 13, **SMALL)
        sync(root, store(root), ["done"])

    return once("written", make)
