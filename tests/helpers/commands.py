"""What a user types: small recipes and spaces, and `autokd` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from autokd.study import ledger

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
PATIENCE = 800  # seconds: for a machine that has ten other things to do
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


def autokd(
    *args: str, cwd: Path, code: int | None = 0, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own and check its exit code.

    Where the process itself is not the point, the fixture ``run`` does the same in this one.
    """
    own = os.environ | {"AUTOKD_CACHE": str(cwd / "cache"), "COLUMNS": "120"} | env
    done = subprocess.run(
        [sys.executable, "-m", "autokd", *args],
        cwd=cwd,
        env=own,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert code is None or done.returncode == code, (
        f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def python(
    program: str, cwd: Path = ROOT, code: int | None = 0, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own and check its exit code."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert code is None or done.returncode == code, done.stderr
    return done


def table(where: Path, name: str = "small") -> ledger.Table:
    return ledger.read(where / "mlruns" / "studies" / name)[1]
