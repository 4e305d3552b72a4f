"""Logit standardisation (Sun et al., arXiv 2403.01427): both networks' logits to mean 0 and
deviation 1 before the KL.

``L = w_ce·CE + w·mean_x tau² KL(softmax(Z(z_t)/tau) ‖ softmax(Z(z_s)/tau))``, ``Z(z) = (z − mean
z) / (std z + 1e-7)`` for each picture over its classes (authors' code): the student is free in the
scale of its logits. ``tau = 2, w = 9`` beside ``w_ce = 0.1`` (authors' code, its configuration; an
issue there calls 1 slightly better). The authors' tables tune these for each pair.
"""

from __future__ import annotations

from autokd.methods.hinton import soften
from autokd.recipe.axes import Refusal, preset, register
from autokd.recipe.vocabulary import Logits, Scalar, Temperature

PAPER = "arXiv 2403.01427"
SMOOTHED = Refusal(
    {"target/kind": "smooth"},
    "standardised, every row that target smooth made comes out alike, whatever its eps is",
)


@register(
    "losses",
    "lskd",
    about="the teacher's answers, with both networks' logits standardised",
    paper=PAPER,
    weight=9.0,
    refuses=(SMOOTHED,),
)
def lskd(student_logits: Logits, teacher_logits: Logits, tau: Temperature) -> Scalar:
    """``mean_x tau_x² KL`` between the standardised logits, with the sample deviation (C − 1).
    Returns a scalar.

    Where the answers to two pictures are mixed (``view/teacher: blend``), the mixture of their
    logits is standardised (choice).
    """
    log_p = soften(_standard(teacher_logits), tau)
    log_q = soften(_standard(student_logits), tau)
    return (tau**2 * (log_p.exp() * (log_p - log_q)).sum(1)).mean()


def _standard(logits: Logits) -> Logits:
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + 1e-7)


preset(
    "lskd",
    {
        "temperature": {"kind": "constant", "tau": 2.0},
        "losses": {"ce": {"weight": 0.1}, "lskd": {"weight": 9.0}},
    },
    paper=PAPER,
    summary="plain KD between standardised logits: the student is free in their scale",
    recommended={
        "temperature/tau": {"log_uniform": [0.5, 8], "prior": 2.0},
        "losses/lskd/weight": {"log_uniform": [1, 18], "prior": 9.0},
    },
)
