"""The batches of one epoch: what is decided for all pictures at once, and then, batch by batch, the
pictures rendered and the teachers' answers gathered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from autokd.data.uploading import upload
from autokd.data.views import Mix, Views
from autokd.train.determinism import memory_format
from autokd.train.scratch import ScratchEpoch

# Bytes of pictures rendered at once: on a CPU 2,048 of 32 px, on a GPU all that is wanted of most
# sets, so that its host has little to do. A picture's view does not depend on it.
CHUNK = {"cpu": 24 << 20, "cuda": 1 << 30}


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
    batches: list[np.ndarray]  # the pictures of each step, [B] int64
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


def split(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Consecutive pieces of ``order`` [N]; a last piece of one picture is left out (BatchNorm has
    no variance for it).
    """
    pieces = (order[start : start + size] for start in range(0, len(order), size))
    return [rows for rows in pieces if len(rows) > 1]


def steps_in(pictures: int, size: int) -> int:
    """How many batches :func:`split` makes."""
    return pictures // size + (pictures % size > 1)


def rendered(
    plan: Plan, labels: Tensor, student_resolution: int, teacher_resolution: int | None
) -> Iterator[dict[str, Any]]:
    """What each step works on, by name. ``labels``: ``[N]``, of all pictures;
    ``teacher_resolution``: None where no teacher is run on the pictures.

    Which pictures these are is known on the host, and nothing here or in a step asks the device
    for a number: it always has work queued.
    """
    for group in _groups(plan, max(student_resolution, teacher_resolution or 0)):
        index = np.concatenate(group)
        partners = plan.mix.partner[index] if plan.mix else index
        rows, others = upload(index, labels.device), upload(partners, labels.device)
        student_sees = teacher_sees = _render(plan, index, student_resolution)
        if teacher_resolution:
            teacher_sees = _render(plan, index, teacher_resolution)
        whole = {
            "rows": rows,
            "labels": labels[rows],
            "partners": others,
            "partner_labels": labels[others],
            "mix_weight": plan.mix.weight[rows] if plan.mix else torch.ones_like(rows).float(),
            "student_sees": student_sees,
            "teacher_sees": teacher_sees,
        }
        parts = {name: tensor.split([len(own) for own in group]) for name, tensor in whole.items()}
        for i in range(len(group)):
            yield {name: own[i] for name, own in parts.items()}


def _groups(plan: Plan, resolution: int) -> Iterator[list[np.ndarray]]:
    """Batches whose pictures are rendered at once."""
    _, channels, _, _ = plan.views.pictures.shape
    largest = len(plan.batches[0]) if plan.batches else 1
    size = largest * channels * resolution**2 * torch.float32.itemsize
    count = max(1, CHUNK[plan.views.pictures.device.type] // size)
    for start in range(0, len(plan.batches), count):
        yield plan.batches[start : start + count]


def _render(plan: Plan, index: np.ndarray, resolution: int) -> Tensor:
    """The pictures of several steps."""
    pictures = plan.views.render(index, resolution, plan.mix)
    return pictures.contiguous(memory_format=memory_format(resolution))


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
