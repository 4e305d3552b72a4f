"""The light layer stays light: look-ups answer without loading what only work needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "torchvision", "ray", "mlflow", "optuna", "numpy", "sklearn", "scipy", "plotly"}
ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["search", "--help"],
        ["validate", str(ROOT / "search_spaces/dtd.yaml"), str(ROOT / "pipelines/digits.yaml")],
        ["show", str(ROOT / "search_spaces/dtd.yaml")],
        ["methods"],
        ["models"],
        ["datasets"],
        ["studies"],
        ["schema", "recipe"],
        ["schema", "space"],
    ],
    ids=lambda a: " ".join(Path(x).name for x in a),
)
def test_look_ups_load_nothing_heavy(args: list[str], tmp_path: Path) -> None:
    program = (
        "import sys, runpy\n"
        f"sys.argv = ['autokd', *{args!r}]\n"
        "try:\n    runpy.run_module('autokd', run_name='__main__')\n"
        "except SystemExit as e:\n    assert not e.code, e.code\n"
        f"print('LOADED', sorted(set(sys.modules) & {HEAVY!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"
