"""A network that fits a data set."""

from __future__ import annotations

from autokd import networks
from autokd.data import Dataset


def build_for(
    data: Dataset,
    model: str,
    resolution: int,
    seed: int,
    *,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    pretrained: bool = False,
) -> networks.Network:
    """The network named ``model`` for the data's classes and channels, on the CPU, with weights
    drawn from ``seed``, or the library's own. ``mean``, ``std``: where they are not the data's.
    """
    return networks.build(
        model,
        classes=len(data.classes),
        channels=data.channels,
        resolution=resolution,
        mean=mean or data.mean,
        std=std or data.std,
        seed=seed,
        pretrained=pretrained,
    )
