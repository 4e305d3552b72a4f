"""VGG with batch norm and a single linear layer, as the CIFAR-100 distillation tables have it:
Simonyan & Zisserman 2015, arXiv 1409.1556, in the form of Tian et al. 2020, arXiv 1910.10699.
"""

from torch import nn

from autokd.networks.backbone import Backbone, GlobalPool, HalvePool, plain

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {8: 1, 13: 2}  # per stage


def build(*, channels: int, classes: int, resolution: int, depth: int) -> Backbone:
    """Five stages of equal convolutions with a halving of the map between them, then global average
    pooling.

    The halving before the last stage is left out where the map is below 8 px, that is, for pictures
    below 64 px.
    """
    groups: list[list[int | nn.Module]] = [[width] * CONVOLUTIONS[depth] for width in WIDTHS]
    for group in groups[1:4]:
        group.insert(0, HalvePool())
    groups[4].insert(0, HalvePool(least=8))
    stem, stages = plain(channels, groups, bias=True)
    return Backbone(stem, stages, GlobalPool(), nn.Linear(WIDTHS[-1], classes))
