"""The caches of the hubs, filled as their own clients fill them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file


def empty(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of nobody's, and a network that counts as not there."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    for library in ("timm_networks", "torchvision_networks"):
        monkeypatch.setattr(f"autokd.networks.{library}.reachable", lambda url: False)


def publish(folder: Path, name: str, model: Any) -> None:
    """`model`'s weights as what timm published under `name` and the hub's client has fetched."""
    about = timm.get_pretrained_cfg(name)
    assert about is not None
    repository = folder / "hub" / f"models--{about.hf_hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    save_file(model.state_dict(), snapshot / "model.safetensors")


def lay(folder: Path, file: str, model: Any) -> Path:
    """`model`'s weights where torch keeps what it has fetched."""
    place = folder / "torch" / "hub" / "checkpoints" / file
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.suffix == ".safetensors":
        save_file(model.state_dict(), place)
    else:
        torch.save(model.state_dict(), place)
    return place
