"""Files and folders of weights as they are met, read without ever running code that lies in them.

A file may hold the bare state dict, or one inside a training script's own dict (``WRAPPINGS``, as
Lightning's checkpoints are); a folder is timm's or Hugging Face's, with ``config.json`` beside the
weights, or an export of AutoKD.
"""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from autokd.errors import UserError

TORCH_FILES = (".pth", ".pt", ".tar", ".bin", ".ckpt")
# in a folder, the first that is there
IN_FOLDERS = ("model.safetensors", "student.safetensors", "pytorch_model.bin")
# Keys under which training scripts file their weights; first those that are averages, as in timm.
WRAPPINGS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "module",
)
# What compiling and sharding put into names, wherever a layer is wrapped.
WITHIN = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
COUNTS = {"n_averaged"}  # of torch's AveragedModel: no weight
CONVERT = (
    "import torch; x = torch.load({file!r}, map_location='cpu', weights_only=False);"
    " x = next((x[k] for k in {keys!r} if k in x), x) if isinstance(x, dict) else x;"
    " torch.save(getattr(x, 'state_dict', lambda: x)(), 'weights.pth')"
)
CONVERT_SCRIPT = (
    "import torch; torch.save(torch.jit.load({file!r}, map_location='cpu').state_dict(),"
    " 'weights.pth')"
)


class Weights(NamedTuple):
    """What a file or folder holds: name -> tensor, on the CPU; and what a folder says beside it.

    Attributes:
        mean, std: Per channel, that the weights were trained with.
        architecture: The network's name in timm.
    """

    file: str
    tensors: dict[str, Tensor]
    mean: list[float] | None = None
    std: list[float] | None = None
    architecture: str = ""


def read_weights(path: str | Path) -> Weights:
    """The weights in a file or folder.

    Raises:
        UserError: Nothing is there, it has another format, or reading it would run code; the last
        with the line that converts it.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    return Weights(str(path), _unwrapped(_read(path), path))


def _folder(folder: Path) -> Weights:
    file = next((folder / name for name in IN_FOLDERS if (folder / name).is_file()), None)
    if file is None:
        raise UserError(f"{folder} holds no weights: none of {', '.join(IN_FOLDERS)}")
    about = _configuration(folder / "config.json")
    if "architecture" not in about and ("architectures" in about or "model_type" in about):
        theirs = about.get("architectures") or about["model_type"]
        raise UserError(
            f"{folder} is a network of the transformers library ({theirs}), which AutoKD does not"
            " build: take the weights of timm's network of that name"
        )
    trained = about.get("pretrained_cfg")
    trained = trained if isinstance(trained, Mapping) else about
    return Weights(
        str(folder),
        _unwrapped(_read(file), file),
        _numbers(trained.get("mean")),
        _numbers(trained.get("std")),
        str(about.get("architecture", "")),
    )


def _configuration(file: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as fault:
        raise UserError(f"{file} cannot be read: {fault}") from None
    return about if isinstance(about, dict) else {}


def _numbers(value: Any) -> list[float] | None:
    if isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
        return [float(v) for v in value]
    return None


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as fault:
            raise UserError(f"{path} is not a safetensors file: {fault}") from fault
    if path.suffix not in TORCH_FILES:
        raise UserError(f"{path}: weights are read from .safetensors, {', '.join(TORCH_FILES)}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # the reader answers a file of garbage with any error
        why = _why(path, str(fault))
        raise UserError(f"{path} is not a plain file of weights: {why}") from fault


def _why(path: Path, fault: str) -> str:
    """Why torch does not read it, and how it can be made readable."""
    code = re.search(r"GLOBAL ([\w.]+)", fault)
    if code:
        reason = f"reading it would run {code[1]}, and code in a file is never run"
        program = CONVERT.format(file=str(path), keys=WRAPPINGS)
    elif "TorchScript" in fault:
        reason = "it is a TorchScript program"
        program = CONVERT_SCRIPT.format(file=str(path))
    else:
        return "torch cannot read it"
    return f"{reason}; if you trust it, convert it once: python -c {shlex.quote(program)}"


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    found = _state_dict(content)
    if found is None:
        raise UserError(
            f"{path} holds no dict of tensors, neither at its top nor under"
            f" {', '.join(map(repr, WRAPPINGS))}"
        )
    return found


def _state_dict(content: Any) -> dict[str, Tensor] | None:
    """The tensors of a state dict, or of the first that a dict holds under a known key."""
    if not isinstance(content, Mapping):
        return None
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return {_plain(str(name)): tensor for name, tensor in content.items() if name not in COUNTS}
    wrapped = (_state_dict(content.get(key)) for key in WRAPPINGS)
    return next((tensors for tensors in wrapped if tensors is not None), None)


def _plain(name: str) -> str:
    for part in WITHIN:
        name = name.replace(part, "")
    return name
