"""Weights: as a dict, as a hash, and read from files, in which code is never run."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from autokd.errors import UserError
from autokd.networks.network import Network

TORCH_FILES = (".pth", ".pt", ".tar", ".bin")
WRAPPINGS = ("state_dict", "model", "net")  # keys under which training scripts file their weights
SHOWN = 3  # how many names of each kind an error lists


def state(network: nn.Module) -> dict[str, Tensor]:
    """Name -> tensor of all parameters and buffers: contiguous copies on the CPU, as safetensors
    wants them.
    """
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in network.state_dict().items()
    }


def weights_hash(network: nn.Module) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and bytes of `state`, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state(network).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_weights(network: Network, path: str | Path) -> None:
    """Loads a file of weights into `network`, all of it or nothing.

    The file is a state dict of ours (with our normalisation), or one of the backbone alone, such as
    those that torchvision and timm publish. ``.safetensors``, or ``.pth``, ``.pt``, ``.tar``,
    ``.bin`` by torch; a dict around the weights ('state_dict', 'model', 'net') and the prefix
    'module.' are taken off. Code in a file is never run: one that needs it is refused.

    Raises:
        UserError: No such file, another format, code in it, or weights of another network: names
        and both shapes are told.
    """
    weights = _unwrapped(_read(Path(path)), path)
    ours = network.state_dict()
    # The part of the network that the file's names speak of: all, its backbone, or the library's
    # module inside that.
    prefix = max(
        ("", "backbone.", "backbone.model."),
        key=lambda prefix: sum(prefix + name in ours for name in weights),
    )
    wanted = {
        name.removeprefix(prefix): tensor
        for name, tensor in ours.items()
        if name.startswith(prefix)
    }
    faults = [
        f"{name} is {list(weights[name].shape)} in the file and {list(tensor.shape)} here"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    for what, names, others in (("lacks", wanted, weights), ("has the unknown", weights, wanted)):
        if lone := sorted(name for name in names if name not in others):
            faults.append(f"the file {what} {_first(lone)}")
    if faults:
        raise UserError(
            f"{path} holds the weights of another network (or number of classes):"
            f" {_first(faults, '; ')}"
        )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(weights[name])  # state_dict's tensors share memory with the network


def _first(items: Sequence[str], separator: str = ", ") -> str:
    return separator.join(items[:SHOWN]) + (
        f"{separator}… ({len(items)} in all)" if len(items) > SHOWN else ""
    )


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
        code = re.search(r"GLOBAL ([\w.]+)", str(fault))
        reason = (
            f"reading it would run {code[1]}, and code in a file is never run"
            if code
            else "torch cannot read it"
        )
        raise UserError(
            f"{path} is not a plain file of weights: {reason}; save the state dict alone, as"
            " .safetensors"
        ) from fault


def _unwrapped(content: Any, path: str | Path) -> dict[str, Tensor]:
    for key in WRAPPINGS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise UserError(
            f"{path} holds no dict of tensors, neither at its top nor under"
            f" {', '.join(map(repr, WRAPPINGS))}"
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
