"""A training that says how far it is, and goes on where it was broken off, to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from autokd.train import prepare, progress
from autokd.train.progress import Progress
from autokd.train.store import Store
from tests.helpers.runs import made


class Killed(BaseException):
    """What ends a process."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SAVE_SECONDS", 0.0)


SETS = ("teacher/train/epochs=4", "teacher/train/ema=0.9", "data/augment/flip=true")


@pytest.mark.parametrize("more", [(), ("distill={preset: takd}", "ladder=[cnn-3x8]")])
def test_a_teacher_killed_after_every_epoch_is_the_uninterrupted_one(
    more: tuple[str, ...], tmp_path: Path
) -> None:
    r = made(*SETS, *more)
    whole = [m.hash for m in prepare.prepare(r, Store(None)).members]
    done: list[tuple[str, int]] = []

    def kill(p: Progress) -> None:
        if p.metrics and (p.model, p.epoch) not in done:
            done.append((p.model, p.epoch))
            raise Killed

    for _ in range(20):
        try:
            members = prepare.prepare(r, Store(tmp_path), report=kill).members
        except Killed:
            continue
        break
    assert [m.hash for m in members] == whole
    epochs = {m.name: m.train.epochs for m in members}
    assert len(done) == sum(epochs.values())  # each was killed after each of its epochs
    assert not list(tmp_path.rglob("*.partial"))


def test_a_checkpoint_of_a_teacher_saves_its_epochs(tmp_path: Path) -> None:
    r = made(*SETS)
    seen: list[int] = []

    def kill(p: Progress) -> None:
        seen.append(p.epoch)
        if seen == [1, 2, 3]:
            raise Killed

    with pytest.raises(Killed):
        prepare.prepare(r, Store(tmp_path), report=kill)
    (partial,) = tmp_path.rglob("*.partial")
    prepare.prepare(r, Store(tmp_path), report=kill)
    assert seen == [1, 2, 3, 3, 4]  # the third was not kept: the kill came before
    assert not partial.exists()


@pytest.mark.parametrize("left", [b"", b"garbage"])
def test_a_damaged_checkpoint_costs_its_epochs_and_nothing_else(
    left: bytes, tmp_path: Path
) -> None:
    r = made(*SETS)

    def kill(p: Progress) -> None:
        if p.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        prepare.prepare(r, Store(tmp_path), report=kill)
    (partial,) = tmp_path.rglob("*.partial")
    partial.write_bytes(left)
    assert prepare.prepare(r, Store(tmp_path)).members[-1].hash == (
        prepare.prepare(r, Store(None)).members[-1].hash
    )


def test_a_long_epoch_says_which_part_of_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SAY_SECONDS", -1.0)
    told: list[Progress] = []
    prepare.prepare(made("teacher/train/epochs=1"), Store(None), report=told.append)
    assert [p.part for p in told] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.0])
    assert [bool(p.metrics) for p in told] == [False] * 5 + [True]
    assert {(p.model, p.of) for p in told} == {("cnn-3x16", 1)}


def test_train_goes_on_with_a_run_that_was_broken_off(
    tmp_path: Path, recipe_file: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run("train", "base.yaml", "--out", "whole", "--json")
    whole = json.loads(out)
    assert code == 0 and "teacher cnn-3x16 epoch 3/3" in err and "epoch 4/4" in err
    assert sorted(p.name for p in (tmp_path / "whole").iterdir()) == [
        "metrics.json",
        "recipe.yaml",
        "student.safetensors",
    ]
    kept = progress.Run.save

    def killed(self: progress.Run, path: Path) -> None:
        kept(self, path)
        raise KeyboardInterrupt

    for done in (1, 2, 3):
        monkeypatch.setattr(progress.Run, "save", killed)
        assert run("train", "base.yaml", "--out", "cut", *(["--resume"] if done > 1 else []))[0]
        assert len(json.loads((tmp_path / "cut/history.json").read_text())) == done
    other = run("train", "base.yaml", "--out", "cut", "--resume", "--set", "train/lr=0.01")
    assert other[0] == 2 and "holds a run of another recipe" in other[2]
    monkeypatch.setattr(progress.Run, "save", kept)
    code, out, err = run("train", "base.yaml", "--out", "cut", "--resume", "--json")
    assert code == 0 and "goes on after epoch 3" in err
    again = json.loads(out)
    for key in ("metrics", "curve", "beside", "student_sha256", "epochs"):
        assert again[key] == whole[key], key
    one, two = (load_file(tmp_path / name / "student.safetensors") for name in ("whole", "cut"))
    assert all((one[k] == two[k]).all() for k in one)
    assert not (tmp_path / "cut/checkpoint.pt").exists()
    code, _, err = run("train", "base.yaml", "--out", "cut", "--resume")
    assert code == 2 and "the run in cut is finished" in err
    # without --resume it is begun anew
    assert run("train", "base.yaml", "--out", "cut")[0] == 0
