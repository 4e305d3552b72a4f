"""Data sets on the command line, and --data-dir."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from autokd.recipe import data_names
from tests.helpers.commands import autokd
from tests.helpers.pictures import tree


def test_data_sets_on_the_command_line(run: Callable, tmp_path: Path) -> None:
    listed = run("datasets")[1]
    assert all(name in listed for name in data_names.SOURCES) and "folder:PATH" in listed
    tree(tmp_path / "pets", {"cat": 6, "dog": 6}, (30, 40))
    (tmp_path / "pets" / "cat" / "bad.png").write_text("x")
    code, _, err = run("datasets", "folder:pets")
    assert code == 2 and "bad.png: cannot be read as a picture" in err
    code, out, _ = run("datasets", "folder:pets", "--skip", "--verify", "--json")
    about = json.loads(out)
    assert code == 0
    assert about["train"] == 12
    assert about["skipped"] == 1
    assert about["stored"] == "30×40, RGB"
    assert about["verified"] is True
    code, _, err = run("datasets", "cifar1000")
    assert code == 2 and "did you mean 'cifar100'" in err


@pytest.mark.long
def test_every_command_that_needs_data_takes_a_data_dir(pets: Path, run: Callable) -> None:
    # Ray's workers stand in folders of their own
    how = "--space space.yaml --name one --jobs 1 --data-dir ../sets --json".split()
    found = json.loads(autokd("search", *how, cwd=pets).stdout)
    assert found["states"] == {"complete": 2}
    for command in (
        ["datasets", "folder:pets"],
        ["train", "base.yaml", "--quiet"],
        ["reproduce", found["recipe"], "--quiet"],
        ["export", "one", "--no-onnx"],
    ):
        code, _, err = run(*command, cwd=pets)
        assert code == 2 and "there is no folder" in err, command
        code, _, err = run(*command, "--data-dir", "base.yaml", cwd=pets)
        assert code == 2 and "this is a file" in err, command
        assert run(*command, "--data-dir", "../sets", cwd=pets)[0] == 0, command


def test_a_search_tells_of_broken_pictures_before_it_begins(pets: Path, run: Callable) -> None:
    broken = sorted((pets.parent / "sets" / "pets" / "dog").iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:60])
    code, _, err = run("search", "--space", "space.yaml", "--data-dir", "../sets", cwd=pets)
    assert code == 2 and f"{broken}: cannot be read as a picture" in err
    assert not (pets / "mlruns" / "studies").exists()
