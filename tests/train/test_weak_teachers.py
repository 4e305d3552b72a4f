"""A teacher that cannot teach is told at once, by `train` and by a search."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autokd import networks
from autokd.train import metrics, prepare
from autokd.train.store import Store
from tests.helpers.runs import made


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A trained teacher, the same with its classes reversed, and one that nobody trained."""
    long = made("teacher/train/epochs=12", "data/limit=null")
    trained = prepare.start(long, Store(None)).members[-1].network
    weights = networks.state(trained)
    save_file(weights, tmp_path / "good.safetensors")
    turned = {k: v.flip(0) if "classifier" in k else v for k, v in weights.items()}
    save_file({k: v.contiguous() for k, v in turned.items()}, tmp_path / "reversed.safetensors")
    fresh = networks.build("cnn-3x16", classes=10, channels=1, resolution=8, seed=1)
    save_file(networks.state(fresh), tmp_path / "random.safetensors")
    (tmp_path / "reversed.txt").write_text("\n".join("9876543210"))
    return tmp_path


def test_the_best_assignment_of_outputs_to_classes() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    said = torch.tensor([2, 2, 0, 0, 1, 2])  # 0→1, 1→2, 2→0 would be right for five
    logits = torch.nn.functional.one_hot(said, 3).float()
    assert metrics.evaluate(logits, labels)["accuracy"] == pytest.approx(1 / 6)
    assert metrics.relabelled(logits, labels) == pytest.approx(5 / 6)


def test_classes_by_name_put_right_what_is_in_another_order(files: Path) -> None:
    def logits(*sets: str) -> torch.Tensor:
        r = made(*(s.format(files) for s in sets), "teacher/train=null")
        return prepare.start(r, Store(None)).members[-1].validation()

    good = logits("teacher/weights={}/good.safetensors")
    turned = logits("teacher/weights={}/reversed.safetensors")
    assert torch.equal(turned, good.flip(1))
    named = "teacher/labels={}/reversed.txt"
    assert torch.equal(logits("teacher/weights={}/reversed.safetensors", named), good)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("good", None),
        (
            "reversed",
            r"would be on 0\.[6-9]\d* with other labels: its classes are in another order",
        ),
        ("random", "answers at chance|than a linear model"),
    ],
)
def test_train_tells_it_before_the_first_epoch(
    file: str, told: str | None, files: Path, recipe_file: Path, run: Callable
) -> None:
    sets = [f"teacher/weights={files / file}.safetensors", "teacher/train=null", "train/epochs=1"]
    args = [word for s in sets for word in ("--set", s)]
    code, out, err = run("train", "base.yaml", *args, "--test", "--json")
    assert code == 0
    if told is None:
        assert "warning: the teacher" not in err
    else:
        found = re.search(f"warning: the teacher cnn-3x16 .*({told})", err)
        assert found and found.start() < err.index("epoch 1/1")
    result = json.loads(out)
    network = prepare.start(made(*sets), Store(None))
    labels = network.data.read_test().labels
    assert 0 <= result["metrics"]["test/teacher_accuracy"] <= 1 and len(labels)
    pictures = network.data.read_test().pictures.float() / 255
    with torch.inference_mode():
        right = (network.members[-1].network(pictures).argmax(1) == labels).double().mean().item()
    assert result["metrics"]["test/teacher_accuracy"] == pytest.approx(right, abs=1e-9)
