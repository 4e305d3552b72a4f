"""The loader of an exported student: the one place where ``student.safetensors`` becomes a network.

The file says in its own metadata which network its weights are of, so nothing else is read, and
nothing of the folder around it is executed. Normalisation is part of the network and its weights;
what else a caller must know (resolution, channels, temperature) is :class:`Metadata`. The same
without AutoKD is ``load.py``, see :mod:`autokd.export.standalone`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from autokd.recipe import bounds, network_names

if TYPE_CHECKING:
    from autokd.networks import Network

KEY = "autokd"  # of the file's own metadata


@dataclass(frozen=True)
class Metadata:
    """What a student's weights say of themselves, in the order in which the file has it."""

    model: str
    resolution: int  # px, the side of the squares that it sees
    channels: int  # 1: grey, 3: RGB
    classes: list[str]  # in the order of the logits
    short_side: int = 0  # px, of its training pictures when they were packed; 0: not recorded
    temperature: float = 1.0  # logits are divided by it
    crop_share: float = 1.0  # of the short side, what the square that it sees has
    takes: int = 0  # channels of the network proper; 0: those that one of random weights has

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def read_metadata(file: str | Path) -> Metadata:
    """What ``student.safetensors`` says of itself.

    Raises OSError or SafetensorError where it cannot be read; KeyError for what it does not say;
    ValueError, TypeError, OverflowError or AttributeError for what no student would say.
    """
    with safe_open(str(file), "np") as f:
        text = (f.metadata() or {})[KEY]
    if len(text) > bounds.METADATA_BYTES:
        raise ValueError(f"{len(text):,} characters of metadata")
    try:
        about = json.loads(text)
    except RecursionError:
        raise ValueError("its metadata is nested too deep") from None
    return Metadata(
        model=network_names.newer(str(about["model"])),
        resolution=int(about["resolution"]),
        channels=int(about["channels"]),
        classes=[str(c) for c in about["classes"]],
        short_side=int(about.get("short_side", 0)),
        temperature=float(about.get("temperature", 1.0)),
        crop_share=float(about.get("crop_share", 1.0)),
        takes=int(about.get("takes", 0)),
    )


def load_student(file: str | Path) -> tuple[Metadata, Network]:
    """What the file says of itself, and the network with its weights: on the CPU, in evaluation
    mode, pictures ``[B, channels, resolution, resolution]`` in [0, 1] → logits ``[B, classes]``
    before any temperature.

    Raises ValueError, which says why, for whatever is no student.
    """
    from autokd import networks

    try:
        about = read_metadata(file)
        _check(about)
        network = networks.build(
            about.model,
            classes=len(about.classes),
            channels=about.channels,
            resolution=about.resolution,
            takes=about.takes or None,
        )
        networks.load_weights(network, file)
    except KeyError as e:
        raise ValueError(f"its metadata lacks {e}") from None
    except (OSError, SafetensorError, TypeError, OverflowError, AttributeError) as e:
        raise ValueError(str(e)) from None
    network.eval()
    return about, network


def _check(about: Metadata) -> None:
    """Metadata may come from anywhere: no name of anything but a network, no gigantic tensors."""
    from autokd import networks

    if trouble := network_names.problem(about.model):
        raise ValueError(trouble)
    if (
        about.channels not in {1, 3}
        or about.takes not in {0, about.channels, 3}
        or not networks.LEAST_PX <= about.resolution <= bounds.SIDE
        or not 2 <= len(about.classes) <= bounds.CLASSES
        or not 0 <= about.short_side <= bounds.SIDE
    ):
        raise ValueError(
            f"{about.channels} channels, {about.resolution} px of {about.short_side},"
            f" {len(about.classes)} classes"
        )
    if not (math.isfinite(about.temperature) and about.temperature > 0):
        raise ValueError(f"temperature {about.temperature}")
    if not 0 < about.crop_share <= 1:
        raise ValueError(f"crop_share {about.crop_share}")
