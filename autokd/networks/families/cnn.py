"""Plain convolutions for small pictures, such as the 8 px digits: the students and teachers of the
shipped examples. Ours.
"""

from itertools import pairwise

from torch import nn

from autokd.networks.backbone import Backbone, GlobalPool, HalvePool, plain


def build(*, channels: int, classes: int, resolution: int, depth: int, width: int) -> Backbone:
    """``depth`` times convolution 3x3 - BN - ReLU, all ``width`` wide, then global average pooling
    and a linear layer.

    Maps of 4 px or more are halved between layers 2 and 3 and between layers 4 and 5. Three stages
    where there are three layers, else one per layer.
    """
    layers: list[list[int | nn.Module]] = [
        [HalvePool(least=4), width] if layer in (3, 5) else [width] for layer in range(1, depth + 1)
    ]
    ends = (2, 4, depth) if depth > 4 else tuple(range(max(depth - 2, 1), depth + 1))
    groups = [
        [item for layer in layers[start:end] for item in layer]
        for start, end in pairwise((0, *ends))
    ]
    stem, stages = plain(channels, groups)
    return Backbone(stem, stages, GlobalPool(), nn.Linear(width, classes))
