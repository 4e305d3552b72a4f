"""Checkpoints as people have them: each form saved by the library that makes it."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import timm.utils
import torch
import torch.distributed
from torch import nn

from autokd import networks
from autokd.errors import UserError

NAME = "timm:test_resnet"
Save = Callable[[Any, Path], Path | str]


def to(name: str, make: Callable[[Any], Any]) -> Save:
    """Saved by torch under that file name, what `make` makes of the model."""

    def save(model: Any, folder: Path) -> Path:
        torch.save(make(model), folder / name)
        return folder / name

    return save


def other(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights of the same form that are not those."""
    return {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}


def distributed(model: nn.Module) -> nn.Module:
    torch.distributed.init_process_group(
        "gloo", rank=0, world_size=1, store=torch.distributed.HashStore()
    )
    try:
        return nn.parallel.DistributedDataParallel(model)
    finally:
        torch.distributed.destroy_process_group()


def averaged(model: nn.Module) -> dict[str, Any]:
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    average.update_parameters(model)
    return average.state_dict()


def in_parts(model: Any) -> dict[str, Any]:
    """One block compiled."""
    model.layer1 = torch.compile(model.layer1)
    return model.state_dict()


class Module(nn.Module):
    """As people write it for Lightning: the network inside, and what belongs to its training."""

    def __init__(self, model: nn.Module, name: str = "model"):
        super().__init__()
        self.add_module(name, model)
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(10))


def lightning(model: nn.Module) -> dict[str, Any]:
    """The layout of Lightning 2's `.ckpt`."""
    return {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": Module(model).state_dict(),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [torch.optim.AdamW(model.parameters()).state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 1e-3},
    }


def timm_saver(model: nn.Module, folder: Path) -> Path:
    ema = timm.utils.ModelEmaV3(model)
    zeroed = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    zeroed.load_state_dict(other(model))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    saver = timm.utils.CheckpointSaver(
        zeroed, optimizer, model_ema=ema, checkpoint_dir=str(folder), recovery_dir=str(folder)
    )
    saver.save_checkpoint(0, metric=1.0)
    return folder / "last.pth.tar"


def timm_folder(model: nn.Module, folder: Path) -> Path:
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    return folder


def timm_folder_of_torch(model: nn.Module, folder: Path) -> Path:
    timm.models.save_for_hf(model, folder, safe_serialization=False)
    return folder


def safe(model: nn.Module, folder: Path) -> Path:
    safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")
    return folder / "model.safetensors"


def safe_model(model: nn.Module, folder: Path) -> Path:
    safetensors.torch.save_model(model, str(folder / "model.safetensors"))
    return folder / "model.safetensors"


def legacy(model: nn.Module, folder: Path) -> Path:
    torch.save(model.state_dict(), folder / "w.pth", _use_new_zipfile_serialization=False)
    return folder / "w.pth"


def before_counts(model: nn.Module) -> dict[str, Any]:
    return {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}


def export(model: nn.Module, folder: Path) -> Path:
    """An export of AutoKD's, as far as it matters here."""
    network = networks.build(NAME, classes=10, channels=1, resolution=32, seed=7)
    network.backbone.load_state_dict({f"model.{k}": v for k, v in model.state_dict().items()})
    safetensors.torch.save_file(networks.state(network), folder / "student.safetensors")
    return folder


FORMS: dict[str, Save] = {
    "bare": to("w.pth", lambda m: m.state_dict()),
    "state_dict": to("w.pth.tar", lambda m: {"state_dict": m.state_dict(), "epoch": 3}),
    "model": to("w.pt", lambda m: {"model": m.state_dict(), "optimizer": {"lr": 0.1}}),
    "model_state_dict": to("w.pt", lambda m: {"model_state_dict": m.state_dict(), "loss": 0.5}),
    "net": to("w.pth", lambda m: {"net": m.state_dict(), "acc": 94.2}),
    "ema beside the model": to("w.pth", lambda m: {"model": other(m), "ema": m.state_dict()}),
    "a decay named ema": to("w.pth", lambda m: {"ema": 0.999, "model": m.state_dict()}),
    "DataParallel": to("w.pth", lambda m: nn.DataParallel(m).state_dict()),
    "DistributedDataParallel": to("w.pth", lambda m: {"model": distributed(m).state_dict()}),
    "compiled": to("w.pth", lambda m: torch.compile(m).state_dict()),
    "compiled, distributed": to("w.pth", lambda m: distributed(torch.compile(m)).state_dict()),
    "a block compiled": to("w.pth", in_parts),
    "AveragedModel": to("w.pth", averaged),
    "Lightning": to("last.ckpt", lightning),
    "Lightning, compiled": to(
        "last.ckpt", lambda m: {"state_dict": Module(torch.compile(m), "net").state_dict()}
    ),
    "a backbone": to("w.pth", lambda m: Module(m, "backbone").state_dict()),
    "timm's CheckpointSaver": timm_saver,
    "timm's folder": timm_folder,
    "timm's folder, torch": timm_folder_of_torch,
    "an export": export,
    "safetensors": safe,
    "safetensors' save_model": safe_model,
    "torch before 1.6": legacy,
    "torch before 0.4.1": to("w.pth", before_counts),
    "half precision": to("w.pth", lambda m: m.half().state_dict()),
}


@pytest.fixture
def model() -> Any:
    torch.manual_seed(3)
    model = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    return model.requires_grad_(True)


def loaded(path: Path | str) -> dict[str, torch.Tensor]:
    network = networks.build(NAME, classes=10, channels=1, resolution=32, seed=1)
    networks.load_weights(network, path)
    return {k.removeprefix("backbone.model."): v for k, v in network.state_dict().items()}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_loads(form: str, model: Any, tmp_path: Path) -> None:
    wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = loaded(FORMS[form](model, tmp_path))
    exact = form != "half precision"
    for name, tensor in wanted.items():
        if form == "torch before 0.4.1" and name.endswith("num_batches_tracked"):
            continue
        assert torch.equal(found[name], tensor if exact else tensor.half().to(tensor.dtype)), name


def scripted(model: Any, folder: Path) -> Path:
    torch.jit.trace(model.eval(), torch.rand(1, 1, 32, 32)).save(str(folder / "w.pt"))
    return folder / "w.pt"


REFUSED: dict[str, Save] = {
    "a whole model": to("whole model's.pth", lambda m: m),
    "a whole model in a dict": to("w.pth", lambda m: {"model": m, "epoch": 3}),
    "arguments": to(
        "w.pth", lambda m: {"state_dict": m.state_dict(), "args": argparse.Namespace(lr=0.1)}
    ),
    "TorchScript": scripted,
}


@pytest.mark.parametrize("form", REFUSED)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_form_that_needs_code_is_refused_with_the_line_that_converts_it(
    form: str, model: Any, tmp_path: Path
) -> None:
    path = Path(REFUSED[form](model, tmp_path))
    wanted = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    events: list[str] = []
    watch = True
    sys.addaudithook(lambda event, args: events.append(event) if watch else None)
    with pytest.raises(UserError, match="convert it once") as refused:
        loaded(path)
    watch = False
    assert "pickle.find_class" not in events
    line = str(refused.value).partition("convert it once: ")[2]
    assert line.startswith("python -c ")
    command = [sys.executable, *shlex.split(line)[1:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = loaded(tmp_path / "weights.pth")
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_folders_that_hold_no_such_network(model: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape("holds no weights: none of model.safetensors")):
        loaded(tmp_path)
    safe(model, tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["ViTForImageClassification"], "model_type": "vit"})
    )
    with pytest.raises(UserError, match="of the transformers library .*ViTForImageClassification"):
        loaded(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json cannot be read"):
        loaded(tmp_path)
    wrong = timm.create_model("test_efficientnet", num_classes=10, in_chans=1)
    timm.models.save_for_hf(wrong, tmp_path, safe_serialization=True)
    with pytest.raises(UserError, match=r"of another network \(test_efficientnet, it says\)"):
        loaded(tmp_path)


def test_a_folder_says_how_its_network_saw_pictures(model: Any, tmp_path: Path) -> None:
    model.pretrained_cfg |= {"mean": (0.1,), "std": (0.3,)}
    weights = networks.read_weights(timm_folder(model, tmp_path))
    assert (weights.mean, weights.std, weights.architecture) == ([0.1], [0.3], "test_resnet")
