"""Every search space of the repository runs on digits; the space of all methods tries every preset.
Slow: run by hand.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from autokd.recipe import axes
from autokd.study import ledger
from tests.helpers.commands import ROOT, autokd

SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", SPACES, ids=lambda p: p.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    trials = "40" if path.stem == "methods" else "6"
    short = [
        "--set",
        "train/epochs=3",
        "--set",
        "search/asha/grace_epochs=1",
        "--set",
        "search/finalists/seeds=2",
        "--set",
        "teacher/train/epochs=3",
    ]
    autokd(
        "search",
        "--space",
        str(path),
        "--trials",
        trials,
        "--name",
        "a",
        *short,
        "--set",
        "ladder_train/epochs=3",
        cwd=tmp_path,
    )
    table = ledger.read(tmp_path / "mlruns/studies/a")[1]
    states = {t.state for t in table.trials.values()}
    assert states <= {"complete", "pruned"}, [t.reason for t in table.trials.values() if t.reason]
    assert table.closed and len(table.tests) == 1
    if path.stem == "methods":
        tried = {
            v for t in table.trials.values() for k, v in t.varied.items() if k.endswith("/preset")
        }
        # controls: nothing of a space's teacher would be read
        no_teacher = {"student-alone", "label-smoothing"}
        assert tried == set(axes.presets()) - no_teacher
