"""A finished study to report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.synthetic import study


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(
        tmp_path_factory.mktemp("runs") / "studies" / "demo",
        48,
        title="Which temperature policy, and how warm?",
    )
