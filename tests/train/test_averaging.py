"""Averages of a student's weights: the one that a recipe asks for, and the one that is only
measured.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autokd import networks
from autokd.train import metrics, prepare
from autokd.train.averaging import Averaging, decay_over
from autokd.train.distill import Run
from autokd.train.store import Store
from tests.helpers.runs import made

BESIDE = {f"val/ema/{name}" for name in ("accuracy", "nll", "ece", "entropy")}


def whole(run: Run) -> list[dict[str, float]]:
    return [run.epoch() for _ in range(run.recipe.train.epochs)]


def test_what_is_measured_beside_the_student_changes_nothing_of_it() -> None:
    recipe = made("train/epochs=3")
    alone = prepare.start(recipe, Store(None))
    beside = prepare.start(recipe, Store(None), averaging=Averaging(1.0, [1, 2]))
    plain, more = whole(alone), whole(beside)
    assert networks.weights_hash(alone.result) == networks.weights_hash(beside.result)
    assert [{k: v for k, v in m.items() if k not in BESIDE} for m in more] == plain
    assert [set(m) & BESIDE for m in more] == [BESIDE, BESIDE, set()]


def test_the_average_goes_over_about_so_many_epochs() -> None:
    """Against the averages worked out from the weights after each step."""
    recipe = made("train/epochs=2")
    run = prepare.start(recipe, Store(None), averaging=Averaging(0.5, [2]))
    seen: list[torch.Tensor] = []
    parameter = next(run.student.parameters())
    run.optimizer.register_step_post_hook(lambda *_: seen.append(parameter.detach().clone()))
    whole(run)
    steps = len(seen) // 2
    decay = decay_over(0.5 * steps)
    assert decay == pytest.approx(1 - 2 / steps)
    expected = seen[0].double()
    for weights in seen[1:]:
        expected = decay * expected + (1 - decay) * weights.double()
    assert run.average is not None
    found = next(run.average.network.parameters()).double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_run_interrupted_before_a_rung_measures_the_same_there(tmp_path: Path) -> None:
    recipe, averaging = made("train/epochs=4"), Averaging(1.0, [3])
    through = whole(prepare.start(recipe, Store(None), averaging=averaging))
    first = prepare.start(recipe, Store(None), averaging=averaging)
    first.epoch(), first.epoch()
    first.save(tmp_path / "c.pt")
    second = prepare.start(recipe, Store(None), averaging=averaging)
    second.restore(tmp_path / "c.pt")
    assert [second.epoch(), second.epoch()] == through[2:]
    assert BESIDE <= set(through[2])


def test_an_average_in_the_recipe_is_what_is_measured_and_kept(tmp_path: Path) -> None:
    recipe = made("train/epochs=2", "train/ema=0.8")
    run = prepare.start(recipe, Store(None), averaging=Averaging(1.0, [1]))
    last = whole(run)[-1]
    assert run.average is not None and run.result is run.average.network
    assert not BESIDE & set(last)
    logits = run.logits(run.validation, run.result)
    found = metrics.evaluate(logits, run.data.validation.labels)
    assert last["val/accuracy"] == found["accuracy"]
    run.save_student(tmp_path / "student.safetensors")
    kept = load_file(tmp_path / "student.safetensors")
    assert all(torch.equal(v, kept[k]) for k, v in networks.state(run.result).items())
    assert networks.weights_hash(run.result) != networks.weights_hash(run.student)
