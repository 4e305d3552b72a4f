"""DIST (Huang et al., arXiv 2205.10536): the student need not match the teacher's probabilities,
only correlate with them.

``L = CE + weight·(beta·tau²·(1 − mean_i ρ(p_i·, q_i·)) + gamma·tau²·(1 − mean_c ρ(p_·c, q_·c)))``,
ρ Pearson's correlation: over the classes of each picture (inter-class) and over the batch's
pictures for each class (intra-class) (authors' code). On CIFAR ``tau = 4`` and both weights are 2
(independent code): here ``weight: 2`` with beta = gamma = 1.
"""

from __future__ import annotations

from autokd.methods.hinton import soften
from autokd.recipe.axes import NonNegative, preset, register
from autokd.recipe.vocabulary import Logits, LogProbs, Scalar, Temperature, Tensor

PAPER = "arXiv 2205.10536"


@register(
    "losses",
    "dist",
    about="correlation with the teacher's answers, over classes and over the batch",
    paper=PAPER,
    weight=2.0,
)
def dist(
    student_logits: Logits,
    log_probs: LogProbs,
    tau: Temperature,
    *,
    beta: NonNegative = 1.0,
    gamma: NonNegative = 1.0,
) -> Scalar:
    """``beta·mean_x tau_x²(1 − ρ_x) + gamma·mean_x tau_x²·(1 − mean_c ρ_c)`` over softened
    probabilities. Returns a scalar.

    ``beta``, ``gamma``: weights between classes and within a class, the paper's own letters. With
    one temperature a picture the second term takes the mean of tau_x² (choice). Changed: the
    authors add 1e-8 to the product of the norms, whose minimum for a rare class does not lie at
    equality; we divide by the norms, kept above 1e-12. A batch is needed: the columns define it.
    """
    import torch

    p = log_probs.exp()
    q = soften(student_logits, tau).exp()
    squared = torch.as_tensor(tau, dtype=q.dtype, device=q.device).square()
    between = (squared * (1 - _pearson(p, q, 1))).mean()
    within = 1 - _pearson(p, q, 0).mean()
    return beta * between + gamma * squared.mean() * within


def _pearson(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """``[B]`` for ``dim`` 1, ``[C]`` for 0."""
    from torch.nn.functional import normalize

    a, b = (normalize(x - x.mean(dim, keepdim=True), dim=dim) for x in (a, b))
    return (a * b).sum(dim)


preset(
    "dist",
    {
        "temperature": {"kind": "constant", "tau": 4.0},
        "losses": {"ce": {"weight": 1.0}, "dist": {"weight": 2.0}},
    },
    paper=PAPER,
    summary="correlation with the teacher's probabilities, over classes and over the batch",
    recommended={
        "temperature/tau": {"log_uniform": [1, 8], "prior": 4.0},
        "losses/dist/weight": {"log_uniform": [0.25, 8], "prior": 2.0},
    },
)
