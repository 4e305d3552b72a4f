"""Dynamic temperature distillation (Wen et al., arXiv 1911.07471): each picture its own
temperature.

``tau_x = tau + (mean_batch(w) − w_x)·beta``, the same for teacher and student, no gradient through
``w`` (independent code: compressors; of the paper only the abstract was seen). A confusing picture
has a larger w and so a lower temperature. ``tau`` is the paper's tau_0; 10, and flsw's beta 40, are
recollection. Clamped to ``[tau_min, tau_max]`` (choice: without it a large beta drives tau through
zero); ``tau_max: 0`` stands for 4·tau. ``beta: 0`` is a constant temperature, bit for bit. The
losses multiply by tau_x². In the metrics: ``tau`` (the mean), ``tau/min``, ``tau/max`` and
``tau/clamped``, the clamped fraction.

Together with KA, ``flsw`` compares the student with the *repaired* logits (choice): where both
agree on a wrong answer, the temperature is low. ka.py has figures.
"""

from __future__ import annotations

from typing import Literal

from autokd.recipe.axes import NonNegative, Positive, preset, register
from autokd.recipe.vocabulary import Logits, Note, PerPicture, Temperature

PAPER = "arXiv 1911.07471"


def _spread(
    w: PerPicture, tau: float, beta: float, tau_min: float, tau_max: float, note: Note
) -> Temperature:
    highest = max(tau_max or 4 * tau, tau_min)
    # one number, not B equal ones: the same bytes as `constant`, whose square is not rounded to
    # float32
    if beta == 0:
        return min(max(tau, tau_min), highest)
    tau_x = tau + (w.mean() - w) * beta
    clamped = tau_x.clamp(tau_min, highest)
    note("tau/clamped", clamped != tau_x)
    return clamped


@register(
    "temperature", "flsw", about="warmer where student and teacher already agree", paper=PAPER
)
def flsw(
    student_logits: Logits,
    teacher_logits: Logits,
    note: Note,
    *,
    tau: Positive = 10.0,
    beta: NonNegative = 40.0,
    gamma: Positive = 0.5,
    space: Literal["logit", "prob"] = "logit",
    tau_min: Positive = 1.0,
    tau_max: NonNegative = 0.0,
) -> Temperature:
    """Focal-loss-style weights: ``w = (1 − cos(z_s, z_t))^gamma``, in ``[0, 2^gamma]``, of logits
    divided by their norm plus 1e-4 (independent code: compressors).

    ``space: prob`` is another independent implementation's reading, ``(1 − <softmax z_s, softmax
    z_t>)^gamma``; there beta ≤ 10 (choice). The base is clipped at 0: rounding can make it
    negative, and a fractional power of that is NaN. ``gamma = 0.5`` is ours (choice). Returns
    ``[B]``.
    """
    z_s, z_t = student_logits.detach(), teacher_logits
    if space == "logit":
        z_s = z_s / (z_s.norm(dim=1, keepdim=True) + 1e-4)
        z_t = z_t / (z_t.norm(dim=1, keepdim=True) + 1e-4)
    else:
        z_s, z_t = z_s.softmax(1), z_t.softmax(1)
    w = (1 - (z_s * z_t).sum(1)).clamp(min=0) ** gamma
    return _spread(w, tau, beta, tau_min, tau_max, note)


@register(
    "temperature",
    "cwsm",
    about="a temperature per picture, by how sure the student is",
    paper=PAPER,
)
def cwsm(
    student_logits: Logits,
    note: Note,
    *,
    tau: Positive = 10.0,
    beta: NonNegative = 4.0,
    tau_min: Positive = 1.0,
    tau_max: NonNegative = 0.0,
) -> Temperature:
    """Confidence weighted by the student's maximum: ``w = 1 / max softmax(z_s)`` (independent code:
    compressors), divided by its batch mean (choice).

    Without that division w runs up to C, and tau_x far below 0, early in training. ``beta = 4`` is
    ours (choice). Returns ``[B]``.
    """
    w = 1 / student_logits.detach().softmax(1).amax(1)
    return _spread(w / w.mean(), tau, beta, tau_min, tau_max, note)


_RANGES = {
    "temperature/tau": {"uniform": [4, 16], "prior": 10.0},
    "losses/kl/weight": {"uniform": [0.1, 1.0], "prior": 0.9},
}
preset(
    "dtd",
    {"temperature": {"kind": "flsw"}, "losses": {"ce": {"weight": 0.1}, "kl": {"weight": 0.9}}},
    paper=PAPER,
    summary="a temperature per picture, from how far student and teacher are apart (FLSW)",
    recommended=_RANGES
    | {
        "temperature/beta": {"log_uniform": [1, 80], "prior": 40.0},
        "temperature/gamma": {"uniform": [0.25, 2], "prior": 0.5},
    },
)
preset(
    "dtd-cwsm",
    {"temperature": {"kind": "cwsm"}, "losses": {"ce": {"weight": 0.1}, "kl": {"weight": 0.9}}},
    paper=PAPER,
    summary="a temperature per picture, from the student's confidence (CWSM)",
    recommended=_RANGES | {"temperature/beta": {"log_uniform": [0.5, 16], "prior": 4.0}},
)
