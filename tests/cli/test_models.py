"""Networks and teachers on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from autokd import networks


def test_networks_are_measured_on_the_command_line(run: Callable) -> None:
    about = json.loads(run("models", "resnet20", "cnn-1x4", "--json")[1])
    # 40.8 million multiply-adds
    assert (about["resnet20"]["params"], about["resnet20"]["flops"]) == (278324, 81637888)
    devices = {"cpu", "cuda"} if torch.cuda.is_available() else {"cpu"}
    for measured in about.values():
        assert measured["latency_ms"].keys() == devices
        assert all(
            by.keys() == {"1", "64"} and min(by.values()) > 0
            for by in measured["latency_ms"].values()
        )
    code, _, wrong = run("models", "resnt20", "torchvision:nothing")
    assert code == 2 and "did you mean 'resnet20'?" in wrong
    code, _, wrong = run("models", "torchvision:nothing")
    assert code == 2 and "nearest: torchvision:" in wrong


def test_a_teacher_that_does_not_fit_is_one_line_on_the_command_line(
    recipe_file: Path, run: Callable
) -> None:
    for name, classes in (("fits.pth", 10), ("wrong.pth", 7)):
        network = networks.build("cnn-3x16", classes=classes, channels=1, resolution=8, seed=0)
        torch.save({"state_dict": network.backbone.state_dict()}, recipe_file.parent / name)
    how = [
        "base.yaml",
        "--quiet",
        "--set",
        "train/epochs=1",
        "--set",
        "teacher/train=null",
        "--set",
    ]
    assert run("train", *how, "teacher/weights=fits.pth")[0] == 0
    code, _, wrong = run("train", *how, "teacher/weights=wrong.pth")
    assert code == 2
    assert "wrong.pth has a head for 7 classes, and the data has 10 classes: fine-tune it" in wrong
    assert wrong.count("\n") <= 4
    assert (
        run("train", *how, "teacher/weights=wrong.pth", "--set", "teacher/train={epochs: 1}")[0]
        == 0
    )
