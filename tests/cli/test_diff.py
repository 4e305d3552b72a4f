"""`autokd diff`: in words what differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from autokd import recipe
from autokd.recipe import diff
from tests.helpers.home import RECIPE


@pytest.mark.long
def test_diff_says_in_words_what_differs(home: Path, run: Callable, tmp_path: Path) -> None:
    one, other = home / "base.yaml", tmp_path / "other.yaml"
    text = RECIPE.replace(
        "preset: kd", "preset: kd, temperature: {kind: flsw}, losses/dkd: {weight: 0.5}"
    )
    text = text.replace(
        "train:   {epochs: 8, batch_size: 20, lr: 0.1",
        "train:   {epochs: 8, batch_size: 20, lr: 0.2",
    )
    other.write_text(text.replace("resolution: 6", "resolution: 8"))
    code, out, _ = run("diff", one, other)
    assert code == 0 and out.startswith("The two recipes describe different runs; they differ in ")
    assert "student\n  resolution was 6 and becomes 8 (1.33 times)\n" in out
    assert "  lr was 0.1 and becomes 0.2 (2 times)\n" in out
    assert "  temperature was constant with tau 4.0 and becomes flsw with " in out
    assert "loss dkd is added" in out
    said = json.loads(run("diff", one, other, "--json")[1])
    assert not said["same_run"]
    assert {"student/resolution", "train/lr", "distill/temperature", "distill/losses/dkd"} == {
        c["path"] for c in said["changes"]
    }


def test_diff_knows_when_two_recipes_are_the_same_run(
    home: Path, run: Callable, tmp_path: Path
) -> None:
    (tmp_path / "same.yaml").write_text(RECIPE + "ladder_train: {epochs: 99}\n")
    out = run("diff", home / "base.yaml", tmp_path / "same.yaml")[1]
    assert "describe the same run" in out and "epochs was 30 and becomes 99" in out
    assert run("diff", home / "base.yaml", home / "base.yaml")[1].startswith(
        "The two recipes are the same (fingerprint "
    )
    assert diff.same_run(
        recipe.load(home / "out/recipe.yaml"),
        recipe.load(home / "mlruns/studies/small/recipe.yaml"),
    )
