"""The networks: their names, sizes, features, and weights in files."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from autokd import networks
from autokd.networks import Backbone
from autokd.recipe import network_names
from tests.networks.inputs import SMALL, output_of, pictures, randomised

# Millions of parameters for 100 classes at 32 px, as the CIFAR-100 distillation literature gives
# them.
MILLIONS = {
    "resnet20": 0.28,
    "resnet56": 0.86,
    "resnet110": 1.74,
    "resnet8x4": 1.23,
    "resnet32x4": 7.43,
    "wrn-16-2": 0.70,
    "wrn-40-1": 0.57,
    "wrn-40-2": 2.26,
    "vgg8": 3.97,
    "vgg13": 9.46,
    "mobilenetv2": 0.81,
    "shufflenetv1": 0.95,
    "shufflenetv2": 1.36,
}


@pytest.mark.parametrize(("name", "millions"), MILLIONS.items())
def test_parameter_counts(name: str, millions: float) -> None:
    network = networks.build(name, classes=100, resolution=32)
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 2) == millions


def test_plane_counts() -> None:
    def parameters(name: str, classes: int) -> int:
        network = networks.build(name, classes=classes, resolution=32)
        return sum(parameter.numel() for parameter in network.parameters())

    def layer(inputs: int, outputs: int) -> int:
        return 9 * inputs * outputs + outputs + 2 * outputs  # convolution, its bias, batch norm

    assert parameters("plane-2", 10) == layer(3, 16) + layer(16, 16) + 8 * 8 * 16 * 10 + 10
    assert parameters("plane-2", 100) == layer(3, 32) + layer(32, 32) + 8 * 8 * 32 * 100 + 100
    # the authors' CIFAR-100 network of 6 does not pool at the end, that for CIFAR-10 does
    six = (
        layer(3, 16) + layer(16, 16) + layer(16, 32) + layer(32, 32) + layer(32, 64) + layer(64, 64)
    )
    assert parameters("plane-6", 10) == six + 4 * 4 * 64 * 10 + 10
    wide_six = (
        layer(3, 32)
        + layer(32, 32)
        + layer(32, 64)
        + layer(64, 64)
        + layer(64, 128)
        + layer(128, 128)
    )
    assert parameters("plane-6", 100) == wide_six + 8 * 8 * 128 * 100 + 100


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", network_names.names())
def test_every_network_at_32_px(name: str, channels: int) -> None:
    network = randomised(networks.build(name, classes=7, channels=channels, resolution=32, seed=0))
    output = output_of(network, channels, 32)
    backbone = network.backbone
    assert isinstance(backbone, Backbone)
    assert output.logits.shape == (2, 7)
    assert type(backbone.stem) is nn.Conv2d and type(backbone.classifier) is nn.Linear
    assert len(output.stages) == len(backbone.stages)
    family = network_names.card(name).family
    if family in ("resnet", "wrn"):
        assert [stage.shape[-1] for stage in output.stages] == [32, 16, 8]
    else:
        assert len(output.stages) >= (2 if name.endswith(("-2", "-2x8", "-2x16")) else 3)
    if family != "mobilenet":  # whose stages end in linear bottlenecks
        assert all((stage >= 0).all() for stage in output.stages)


@pytest.mark.parametrize("resolution", [4, 5, 8])
@pytest.mark.parametrize("name", [*SMALL, "vgg8", "shufflenetv1", "shufflenetv2"])
def test_small_pictures(name: str, resolution: int) -> None:
    network = randomised(networks.build(name, classes=3, channels=1, resolution=resolution))
    assert output_of(network, 1, resolution).logits.shape == (2, 3)


@pytest.mark.parametrize("name", SMALL)
def test_another_resolution_than_built_for(name: str) -> None:
    network = randomised(networks.build(name, classes=3, resolution=32))
    assert output_of(network, 3, 12).logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("cnn-1x4", [8]),
        ("cnn-2x4", [8, 8]),
        ("cnn-3x4", [8, 8, 4]),
        ("cnn-4x4", [8, 4, 4]),
        ("cnn-5x4", [8, 4, 2]),
        ("cnn-8x4", [8, 4, 2]),
    ],
)
def test_cnn_pools_between_layers_2_and_3_and_4_and_5(name: str, sides: list[int]) -> None:
    output = output_of(randomised(networks.build(name, classes=3, resolution=8)), 3, 8)
    assert [stage.shape[-1] for stage in output.stages] == sides
    assert torch.allclose(output.embedding, output.stages[-1].mean((2, 3)))


@pytest.mark.parametrize(
    "name",
    [
        "cnn-3x8",
        "plane-8",
        "resnet8",
        "wrn-16-1",
        "wrn-16-2",
        "vgg8",
        "mobilenetv2",
        "shufflenetv1",
        "shufflenetv2",
    ],
)
def test_gradients_reach_every_parameter(name: str) -> None:
    network = networks.build(name, classes=10, resolution=32, seed=0)
    torch.nn.functional.cross_entropy(network(pictures(4, 3, 32)), torch.arange(4)).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.ndim == 1 or parameter.grad.any(), key


def test_convolutions_start_at_kaiming_scale() -> None:
    modules = networks.build("shufflenetv2", classes=10, resolution=32, seed=0).modules()
    for layer in [
        module
        for module in modules
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000
    ]:
        fan_out = layer.out_channels // layer.groups * layer.kernel_size[0] ** 2
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)


def test_measure() -> None:
    network = networks.build("cnn-2x8", classes=10, channels=1, resolution=8, seed=0)
    network.backbone.get_submodule("stages.1").eval()  # a frozen part
    modes = [module.training for module in network.modules()]
    before = networks.weights_hash(network)
    multiply_adds = 64 * 9 * 1 * 8 + 64 * 9 * 8 * 8 + 8 * 10
    assert networks.measure(network, 1, 8) == {
        "params": 72 + 16 + 576 + 16 + 90,
        "flops": 2 * multiply_adds,
    }
    assert [module.training for module in network.modules()] == modes
    assert networks.weights_hash(network) == before


def test_latency_leaves_the_network_alone() -> None:
    network = networks.build("cnn-2x8", classes=10, channels=1, resolution=8, seed=0)
    before = networks.weights_hash(network)
    assert networks.latency(network, channels=1, resolution=8, batch=2, device="cpu", repeats=3) > 0
    assert network.training and networks.weights_hash(network) == before
