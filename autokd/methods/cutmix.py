"""CutMix (Yun et al., arXiv 1905.04899): a box of one picture is pasted into another, and labels
are mixed as the areas are.

``x' = M·x_i + (1−M)·x_j`` with a mask M that is 0 inside of the box; the label's weight λ is the
share of the area outside of it. As with mixup, ``ce`` computes ``λ·CE(z_s(x'), y_i) +
(1−λ)·CE(z_s(x'), y_j)``.
"""

from __future__ import annotations

from typing import Literal

from autokd.methods.stkd import SEES, pairs
from autokd.recipe.axes import Positive, register
from autokd.recipe.vocabulary import AllBoxes, AllIndices, AllPictures, Uniforms


@register(
    "view", "cutmix", about="a box of each picture shows another picture", paper="arXiv 1905.04899"
)
def cutmix(
    uniforms: Uniforms,
    batch_index: AllIndices,
    *,
    alpha: Positive = 1.0,
    per: Literal["sample", "batch"] = "sample",
    teacher: Literal["virtual", "blend"] = "virtual",
) -> tuple[AllIndices, AllPictures, str, AllBoxes]:
    """Picture i shows its partner j(i) inside of a box. Returns ``j [N]``, the area outside
    ``[N]``, what teachers see, and the boxes ``[N, 4]``.

    As in the paper the box has sides of ``√(1−λ)``, ``λ ~ Beta(alpha, alpha)``, about a centre
    anywhere, and is cut at the picture's edges, after which the weight is what is left of the
    area. ``alpha``: 1 spreads λ evenly, as the authors have it. Boxes are drawn in shares of the
    side (choice), so that all roles and resolutions see the same one, and the weight is that of the
    drawn box, not of the pixels to which a resolution rounds its edges. ``per``, ``teacher`` and
    partners: as of ``mixup``; the authors have one box a batch, and partners from within it.
    """
    import torch

    partner, kept = pairs("cutmix", uniforms, batch_index, alpha, per)
    centre = uniforms("cutmix/box", 2)
    if per == "batch":
        centre = centre[batch_index]
    half = (1 - kept).sqrt()[:, None] / 2
    near, far = (centre - half).clamp(min=0), (centre + half).clamp(max=1)
    weight = 1 - (far - near).prod(1)
    return partner, weight.float(), SEES[teacher], torch.cat([near, far], 1).float()
