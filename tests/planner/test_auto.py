"""`autokd auto` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import autokd
from tests.helpers.pictures import tree


def test_bad_requests_are_told_before_anything_is_measured(tmp_path: Path) -> None:
    tree(tmp_path / "pets", {"cat": 8})
    for args, told in (
        (["pets"], "there is one class"),
        (["pets", "--budget", "5s"], "at least 60 s"),
        (["pets", "--max-latency", "soon"], "must be a number"),
        (["--resume", "--out", "nowhere"], "holds nothing that `autokd auto` began"),
        ([], "give a folder"),
    ):
        assert told in autokd("auto", *args, cwd=tmp_path, code=2).stderr


@pytest.mark.slow
def test_from_embedded_data_to_a_student(tmp_path: Path) -> None:
    done = autokd("auto", "digits", "--budget", "2m", "--max-params", "20k", cwd=tmp_path)
    out = tmp_path / "auto" / "digits"
    assert {"base.yaml", "space.yaml", "student", "report.html"} <= {p.name for p in out.iterdir()}
    last = done.stdout.splitlines()[-3:]
    assert [line.split()[1] for line in last] == ["predict", "report", "search"]
    assert {"student.onnx", "labels.txt", "load.py"} <= {
        p.name for p in (out / "student").iterdir()
    }
