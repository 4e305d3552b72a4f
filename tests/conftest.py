"""What the tests share: a small recipe, a space in a temporary folder, and a command line run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

RECIPE = """\
data:    {name: digits, resolution: 8, limit: 100}
teacher: {model: cnn-3x16, train: {epochs: 3, batch_size: 20, lr: 0.05}}
ladder_train: {epochs: 2, batch_size: 20, lr: 0.05}
student: {model: cnn-2x8, resolution: 6}
distill: {preset: kd}
train:   {epochs: 4, batch_size: 20, lr: 0.05, warmup: 0.1}
"""
SPACE = """\
base: base.yaml
search:
  trials: 6
  asha: {grace_epochs: 1, reduction: 2, exempt: 0}
  finalists: {top: 1, seeds: 2}
vary:
  distill/temperature:
    one_of:
      - {kind: constant, tau: {uniform: [1, 16]}}
      - {kind: flsw, tau: {uniform: [4, 16]}, beta: {log_uniform: [1, 80]}}
  distill/losses/kl/weight: {uniform: [0.1, 1.0]}
  student/resolution: {choice: [4, 6, 8]}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(RECIPE)
    return tmp_path / "base.yaml"


@pytest.fixture
def space_file(recipe_file: Path) -> Path:
    path = recipe_file.parent / "space.yaml"
    path.write_text(SPACE)
    return path


def autokd(*args: str, cwd: Path, code: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a subprocess and check its exit code."""
    own = os.environ | {"AUTOKD_CACHE": str(cwd / "cache"), "COLUMNS": "120"} | env
    done = subprocess.run([sys.executable, "-m", "autokd", *args], cwd=cwd, env=own, capture_output=True, text=True, timeout=280)
    assert code is None or done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done
