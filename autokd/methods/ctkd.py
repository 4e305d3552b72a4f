"""Collaborative teaching (Zhao et al., arXiv 1907.09643): a teacher trained beside the student
shows the way, a finished one where to look.

``L = CE(z_R, y) + CE(z_S, y) + gamma·mean_x‖sg(z_R) − z_S‖² + beta·Σ_{g=1..3} mean (A(F_g) −
A(E_g))²``: a scratch teacher R learns from the labels alone while the student S follows its logits;
a frozen expert E (the recipe's teacher) gives attention maps. The total is the authors' (authors'
code); it has no temperature and no soft-target KL. ``gamma = 0.03``, the weight of ``scratch_l2``,
and ``beta = 1000``, that of the attention loss, are the benchmarks' habit (choice): the released
code's own defaults are 0 for both, and what the paper used was not seen.

Whose maps F are: the paper says the student's (paper), which is the loss ``attention`` and the
preset ``ctkd``; the released code pairs the scratch teacher's (authors' code), which is
``scratch_attention`` and the preset ``ctkd-scratch``. These two are the switch that is called
``attention_to`` elsewhere. Not to be confused with "curriculum temperature", which shares the
letters.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from autokd.recipe import network_names
from autokd.recipe.axes import preset, register
from autokd.recipe.vocabulary import AllLabels, Experts, Logits, Scalar

PAPER = "arXiv 1907.09643"


def _network(name: str) -> str:
    if name and (trouble := network_names.problem(name)):
        raise ValueError(trouble)
    return name


@register(
    "teaching",
    "collaborative",
    about="a second teacher is trained beside the student, and teaches it too",
    paper=PAPER,
    scratch=True,
)
def collaborative(
    labels: AllLabels,
    members: int,
    *,
    scratch: Annotated[str, AfterValidator(_network)] = "",
    share_stem: bool = False,
) -> Experts:
    """The full teacher is the expert E of every picture; the run trains R beside the student.
    Returns ``[1, N]``.

    ``scratch``: R's network, empty for the teacher's own (choice). ``share_stem``: R and the
    student have one first convolution between them (a switch of the authors' code, off by default);
    without it, and without a loss on R's maps, R's training does not depend on the student and is
    computed once for all students. Both are the run's business, not this function's.
    ``val/scratch_accuracy`` in the metrics is R's.
    """
    return labels.new_full((1, len(labels)), members - 1)


@register(
    "losses",
    "scratch_l2",
    about="the student's logits near those of the teacher trained beside it",
    paper=PAPER,
    weight=0.03,
)
def scratch_l2(student_logits: Logits, scratch_logits: Logits) -> Scalar:
    """``mean_x ‖sg(z_R) − z_S‖²``, summed over classes; the weight is the paper's gamma. Returns a
    scalar.
    """
    return (scratch_logits - student_logits).square().sum(1).mean()


_RANGES = {"losses/scratch_l2/weight": {"log_uniform": [0.003, 0.3], "prior": 0.03}}
preset(
    "ctkd",
    {
        "teaching": {"kind": "collaborative"},
        "losses": {
            "ce": {"weight": 1.0},
            "scratch_l2": {"weight": 0.03},
            "attention": {"weight": 1000.0},
        },
    },
    paper=PAPER,
    summary="a teacher trained beside the student gives logits, a finished one attention maps",
    recommended=_RANGES
    | {"losses/attention/weight": {"log_uniform": [100, 10000], "prior": 1000.0}},
)
preset(
    "ctkd-scratch",
    {
        "teaching": {"kind": "collaborative"},
        "losses": {
            "ce": {"weight": 1.0},
            "scratch_l2": {"weight": 0.03},
            "scratch_attention": {"weight": 1000.0},
        },
    },
    paper=PAPER,
    summary="as ctkd, but the attention maps go to the scratch teacher, as in the released code",
    recommended=_RANGES
    | {"losses/scratch_attention/weight": {"log_uniform": [100, 10000], "prior": 1000.0}},
)
