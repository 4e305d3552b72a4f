"""Weights: seeds, files, wrappings, and code that is never run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from autokd import networks
from tests.networks.inputs import library_module, pictures, randomised


@pytest.mark.parametrize(
    "name",
    [
        "cnn-3x8",
        "resnet8",
        "plane-8",
        "shufflenetv2",
        "timm:test_resnet",
        "torchvision:squeezenet1_1",
    ],
)
def test_a_seed_decides_the_bytes_and_leaves_the_global_generator(name: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = networks.weights_hash(networks.build(name, classes=10, resolution=64, seed=3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert networks.weights_hash(networks.build(name, classes=10, resolution=64, seed=3)) == first
    assert networks.weights_hash(networks.build(name, classes=10, resolution=64, seed=4)) != first
    assert networks.weights_hash(networks.build(name, classes=10, resolution=64)) != first


@pytest.mark.parametrize("name", ["resnet8", "shufflenetv2", "timm:test_resnet"])
def test_reload_is_exact(name: str, tmp_path: Path) -> None:
    made = networks.build(name, classes=5, resolution=32, seed=0, mean=[0.1, 0.2, 0.3])
    network = randomised(made)
    save_file(networks.state(network), tmp_path / "w.safetensors")
    again = networks.build(name, classes=5, resolution=32, seed=1).eval()
    networks.load_weights(again, tmp_path / "w.safetensors")
    assert networks.weights_hash(again) == networks.weights_hash(network)
    assert torch.equal(again(pictures(2, 3, 32)), network(pictures(2, 3, 32)))


def test_state_is_a_copy() -> None:
    network = networks.build("cnn-2x8", classes=3, resolution=8, seed=0)
    state, before = networks.state(network), networks.weights_hash(network)
    state["backbone.stem.weight"].zero_()
    assert networks.weights_hash(network) == before
    assert networks.weights_hash(network.to(memory_format=torch.channels_last)) == before


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": {f"module.{key}": value for key, value in weights.items()}},
        lambda weights: {"net": weights, "accuracy": 0.9},
    ],
)
def test_common_wrappings_and_a_backbone_alone(wrap: Any, tmp_path: Path) -> None:
    source = networks.build("timm:test_resnet", classes=5, resolution=32, seed=0)
    target = networks.build("timm:test_resnet", classes=5, resolution=32, seed=1)
    for weights in (
        source.state_dict(),
        source.backbone.state_dict(),
        library_module(source).state_dict(),
    ):
        target.load_state_dict(
            networks.build("timm:test_resnet", classes=5, resolution=32, seed=1).state_dict()
        )
        torch.save(wrap(dict(weights)), tmp_path / "w.pth")
        networks.load_weights(target, tmp_path / "w.pth")
        assert networks.weights_hash(target) == networks.weights_hash(source)


def test_mismatches_name_layer_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(networks.state(networks.build("cnn-3x8", classes=10, resolution=8, seed=0)), path)
    for name, classes, message in [
        (
            "cnn-3x8",
            100,
            r"has a head for 10 classes, and the data has 100 classes: fine-tune it",
        ),
        (
            "cnn-4x8",
            10,
            r"the file lacks backbone\.stages.*15 in all.*has the unknown backbone\.stages",
        ),
        (
            "cnn-2x8",
            10,
            (
                r"holds the weights of another network.*the file has the unknown"
                r" backbone\.stages\.2\.1\.0\.weight"
            ),
        ),
    ]:
        network = networks.build(name, classes=classes, resolution=8, seed=1)
        before = networks.weights_hash(network)
        with pytest.raises(ValueError, match=message):
            networks.load_weights(network, path)
        assert networks.weights_hash(network) == before


class Code:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"stem.weight": torch.zeros(1)}, "args": Code(tmp_path / "ran")},
        tmp_path / "w.pth",
    )
    network = networks.build("cnn-2x8", classes=3, resolution=8)
    with pytest.raises(ValueError, match="mkdir.*never run"):
        networks.load_weights(network, tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()
    # the file does what it says: it makes the folder when it is trusted
    torch.load(tmp_path / "w.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("missing.pth", None, "no such file"),
        ("w.txt", b"", "read from"),
        ("w.pt", b"garbage", "cannot read"),
        ("w.safetensors", b"garbage", "not a safetensors"),
    ],
)
def test_unreadable_files(file: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        networks.load_weights(networks.build("cnn-2x8", classes=3, resolution=8), tmp_path / file)


def test_a_file_without_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="no dict of tensors"):
        networks.load_weights(networks.build("cnn-2x8", classes=3, resolution=8), tmp_path / "w.pt")
