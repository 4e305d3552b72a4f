"""Ctrl-C, and the command that resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from autokd.files import runs_root
from autokd.study import ledger
from tests.helpers.commands import PATIENCE, RECIPE, SPACE, autokd, table


@pytest.mark.long
def test_ctrl_c_prints_the_resume_command_and_resuming_ends_the_search(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(RECIPE)
    (tmp_path / "space.yaml").write_text(SPACE.replace("trials: 6", "trials: 2"))
    env = os.environ | {"AUTOKD_CACHE": str(tmp_path / "cache")}
    how = "--name cut --jobs 1 --set train/epochs=40 --set search/finalists/seeds=1".split()
    args = [sys.executable, "-m", "autokd", "search", "--space", "space.yaml", *how]
    process = subprocess.Popen(
        args, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    events = tmp_path / "mlruns/studies/cut/events.jsonl"
    while not events.exists() or events.read_text().count('"event":"epoch"') < 3:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "autokd search --resume cut" in err and "Traceback" not in err and out == ""
    done = autokd("search", "--resume", "cut", cwd=tmp_path)
    assert done.stdout.rstrip().endswith("mlruns/studies/cut/recipe.yaml")
    t = table(tmp_path, "cut")
    assert {x.state for x in t.trials.values()} <= {"complete", "pruned"} and t.closed


def test_the_resume_command_has_what_the_study_does_not_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from autokd.cli import app
    from autokd.engine import search

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "base.yaml").write_text(RECIPE)
    (tmp_path / "space.yaml").write_text(SPACE)
    monkeypatch.setattr(search, "start", interrupted)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit) as early:
        app.search.search(space=tmp_path / "space.yaml", name="cut")
    assert early.value.exit_code == 130
    assert capsys.readouterr().err.endswith("\ninterrupted before the study had begun\n")
    folder = ledger.folder(runs_root(), "cut")
    folder.mkdir(parents=True)
    (folder / "events.jsonl").touch()
    with pytest.raises(typer.Exit):
        app.search.search(
            space=tmp_path / "space.yaml",
            name="cut",
            data_dir=Path("my data"),
            tracking_uri="http://host:5000",
        )
    assert capsys.readouterr().err.endswith(
        "autokd search --resume cut --data-dir 'my data' --tracking-uri http://host:5000\n"
    )
