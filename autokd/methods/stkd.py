"""Similarity transfer (Zhao et al., arXiv 2103.10047): teacher and student meet on mixtures of two
pictures.

The virtual sample is ``x' = λ·x_i + (1−λ)·x_j`` by mixup, labels are mixed as pictures are (paper:
the abstract); ``λ ~ Beta(alpha, alpha)`` is mixup's own (arXiv 1710.09412). The hard term
``λ·CE(z_s(x'), y_i) + (1−λ)·CE(z_s(x'), y_j)`` is what ``ce`` computes under any mixup; the soft
term is the KL to what the teacher says, see ``teacher``. The paper's own text was not seen:
``alpha = 1``, ``tau = 4`` and the weights 0.1 and 0.9 are ours (choice).
"""

from __future__ import annotations

from typing import Literal

from autokd.recipe.axes import NonNegative, preset, register
from autokd.recipe.vocabulary import AllIndices, AllPictures, Uniforms

PAPER = "arXiv 2103.10047"
SEES = {"virtual": "mixed", "blend": "parts"}  # what teachers see


@register("view", "mixup", about="two pictures are blended", paper=PAPER)
def mixup(
    uniforms: Uniforms,
    batch_index: AllIndices,
    *,
    alpha: NonNegative = 1.0,
    per: Literal["sample", "batch"] = "sample",
    teacher: Literal["virtual", "blend"] = "virtual",
) -> tuple[AllIndices, AllPictures, str] | None:
    """Picture i becomes ``λ_i·x_i + (1−λ_i)·x_j(i)``, ``λ ~ Beta(alpha, alpha)``. Returns ``j
    [N]``, ``λ [N]`` and what teachers see.

    ``alpha``: 1 spreads λ evenly; 0 means λ = 1, where nothing is mixed and plain distillation
    comes out, bit for bit. ``per``: a λ for each picture, or one for each batch of the epoch. The
    default is ours (choice): it makes the teacher's tables independent of the order of the batches,
    so that seeds and trials share them. ``teacher``: ``virtual`` (choice of default) shows x' to
    the teacher too; ``blend`` mixes its two answers, ``λ·softmax(z_t(x_i)/tau) +
    (1−λ)·softmax(z_t(x_j)/tau)``. Losses on stages or embeddings run the teacher on x' in both.

    Partners are a permutation of all training pictures (choice: mixup's usual code draws them
    within the batch; what the paper does was not seen), each in its own view of the epoch; a
    picture may be its own partner.
    """
    if alpha == 0:
        return None
    partner, weight = pairs("mixup", uniforms, batch_index, alpha, per)
    return partner, weight.float(), SEES[teacher]


def pairs(
    view: str, uniforms: Uniforms, batch_index: AllIndices, alpha: float, per: str
) -> tuple[AllIndices, AllPictures]:
    """A partner for each picture, ``[N]``, and λ, ``[N]`` float64, from the draws of ``view``."""
    import torch
    from scipy.special import betaincinv

    draws = uniforms(f"{view}/weight", 1)[:, 0]
    # the draw of the picture whose index is the batch's number, so that it depends on nothing else
    if per == "batch":
        draws = draws[batch_index]
    weight = torch.from_numpy(betaincinv(alpha, alpha, draws.cpu().numpy())).clamp(0, 1)
    partner = uniforms(f"{view}/partner", 1)[:, 0].argsort(stable=True)
    return partner, weight.to(partner.device)


preset(
    "stkd",
    {
        "view": {"kind": "mixup"},
        "temperature": {"kind": "constant", "tau": 4.0},
        "losses": {"ce": {"weight": 0.1}, "kl": {"weight": 0.9}},
    },
    paper=PAPER,
    summary="teacher and student meet on mixtures of two pictures",
    recommended={
        "view/alpha": {"log_uniform": [0.1, 4], "prior": 1.0},
        "view/teacher": {"choice": ["virtual", "blend"]},
        "temperature/tau": {"log_uniform": [1, 16], "prior": 4.0},
        "losses/kl/weight": {"uniform": [0.1, 1.0], "prior": 0.9},
    },
)
