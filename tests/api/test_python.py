"""AutoKD from Python: what a notebook does, and the same errors as exceptions."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
import torch

import autokd
from tests.helpers.commands import python
from tests.helpers.home import RECIPE


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The finished study ``small`` is found; files go elsewhere."""
    monkeypatch.setenv("AUTOKD_RUNS", str(home / "mlruns"))
    monkeypatch.setenv("AUTOKD_CACHE", str(home / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_import_is_light_and_lists_its_names() -> None:
    python(
        """
        import sys, autokd
        heavy = "torch ray mlflow optuna numpy pandas sklearn scipy plotly timm PIL".split()
        assert not set(sys.modules) & set(heavy)
        assert set(autokd.__all__) <= set(dir(autokd))
        autokd.search, autokd.train, autokd.Study  # what they need they load when called
        from autokd.train import single
        assert callable(autokd.train)
        """
    )


@pytest.mark.parametrize("name", ["calls", "study", "documents", "spaces"])
def test_docstrings_do_what_they_say(name: str, here: Path) -> None:
    found = importlib.import_module(f"autokd.api.{name}")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(found, optionflags=flags).failed == 0


def test_a_study_is_a_table_and_an_answer(home: Path, here: Path) -> None:
    study = autokd.Study("small")
    assert len(study.trials.query("role in ['trial', 'baseline']")) == 8
    assert {"state", "epochs", "val/accuracy", "train/lr"} <= set(study.trials.columns)
    assert study.best is not None and study.best.mean == max(r.mean for r in study.results)
    assert study.recipe.student.model == "cnn-2x8"
    assert study.answer in study._repr_html_().replace("&#x27;", "'")
    page = study.report(here / "page.html")
    assert page.path.is_file() and page._repr_html_().startswith("<iframe")
    assert list(autokd.studies().index) == ["small"]


def test_an_export_is_a_module(home: Path, here: Path) -> None:
    folder = autokd.Study("small").export("out", onnx=False)
    student = autokd.load(folder)
    seen = student.preprocess(home / "one.png")
    assert seen.shape == (student.channels, student.resolution, student.resolution)
    with torch.inference_mode():
        logits = student(seen[None])
    assert logits.shape == (1, len(student.classes))
    assert student.predict([home / "one.png"]) == [student.classes[int(logits.argmax())]]


def test_errors_are_the_command_lines(here: Path) -> None:
    with pytest.raises(autokd.UserError, match="cannot be read"):
        autokd.search("no-such.yaml")
    with pytest.raises(autokd.UserError, match="time 5: must be a number and a unit"):
        autokd.search("dtd", time="5")
    with pytest.raises(autokd.UserError, match="no export folder"):
        autokd.load(here)
    (here / "base.yaml").write_text(RECIPE)
    with pytest.raises(autokd.UserError, match="did you mean 'student/resolution'"):
        autokd.search({"base": "base.yaml", "vary": {"student/resolutio": {"choice": [4, 8]}}})
