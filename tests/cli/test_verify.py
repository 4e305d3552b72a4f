"""`autokd verify`: a study that is as it was, and what is told of one that is not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autokd.cli.verify import found
from autokd.errors import UserError
from autokd.study import ledger
from autokd.study.ledger import Ledger
from tests.helpers.commands import table


@pytest.fixture
def study(home: Path, tmp_path: Path, run: Callable) -> Path:
    """A finished study and its MLflow store, where they may be written to."""
    folder = Path(shutil.copytree(home / "mlruns/studies/small", tmp_path / "mlruns/studies/small"))
    shutil.copy(home / "mlruns/mlflow.db", tmp_path / "mlruns/mlflow.db")
    return folder


def test_a_study_that_is_as_it_was(study: Path, run: Callable) -> None:
    assert run("report", "small")[0] == 0  # a page lies beside the ledger
    code, out, err = run("verify", "small")
    complete = sum(t.state == "complete" for t in table(study.parents[2]).trials.values())
    assert (code, err) == (0, "")
    assert out == f"study small: all is as it was, {complete} students too\n"


def test_an_older_ledger_is_called_unsealed(study: Path, run: Callable) -> None:
    raw = (study / "events.jsonl").read_bytes()
    bare, lines = re.subn(rb',"h":"[0-9a-f]{16}"\}\n', b"}\n", raw)
    (study / "events.jsonl").write_bytes(bare)
    code, out, _ = run("verify", "small", "--json")
    about = json.loads(out)
    assert code == 0 and about["wrong"] == []
    assert about["notes"][0].startswith(f"{lines} lines of its ledger are unsealed")
    assert "finished, unsealed" in run("studies")[1]


def test_each_thing_that_is_not_as_it_was_is_told(study: Path, run: Callable) -> None:
    assert run("report", "small")[0] == 0
    trials = table(study.parents[2]).trials
    one, two = [t for t in trials.values() if t.state == "complete"][:2]
    shutil.copy(
        study / one.folder / "student.safetensors", study / two.folder / "student.safetensors"
    )
    page = (study / "report.html").read_text()
    (study / "report.html").write_text(page.replace("points", "POINTS", 1))
    text = (study / "recipe.yaml").read_text()
    (study / "recipe.yaml").write_text(text.replace("mean: 0.", "mean: 0.9", 1))
    (study / "trials" / ".part-x").touch()
    seen = next(t for t in trials.values() if "test" in t.outcomes)
    (study / seen.folder / "outcomes-test.safetensors").write_bytes(b"")
    code, out, _ = run("verify", "small")
    assert code == 1
    assert f"these are not the weights that trial {two.number} ended with" in out
    assert "report.html is not the page of this ledger: autokd report small" in out
    assert "recipe.yaml is not the recipe that the study was closed with" in out
    assert ".part-x was left behind" in out
    assert f"{seen.folder}/outcomes-test.safetensors is gone, or not what was written" in out
    assert out.startswith("study small: ")


def test_damaged_lines_are_all_named(study: Path, run: Callable) -> None:
    file = study / "events.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[2], lines[7] = lines[2].replace(b"1", b"2", 1), b"\n"
    file.write_bytes(b"".join(lines))
    code, out, _ = run("verify", "small")
    assert code == 1
    assert re.findall(r"events\.jsonl:([0-9]+): damaged", out)[:2] == ["3", "8"]


def test_mlflow_is_compared_with_the_ledger(study: Path, run: Callable) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{study.parents[1] / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = {
        r.data.tags["autokd.trial"]: r.info.run_id
        for r in client.search_runs([experiment.experiment_id])
    }
    client.delete_run(runs["0"])
    client.update_run(runs["1"], status="RUNNING")
    last = ledger.read(study)[1].trials[2].epochs
    client.log_metric(runs["2"], "val/accuracy", 0.99, step=last)
    _, wrong = found(study, uri)
    assert wrong[0].startswith("MLflow shows the run of '001")
    assert "MLflow has no run of trial 0" in wrong
    assert any(w.startswith("MLflow shows trial 1 as RUNNING") for w in wrong)
    assert "MLflow has other values of val/accuracy for trial 2" in wrong
    assert len(wrong) == 4


def test_a_study_in_use_is_left_alone(study: Path, run: Callable) -> None:
    book = Ledger(study).open()
    try:
        code, _, err = run("verify", "small")
        assert code == 2 and "is in use by a search" in err
    finally:
        book.close()
    code, _, err = run("verify", "smal")
    assert code == 2 and "did you mean 'small'" in err


def test_what_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        found(tmp_path)
