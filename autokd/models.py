"""Name -> network, its weights in files, its size and its speed. The names are those of ``autokd.zoo``."""

import copy
import hashlib
import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from autokd import zoo
from autokd.document import UserError
from autokd.networks import FAMILIES, Featured, Output

LEAST_PX = 4
TORCH_FILES = (".pth", ".pt", ".tar", ".bin")
WRAPPINGS = ("state_dict", "model", "net")  # keys under which training scripts file their weights
BATCHES, SPEND_MS = (1, 64), 200  # of pictures, at which speed is measured, and for how long
SHOWN = 3  # how many names of each kind an error lists

__all__ = ["Network", "Output", "build", "latency", "load_weights", "measure", "speed", "state", "weights_hash"]


class Network(nn.Module):
    """A backbone with its own normalisation, so that every network takes the same pictures: floats in [0, 1].

    Args:
        backbone: The network proper, which takes normalised pictures. One of ours has ``stem``, ``stages``, ``head`` and
            ``classifier`` (``autokd.networks.Backbone``).
        channels: Channels of the pictures, C.
        mean, std: Per channel of what the backbone takes; the pictures become ``(x - mean) / std``. Kept as buffers, so they
            travel with the weights.

    A backbone that takes 3 channels gets a 1-channel picture three times.
    """

    backbone: Featured
    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Featured, channels: int, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.repeats = len(mean) if channels == 1 else 1
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, pictures: Tensor) -> Tensor:
        """``[B, C, H, W]`` floats in [0, 1] -> logits ``[B, classes]``."""
        return self.backbone(self._normalise(pictures))

    def features(self, pictures: Tensor) -> Output:
        """The same, with the stages' maps and the embedding. The logits are those of ``forward``."""
        return self.backbone.features(self._normalise(pictures))

    def _normalise(self, pictures: Tensor) -> Tensor:
        if self.repeats > 1:
            pictures = pictures.expand(-1, self.repeats, -1, -1)
        if pictures.is_contiguous() or not pictures.is_contiguous(memory_format=torch.channels_last):
            return (pictures - self.mean[:, None, None]).div_(self.std[:, None, None])
        b, c, h, w = pictures.shape  # the same values row by row: a CPU takes three times as long for a loop over C than for one over W·C
        rows = pictures.permute(0, 2, 3, 1).reshape(b, h, w * c)
        return (rows - self.mean.repeat(w)).div_(self.std.repeat(w)).view(b, h, w, c).permute(0, 3, 1, 2)


def build(
    name: str,
    *,
    classes: int,
    channels: int = 3,
    resolution: int,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    seed: int | None = None,
    pretrained: bool = False,
) -> Network:
    """The network of that name, on the CPU, in training mode.

    Args:
        name: A name that ``zoo.problem`` accepts.
        classes: Number of logits.
        channels: Of the pictures.
        resolution: Side of the pictures in px, at least 4. Our networks take other sizes too once built.
        mean, std: Per channel, of pictures in [0, 1]; default 0 and 1. Pretrained weights bring their own, which win.
        seed: Weights are drawn with this seed, from a generator set aside: the same name and seed give the same bytes, and
            the global generators are left as they were. None: drawn from the global generator.
        pretrained: The library's published weights (torchvision and timm only; may download). Their head is kept where `classes`
            is the number it was trained for, else drawn anew. The downloaded file is not `load_weights`' business: torchvision
            and timm check and read it their way.

    Raises:
        UserError: Unknown name, impossible resolution or number, or a failed download.
    """
    card = zoo.card(name)
    for what, value, least in (("classes", classes, 2), ("channels", channels, 1), ("resolution", resolution, LEAST_PX)):
        if value < least:
            raise UserError(f"{name}: {what} is {value}, but at least {least} is needed")
    taken = channels
    backbone: Featured
    with _drawn_with(seed), torch.device("cpu"):
        if card.family in zoo.LIBRARIES:
            from autokd.networks import library  # here, since timm and torchvision take seconds to import

            made = library.build(card.family, **card.keywords, classes=classes, channels=channels, resolution=resolution, pretrained=pretrained)
            backbone, taken = made.backbone, made.channels
            mean, std = (made.mean, made.std) if pretrained else (mean, std)
        elif pretrained:
            raise UserError(f"{name}: only torchvision: and timm: names have pretrained weights")
        else:
            backbone = FAMILIES[card.family](channels=channels, classes=classes, resolution=resolution, **card.keywords)
    return Network(backbone, channels, _per_channel("mean", mean, 0.0, taken), _per_channel("std", std, 1.0, taken))


@contextmanager
def _drawn_with(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    # The CPU's generator only: torch.manual_seed would seed the accelerators' too, and they are not forked.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _per_channel(what: str, values: Sequence[float] | Tensor | None, default: float, channels: int) -> Tensor:
    if values is None:
        return torch.full((channels,), default, dtype=torch.float32)
    tensor = torch.as_tensor(values, dtype=torch.float32).detach().clone().cpu()
    if tensor.shape == (1,):
        tensor = tensor.repeat(channels)  # 1-channel data in a network that takes 3
    if tensor.shape != (channels,):
        raise UserError(f"{what} has shape {list(tensor.shape)}, but the network takes {channels} channels")
    if what == "std" and not bool((tensor > 0).all()):
        raise UserError(f"std is {tensor.tolist()}, but has to be positive")
    return tensor


# --- weights ---------------------------------------------------------------------------------------------------------------------


def state(network: nn.Module) -> dict[str, Tensor]:
    """Name -> tensor of all parameters and buffers: contiguous copies on the CPU, as safetensors wants them."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}


def weights_hash(network: nn.Module) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and bytes of `state`, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state(network).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_weights(network: Network, path: str | Path) -> None:
    """Loads a file of weights into `network`, all of it or nothing.

    The file is a state dict of ours (with our normalisation), or one of the backbone alone, such as those that torchvision and
    timm publish. ``.safetensors``, or ``.pth``, ``.pt``, ``.tar``, ``.bin`` by torch; a dict around the weights ('state_dict',
    'model', 'net') and the prefix 'module.' are taken off. Code in a file is never run: one that needs it is refused.

    Raises:
        UserError: No such file, another format, code in it, or weights of another network: names and both shapes are told.
    """
    weights = _unwrapped(_read(Path(path)), path)
    ours = network.state_dict()
    # The part of the network that the file's names speak of: all, its backbone, or the library's module inside that.
    prefix = max(("", "backbone.", "backbone.model."), key=lambda prefix: sum(prefix + name in ours for name in weights))
    wanted = {name.removeprefix(prefix): tensor for name, tensor in ours.items() if name.startswith(prefix)}
    faults = [
        f"{name} is {list(weights[name].shape)} in the file and {list(tensor.shape)} here"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    for what, names, others in (("lacks", wanted, weights), ("has the unknown", weights, wanted)):
        if lone := sorted(name for name in names if name not in others):
            faults.append(f"the file {what} {_first(lone)}")
    if faults:
        raise UserError(f"{path} holds the weights of another network (or number of classes): {_first(faults, '; ')}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(weights[name])  # state_dict's tensors share memory with the network


def _first(items: Sequence[str], separator: str = ", ") -> str:
    return separator.join(items[:SHOWN]) + (f"{separator}… ({len(items)} in all)" if len(items) > SHOWN else "")


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
        reason = f"reading it would run {code[1]}, and code in a file is never run" if code else "torch cannot read it"
        raise UserError(f"{path} is not a plain file of weights: {reason}; save the state dict alone, as .safetensors") from fault


def _unwrapped(content: Any, path: str | Path) -> dict[str, Tensor]:
    for key in WRAPPINGS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} holds no dict of tensors, neither at its top nor under {', '.join(map(repr, WRAPPINGS))}")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


# --- size and speed ----------------------------------------------------------------------------------------------------------------


def measure(network: nn.Module, channels: int, resolution: int) -> dict[str, int]:
    """``{"params": …, "flops": …}`` of a network for pictures of that size.

    ``params`` counts parameters, not buffers. ``flops`` is for one picture forward, counted by ``torch.utils.flop_counter``:
    convolutions and matrix products only, a multiply-add as **two** (papers often give multiply-adds, which are half of this).
    The network is left as it was.
    """
    picture = _pictures(network, 1, channels, resolution)
    counter = FlopCounterMode(display=False)
    with _evaluating(network), torch.no_grad(), counter:
        network(picture)
    return {"params": sum(parameter.numel() for parameter in network.parameters()), "flops": int(counter.get_total_flops())}


def latency(network: nn.Module, channels: int, resolution: int, batch: int, device: str | torch.device, repeats: int) -> float:
    """Median time of a forward pass in ms, for a batch of `batch` pictures on `device`, over `repeats` passes after 3 to warm up.

    Measured on a copy: the network is left as it was, on its own device.
    """
    network = copy.deepcopy(network).to(device).eval()
    pictures = _pictures(network, batch, channels, resolution)
    times = []
    with torch.inference_mode():
        for _ in range(3 + repeats):
            start = time.perf_counter()
            network(pictures)
            if pictures.device.type != "cpu":
                torch.accelerator.synchronize(pictures.device)
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def speed(network: nn.Module, channels: int, resolution: int) -> dict[str, dict[int, float]]:
    """``{"cpu": {1: …, 64: …}}``: of each kind of device here, ``latency`` in ms by batch size, over about `SPEND_MS` each."""
    out: dict[str, dict[int, float]] = {}
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        out[device] = {}
        for batch in BATCHES:
            once = latency(network, channels, resolution, batch, device, repeats=1)
            out[device][batch] = latency(network, channels, resolution, batch, device, repeats=int(min(max(SPEND_MS / once, 5), 50)))
    return out


def _pictures(network: nn.Module, batch: int, channels: int, resolution: int) -> Tensor:
    like = next(network.parameters())
    return torch.full((batch, channels, resolution, resolution), 0.5, dtype=like.dtype, device=like.device)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; after it each module has its own mode back (a frozen part may have been in evaluation mode)."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
