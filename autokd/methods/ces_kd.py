"""Curriculum expert selection (Amara et al., arXiv 2209.07606): easy pictures are taught by small
experts, hard ones by large experts.

``L = mean_x[(1−w)·CE + w·tau²·KL(softmax(z_k(x)/tau) ‖ q)]``: each picture x has one expert k(x) of
the ladder T_1 < … < T_K, all frozen; T_K is the full teacher. That one teacher is selected for each
picture by a curriculum over its difficulty is the abstract's (paper). The paper's own text was not
seen: how difficulty is measured, how pictures are divided among experts, how fast the curriculum
moves, that assistants are trained as a TAKD chain, ``tau = 4`` and ``w = 0.9`` are ours (choice).
"""

from __future__ import annotations

from typing import Literal

from autokd.recipe.axes import Count, preset, register
from autokd.recipe.vocabulary import AllLabels, AllPictures, Experts, LadderLogits, Note

PAPER = "arXiv 2209.07606"


@register(
    "teaching",
    "curriculum",
    about="easy pictures are taught by small assistants, hard ones by the teacher",
    paper=PAPER,
    needs_ladder=True,
    assistants="next",
)
def curriculum(
    labels: AllLabels,
    members: int,
    first_logits: LadderLogits,
    student_losses: AllPictures,
    epoch: int,
    note: Note,
    *,
    difficulty: Literal["ladder", "teacher", "student"] = "ladder",
    warm: Count = 10,
) -> Experts:
    """``expert(x) = min(stratum(x), allowed − 1)``, ``allowed = ceil(K · min(1, (epoch+1)/warm))``.
    Returns ``[1, N]``.

    Strata are equal-count quantiles of the difficulty d(x) over the training set, 0 the easiest;
    ties go by index. ``difficulty``: ``ladder``, the mean cross-entropy of all K members on the
    views of epoch 0; ``teacher``, that of the full teacher there; ``student``, the student's own in
    the epoch before (in epoch 0, which has none before it, as ``ladder``). ``warm`` is in epochs; 0
    lets every expert teach from the start. Pictures without a label have no cross-entropy: they are
    divided among themselves, into strata of the entropy of the ladder's mean distribution. With one
    expert this is ``single``, bit for bit.

    ``teaching/expert0`` … in the metrics: how many pictures each expert teaches in the epoch.
    """
    import torch

    hard = torch.where(
        labels >= 0,
        _cross_entropy(labels, first_logits, student_losses, epoch, difficulty),
        _entropy(first_logits),
    )
    stratum = torch.zeros_like(labels)
    for group in ((labels >= 0).nonzero()[:, 0], (labels < 0).nonzero()[:, 0]):
        easy_first = group[hard[group].argsort(stable=True)]
        stratum[easy_first] = (
            torch.arange(len(group), device=labels.device) * members // max(len(group), 1)
        )
    allowed = min(members, -(-members * (epoch + 1) // warm)) if warm else members
    expert = stratum.clamp(max=allowed - 1)
    for k in range(members):
        note(f"teaching/expert{k}", (expert == k).sum())
    return expert[None]


def _cross_entropy(
    labels: AllLabels,
    first_logits: LadderLogits,
    student_losses: AllPictures,
    epoch: int,
    difficulty: str,
) -> AllPictures:
    """Of no meaning where there is no label."""
    from torch.nn.functional import cross_entropy

    if difficulty == "student" and epoch:
        return student_losses
    asked = first_logits[-1:] if difficulty == "teacher" else first_logits
    classes = labels.clamp(min=0)
    losses = [cross_entropy(logits, classes, reduction="none") for logits in asked]
    return sum(losses) / len(asked)  # type: ignore[return-value]


def _entropy(first_logits: LadderLogits) -> AllPictures:
    """In nats, of the mean of the members' distributions."""
    mean = sum(logits.softmax(1) for logits in first_logits) / len(first_logits)
    return -(mean * mean.clamp(min=1e-30).log()).sum(1)


preset(
    "ces-kd",
    {
        "teaching": {"kind": "curriculum"},
        "temperature": {"kind": "constant", "tau": 4.0},
        "losses": {"ce": {"weight": 0.1}, "kl": {"weight": 0.9}},
    },
    paper=PAPER,
    summary="easy pictures are taught by small assistants, hard ones by the full teacher",
    recommended={
        "teaching/difficulty": {"choice": ["ladder", "teacher", "student"]},
        "teaching/warm": {"choice": [10, 0, 5, 20]},
        "temperature/tau": {"log_uniform": [1, 16], "prior": 4.0},
        "losses/kl/weight": {
            "uniform": [0.1, 1.0],
            "prior": 0.9,
            "complement": "losses/ce/weight",
        },
    },
)
