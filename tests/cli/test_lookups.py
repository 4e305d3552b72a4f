"""Look-ups."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from filelock import FileLock

from autokd.cli.app import app
from autokd.cli.helping import EXAMPLES
from autokd.recipe import axes
from tests.helpers.synthetic import Story, study


def test_look_ups(space_file: Path, run: Callable) -> None:
    def shown(*args: str) -> str:
        code, out, _ = run(*args)
        assert code == 0
        return out

    assert "flsw" in shown("methods")
    assert "resnet20" in shown("models")
    assert "digits" in shown("datasets")
    assert "no studies" in shown("studies")
    assert "distill/temperature/flsw/beta" in shown("show", "space.yaml")
    text = shown("show", "base.yaml")
    (space_file.parent / "shown.yaml").write_text(text)
    assert shown("show", "shown.yaml") == text
    schema = json.loads(shown("schema", "recipe"))
    assert "flsw" in json.dumps(schema["properties"]["distill"])
    assert shown("validate", "base.yaml", "space.yaml").count(": ok") == 2


def test_studies_tell_state_score_and_verdict(
    tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "mlruns"
    study(runs / "studies" / "done", 24, finals=2)
    story = Story(runs / "studies" / "stopped")
    story.search(2)
    story.book.close()
    rows = {row["study"]: row for row in json.loads(run("studies", "--json")[1])}
    assert rows["done"]["state"] == "finished" and rows["stopped"]["state"] == "stopped"
    assert re.fullmatch(r"test/accuracy 0\.\d{4}", rows["done"]["score"])
    assert re.fullmatch(r"(helps|not shown to help): \+\d\.\d points", rows["done"]["verdict"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d", rows["done"]["begun"])
    assert rows["stopped"]["score"] == "" and rows["stopped"]["trials"] == 2
    with FileLock(runs / "studies" / "stopped" / "driver.lock"):
        code, out, _ = run("studies")
    assert code == 0 and out.splitlines()[0].split()[:4] == ["study", "state", "score", "verdict"]
    assert [line for line in out.splitlines() if line.split()[:2] == ["stopped", "running"]]


def test_methods_take_one_line_each(run: Callable) -> None:
    code, out, _ = run("methods")
    for axis in axes.AXES:
        for kind, method in axes.kinds(axis).items():
            assert method.about and f"  {kind:18} {method.paper:18} {method.about}\n" in out
            assert len(method.about) <= 80
    assert code == 0 and "``" not in out and "Returns" not in out


def test_help_has_examples_that_the_command_line_understands(tmp_path: Path) -> None:
    root = typer.main.get_command(app)
    assert set(EXAMPLES) == set(root.commands)  # type: ignore[attr-defined]
    for name, sub in root.commands.items():  # type: ignore[attr-defined]
        shown = sub.get_help(sub.make_context(name, [], resilient_parsing=True))
        assert "range>" not in shown and "Examples:" in shown
        assert len(EXAMPLES[name]) >= 2
        for typed, _ in EXAMPLES[name]:
            words = shlex.split(typed)
            assert words[:2] == ["autokd", name] and typed in shown
            sub.make_context(name, words[2:])  # raises where an option or argument is unknown


def test_near_misses_get_the_hint_that_helps(space_file: Path, run: Callable) -> None:
    code, _, err = run("show", "base.yaml", "--set", "train.epochs=3")
    assert code == 2 and "paths use '/': --set train/epochs=3" in err
    for given, hint in (
        ("[0.01, 0.1]", "anything between them: train/lr: {log_uniform: [0.01, 0.1]}"),
        ("[0.01, 0.1]", "one of these: train/lr: {choice: [0.01, 0.1]}"),
        ("[0.1, 0.2]", "anything between them: train/lr: {uniform: [0.1, 0.2]}"),
    ):
        space_file.write_text(f"base: base.yaml\nvary: {{train/lr: {given}}}\n")
        code, _, err = run("validate", "space.yaml")
        assert code == 2 and "is a list where one value belongs" in err and hint in err
