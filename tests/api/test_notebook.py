"""A notebook, run from folder to prediction."""

from __future__ import annotations

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.helpers.commands import PATIENCE
from tests.helpers.pictures import PETS, PETS_SPACE, tree

CELLS = (
    "import autokd",
    "study = autokd.search('space.yaml', name='pets', jobs=1)",
    "trials = study.trials\ntrials",
    "axes = trials['val/accuracy'].plot(style='o')\naxes.figure",
    "study.report()",
    "student = autokd.load(study.export('out', onnx=False))\nstudent",
    "student.predict(['pets/cat/000.png'])[0] in {'cat', 'dog'}",
)


@pytest.mark.slow
def test_from_folder_to_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "pets", {"cat": 16, "dog": 16})
    (tmp_path / "base.yaml").write_text(PETS)
    (tmp_path / "space.yaml").write_text(PETS_SPACE)
    for name, folder in (("AUTOKD_CACHE", "cache"), ("AUTOKD_RUNS", "mlruns")):
        monkeypatch.setitem(os.environ, name, str(tmp_path / folder))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=PATIENCE, kernel_name="python3", resources=where
    ).execute()
    shown = [
        {kind for out in cell.outputs for kind in out.get("data", {})} for cell in notebook.cells
    ]
    assert "text/html" in shown[2] and "image/png" in shown[3] and "text/html" in shown[4]
    assert notebook.cells[-1].outputs[-1].data["text/plain"] == "True"
