"""Decoupled distillation (Zhao et al., arXiv 2203.08679): what the teacher says of the true class
and of the others, apart.

``L = CE + tau²·(alpha·KL(b_t ‖ b_s) + beta·KL(p̂ ‖ q̂))`` (authors' code, mdistiller): b = (p_y, 1 −
p_y) is the split between the true class and all others, p̂ and q̂ the distributions renormalised
over the others. Plain KD is ``alpha = 1`` with a beta of 1 − p_y that shrinks as the teacher grows
confident. The authors' code multiplies by a linear warm-up of 20 epochs.

``alpha = 1, beta = 8, tau = 4`` are that code's defaults, but its tables use a beta for each pair:
2 for resnet56 → resnet20, 6 for wrn-40-2 → wrn-16-2 and vgg13 → vgg8, 8 for resnet32x4 → resnet8x4
(authors' code).
"""

from __future__ import annotations

from autokd.methods.hinton import over_labels, soften
from autokd.recipe.axes import NonNegative, preset, register
from autokd.recipe.vocabulary import (
    Labels,
    Logits,
    LogProbs,
    Mask,
    PerPicture,
    Scalar,
    Temperature,
    Tensor,
)

PAPER = "arXiv 2203.08679"
GONE = -1e9  # a logit that leaves a class out of a softmax; finite, so that 0·GONE is 0


@register("losses", "dkd", about="the true class and the others are taught apart", paper=PAPER)
def dkd(
    student_logits: Logits,
    log_probs: LogProbs,
    tau: Temperature,
    labels: Labels,
    partner_labels: Labels,
    mix_weight: PerPicture,
    epoch: int,
    *,
    alpha: NonNegative = 1.0,
    beta: NonNegative = 8.0,
    warmup: NonNegative = 20.0,
) -> Scalar:
    """``min(1, (epoch+1)/warmup) · mean_x tau_x²·(alpha·KL(b_t ‖ b_s) + beta·KL(p̂ ‖ q̂))``.
    Returns a scalar.

    ``alpha`` weighs the target class (the paper's TCKD), ``beta`` the others (NCKD); ``warmup`` is
    in epochs, 0 for none. Averaged over the labelled pictures, since it needs y. Under mixup
    it is ``λ·DKD(y) + (1−λ)·DKD(y_partner)``, as cross-entropy is (choice).
    """
    import torch

    log_q = soften(student_logits, tau)

    def split(log_p: LogProbs, true: Mask) -> tuple[Tensor, LogProbs]:
        """``log b`` [B, 2] and the log of the others' distribution; ``true`` [B, C]."""
        others = log_p.masked_fill(true, GONE)
        rest = others.logsumexp(1)
        return torch.stack([log_p.masked_fill(~true, 0.0).sum(1), rest], 1), others - rest[:, None]

    def rows(y: Labels) -> PerPicture:
        true = torch.arange(log_probs.shape[1], device=y.device) == y[:, None]
        (b_t, p), (b_s, q) = split(log_probs, true), split(log_q, true)
        target, others = (b_t.exp() * (b_t - b_s)).sum(1), (p.exp() * (p - q)).sum(1)
        return tau**2 * (alpha * target + beta * others)

    rise = min(1.0, (epoch + 1) / warmup) if warmup else 1.0
    return rise * over_labels(rows, labels, partner_labels, mix_weight)


preset(
    "dkd",
    {
        "temperature": {"kind": "constant", "tau": 4.0},
        "losses": {"ce": {"weight": 1.0}, "dkd": {"alpha": 1.0, "beta": 8.0, "weight": 1.0}},
    },
    paper=PAPER,
    summary="the true class and the others are taught apart, with weights of their own",
    recommended={
        "losses/dkd/alpha": {"uniform": [0.25, 4], "prior": 1.0},
        "losses/dkd/beta": {"log_uniform": [0.5, 16], "prior": 8.0},
        "losses/dkd/warmup": {"choice": [20.0, 0.0, 5.0]},
        "temperature/tau": {"log_uniform": [1, 8], "prior": 4.0},
    },
)
