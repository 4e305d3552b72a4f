"""Pictures without labels, added to those for training and to nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autokd import data, networks, recipe
from autokd.errors import UserError
from autokd.recipe import DataSettings
from autokd.train import prepare
from autokd.train.store import Store
from tests.helpers.pictures import tree

FEW = {"name": "digits", "limit": 60}


def folder(root: Path, count: int, side: int = 8, seed: int = 0) -> Path:
    """``count`` grey pictures in folders that are no classes."""
    draws = np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)
    for i, pixels in enumerate(draws):
        file = root / f"{i % 3}" / "deeper" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return root


def seen(**settings: object) -> data.Dataset:
    return data.load(DataSettings.model_validate(FEW | settings))


def test_a_folder_s_pictures_are_trained_on_without_labels_and_nothing_else_changes(
    tmp_path: Path,
) -> None:
    alone, more = seen(), seen(unlabelled=f"folder:{folder(tmp_path / 'more', 20)}")
    assert more.train.labels[60:].tolist() == [-1] * 20 and len(alone.train) == 60
    assert torch.equal(more.train.pictures[:60], alone.train.pictures)
    assert torch.equal(more.train.labels[:60], alone.train.labels)
    assert torch.equal(more.validation.pictures, alone.validation.pictures)
    assert torch.equal(more.read_test().pictures, alone.read_test().pictures)
    assert more.channels == 1 and more.fingerprint != alone.fingerprint
    own = np.asarray(Image.open(tmp_path / "more/0/deeper/0.png"))
    assert torch.equal(more.train.pictures[60, 0], torch.from_numpy(own.copy()))
    assert (more.summary["unlabelled"], more.summary["unlabelled_left_out"]) == (20, 0)


def test_what_is_among_the_data_s_own_pictures_is_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path / "more", 5)
    held = seen().validation.pictures[3, 0].numpy()
    Image.fromarray(held).save(root / "held.png")
    Image.fromarray(seen().read_test().pictures[7, 0].numpy()).save(root / "tested.png")
    Image.fromarray(held[::-1].copy()).save(root / "turned.png")  # the same sums
    found = seen(unlabelled=f"folder:{root}")
    assert (found.summary["unlabelled"], found.summary["unlabelled_left_out"]) == (6, 2)
    (note,) = data.notes(DataSettings.model_validate(FEW | {"unlabelled": f"folder:{root}"}))
    assert "6 pictures without labels are added to the 60 for training; 2 are left out" in note
    with pytest.raises(UserError, match="all of its 1,797 pictures are those of the data itself"):
        data.load(DataSettings(name="digits", unlabelled="digits"))
    rest = seen(unlabelled="digits").summary  # what `data/limit` cuts off is not in use
    assert rest["unlabelled"] + 60 + rest["validation"] + rest["test"] <= 1797


def test_groups_of_held_out_pictures_stay_out(tmp_path: Path) -> None:
    """Patients ``p0`` to ``p9``, ten pictures each; those without labels: ``p0`` to ``p19``."""
    pets = tree(tmp_path / "pets", {"a": 50, "b": 50}, (12, 12))
    for i, file in enumerate(sorted(pets.rglob("*.png"))):
        file.rename(file.with_name(f"p{i % 10}-{file.name}"))
    more = folder(tmp_path / "more", 40, side=12)
    for i, file in enumerate(sorted(more.rglob("*.png"))):
        file.rename(file.with_name(f"p{i % 20}-{file.name}"))
    found = data.load(
        DataSettings(name=f"folder:{pets}", group_by=r"(p\d+)-", unlabelled=f"folder:{more}")
    )
    assert found.validation.cases is not None and found.train.cases is not None
    test = found.read_test().cases
    assert test is not None
    held = {*found.validation.cases.tolist(), *test.tolist()}
    assert held and not held & set(found.train.cases.tolist())
    assert found.summary["unlabelled"] == 40 - 2 * len(held)


def test_colours_and_grey_sides_and_sets_may_differ(tmp_path: Path) -> None:
    grey = seen(unlabelled="fake")
    assert grey.channels == 1 and grey.summary["unlabelled"] == 1000
    pets = tree(tmp_path / "pets", {"cat": 12, "dog": 12}, (20, 30))
    more = data.load(DataSettings(name=f"folder:{pets}", resolution=16, unlabelled="digits"))
    assert more.channels == 3 and more.summary["unlabelled"] == 1797
    assert more.train.pictures[torch.tensor([len(more.train) - 1])].shape[1] == 3


def test_a_folder_that_changes_is_packed_again(tmp_path: Path) -> None:
    from autokd.data import packs

    root = folder(tmp_path / "more", 10)
    settings = DataSettings.model_validate(FEW | {"unlabelled": f"folder:{root}"})
    before = data.load(settings).fingerprint
    (root / "0/deeper/0.png").unlink()
    packs._pack.cache_clear()
    assert data.load(settings).summary["unlabelled"] == 9
    assert data.load(settings).fingerprint != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder:nowhere", "data/unlabelled: there is no folder"),
        ("folder:empty", "data/unlabelled: .*empty: there are no pictures in it"),
        ("folder:file.txt", "data/unlabelled: .* is a file; folder: takes a folder$"),
    ],
)
def test_what_cannot_be_added(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(UserError, match=message):
        seen(unlabelled=name)
    with pytest.raises(UserError, match="data/unlabelled: unknown data set.*digits"):
        recipe.parse({"data": {"unlabelled": "digit"}})


def test_a_teacher_answers_for_them_and_cold_and_warm_are_the_same(tmp_path: Path) -> None:
    made = recipe.parse(
        {
            "data": FEW | {"unlabelled": f"folder:{folder(tmp_path / 'more', 30)}"},
            "teacher": {"model": "cnn-2x8", "train": {"epochs": 1}},
            "train": {"epochs": 2, "batch_size": 20},
        }
    )
    store = Store(tmp_path / "cache")
    cold, _ = prepare.train(made, store)
    assert len(cold.members[0].table(cold._views(0), None)) == 90
    warm, _ = prepare.train(made, Store(tmp_path / "cache"))
    plain, _ = prepare.train(made.with_({"data/unlabelled": None}), store)
    hashes = [networks.weights_hash(run.student) for run in (cold, warm, plain)]
    assert hashes[0] == hashes[1] != hashes[2]
