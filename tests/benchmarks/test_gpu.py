"""The GPU's benchmark, rehearsed on a CPU: every unit runs, and what was done is not done again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.benchmarks.gpu import __main__ as gpu


@pytest.mark.long
def test_every_unit_runs_and_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    # all but the tests themselves, which run beside this one
    names = [u.name for u in gpu.units(gpu.REHEARSAL)][1:]
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["gpu", "--rehearse", "--out", str(out), "--only", *names])
    assert gpu.main() == 0
    found = json.loads((out / "gpu.json").read_text())["found"]
    assert list(found) == names
    together = [f["students"] for name, f in found.items() if name.startswith("side by side")]
    assert len(together) == 2 and len(set(together)) == 1
    assert all(f"| {name} |" in (out / "gpu.md").read_text() for name in names)
    capsys.readouterr()
    assert gpu.main() == 0
    assert capsys.readouterr().out == ""


def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path)])
    assert gpu.main() == 2
    assert "--rehearse" in capsys.readouterr().err
