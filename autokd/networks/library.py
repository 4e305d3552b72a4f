"""Networks of torchvision and timm, made to answer like ours: logits, stage maps, embedding.

Importing this takes seconds, for it loads both libraries.
"""

import torch

from autokd.errors import UserError
from autokd.networks import timm_networks, torchvision_networks
from autokd.networks.library_common import Library, refusals


def known(library: str, name: str) -> None:
    """Raises :class:`UserError` where ``library`` ("timm" or "torchvision") has no such network."""
    if library == "timm":
        timm_networks.known(name)
    else:
        torchvision_networks.known(name)


def side(library: str, name: str) -> int | None:
    """Pixels a side that its published weights are for, where that is known."""
    known(library, name)
    return timm_networks.side(name) if library == "timm" else torchvision_networks.side(name)


def build(
    library: str,
    name: str,
    *,
    classes: int,
    channels: int,
    resolution: int,
    pretrained: bool,
    new_head: bool,
) -> Library:
    """The network `name` of `library` ("timm" or "torchvision") with `classes` outputs, tried on
    one picture.

    Args:
        pretrained: With the library's default weights. The network's own head is kept where
            `classes` is its number.
        new_head: Where it is not, one of random weights takes its place.

    Raises:
        UserError: The library has no such network or weights, cannot download them, their head does
            not fit, or the network cannot take such pictures.
    """
    with refusals(f"{library}:{name}", f"built for {resolution} px pictures"):
        if library == "timm":
            made = timm_networks.build(name, classes, channels, resolution, pretrained, new_head)
        else:
            made = torchvision_networks.build(name, classes, resolution, pretrained, new_head)
    if channels not in (1, made.channels):
        raise UserError(
            f"{library}:{name} takes {made.channels} channels, but the pictures have {channels}"
        )
    with refusals(f"{library}:{name}", f"given {resolution} px pictures"), torch.no_grad():
        # So that an impossible resolution is an error now and not in the first batch.
        made.backbone.eval().features(torch.zeros(1, made.channels, resolution, resolution))
    made.backbone.train()
    return made
