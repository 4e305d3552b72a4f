"""What a network costs: parameters, FLOPs, and the time of a forward pass."""

import copy
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

BATCHES = (1, 64)  # of pictures, at which speed is measured
SPEND_MS = 200  # for about how long, each
WARM_UP = 3  # passes that do not count


def measure(network: nn.Module, channels: int, resolution: int) -> dict[str, int]:
    """``{"params": …, "flops": …}`` of a network for pictures of that size.

    ``params`` counts parameters, not buffers. ``flops`` is for one picture forward, counted by
    ``torch.utils.flop_counter``: convolutions and matrix products only, a multiply-add as **two**
    (papers often give multiply-adds, which are half of this). The network is left as it was.
    """
    picture = _pictures(network, 1, channels, resolution)
    counter = FlopCounterMode(display=False)
    with _evaluating(network), torch.no_grad(), counter:
        network(picture)
    return {
        "params": sum(parameter.numel() for parameter in network.parameters()),
        "flops": int(counter.get_total_flops()),
    }


def latency(
    network: nn.Module,
    channels: int,
    resolution: int,
    batch: int,
    device: str | torch.device,
    repeats: int,
) -> float:
    """Median time of a forward pass in ms, for a batch of `batch` pictures on `device`, over
    `repeats` passes after `WARM_UP`.

    Measured on a copy: the network is left as it was, on its own device.
    """
    network = copy.deepcopy(network).to(device).eval()
    pictures = _pictures(network, batch, channels, resolution)
    times = []
    with torch.inference_mode():
        for _ in range(WARM_UP + repeats):
            start = time.perf_counter()
            network(pictures)
            if pictures.device.type != "cpu":
                torch.accelerator.synchronize(pictures.device)
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[WARM_UP:])


def speed(network: nn.Module, channels: int, resolution: int) -> dict[str, dict[int, float]]:
    """``{"cpu": {1: …, 64: …}}``: of each kind of device here, ``latency`` in ms by batch size,
    over about `SPEND_MS` each.
    """
    out: dict[str, dict[int, float]] = {}
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        out[device] = {}
        for batch in BATCHES:
            about = (network, channels, resolution, batch, device)
            repeats = int(min(max(SPEND_MS / latency(*about, repeats=1), 5), 50))
            out[device][batch] = latency(*about, repeats=repeats)
    return out


def _pictures(network: nn.Module, batch: int, channels: int, resolution: int) -> Tensor:
    like = next(network.parameters())
    return torch.full(
        (batch, channels, resolution, resolution), 0.5, dtype=like.dtype, device=like.device
    )


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; after it each module has its own mode back (a frozen part may have
    been in evaluation mode).
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
