"""Recipes, weights and metadata that are attacks do nothing but an error."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from autokd import recipe
from tests.helpers.recipes import claimed


@contextlib.contextmanager
def bait(tmp_path: Path) -> Iterator[Path]:
    """A file that an attack would make."""
    yield tmp_path / "pwned"
    assert not (tmp_path / "pwned").exists(), "code of a document was run"


class Attack:
    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


MALICE = {
    "tag": "train: !!python/object/apply:os.system ['mkdir {bait}']\n",
    "tag in results": "results: {{x: !!python/object/apply:os.mkdir ['{bait}']}}\n",
    "anchors": (
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c"
        " [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
    ),
    "merge": "base: &x {{a: 1}}\ntrain:\n  <<: *x\n",
    "deep": "data: " + "[" * 20000 + "]" * 20000 + "\n",
    "deep results": "results: " + "{{a: " * 3000 + "1" + "}}" * 3000 + "\n",
    "absolute": (
        "teacher: {{weights: /etc/passwd.safetensors}}\nprovenance: {{study: x}}\nresults: {{a:"
        " 1}}\n"
    ),
    "above": "teacher: {{weights: ../secret.pth}}\nprovenance: {{study: x}}\n",
    "home": "teacher: {{weights: ~/secret.pth}}\nprovenance: {{study: x}}\n",
    "link": "teacher: {{weights: link.safetensors}}\nprovenance: {{study: x}}\n",
    "folder": "data: {{name: 'folder:/etc'}}\nprovenance: {{study: x}}\n",
    "network": "student: {{model: 'os.system'}}\n",
    "huge network": "student: {{model: cnn-99999999x99999999}}\n",
    "control characters": "data: {{name: \x00}}\n",
}


@pytest.mark.parametrize("what", MALICE)
@pytest.mark.parametrize("command", ["reproduce", "train", "diff"])
def test_a_malicious_recipe_does_nothing_but_an_error(
    what: str, command: str, tmp_path: Path, run: Callable
) -> None:
    (tmp_path / "secret.pth").write_bytes(b"x")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "link.safetensors").symlink_to(tmp_path / "secret.pth")
    with bait(tmp_path) as pwned:
        file = tmp_path / "there" / "recipe.yaml"
        file.write_text(MALICE[what].format(bait=pwned))
        code, out, err = run(command, file, *([file] if command == "diff" else []))
        assert code == 2 and out == "" and 0 < len(err) < 2000, err
        assert (
            what not in {"absolute", "above", "home", "link", "folder"}
            or "lies outside the folder of a recipe that came from elsewhere" in err
        )


def test_a_document_of_100_mb_is_not_even_read(tmp_path: Path, run: Callable) -> None:
    with (tmp_path / "big.yaml").open("wb") as f:
        f.truncate(100_000_000)
    code, _, err = run("reproduce", tmp_path / "big.yaml")
    assert code == 2 and "larger than 1,000,000 bytes" in err


def test_a_pickle_in_place_of_weights_is_never_run(
    home: Path, tmp_path: Path, run: Callable
) -> None:
    with bait(tmp_path) as pwned:
        attack = pickle.dumps(Attack(pwned))
        folder = tmp_path / "export"
        folder.mkdir()
        (folder / "student.safetensors").write_bytes(attack)
        code, _, err = run("predict", folder, home / "out")
        assert code == 2 and "not an exported student" in err
        torch.save({"weight": Attack(pwned)}, tmp_path / "teacher.pth")
        (tmp_path / "base.yaml").write_text(
            "teacher: {model: cnn-2x8, weights: teacher.pth}\ntrain: {epochs: 1}\n"
        )
        text = claimed(
            recipe.load(tmp_path / "base.yaml").with_(
                {"teacher/weights": "train", "teacher/train/epochs": 1, "data/limit": 50}
            )
        )
        (tmp_path / "recipe.yaml").write_text(
            text.replace("weights: train", "weights: teacher.pth")
        )
        code, _, err = run("reproduce", tmp_path / "recipe.yaml")
        assert code == 2 and "code in a file is never run" in err


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"model": "os.system"},
        {"model": "cnn-2x8", "classes": [1], "channels": 1, "resolution": 6},
        [],
        "x",
        {"model": "cnn-2x8", "classes": ["a", "b"], "channels": 1, "resolution": 10**9},
        {"model": "cnn-2x8", "classes": ["a", "b"], "channels": 10**9, "resolution": 8},
        {
            "model": "cnn-2x8",
            "classes": ["a", "b"],
            "channels": 1,
            "resolution": 8,
            "temperature": 0,
        },
        {
            "model": "cnn-2x8",
            "classes": ["a", "b"],
            "channels": 1,
            "resolution": 8,
            "temperature": "nan",
        },
    ],
)
def test_malicious_metadata_is_one_message(about: Any, tmp_path: Path, run: Callable) -> None:
    safetensors.torch.save_file(
        {"x": torch.zeros(1)},
        tmp_path / "student.safetensors",
        metadata={"autokd": json.dumps(about)},
    )
    code, out, err = run("predict", tmp_path, tmp_path)
    assert code == 2 and out == "" and "not an exported student" in err


def test_nothing_is_unpickled_from_export_to_predict(home: Path) -> None:
    out, err = json.loads((home / "hooked.json").read_text())
    assert out == "bit-identical 1\n" and "unpickled ('pathlib'" in err, out + err
