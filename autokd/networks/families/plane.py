"""The plain CNNs of teacher assistants: Mirzadeh et al. 2020, *Improved Knowledge Distillation via
Teacher Assistant*, arXiv 1902.03393, with the widths of the authors' code (which has one table for
CIFAR-10 and one for CIFAR-100).
"""

from torch import Tensor, nn
from torch.nn import functional as F

from autokd.networks.backbone import Backbone, HalvePool, plain

POOL = 0
# Widths as multiples of a base. A stage ends where the map is halved; plane-4's second pair makes
# two stages, so that there are three.
STAGES = {
    2: ((1,), (POOL, 1)),
    4: ((1, 1), (POOL, 2), (2,)),
    6: ((1, 1), (POOL, 2, 2), (POOL, 4, 4)),
    8: ((1, 1), (POOL, 2, 2), (POOL, 4, 4), (POOL, 8, 8)),
    10: ((1, 1), (POOL, 2, 2), (POOL, 4, 4), (POOL, 8, 8, 8, 8)),
}
# the linear layer before the classifier: up to 10 classes, more
HIDDEN = {8: (64, 64), 10: (128, 512)}


class Flatten(nn.Module):
    """``[B, c, h, w] -> [B, c * side * side]``: flattens maps of `side` px; others are averaged to
    that size first.

    The averaging is for a network used at another resolution than it was built for; its gradient is
    not deterministic on CUDA.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.side, self.side):
            x = F.adaptive_avg_pool2d(x, self.side)
        return x.flatten(1)


def build(*, channels: int, classes: int, resolution: int, depth: int) -> Backbone:
    """The network with ``depth`` convolutions. Its last map is flattened, so its size depends on
    the resolution (in px).

    Up to 10 classes it has the widths that the authors use on CIFAR-10, above those of CIFAR-100.
    """
    wide = classes > 10
    base = 32 if wide or depth == 10 else 16
    groups = [
        [HalvePool() if item == POOL else item * base for item in stage] for stage in STAGES[depth]
    ]
    stem, stages = plain(channels, groups, bias=True)
    last_pool = not (wide and depth == 6)  # the authors' CIFAR-100 table has none there
    pools = len(groups) - 1 - (depth == 4) + last_pool
    side = max(resolution >> pools, 1)
    width = STAGES[depth][-1][-1] * base * side * side
    layers: list[nn.Module] = [*([HalvePool()] if last_pool else []), Flatten(side)]
    if depth in HIDDEN:
        hidden = HIDDEN[depth][wide]
        layers += [nn.Linear(width, hidden), nn.ReLU(inplace=True)]
        width = hidden
    return Backbone(stem, stages, nn.Sequential(*layers), nn.Linear(width, classes))
