"""The shape that every network of AutoKD has, and the few blocks that several families share."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


class Output(NamedTuple):
    """What a network says about a batch of B pictures.

    Attributes:
        logits: ``[B, classes]``.
        stages: One map ``[B, c, h, w]`` per stage, shallowest first.
        embedding: ``[B, D]``, the input of the last linear layer.
    """

    logits: Tensor
    stages: tuple[Tensor, ...]
    embedding: Tensor


class Featured(nn.Module):
    """Any network that gives its features: ours (``Backbone``) and the libraries'."""

    def features(self, pictures: Tensor) -> Output:
        """``[B, C, H, W]`` normalised pictures -> logits, stage maps and embedding. ``forward``
        gives the same logits alone.
        """
        raise NotImplementedError

    def embedding(self, pictures: Tensor) -> Tensor:
        """The embedding alone, ``[B, D]``."""
        return self.features(pictures).embedding

    def head_names(self) -> set[str]:
        """The names of the last layer's parameters: what gives one number a class."""
        raise NotImplementedError

    def depths(self) -> dict[str, int]:
        """Parameter -> how deep it lies, from 0 at the pictures to the classifier. What is trained
        with rates by layer (``train/layer_decay``) asks this.
        """
        raise NotImplementedError


class Backbone(Featured):
    """A network in four parts: ``pictures -> stem -> stages -> head -> classifier -> logits``.

    Args:
        stem: The first convolution and nothing else, so that another network can share it (its
            batch norm, whose running statistics belong to one network, opens the first stage).
        stages: Modules whose outputs are the features of ``Output.stages``.
        head: From the last stage's map ``[B, c, h, w]`` to the embedding ``[B, D]``.
        classifier: From the embedding to the logits.

    Weights are drawn anew here (``kaiming``), so a builder need not.
    """

    def __init__(
        self, stem: nn.Conv2d, stages: Sequence[nn.Module], head: nn.Module, classifier: nn.Linear
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.head = head
        self.classifier = classifier
        kaiming(self)

    def features(self, pictures: Tensor) -> Output:
        x = self.stem(pictures)
        stages = []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        embedding = self.head(x)
        return Output(self.classifier(embedding), tuple(stages), embedding)

    def embedding(self, pictures: Tensor) -> Tensor:
        x = self.stem(pictures)
        for stage in self.stages:
            x = stage(x)
        return self.head(x)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.features(pictures).logits

    def head_names(self) -> set[str]:
        return {f"classifier.{name}" for name, _ in self.classifier.named_parameters()}

    def depths(self) -> dict[str, int]:
        """The stem, each stage, the head with the classifier."""
        parts = [self.stem, *self.stages, nn.ModuleList([self.head, self.classifier])]
        depth = {id(p): i for i, part in enumerate(parts) for p in part.parameters()}
        return {name: depth[id(p)] for name, p in self.named_parameters()}


def kaiming(network: nn.Module) -> None:
    """Draws the weights of all convolutions from N(0, 2 / fan_out) (He et al. 2015, arXiv
    1502.01852), biases 0.

    The fan-out counts one group only: torch's own ``kaiming_normal_`` counts all of them, which
    makes a depthwise convolution start ``sqrt(channels)`` too small. Batch norms (1 and 0) and
    linear layers keep torch's defaults.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels // module.groups * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class GlobalPool(nn.Module):
    """Global average pooling: ``[B, c, h, w] -> [B, c]``. A plain mean, which has a deterministic
    gradient on CUDA.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class HalvePool(nn.Module):
    """2x2 max-pooling of maps of at least `least` px a side; smaller maps pass, so that small
    pictures are not pooled away.
    """

    def __init__(self, least: int = 2) -> None:
        super().__init__()
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if min(x.shape[-2:]) >= self.least else x


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """A square convolution that keeps the map's size (at stride 1); no bias unless asked for, since
    a batch norm follows.
    """
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)


def conv_bn_relu(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(conv(inputs, outputs, kernel, stride, groups, bias), *bn_relu(outputs))


def bn_relu(width: int) -> tuple[nn.Module, nn.Module]:
    """Batch norm and ReLU over `width` channels; in place, since the norm's own output is needed by
    nobody.
    """
    return nn.BatchNorm2d(width), nn.ReLU(inplace=True)


def plain(
    channels: int, groups: Sequence[Sequence[int | nn.Module]], bias: bool = False
) -> tuple[nn.Conv2d, list[nn.Module]]:
    """Stem and stages of a plain stack of 3x3 convolutions.

    Args:
        channels: Channels of the pictures.
        groups: One sequence per stage; a number is convolution-BN-ReLU of that width, a module
            stands for itself. The first entry of all is a number: its convolution is the stem.
        bias: Whether the convolutions have one (without effect under batch norm; some references
            count it).
    """
    stages: list[nn.Module] = []
    stem, width = None, channels
    for group in groups:
        layers: list[nn.Module] = []
        for item in group:
            if isinstance(item, nn.Module):
                layers.append(item)
                continue
            if stem is None:
                stem = conv(width, item, bias=bias)
                layers.extend(bn_relu(item))
            else:
                layers.append(conv_bn_relu(width, item, bias=bias))
            width = item
        stages.append(nn.Sequential(*layers))
    assert stem is not None, "a plain stack has at least one convolution"
    return stem, stages
