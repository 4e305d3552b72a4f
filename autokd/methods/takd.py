"""Teacher-assistant distillation (Mirzadeh et al., arXiv 1902.03393): a ladder between a large
teacher and a small student.

Each assistant is distilled from the next larger member, with plain KD under the recipe's
``ladder_train``; the student sees the smallest. A chain without a ladder is a single teacher.

The authors' code ties its weights, (1−λ)·CE + λ·T²·KL, and tunes both for every run: λ from 0.05 to
1, T in {1, 2, 5, 10, 15, 20}. Its KL is divided by the number of classes as well, so its λ means
another balance than ours: the preset's 0.1, 0.9 and ``tau = 4``, and its ranges, are those of plain
KD here (choice).
"""

from __future__ import annotations

from autokd.recipe.axes import preset, register
from autokd.recipe.vocabulary import AllLabels, Experts

PAPER = "arXiv 1902.03393"


@register(
    "teaching",
    "chain",
    about="the smallest assistant teaches; each was taught by the next larger one",
    paper=PAPER,
    needs_ladder=True,
    assistants="next",
)
def chain(labels: AllLabels) -> Experts:
    """The smallest member of the ladder teaches every picture. Returns ``[1, N]``."""
    return labels.new_zeros((1, len(labels)))


preset(
    "takd",
    {
        "teaching": {"kind": "chain"},
        "temperature": {"kind": "constant", "tau": 4.0},
        "losses": {"ce": {"weight": 0.1}, "kl": {"weight": 0.9}},
    },
    paper=PAPER,
    summary="plain KD through a chain of teacher assistants",
    recommended={
        "temperature/tau": {"log_uniform": [1, 16], "prior": 4.0},
        "losses/kl/weight": {"uniform": [0.1, 1.0], "prior": 0.9},
    },
)
