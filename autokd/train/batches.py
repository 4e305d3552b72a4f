"""The batches of one epoch: what is decided for all pictures at once, and then, batch by batch, the
pictures rendered and the teachers' answers gathered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from autokd.data.views import Mix, Views
from autokd.train.determinism import memory_format
from autokd.train.scratch import ScratchEpoch

CHUNK = 2048  # pictures rendered at once; a picture's view does not depend on its chunk


class Answer(NamedTuple):
    """What a teacher says of each picture of a batch, or of one of the two pictures that each is
    mixed of.
    """

    logits: Tensor  # [B, C] float32
    labels: Tensor  # [B] int64, of the pictures that were asked about
    weight: Tensor  # [B], how much of the mixed picture they are


@dataclass(frozen=True)
class Plan:
    """What is decided for a whole epoch: the order, the views, and who teaches each picture."""

    epoch: int
    batches: list[Tensor]  # the pictures of each step, [B] int64
    views: Views
    mix: Mix | None  # what each picture is mixed with
    teacher_mix: Mix | None  # the same, where teachers see the mixed pictures
    experts: Tensor  # [M, N] int64: the M members that teach each picture
    tables: dict[int, Tensor]  # member → [N, C], for those that answer from a table
    embeddings: Tensor | None  # [N, D], the full teacher's, where they are a table
    scratch: ScratchEpoch | None  # where the scratch teacher answers from a table

    def answers(self, batch: dict[str, Any], online: dict[int, Tensor]) -> list[list[Answer]]:
        """For each of the M teachers its answer about the pictures as it sees them, or its two
        answers where teachers see the parts of a mixed picture. ``online``: member → ``[B, C]``
        logits, of those that answer from no table.
        """
        rows, partners = batch["rows"], batch["partners"]
        weight = batch["mix_weight"]
        out = []
        for experts in self.experts:
            own = _gather(self.tables, online, experts[rows], rows)
            answers = [Answer(own, batch["labels"], weight)]
            if self.mix and not self.teacher_mix:
                other = _gather(self.tables, {}, experts[rows], partners)
                answers.append(Answer(other, batch["partner_labels"], 1 - weight))
            out.append(answers)
        return out


def split(order: Tensor, size: int) -> list[Tensor]:
    """Consecutive pieces of ``order``; a last piece of one picture is left out (BatchNorm has no
    variance for it).
    """
    return [rows for rows in order.split(size) if len(rows) > 1]


def steps_in(pictures: int, size: int) -> int:
    """How many batches :func:`split` makes."""
    return pictures // size + (pictures % size > 1)


def rendered(
    plan: Plan, labels: Tensor, student_resolution: int, teacher_resolution: int | None
) -> Iterator[dict[str, Any]]:
    """What each step works on, by name. ``labels``: ``[N]``, of all pictures;
    ``teacher_resolution``: None where no teacher is run on the pictures.
    """
    largest = len(plan.batches[0]) if plan.batches else 1
    group_size = max(1, CHUNK // largest)
    for start in range(0, len(plan.batches), group_size):
        group = plan.batches[start : start + group_size]
        student_sees = teacher_sees = _render(plan, group, student_resolution)
        if teacher_resolution:
            teacher_sees = _render(plan, group, teacher_resolution)
        for rows, *pictures in zip(group, student_sees, teacher_sees, strict=True):
            partners = plan.mix.partner[rows] if plan.mix else rows
            ones = torch.ones(len(rows), device=rows.device)
            yield {
                "rows": rows,
                "labels": labels[rows],
                "partners": partners,
                "partner_labels": labels[partners],
                "mix_weight": plan.mix.weight[rows] if plan.mix else ones,
                "student_sees": pictures[0],
                "teacher_sees": pictures[1],
            }


def _render(plan: Plan, group: list[Tensor], resolution: int) -> tuple[Tensor, ...]:
    """The pictures of several steps, rendered at once."""
    pictures = plan.views.render(torch.cat(group), resolution, plan.mix)
    pictures = pictures.contiguous(memory_format=memory_format(resolution))
    return pictures.split([len(rows) for rows in group])


def _gather(
    tables: dict[int, Tensor], online: dict[int, Tensor], experts: Tensor, rows: Tensor
) -> Tensor:
    """Of each picture of ``rows`` [B] the answer of its member in ``experts`` [B], from the tables
    [N, C] or from ``online`` [B, C]: ``[B, C]`` float32.
    """
    answers = {k: table[rows].float() for k, table in tables.items()} | online
    out = answers.popitem()[1]
    for k, answer in answers.items():
        out = torch.where((experts == k)[:, None], answer, out)
    return out
