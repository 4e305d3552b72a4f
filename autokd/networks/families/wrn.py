"""Wide ResNets: Zagoruyko & Komodakis 2016, *Wide Residual Networks*, arXiv 1605.07146."""

from itertools import pairwise

from torch import Tensor, nn

from autokd.networks.backbone import Backbone, GlobalPool, bn_relu, conv


class Block(nn.Module):
    """Pre-activation block of equal width: ``x + conv-bn-relu-conv(relu(bn(x)))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *bn_relu(width), conv(width, width), *bn_relu(width), conv(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class WideningBlock(nn.Module):
    """The block where the width changes: body and shortcut (a 1x1 convolution) both start from the
    *activated* input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, outputs, 3, stride), *bn_relu(outputs), conv(outputs, outputs)
        )
        self.shortcut = conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


def build(*, channels: int, classes: int, resolution: int, depth: int, widen: int) -> Backbone:
    """The network of ``depth = 6n + 4`` layers and `widen` times the width: a stem and three stages
    of n blocks.

    A stage ends with the batch norm and ReLU that its successor would begin with, so that
    ``stages`` are activations here too. This moves a boundary, not a layer. (Code that reads WRN
    features before that norm sees other maps.)
    """
    blocks = (depth - 4) // 6
    stages: list[nn.Module] = []
    for inputs, outputs in pairwise((16, 16 * widen, 32 * widen, 64 * widen)):
        layers: list[nn.Module] = [] if stages or inputs == outputs else [*bn_relu(inputs)]
        layers.append(
            Block(outputs)
            if inputs == outputs
            else WideningBlock(inputs, outputs, stride=2 if stages else 1)
        )
        layers += [Block(outputs) for _ in range(blocks - 1)]
        stages.append(nn.Sequential(*layers, *bn_relu(outputs)))
    return Backbone(conv(channels, 16), stages, GlobalPool(), nn.Linear(64 * widen, classes))
