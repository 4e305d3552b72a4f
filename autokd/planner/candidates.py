"""Students for this data, measured on this machine: latency with its noise, parameters, and the
cost of a training step.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from autokd import networks
from autokd.errors import UserError

SMALL = ("cnn-2x8", "cnn-2x16", "cnn-3x16", "cnn-3x32", "resnet8", "resnet14", "resnet20")
MOBILE = ("timm:lcnet_050", "timm:mobilenetv3_small_050", "timm:mobilenetv3_small_100")
SMALL_PX = 48  # up to which no mobile network is asked: they halve pictures five times
REPEATS, ROUNDS = 15, 5  # passes a round; the median of the rounds, and their spread
BYTES = 4  # of a parameter


@dataclass(frozen=True)
class Bounds:
    """What the student may cost at most; None: anything."""

    latency_ms: float | None = None
    params: float | None = None
    size: float | None = None  # bytes


@dataclass(frozen=True)
class Candidate:
    """``noise_ms``: half the spread of the rounds; ``step``: seconds of a training step."""

    model: str
    resolution: int
    params: int
    flops: int
    latency_ms: float
    noise_ms: float
    step: float

    def within(self, bounds: Bounds) -> bool:
        """With its noise: what is measured again may be that much slower."""
        slowest = self.latency_ms + 2 * self.noise_ms
        return (
            (bounds.latency_ms is None or slowest <= bounds.latency_ms)
            and (bounds.params is None or self.params <= bounds.params)
            and (bounds.size is None or self.params * BYTES <= bounds.size)
        )


def measured(
    channels: int, classes: int, resolutions: list[int], batch: int, device: str
) -> list[Candidate]:
    """All of them at all resolutions, the cheapest to train first."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a trial trains
    try:
        out = []
        for side in resolutions:
            models = SMALL + (MOBILE if side > SMALL_PX else ())
            out += [measure(m, channels, classes, side, batch, device) for m in models]
    finally:
        torch.set_num_threads(threads)
    return sorted(out, key=lambda c: c.step)


def measure(
    model: str, channels: int, classes: int, side: int, batch: int, device: str
) -> Candidate:
    """One student."""
    network = networks.build(model, classes=classes, channels=channels, resolution=side)
    costs = networks.measure(network, channels, side)
    rounds = [networks.latency(network, channels, side, 1, device, REPEATS) for _ in range(ROUNDS)]
    noise = (max(rounds) - min(rounds)) / 2
    return Candidate(
        model,
        side,
        costs["params"],
        costs["flops"],
        statistics.median(rounds),
        noise,
        _step(network.to(device), channels, classes, side, batch, device),
    )


def _step(
    network: torch.nn.Module, channels: int, classes: int, side: int, batch: int, device: str
) -> float:
    """Seconds of one training step, the better of two after one that does not count."""
    pictures = torch.rand(batch, channels, side, side, device=device)
    labels = torch.arange(batch, device=device) % classes
    times = []
    for _ in range(3):
        began = time.perf_counter()
        cross_entropy(network.train()(pictures), labels).backward()
        if device != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def allowed(candidates: list[Candidate], bounds: Bounds) -> list[Candidate]:
    """Those within the bounds. Raises :class:`UserError` where there is none."""
    out = [c for c in candidates if c.within(bounds)]
    if not out:
        least = min(candidates, key=lambda c: (c.latency_ms, c.params))
        raise UserError(
            f"no student is within the bounds: {least.model} at {least.resolution} px takes"
            f" {least.latency_ms:.2f} ms ± {2 * least.noise_ms:.2f} and has {least.params:,}"
            f" parameters ({least.params * BYTES / 1e6:.2f} MB)"
        )
    return out
