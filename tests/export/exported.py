"""The exported student, asked by torch alone."""

from __future__ import annotations

from pathlib import Path

import torch

from autokd import data as datasets
from autokd import networks, recipe
from autokd.data.views import resize
from autokd.recipe import document


def all_test_pictures() -> tuple[torch.Tensor, datasets.Split]:
    split = datasets.load(recipe.parse({"data": {"limit": 300}}).data).read_test()
    return resize(split.pictures.float() / 255, 6), split


def torch_logits(home: Path, pictures: torch.Tensor) -> torch.Tensor:
    network = networks.build("cnn-2x8", classes=10, channels=1, resolution=6)
    networks.load_weights(network, home / "out" / "student.safetensors")
    with torch.inference_mode():
        return network.eval()(pictures)


def temperature(home: Path) -> float:
    return document.read(home / "out" / "recipe.yaml").data["results"]["calibration"]["temperature"]
