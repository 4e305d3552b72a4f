"""CIFAR ResNets: He et al. 2016, *Deep Residual Learning for Image Recognition*, arXiv 1512.03385,
section 4.2.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from autokd.networks.backbone import Backbone, GlobalPool, bn_relu, conv, conv_bn_relu


class Block(nn.Module):
    """``relu(conv-bn-relu-conv-bn(x) + shortcut(x))``.

    Where the size changes, the shortcut is a 1x1 convolution with batch norm, as in the reference
    code of Tian et al. 2020 (arXiv 1910.10699), which published numbers for CIFAR-100 distillation
    rest on; He et al. pad with zeros there.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn_relu(inputs, outputs, stride=stride),
            conv(outputs, outputs),
            nn.BatchNorm2d(outputs),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def build(
    *,
    channels: int,
    classes: int,
    resolution: int,
    depth: int,
    widths: Sequence[int] = (16, 16, 32, 64),
) -> Backbone:
    """The network of ``depth = 6n + 2`` layers: a stem and three stages of n blocks, the last two
    of which halve the map.

    Args:
        widths: Of the stem and of the three stages.
    """
    blocks = (depth - 2) // 6
    stages: list[nn.Sequential] = []
    for inputs, outputs in pairwise(widths):
        first = Block(inputs, outputs, stride=2 if stages else 1)
        stages.append(
            nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))
        )
    stages[0] = nn.Sequential(*bn_relu(widths[0]), *stages[0])
    return Backbone(conv(channels, widths[0]), stages, GlobalPool(), nn.Linear(widths[-1], classes))
