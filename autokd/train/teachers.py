"""Those who teach: frozen networks, and their answers as per-epoch tables of logits.

A table is ``[N, C]`` logits of one network over all training pictures in one epoch's views, in data
set order, computed in batches of one fixed size and rounded to the table's precision whether or not
it comes from the cache (``store``); so cold, warm and no cache give the same students.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from autokd import networks
from autokd.data import Dataset, Split
from autokd.data.views import Mix, Views, resize
from autokd.recipe import Recipe
from autokd.recipe.document import canonical
from autokd.train import metrics
from autokd.train.determinism import memory_format, precision, threads
from autokd.train.store import Store, ViewTables
from autokd.train.tensor_file import Tensors

BATCH = 256  # rows of one forward pass when a table is made; the last batch is padded to it
GAINED, LEAST = 0.2, 0.5  # of accuracy, from which on other labels explain a teacher's answers
TABLE_TYPES = {"fp16": torch.float16, "fp32": torch.float32}


class Member:
    """One who teaches: the full teacher or an assistant, frozen, with its tables.

    ``own``: the recipe that the network was trained by. ``recipe``: the run's that it teaches in,
    which decides what it sees.
    """

    def __init__(
        self, network: networks.Network, own: Recipe, recipe: Recipe, data: Dataset, store: Store
    ):
        self.name = own.student.model
        self.resolution = recipe.teacher_resolution
        self.network = network.eval().requires_grad_(False)
        self.network.to(memory_format=memory_format(self.resolution))
        self.hash = networks.weights_hash(self.network)
        self.data = data
        self.store = store
        self.train = own.train
        self.table_type = recipe.teacher.table
        self.augmentation = augmentation(recipe)
        self.crop_share = recipe.data.crop_share
        self.view_tables: dict[str, ViewTables] = {}  # in use for as long as this member lives

    def table(
        self, views: Views, mix: Mix | None, mix_settings: Mapping[str, Any] | None = None
    ) -> Tensor:
        """``[N, C]`` logits over the training pictures in these views, of the table's type.
        ``mix_settings``: what made ``mix``.
        """
        return self._of_views(views, mix, mix_settings, embedding=False)["logits"]

    def embeddings(
        self, views: Views, mix: Mix | None, mix_settings: Mapping[str, Any] | None = None
    ) -> Tensors:
        """The same with the ``embedding`` ``[N, D]`` beside the ``logits``, from one pass."""
        return self._of_views(views, mix, mix_settings, embedding=True)

    def _of_views(
        self,
        views: Views,
        mix: Mix | None,
        mix_settings: Mapping[str, Any] | None,
        *,
        embedding: bool,
    ) -> Tensors:
        setting = {
            "augment": self.augmentation,
            "view": views.seed,
            "mixing": mix_settings,
        }
        return self._table(
            setting,
            views.epoch,
            _digest(mix) if mix else None,
            len(self.data.train),
            lambda rows: views.render(rows, self.resolution, mix),
            f"epoch {views.epoch}",
            embedding=embedding,
        )

    def validation(self) -> Tensor:
        """``[N_val, C]`` float32 logits over the validation pictures."""
        pictures = self.data.validation.pictures
        whole = self.crop_share == 1
        return self._table(
            "validation" if whole else {"validation": self.crop_share},
            0,
            None,
            len(pictures),
            lambda rows: resize(pictures[rows].float() / 255, self.resolution),
            "validation",
        )["logits"].float()

    def measured(self) -> dict[str, float]:
        """Of its answers to the validation pictures (none where there are none): see
        ``metrics.evaluate``; with ``relabelled_accuracy`` where its classes seem to be in another
        order.
        """
        labels = self.data.validation.labels
        if not len(labels):
            return {}
        logits = self.validation()
        found = metrics.evaluate(logits, labels)
        other = metrics.relabelled(logits, labels)
        if other > max(found["accuracy"] + GAINED, LEAST):
            found["relabelled_accuracy"] = other
        return found

    def logits_of(self, split: Split) -> Tensor:
        """``[N, C]`` float32 logits over a split's pictures."""
        if split is self.data.validation:
            return self.validation()
        pictures = split.pictures

        def render(rows: Tensor) -> Tensor:
            return resize(pictures[rows].float() / 255, self.resolution)

        rows = torch.arange(len(split))
        return self._answers(render, rows)["logits"].float()

    def _table(
        self,
        setting: Any,
        epoch: int,
        detail: Any,
        n: int,
        render: Callable[[Tensor], Tensor],
        what: str,
        *,
        embedding: bool = False,
    ) -> Tensors:
        """The answers to ``n`` pictures, from the store."""
        content = {
            "network": self.hash,
            "data": self.data.fingerprint,
            "resolution": self.resolution,
            "type": self.table_type,
            "precision": self.train.precision,
            "threads": self.train.threads,
            "batch": BATCH,
            "setting": setting,
        }
        if self.network.side:
            content["side"] = self.network.side
        if embedding:
            content["embedding"] = True
        key = canonical(content)
        if key not in self.view_tables:
            self.view_tables[key] = self.store.view_tables(content)
        rows = torch.arange(n)
        return self.store.table(
            self.view_tables[key],
            epoch,
            detail,
            lambda: self._answers(render, rows, embedding=embedding),
            f"{self.name}, {what}",
        )

    @torch.inference_mode()
    def _answers(
        self, render: Callable[[Tensor], Tensor], rows: Tensor, *, embedding: bool = False
    ) -> Tensors:
        """In batches of one fixed size, so that a row never depends on how many rows there are, nor
        on the student's threads.
        """
        out: dict[str, list[Tensor]] = {}
        layout = memory_format(self.resolution)
        with threads(self.train.threads), precision(self.train.precision, self.store.device):
            for chunk in rows.split(BATCH):
                padded = torch.cat([chunk, chunk.new_zeros(BATCH - len(chunk))])
                pictures = render(padded).contiguous(memory_format=layout)
                if embedding:
                    found = self.network.features(pictures)
                    answers = {"logits": found.logits, "embedding": found.embedding}
                else:
                    answers = {"logits": self.network(pictures)}
                for name, tensor in answers.items():
                    rounded = tensor[: len(chunk)].to(TABLE_TYPES[self.table_type])
                    out.setdefault(name, []).append(rounded)
        return {name: torch.cat(parts) for name, parts in out.items()}


def augmentation(recipe: Recipe) -> dict[str, Any]:
    """What decides how views are augmented, for the addresses of tables."""
    out = dict(recipe.effective()["data"]["augment"])
    if "trivial_augment" in out:
        out["side"] = recipe.data.resolution
    return out


def _digest(mix: Mix) -> str:
    """SHA-256 (hex) of partners, weights and boxes."""
    parts = [mix.weight] + ([] if mix.boxes is None else [mix.boxes])
    content = mix.partner.tobytes() + b"".join(part.cpu().numpy().tobytes() for part in parts)
    return hashlib.sha256(content).hexdigest()
