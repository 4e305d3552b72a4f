"""Knowledge distillation (Hinton, Vinyals and Dean 2015, arXiv 1503.02531), and the neutral setting
of every axis.

``L = w_ce · CE(z_s, y) + w_kd · mean_x tau² KL(softmax(z_t/tau) ‖ softmax(z_s/tau))``. The KL is
summed over classes and averaged over pictures; averaging over classes too, as the default of
``KLDivLoss`` does, makes it C times too weak. The weights 0.1 and 0.9 and ``tau = 4`` are those of
the common CIFAR-100 tables (independent code: RepDistiller, mdistiller). ``label-smoothing`` at 0.1
is arXiv 1512.00567's (paper).
"""

from __future__ import annotations

from collections.abc import Callable

from autokd.recipe.axes import Fraction, Positive, preset, register
from autokd.recipe.vocabulary import (
    AllLabels,
    Experts,
    Labels,
    Logits,
    LogProbs,
    PerPicture,
    Scalar,
    Temperature,
)

PAPER = "arXiv 1503.02531"


@register("teaching", "single", about="the teacher alone teaches every picture", paper=PAPER)
def single(labels: AllLabels, members: int) -> Experts:
    """The full teacher teaches every picture; assistants, if a ladder is given, are neither trained
    nor asked.
    """
    return labels.new_full((1, len(labels)), members - 1)


@register("view", "plain", about="teacher and student see the same augmented picture", paper=PAPER)
def plain() -> None:
    """Teacher and student see the same augmented picture, each at its own resolution."""
    return None


@register("target", "teacher", about="the teacher's answers as they are", paper=PAPER)
def teacher(teacher_logits: Logits) -> tuple[Logits, None]:
    """The teacher's logits as they are."""
    return teacher_logits, None


@register("temperature", "constant", about="one temperature for every picture", paper=PAPER)
def constant(*, tau: Positive = 4.0) -> Temperature:
    """One temperature ``tau`` for every picture (paper, equation 1)."""
    return tau


@register("losses", "ce", about="cross-entropy on the labels", paper=PAPER, weight=0.1)
def ce(
    student_logits: Logits,
    labels: Labels,
    partner_labels: Labels,
    mix_weight: PerPicture,
    *,
    label_smoothing: Fraction = 0.0,
) -> Scalar:
    """``λ·CE(z_s, y) + (1−λ)·CE(z_s, y_partner)``, averaged over the labels that are known; λ = 1
    without mixup.

    ``label_smoothing`` ε mixes the hard label with the uniform distribution (arXiv 1512.00567).
    Returns a scalar.
    """
    from torch.nn.functional import cross_entropy

    def rows(y: Labels) -> PerPicture:
        return cross_entropy(student_logits, y, reduction="none", label_smoothing=label_smoothing)

    return over_labels(rows, labels, partner_labels, mix_weight)


def over_labels(
    rows: Callable[[Labels], PerPicture],
    labels: Labels,
    partner_labels: Labels,
    mix_weight: PerPicture,
) -> Scalar:
    """The mean of ``rows(y)`` over known labels: each counts with its share of the picture, λ
    its own, 1 − λ the partner's.

    Shares that sum to less than 1 are divided by 1: a batch without labels gives 0, and one faint
    label does not speak for all.
    """
    own = mix_weight * (labels >= 0)
    partner = (1 - mix_weight) * (partner_labels >= 0)
    total = own * rows(labels.clamp(min=0)) + partner * rows(partner_labels.clamp(min=0))
    return total.sum() / (own + partner).sum().clamp(min=1)


def soften(logits: Logits, tau: Temperature) -> LogProbs:
    """``log softmax(z/tau)``."""
    if not isinstance(tau, int | float) and tau.dim() == 1:
        tau = tau[:, None]
    return (logits / tau).log_softmax(1)


@register(
    "losses",
    "kl",
    about="the teacher's softened answers: plain distillation",
    paper=PAPER,
    weight=0.9,
)
def kl(student_logits: Logits, log_probs: LogProbs, tau: Temperature) -> Scalar:
    """``mean_x tau_x² KL(p_x ‖ q_x)``, ``q = softmax(z_s/tau)``; over all pictures, labelled or
    not. Returns a scalar.
    """
    rows = (log_probs.exp() * (log_probs - soften(student_logits, tau))).sum(1)
    return (tau**2 * rows).mean()


preset(
    "kd",
    {
        "losses": {"ce": {"weight": 0.1}, "kl": {"weight": 0.9}},
        "temperature": {"kind": "constant", "tau": 4.0},
    },
    paper=PAPER,
    summary="soft targets of one teacher at one temperature",
    recommended={
        "temperature/tau": {"log_uniform": [1, 16], "prior": 4.0},
        "losses/kl/weight": {"uniform": [0.1, 1.0], "prior": 0.9},
    },
)
preset(
    "student-alone",
    {"losses": {"ce": {"weight": 1.0}}},
    paper="control",
    summary="cross-entropy on the labels, no teacher: the control of every comparison",
)
preset(
    "label-smoothing",
    {"losses": {"ce": {"weight": 1.0, "label_smoothing": 0.1}}},
    paper="arXiv 1512.00567",
    summary="no teacher, smoothed labels: the cheap part of what soft targets give",
    recommended={"losses/ce/label_smoothing": {"uniform": [0.02, 0.4], "prior": 0.1}},
)
