"""The student's embedding points where the teacher's does (Sanh et al., arXiv 1910.01108).

``L = CE + mean (1 − cos(P·e_s, e_t))``: DistilBERT's cosine term between last hidden states (paper)
on the embeddings of pictures (choice). Networks may differ in their size: P is a linear map without
bias, trained along with the student (choice); the weight 1 is ours (choice). It reads no labels, so
a student whose head is a probe can be trained by it alone.
"""

from __future__ import annotations

from typing import Any

from autokd.methods.fitnets import widths
from autokd.recipe.axes import preset, register
from autokd.recipe.vocabulary import Embedding, Module, Scalar

PAPER = "arXiv 1910.01108"


def projection(student: Any, teacher: Any, shape: tuple[int, int, int]) -> Module:
    """A linear map from the student's embedding to the teacher's, without bias. ``shape``: see
    :func:`autokd.methods.fitnets.widths`.
    """
    import torch

    ours, theirs = widths(student, teacher, shape, lambda out: out.embedding.shape[1])
    return torch.nn.Linear(ours, theirs, bias=False)


@register(
    "losses",
    "cosine",
    about="the student's embedding points where the teacher's does",
    paper=PAPER,
    weight=1.0,
    build_modules=projection,
)
def cosine(student_embedding: Embedding, teacher_embedding: Embedding, modules: Module) -> Scalar:
    """``mean (1 − cos(P·e_s, e_t))`` over the batch. Returns a scalar."""
    from torch.nn.functional import normalize

    ours = normalize(modules(student_embedding).to(teacher_embedding.dtype), dim=1)
    return (1 - (ours * normalize(teacher_embedding, dim=1)).sum(1)).mean()


preset(
    "cosine",
    {"losses": {"ce": {"weight": 1.0}, "cosine": {"weight": 1.0}}},
    paper=PAPER,
    summary="the student's embedding, linearly mapped, points where the teacher's does",
    recommended={"losses/cosine/weight": {"log_uniform": [0.1, 10], "prior": 1.0}},
)
