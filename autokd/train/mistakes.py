"""A few pictures that a student got wrong, small, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from autokd.data.pictures import Pictures

MOST = 24  # pictures
SIDE = 64  # pixels at most


def shown(outcomes: Mapping[str, Tensor], pictures: Tensor | Pictures) -> dict[str, Tensor]:
    """The wrong ones that the student was surest of: ``mistake`` ``[K]``, their rows among
    ``pictures``, and ``picture`` ``[K, H, W, C]`` uint8. ``outcomes``: columns of ``[N]``.
    """
    sure = outcomes["confidence"].masked_fill(outcomes["correct"], -1.0)
    rows = sure.argsort(descending=True, stable=True)[:MOST]
    rows = rows[~outcomes["correct"][rows]]
    small = pictures[rows]
    if small.shape[-1] > SIDE:
        small = F.interpolate(small.float(), SIDE, mode="area").round().byte()
    return {"mistake": rows, "picture": small.permute(0, 2, 3, 1).contiguous()}
