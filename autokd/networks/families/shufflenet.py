"""ShuffleNets for 32 px pictures: Zhang et al. 2018, arXiv 1707.01083 (V1), and Ma et al. 2018,
arXiv 1807.11164 (V2), with the 1x1 stem of the CIFAR-100 distillation tables (Tian et al. 2020,
arXiv 1910.10699).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autokd.networks.backbone import Backbone, GlobalPool, bn_relu, conv, conv_bn_relu

STEM = 24
GROUPS = 3  # of V1's 1x1 convolutions
BLOCKS = (4, 8, 4)
WIDTHS = {1: (240, 480, 960), 2: (116, 232, 464)}
EMBEDDING_V2 = 1024


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel shuffle of ``[B, c, h, w]``: the channels of the groups, one after another, become
    interleaved.
    """
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class BlockV1(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1. Added to the input, or, at stride 2, joined
    to the averaged input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        # at stride 2 the averaged input brings the other channels
        made = outputs - inputs if stride == 2 else outputs
        middle = made // 4
        self.groups = 1 if inputs == STEM else GROUPS  # the stem is too thin to be split
        self.squeeze = conv_bn_relu(inputs, middle, 1, groups=self.groups)
        self.depthwise = conv_bn_relu(middle, middle, 3, stride, groups=middle)
        self.expand = nn.Sequential(conv(middle, made, 1, groups=GROUPS), nn.BatchNorm2d(made))

    def forward(self, x: Tensor) -> Tensor:
        made = self.expand(self.depthwise(shuffle(self.squeeze(x), self.groups)))
        if self.stride == 2:
            return torch.relu(torch.cat([made, F.avg_pool2d(x, 3, stride=2, padding=1)], 1))
        return torch.relu(made + x)


class BlockV2(nn.Module):
    """Half of the channels pass, the other half goes through 1x1, depthwise 3x3, 1x1; then both are
    shuffled.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = _branch_v2(width // 2, width // 2, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        return shuffle(torch.cat([kept, self.body(changed)], 1), 2)


class DownBlockV2(nn.Module):
    """All channels go through both branches, each at stride 2, each making half of the outputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.short = nn.Sequential(
            conv(inputs, inputs, 3, 2, groups=inputs),
            nn.BatchNorm2d(inputs),
            conv_bn_relu(inputs, half, 1),
        )
        self.body = _branch_v2(inputs, half, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return shuffle(torch.cat([self.short(x), self.body(x)], 1), 2)


def _branch_v2(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        conv_bn_relu(inputs, outputs, 1),
        conv(outputs, outputs, 3, stride, groups=outputs),
        nn.BatchNorm2d(outputs),
        conv_bn_relu(outputs, outputs, 1),
    )


def build(*, channels: int, classes: int, resolution: int, version: int) -> Backbone:
    """Three stages, each of which starts by halving the map. V2 has one more 1x1 convolution before
    the pooling.
    """
    stages: list[nn.Sequential] = []
    inputs = STEM
    for outputs, blocks in zip(WIDTHS[version], BLOCKS, strict=True):
        layers: list[nn.Module] = [] if stages else [*bn_relu(STEM)]
        if version == 1:
            layers += [
                BlockV1(inputs, outputs, 2),
                *(BlockV1(outputs, outputs, 1) for _ in range(blocks - 1)),
            ]
        else:
            layers += [DownBlockV2(inputs, outputs), *(BlockV2(outputs) for _ in range(blocks - 1))]
        stages.append(nn.Sequential(*layers))
        inputs = outputs
    if version == 1:
        return Backbone(conv(channels, STEM, 1), stages, GlobalPool(), nn.Linear(inputs, classes))
    head = nn.Sequential(conv_bn_relu(inputs, EMBEDDING_V2, 1), GlobalPool())
    return Backbone(conv(channels, STEM, 1), stages, head, nn.Linear(EMBEDDING_V2, classes))
