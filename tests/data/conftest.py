"""The tests of data: a cache of their own, and nothing remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.pictures import forget


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AUTOKD_DATA", raising=False)
    monkeypatch.delenv("AUTOKD_LARGE", raising=False)
    forget()
    yield
    forget()
