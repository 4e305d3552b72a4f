"""Weights: as a dict, as a hash, and brought from a file's names to a network's."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autokd.errors import UserError
from autokd.networks.checkpoints import Weights, read_weights
from autokd.networks.library_common import headless
from autokd.networks.network import Network

PARTS = ("", "backbone.", "backbone.model.")  # of a network, that a file may speak of
# what wrapping a network puts before its names
WRAPPERS = ("module.", "model.", "backbone.", "net.", "network.", "student.", "teacher.")
UNCOUNTED = ".num_batches_tracked"  # of batch norms; files from before torch 0.4.1 have none
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


def load_weights(
    network: Network, weights: Weights | str | Path, *, new_head: bool = False
) -> None:
    """Loads weights, read or from a file, into `network`: all of them or nothing; with `new_head`
    without a head that does not fit, which then stays as it was drawn.

    Raises:
        UserError: What `read_weights` says of a file; weights of another network (names and both
        shapes are told), or a head for other classes.
    """
    weights = weights if isinstance(weights, Weights) else read_weights(weights)
    file = weights.file
    prefix, wanted, tensors = _spoken_of(weights.tensors, network)
    head = {f"backbone.{name}".removeprefix(prefix) for name in network.backbone.head_names()}
    body = {name: tensor for name, tensor in tensors.items() if name not in head}
    if faults := _faults({n: t for n, t in wanted.items() if n not in head}, body):
        of = f" ({weights.architecture}, it says)" if weights.architecture else ""
        raise UserError(f"{file} holds the weights of another network{of}: {_first(faults, '; ')}")
    theirs = {name: tensors[name] for name in head & {*tensors}}
    if _faults({name: wanted[name] for name in head}, theirs):
        if not new_head:
            classes = max((len(tensor) for tensor in theirs.values()), default=0)
            raise headless(file, classes, len(wanted[next(iter(head))]))
        tensors = body
    with torch.no_grad():
        for name in tensors.keys() & wanted.keys():
            wanted[name].copy_(tensors[name])  # state_dict's tensors share memory with the network


def channels_of(weights: Weights, network: Network) -> int | None:
    """How many channels the weights take, where that is not what `network` takes."""
    spoken = _spoken_of(weights.tensors, network)
    for name, tensor in spoken.ours.items():
        theirs = spoken.theirs.get(name)
        if tensor.ndim == 4 and theirs is not None and theirs.ndim == 4:
            return theirs.shape[1] if theirs.shape[1] != tensor.shape[1] else None
    return None


class _Spoken(NamedTuple):
    """The part of the network that a file speaks of, by the file's names: all, its backbone, or the
    library's module inside that.
    """

    prefix: str  # of that part in the network
    ours: dict[str, Tensor]
    theirs: dict[str, Tensor]


def _spoken_of(tensors: Mapping[str, Tensor], network: Network) -> _Spoken:
    """By what fits most names: which part the file speaks of, and what was put before its names by
    whatever wrapped the network (DDP's ``module.``, Lightning's ``model.``); there, what lies
    beside the network (losses, metrics) is left out.
    """
    ours = network.state_dict()

    def score(pair: tuple[str, str]) -> tuple[int, int]:
        """What is in both, and then how little is in one alone."""
        inside, wrapped = pair
        names = [name for name in tensors if name.startswith(wrapped)]
        found = sum(inside + name.removeprefix(wrapped) in ours for name in names)
        return found, -sum(name.startswith(inside) for name in ours) - len(names)

    wrappers = sorted(_wrappers(tensors), key=len)
    prefix, wrapped = max(((p, w) for w in wrappers for p in PARTS), key=score)
    return _Spoken(
        prefix,
        {n.removeprefix(prefix): t for n, t in ours.items() if n.startswith(prefix)},
        {n.removeprefix(wrapped): t for n, t in tensors.items() if n.startswith(wrapped)},
    )


def _wrappers(names: Iterable[str]) -> set[str]:
    """What may have been put before names, from nothing to all that looks like it."""
    out = {""}
    for name in names:
        taken = ""
        while word := next((w for w in WRAPPERS if name[len(taken) :].startswith(w)), None):
            taken += word
            out.add(taken)
    return out


def _faults(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """In what weights are not those wanted."""
    out = [
        f"{name} is {list(weights[name].shape)} in the file and {list(tensor.shape)} here"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    for what, names, others in (("lacks", wanted, weights), ("has the unknown", weights, wanted)):
        if lone := sorted(n for n in names if n not in others and not n.endswith(UNCOUNTED)):
            out.append(f"the file {what} {_first(lone)}")
    return out


def _first(items: Sequence[str], separator: str = ", ") -> str:
    return separator.join(items[:SHOWN]) + (
        f"{separator}… ({len(items)} in all)" if len(items) > SHOWN else ""
    )
