"""Networks and pictures to try them on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from autokd import networks

SMALL = [
    "cnn-1x3",
    "cnn-2x8",
    "cnn-3x32",
    "cnn-4x6",
    "cnn-5x6",
    "cnn-8x6",
    "plane-2",
    "plane-8",
    "resnet8",
    "wrn-16-1",
    "mobilenetv2",
]


def randomised(network: networks.Network, seed: int = 0) -> networks.Network:
    """The network in evaluation mode with batch statistics that are not the initial 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(generator=generator).mul_(0.1)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def pictures(count: int, channels: int, resolution: int) -> torch.Tensor:
    return torch.rand(
        count, channels, resolution, resolution, generator=torch.Generator().manual_seed(1)
    )


def output_of(network: networks.Network, channels: int, resolution: int) -> networks.Output:
    """The features of 2 pictures, after checks that hold for every network."""
    batch = pictures(2, channels, resolution)
    with torch.no_grad():
        output, logits = network.features(batch), network(batch)
    assert torch.equal(output.logits, logits) and logits.isfinite().all()
    assert output.embedding.ndim == 2 and all(stage.ndim == 4 for stage in output.stages)
    sides = [stage.shape[-1] for stage in output.stages]
    assert sides == sorted(sides, reverse=True)
    return output


def library_module(network: networks.Network) -> Any:
    return network.backbone.model
