"""Looking into a store, and programs beside it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tests.helpers.commands import ROOT


def in_a_process(program: str, **settings: Any) -> subprocess.Popen[str]:
    """A program beside this one, and what it says."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **settings,
    )


def tables(root: Path) -> list[Path]:
    return sorted((root / "tables").rglob("*.safetensors"))
