"""A network that fits a data set."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from autokd import networks
from autokd.data import Dataset
from autokd.recipe import Start
from autokd.recipe.network_settings import PRETRAINED

Draw = Callable[..., networks.Network]  # (start, classes, …): one of random or published weights


def build_for(
    data: Dataset,
    start: Start,
    resolution: int,
    seed: int,
    *,
    trained: bool = True,
    side: int | None = None,
) -> networks.Network:
    """The network that ``start`` names, for the data's classes and channels, on the CPU, with the
    weights it starts with; what is random of them is drawn from ``seed``.

    ``trained``: whether it will be, so that a head that does not fit may be drawn anew; ``side``:
    pixels a side that pictures are made to first. Raises :class:`UserError` for weights that are
    not there or do not fit.
    """

    draw = partial(_drawn, data, resolution=resolution, seed=seed, side=side)
    if start.labels is None:
        return _started(draw, start, len(data.classes), trained)
    labels = networks.read_labels(start.labels)
    order = networks.places(data.classes, labels, start.labels)
    given = _started(draw, start, len(labels), trained=False)
    network = draw(start, len(order), takes=len(given.mean))
    networks.choose_classes(given, network, order)
    return network


def _started(draw: Draw, start: Start, classes: int, trained: bool) -> networks.Network:
    """The same for so many classes."""
    if not (start.file or start.repository):
        pretrained = start.weights == PRETRAINED
        return draw(start, classes, pretrained=pretrained, new_head=trained)
    file = start.file or networks.of_hub(start.repository or "")
    weights = networks.read_weights(file)
    plain = draw(start.model_copy(update={"mean": None, "std": None}), classes)
    told = {"mean": start.mean or weights.mean, "std": start.std or weights.std}
    takes = networks.channels_of(weights, plain)
    network = draw(start.model_copy(update=told), classes, takes=takes)
    networks.load_weights(network, weights, new_head=trained)
    return network


def _drawn(data: Dataset, start: Start, classes: int, **how: Any) -> networks.Network:
    return networks.build(
        start.model,
        classes=classes,
        channels=data.channels,
        mean=start.mean or data.mean,
        std=start.std or data.std,
        **how,
    )
