"""Teachers: trained once, asked once. Networks and per-epoch logit tables, stored under the hash of what decides their bytes.

A table is ``[N, C]`` logits of one network over all training pictures in one epoch's views, in data set order, computed in
batches of one fixed size and rounded to the table's precision whether or not it comes from the cache; so cold, warm and no
cache give the same students. Files are written whole or not at all, under a lock, with a checksum; what does not check out is
computed again, never trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from autokd import models
from autokd.document import canonical
from autokd.recipe import Recipe, fingerprint
from autokd.views import Mix, Views, resize

if TYPE_CHECKING:
    from autokd.data import Data

ENGINE = 1  # raised when the same recipe would train to other bytes: old cache entries are then left alone
BATCH = 256  # rows of one forward pass when a table is made; the last batch is padded to it
TABLE_TYPES = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass
class Store:
    """Content-addressed networks and tables: on disk under ``root`` (None: nowhere), and the latest in memory."""

    root: Path | None
    device: str = "cpu"
    memory_bytes: int = 1 << 30
    counts: dict[str, int] = field(default_factory=lambda: {"tables made": 0, "tables read": 0, "networks trained": 0, "networks read": 0})
    _recent: OrderedDict[str, dict[str, Tensor]] = field(default_factory=OrderedDict)

    def address(self, kind: str, content: Any) -> str:
        where = {"engine": ENGINE, "torch": torch.__version__, "device": torch.device(self.device).type}
        return f"{kind}-{fingerprint({'content': content} | where)}"

    def get(self, address: str, make: Callable[[], dict[str, Tensor]], what: str) -> dict[str, Tensor]:
        """The tensors at ``address``, made by ``make`` where they do not exist or are damaged."""
        kind = "tables" if address.startswith("table") else "networks"
        if address in self._recent:
            self._recent.move_to_end(address)
            self.counts[f"{kind} read"] += 1
            return self._recent[address]
        path = self.root / kind / address[-16:-14] / f"{address}.safetensors" if self.root else None
        found = path and load_checked(path)
        if not found and path:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                found = load_checked(path)  # another process may have made it while we waited
                if not found:
                    found = self._make(make, kind)
                    save_checked(found, path, what)
                else:
                    self.counts[f"{kind} read"] += 1
        elif not found:
            found = self._make(make, kind)
        else:
            self.counts[f"{kind} read"] += 1
        assert found
        found = {name: t.to(self.device) for name, t in found.items()}
        self._recent[address] = found
        while len(self._recent) > 1 and sum(_size(t) for t in self._recent.values()) > self.memory_bytes:
            self._recent.popitem(last=False)
        return found

    def _make(self, make: Callable[[], dict[str, Tensor]], kind: str) -> dict[str, Tensor]:
        self.counts["tables made" if kind == "tables" else "networks trained"] += 1
        return make()


def _size(tensors: dict[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].contiguous()
        digest.update(f"{name}{t.dtype}{tuple(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_checked(tensors: dict[str, Tensor], path: Path, what: str) -> None:
    """Write atomically, with a checksum and a line that says what this is."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    os.close(handle)
    try:
        save_file(tensors, name, metadata={"sha256": _checksum(tensors), "what": what})
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def load_checked(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a whole and undamaged file, else None."""
    try:
        with safe_open(str(path), framework="pt") as f:
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - not a mapping
            return tensors if f.metadata().get("sha256") == _checksum(tensors) else None
    except (OSError, SafetensorError, AttributeError):
        return None


class Member:
    """One who teaches: the full teacher or an assistant, frozen, with its tables."""

    def __init__(self, recipe: Recipe, owner: Recipe, data: Data, store: Store):
        self.recipe, self.data, self.store = recipe, data, store
        self.name = recipe.student.model
        self.resolution = owner.resolution if owner.teacher.input == "student" else owner.data.resolution
        self.table_type = owner.teacher.table
        self.augment, self.view_seed = owner.data.augment, owner.view.seed
        full = owner.teacher.weights
        if recipe.needs_teacher or full == "train":
            self.network = self._trained()
        else:
            self.network = self._given(full)
        self.network.eval().requires_grad_(False).to(memory_format=layout(self.resolution))
        self.hash = models.weights_hash(self.network)

    def _blank(self, pretrained: bool = False) -> models.Network:
        d, r = self.data, self.recipe
        own = {} if pretrained else {"mean": d.mean, "std": d.std}
        return models.build(r.student.model, classes=len(d.classes), channels=d.channels, resolution=r.resolution, seed=r.seed, pretrained=pretrained, **own)

    def _trained(self) -> models.Network:
        from autokd import distill

        def train() -> dict[str, Tensor]:
            run = distill.Run(self.recipe, self.store, data=self.data)
            while not run.done:
                run.epoch()
            return models.state(run.student)

        address = self.store.address("network", {"recipe": self.recipe.essence(), "data": self.data.fingerprint})
        network = self._blank()
        network.load_state_dict(self.store.get(address, train, canonical(self.recipe.essence())))
        return network.to(self.store.device)

    def _given(self, weights: str) -> models.Network:
        network = self._blank(pretrained=weights == "pretrained")
        if weights != "pretrained":
            models.load_weights(network, weights)
        return network.to(self.store.device)

    def table(self, views: Views, mix: Mix | None) -> Tensor:
        """``[N, C]`` float32 logits over the training pictures in these views."""
        content = {
            "network": self.hash,
            "data": self.data.fingerprint,
            "resolution": self.resolution,
            "augment": self.augment.model_dump(),
            "view": [self.view_seed, views.epoch],
            "mix": hashlib.sha256(mix.partner.cpu().numpy().tobytes() + mix.weight.cpu().numpy().tobytes()).hexdigest() if mix else None,
            "type": self.table_type,
            "precision": self.recipe.train.precision,
            "batch": BATCH,
        }
        n = len(self.data.train)

        def make() -> dict[str, Tensor]:
            rows = torch.arange(n, device=self.store.device)
            return {"logits": self._answer(lambda chunk: views.render(chunk, self.resolution, mix), rows)}

        return self.store.get(self.store.address("table", content), make, f"{self.name}, epoch {views.epoch}")["logits"].float()

    def validation(self) -> Tensor:
        """``[N_val, C]`` float32 logits over the validation pictures."""
        pictures = self.data.validation.pictures
        content = {"network": self.hash, "validation": self.data.fingerprint, "n": len(pictures), "resolution": self.resolution, "type": self.table_type}

        def make() -> dict[str, Tensor]:
            rows = torch.arange(len(pictures), device=self.store.device)
            return {"logits": self._answer(lambda chunk: resize(pictures[chunk].float() / 255, self.resolution), rows)}

        return self.store.get(self.store.address("table", content), make, f"{self.name}, validation")["logits"].float()

    @torch.inference_mode()
    def _answer(self, render: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Logits in batches of one fixed size, so that a row never depends on how many rows there are."""
        out = []
        with precision(self.recipe.train.precision, self.store.device):
            for chunk in rows.split(BATCH):
                padded = torch.cat([chunk, chunk.new_zeros(BATCH - len(chunk))])
                seen = render(padded).contiguous(memory_format=layout(self.resolution))
                out.append(self.network(seen)[: len(chunk)].to(TABLE_TYPES[self.table_type]))
        return torch.cat(out)


def layout(resolution: int) -> torch.memory_format:
    """Channels last pays from about 16 px on; it is decided by the recipe's sizes, so that it is the same everywhere."""
    return torch.channels_last if resolution >= 16 else torch.contiguous_format


def precision(name: str, device: str) -> torch.autocast:
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=name == "bf16")


def ladder(recipe: Recipe, data: Data, store: Store) -> list[Member]:
    """Everyone who may teach in this recipe, smallest first; each trained now where the cache has it not."""
    return [Member(r, recipe, data, store) for r in reversed(recipe.members())][::-1]


def describe(path: Path) -> dict[str, Any]:
    """What a cache file says of itself."""
    with safe_open(str(path), framework="pt") as f:
        meta = f.metadata() or {}
    what = meta.get("what", "")
    return {"what": json.loads(what)["student"]["model"] if what.startswith("{") else what, "bytes": path.stat().st_size}
