"""The scratch teacher: a second teacher, trained from random weights along with the student.

Where the two depend on each other the run trains it beside the student. Where nothing of the
student reaches it, it is trained once for all students, and its logits are tables
(:class:`Trajectory`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from autokd import networks
from autokd.data import Dataset
from autokd.errors import UserError
from autokd.networks.backbone import Backbone
from autokd.recipe import Recipe, axes
from autokd.train.store import Store

if TYPE_CHECKING:
    from autokd.train.distill import Run


class ScratchEpoch(NamedTuple):
    """One epoch of a scratch teacher."""

    logits: Tensor  # [N, C], each picture's in the step that saw it
    accuracy: float  # on validation, after the epoch; NaN where there is no validation


class Trajectory:
    """A scratch teacher that nothing of the student reaches: trained once, its logits of each step
    kept as a table an epoch.

    ``recipe``: its own (:func:`alone`), which stands in the tables' address. ``run_type``: what
    trains it, ``distill.Run``. It is trained only as far as some run asks, and again from its start
    where an epoch is asked for that was not kept.
    """

    def __init__(self, recipe: Recipe, data: Dataset, store: Store, run_type: type[Run]):
        self.recipe = recipe
        self.data = data
        self.store = store
        self.run_type = run_type
        self.run: Run | None = None
        self.logits = torch.zeros(len(data.train), len(data.classes), device=store.device)
        self.tables = store.view_tables({"scratch": recipe.effective(), "data": data.fingerprint})

    def start(self) -> Run:
        """Its run, from the start."""
        seed = self.recipe.seed + 1
        self.run = self.run_type(
            self.recipe, self.data, [], self.store, weights_seed=seed, record=self.logits
        )
        return self.run

    def epoch(self, epoch: int) -> ScratchEpoch:
        """Raises :class:`Diverged`."""
        what = f"scratch {self.recipe.student.model}, epoch {epoch}"
        found = self.store.table(self.tables, epoch, None, lambda: self._train(epoch), what)
        return ScratchEpoch(found["logits"], float(found["accuracy"]))

    def _train(self, epoch: int) -> dict[str, Tensor]:
        run = self.run if self.run and self.run.next_epoch <= epoch else self.start()
        metrics: dict[str, float] = {}
        while run.next_epoch <= epoch:
            self.logits.zero_()  # a picture that a dropped last batch leaves out has no logits
            metrics = run.epoch()
        accuracy = torch.tensor(metrics.get("val/accuracy", math.nan), dtype=torch.float64)
        return {"logits": self.logits.clone(), "accuracy": accuracy}


def alone(recipe: Recipe, model: str) -> Recipe:
    """How the scratch teacher of ``recipe``'s student is trained where nothing of the student
    reaches it: by the labels, on the very batches, views and schedule of the student's run.
    """
    return recipe.with_(
        {
            "student": {"model": model, "resolution": recipe.teacher_resolution},
            "distill": {"view": recipe.distill["view"], "losses": {"ce": {"weight": 1.0}}},
        }
    )


def label_loss(inputs: dict[str, Any]) -> Tensor:
    """Its own loss in a step beside the student: the labels' cross-entropy, and nothing else."""
    ce = axes.method("losses", "ce")
    own = {"student_logits": inputs["scratch_logits"]}
    return ce.call(inputs | own, {"label_smoothing": 0.0})


def share_stem(one: networks.Network, other: networks.Network) -> None:
    """Make two networks share their first convolution. UserError where the shapes do not allow
    it.
    """
    if not isinstance(one.backbone, Backbone) or not isinstance(other.backbone, Backbone):
        raise UserError("share_stem: only AutoKD's own networks have a stem to share")
    shapes = [[tuple(p.shape) for p in b.stem.parameters()] for b in (one.backbone, other.backbone)]
    if shapes[0] != shapes[1]:
        raise UserError(f"share_stem: the first layers differ: {shapes[0]} and {shapes[1]}")
    other.backbone.stem = one.backbone.stem
