"""Where networks start: random, from a library, from a file; fine-tuned or used as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from autokd import networks
from autokd.errors import UserError
from autokd.export.loading import load_student
from autokd.train import prepare
from autokd.train.store import Store
from tests.helpers.runs import made, student
from tests.networks import hubs

TIMM = ("teacher/model=timm:test_resnet", "student/model=timm:test_resnet")


def file_of(path: Path, name: str = "cnn-2x8", classes: int = 10, seed: int = 5) -> Path:
    """Weights as another program writes them: of the network proper, without a normalisation."""
    network = networks.build(name, classes=classes, channels=1, resolution=8, seed=seed)
    save_file(networks.state(network.backbone), path)
    return path


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """What timm gives as the weights of `test_resnet`: 1000 classes, 3 channels."""
    hubs.empty(tmp_path, monkeypatch)
    torch.manual_seed(0)
    model = timm.create_model("test_resnet")
    hubs.publish(tmp_path, "test_resnet", model)
    return model.state_dict()


def test_a_student_starts_with_its_file_and_a_head_of_its_own_where_that_does_not_fit(
    tmp_path: Path,
) -> None:
    same = made(f"student/weights={file_of(tmp_path / 'ten.safetensors')}")
    seven = made(f"student/weights={file_of(tmp_path / 'seven.safetensors', classes=7)}")
    random = prepare.start(made(), Store(None)).student.backbone.state_dict()
    for r, classes in ((same, 10), (seven, 7)):
        source = networks.build("cnn-2x8", classes=classes, channels=1, resolution=8, seed=5)
        theirs = source.backbone.state_dict()
        begun = prepare.start(r, Store(None)).student.backbone.state_dict()
        for name, tensor in begun.items():
            new = name.startswith("classifier.") and classes != 10
            assert torch.equal(tensor, (random if new else theirs)[name]), name


STARTS = {
    "a student's file": ("student/weights={small}",),
    "a teacher's file, fine-tuned": ("teacher/weights={large}",),
    "a teacher's file, as it is": ("teacher/weights={large}", "teacher/train=null"),
    "both, with a ladder": (
        "teacher/weights={large}",
        "teacher/train=null",
        "student/weights={small}",
        "distill={{preset: takd}}",
        "ladder=[cnn-3x8]",
    ),
    "assistants that exist, one of them fine-tuned": (
        "teacher/weights={large}",
        "teacher/train=null",
        "distill={{preset: dgkd}}",
        "ladder=[{{model: cnn-3x16, weights: {other}}}, {{model: cnn-2x8, weights: {small}, train:"
        " {{epochs: 1, batch_size: 20}}}}]",
    ),
}


@pytest.mark.parametrize("name", STARTS)
def test_cold_warm_and_no_cache_give_the_same_student(name: str, tmp_path: Path) -> None:
    files = {
        "small": file_of(tmp_path / "small.safetensors"),
        "large": file_of(tmp_path / "large.safetensors", "cnn-3x16"),
        "other": file_of(tmp_path / "other.safetensors", "cnn-3x16", seed=6),
    }
    r = made(*(s.format(**files) for s in STARTS[name]))
    without = student(r)
    assert without != student(made())
    cold, warm = Store(tmp_path / "cache"), Store(tmp_path / "cache")
    assert student(r, cold) == without
    assert student(r, warm) == without
    assert warm.counts["networks trained"] == 0 and warm.counts["tables made"] == 0


@pytest.mark.parametrize(
    "sets",
    [
        ("teacher/weights={file}",),
        # its assistant learned from it
        (
            "teacher/weights={file}",
            "teacher/train=null",
            "distill={{preset: takd}}",
            "ladder=[cnn-3x8]",
        ),
    ],
)
def test_a_file_that_is_replaced_is_another_start(sets: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "teacher.safetensors"
    r = made(*(s.format(file=file) for s in sets))
    file_of(file, "cnn-3x16")
    first = student(r, Store(tmp_path / "cache"))
    file_of(file, "cnn-3x16", seed=6)
    assert student(r, Store(tmp_path / "cache")) == student(r) != first


def test_a_resumed_student_is_the_uninterrupted_one(tmp_path: Path) -> None:
    r = made(f"student/weights={file_of(tmp_path / 'small.safetensors')}")
    store = Store(tmp_path / "cache")
    half = prepare.start(r, store)
    half.epoch()
    half.save(tmp_path / "checkpoint.pt")
    resumed = prepare.start(r, store)
    resumed.restore(tmp_path / "checkpoint.pt")
    while not resumed.done:
        resumed.epoch()
    assert networks.weights_hash(resumed.student) == student(r)


def test_published_weights_never_teach_with_a_random_head(
    published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    given = made(*TIMM, "teacher/weights=pretrained", "teacher/train=null", "data/resolution=32")
    with pytest.raises(UserError, match="a head for 1000 classes, and .* 10 classes: fine-tune it"):
        prepare.start(given, Store(None))
    tuned = given.with_({"teacher/train": {"epochs": 1, "lr": 1e-9, "batch_size": 32}})
    (teacher,) = prepare.start(tuned, Store(None)).members
    state = teacher.network.backbone.state_dict()
    assert torch.allclose(state["model.conv1.0.weight"], published["conv1.0.weight"], atol=1e-6)
    assert state["model.fc.weight"].shape[0] == 10


def test_a_student_of_published_weights_sees_grey_pictures_three_times_and_is_read_back(
    published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    r = made(*TIMM[1:], "student/weights=pretrained", "train/epochs=1", "student/resolution=8")
    run = prepare.start(r, Store(None))
    (mean,) = {tuple(run.student.mean.tolist())}
    assert len(mean) == 3 and run.data.channels == 1
    state = run.student.backbone.state_dict()
    assert torch.equal(state["model.conv1.0.weight"], published["conv1.0.weight"])
    run.epoch()
    run.save_student(tmp_path / "student.safetensors")
    about, again = load_student(tmp_path / "student.safetensors")
    assert (about.channels, about.takes) == (1, 3)
    seen = run.validation[:9]
    assert torch.equal(again(seen), run.student.eval()(seen))


def test_a_file_for_colour_serves_grey_pictures(tmp_path: Path) -> None:
    colour: Any = timm.create_model("test_resnet", num_classes=10)
    save_file(colour.state_dict(), tmp_path / "colour.safetensors")
    r = made(*TIMM[1:], f"student/weights={tmp_path / 'colour.safetensors'}")
    begun = prepare.start(r, Store(None)).student
    state = begun.backbone.state_dict()
    assert torch.equal(state["model.conv1.0.weight"], colour.state_dict()["conv1.0.weight"])
    assert begun.normalise(torch.rand(2, 1, 8, 8)).shape[1] == 3
