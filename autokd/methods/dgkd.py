"""Densely guided distillation (Son et al., arXiv 2009.08825): every larger network teaches.

``L = w_ce·CE + w_kd · mean_j tau² KL(p_j ‖ q)`` over the J members of the ladder; assistants are
taught by all larger members too. The authors' code sums over j, and divides each KL by the number
of classes as well; we average over j, so that the weight keeps its meaning for every ladder, and
over pictures alone (choice).

Defaults: the authors' code ties its weights, (1−λ)·CE + λ·KL, with ``λ = 1`` (no labels),
``T = 5``, and one member dropped from each batch. Ours are plain KD's, 0.1, 0.9 and ``tau = 4``,
and ``stochastic: false`` (choice): the same as the other presets that teach by a ladder.
"""

from __future__ import annotations

from autokd.recipe.axes import preset, register
from autokd.recipe.vocabulary import AllIndices, AllLabels, Experts, Uniforms

PAPER = "arXiv 2009.08825"


@register(
    "teaching",
    "dense",
    about="teacher and all assistants teach together",
    paper=PAPER,
    needs_ladder=True,
    assistants="all",
)
def dense(
    labels: AllLabels,
    members: int,
    batch_index: AllIndices,
    uniforms: Uniforms,
    *,
    stochastic: bool = False,
) -> Experts:
    """All members teach every picture; ``stochastic`` leaves one of them out of each batch. Returns
    ``[M, N]``.

    With a single member there is nothing to leave out.
    """
    import torch

    everyone = torch.arange(members, device=labels.device)[:, None].expand(members, len(labels))
    if not stochastic or members == 1:
        return everyone
    # One draw a batch: the draw of the picture whose index is the batch's number, so that it
    # depends on nothing else.
    dropped = (uniforms("dgkd/drop", 1)[:, 0][batch_index] * members).long().clamp(max=members - 1)
    others = everyone[:-1]
    return others + (others >= dropped)


preset(
    "dgkd",
    {
        "teaching": {"kind": "dense"},
        "temperature": {"kind": "constant", "tau": 4.0},
        "losses": {"ce": {"weight": 0.1}, "kl": {"weight": 0.9}},
    },
    paper=PAPER,
    summary="teacher and all assistants teach together",
    recommended={
        "teaching/stochastic": {"choice": [False, True]},
        "temperature/tau": {"log_uniform": [1, 16], "prior": 4.0},
        "losses/kl/weight": {"uniform": [0.1, 1.0], "prior": 0.9},
    },
)
