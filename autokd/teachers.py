"""Teachers: trained once, asked once. The networks that teach and their answers, as per-epoch tables of logits.

A table is ``[N, C]`` logits of one network over all training pictures in one epoch's views, in data set order, computed in
batches of one fixed size and rounded to the table's precision whether or not it comes from the cache (``store``); so cold, warm
and no cache give the same students.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autokd import models
from autokd.document import canonical
from autokd.recipe import Recipe, Teacher
from autokd.store import Shelf, Store
from autokd.views import Mix, Views, resize

if TYPE_CHECKING:
    from autokd.data import Data

BATCH = 256  # rows of one forward pass when a table is made; the last batch is padded to it
TABLE_TYPES = {"fp16": torch.float16, "fp32": torch.float32}


class Member:
    """One who teaches: the full teacher or an assistant, frozen, with its tables."""

    def __init__(self, recipe: Recipe, owner: Recipe, data: Data, store: Store):
        self.recipe, self.data, self.store = recipe, data, store
        self.name = recipe.student.model
        self.resolution = owner.resolution if owner.teacher.input == "student" else owner.data.resolution
        self.table_type = owner.teacher.table
        self.augment = owner.data.augment
        self.network = self._trained() if recipe.needs_teacher or owner.teacher.weights == "train" else self._given(owner.teacher)
        self.network.eval().requires_grad_(False).to(memory_format=layout(self.resolution))
        self.hash = models.weights_hash(self.network)
        self.shelves: dict[str, Shelf] = {}  # held for as long as this member lives

    def _blank(self, **how: Any) -> models.Network:
        d, r = self.data, self.recipe
        return models.build(r.student.model, classes=len(d.classes), channels=d.channels, resolution=r.resolution, seed=r.seed, **how)

    def _trained(self) -> models.Network:
        from autokd import distill

        def train() -> dict[str, Tensor]:
            run = distill.Run(self.recipe, self.store, data=self.data)
            while not run.done:
                run.epoch()
            return models.state(run.student)

        content = {"recipe": self.recipe.essence(), "data": self.data.fingerprint}
        network = self._blank(mean=self.data.mean, std=self.data.std)
        network.load_state_dict(self.store.network(content, train, canonical(self.recipe.essence())))
        return network.to(self.store.device)

    def _given(self, teacher: Teacher) -> models.Network:
        if teacher.weights == "pretrained":
            return self._blank(pretrained=True).to(self.store.device)
        network = self._blank(mean=teacher.mean or self.data.mean, std=teacher.std or self.data.std)
        models.load_weights(network, teacher.weights)
        return network.to(self.store.device)

    def table(self, views: Views, mix: Mix | None, mixing: Mapping[str, Any] | None = None) -> Tensor:
        """``[N, C]`` logits over the training pictures in these views, of the table's type. ``mixing``: the settings that made ``mix``."""
        setting = {"augment": self.augment.model_dump(), "view": views.seed, "mixing": mixing}
        detail = hashlib.sha256(mix.partner.cpu().numpy().tobytes() + mix.weight.cpu().numpy().tobytes()).hexdigest() if mix else None
        n = len(self.data.train)
        return self._kept(setting, views.epoch, detail, n, lambda rows: views.render(rows, self.resolution, mix), f"epoch {views.epoch}")

    def validation(self) -> Tensor:
        """``[N_val, C]`` float32 logits over the validation pictures."""
        pictures = self.data.validation.pictures
        return self._kept("validation", 0, None, len(pictures), lambda rows: resize(pictures[rows].float() / 255, self.resolution), "validation").float()

    def _kept(self, setting: Any, epoch: int, detail: Any, n: int, render: Callable[[Tensor], Tensor], what: str) -> Tensor:
        """The answers to ``n`` pictures, from the store."""
        content = {
            "network": self.hash, "data": self.data.fingerprint, "resolution": self.resolution, "type": self.table_type,
            "precision": self.recipe.train.precision, "threads": self.recipe.train.threads, "batch": BATCH, "setting": setting,
        }  # fmt: skip
        key = canonical(content)
        if key not in self.shelves:
            self.shelves[key] = self.store.shelf(content)
        rows = torch.arange(n, device=self.store.device)
        return self.store.table(self.shelves[key], epoch, detail, lambda: {"logits": self._answer(render, rows)}, f"{self.name}, {what}")["logits"]

    @torch.inference_mode()
    def _answer(self, render: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Logits in batches of one fixed size, so that a row never depends on how many rows there are, nor on the student's threads."""
        out = []
        with threads(self.recipe.train.threads), precision(self.recipe.train.precision, self.store.device):
            for chunk in rows.split(BATCH):
                padded = torch.cat([chunk, chunk.new_zeros(BATCH - len(chunk))])
                seen = render(padded).contiguous(memory_format=layout(self.resolution))
                out.append(self.network(seen)[: len(chunk)].to(TABLE_TYPES[self.table_type]))
        return torch.cat(out)


def layout(resolution: int) -> torch.memory_format:
    """Channels last pays from about 16 px on; it is decided by the recipe's sizes, so that it is the same everywhere."""
    return torch.channels_last if resolution >= 16 else torch.contiguous_format


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many CPU threads inside, as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def precision(name: str, device: str) -> torch.autocast:
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=name == "bf16")


def ladder(recipe: Recipe, data: Data, store: Store) -> list[Member]:
    """Everyone who may teach in this recipe, smallest first; each trained now where the cache has it not."""
    return [Member(r, recipe, data, store) for r in reversed(recipe.members())][::-1]
