"""Units of work, how large they are, and what came of them."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from autokd import files

Found = dict[str, Any]


class Sizes(NamedTuple):
    device: str
    pictures: int  # CIFAR-shaped, of one epoch
    rounds: int  # epochs that are timed
    peers: int  # pictures of an epoch of the other programs
    pairs: tuple[tuple[str, str], ...]  # teacher, student
    batches: tuple[int, ...]
    matrix: int  # side of the product that tells the rate of matrix products
    large: int  # pictures of 224 px whose views are rendered
    trials: int
    trial_epochs: int
    together: tuple[int, ...]  # processes that share the device
    seeds: int
    data: str  # of accuracies
    limit: int | None  # its training pictures
    cifar_epochs: int


REAL = Sizes(
    device="cuda",
    pictures=50_000,
    rounds=3,
    peers=12_800,
    pairs=(("resnet32x4", "resnet8x4"), ("resnet56", "resnet20")),
    batches=(512, 64),
    matrix=8192,
    large=2_048,
    trials=40,
    trial_epochs=27,
    together=(1, 2, 4, 8),
    seeds=5,
    data="fashion-mnist",
    limit=None,
    cifar_epochs=30,
)
REHEARSAL = Sizes(
    device="cpu",
    pictures=128,
    rounds=1,
    peers=100,
    pairs=(("resnet14", "resnet8"),),
    batches=(32,),
    matrix=64,
    large=2,
    trials=3,
    trial_epochs=3,
    together=(1, 2),
    seeds=2,
    data="digits",
    limit=60,
    cifar_epochs=1,
)


class Unit(NamedTuple):
    """``seconds``: about how long it takes on a large GPU."""

    name: str
    seconds: float
    work: Callable[[], Found]


class Notes:
    """What was found, in a file that is whole at every moment."""

    def __init__(self, folder: Path, sizes: Sizes):
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.table = folder / "gpu.json", folder / "gpu.md"
        self.machine = machine(sizes.device)
        self.found: dict[str, Found] = {}
        if self.file.exists():
            known = json.loads(self.file.read_text())
            if known["machine"] == self.machine and known["sizes"] == json.loads(
                json.dumps(sizes._asdict())
            ):
                self.found = known["found"]
        self.sizes = sizes

    def done(self, unit: Unit) -> bool:
        return unit.name in self.found and "failed" not in self.found[unit.name]

    def failed(self) -> list[str]:
        return [name for name, found in self.found.items() if "failed" in found]

    def add(self, unit: Unit, found: Found, seconds: float) -> None:
        self.found[unit.name] = {**found, "took, s": round(seconds, 1)}
        whole = {"machine": self.machine, "sizes": self.sizes._asdict(), "found": self.found}
        files.write_atomically(self.file, json.dumps(whole, indent=1) + "\n")
        files.write_atomically(self.table, self.markdown())
        print(f"{unit.name}: {line(self.found[unit.name])}", flush=True)

    def markdown(self) -> str:
        rows = [f"| {name} | {line(found)} |" for name, found in self.found.items()]
        about = ", ".join(f"{k} {v}" for k, v in self.machine.items())
        return "\n".join([f"{about}.", "", "| unit | found |", "|---|---|", *rows]) + "\n"


def line(found: Found) -> str:
    shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items())
    return "; ".join(shown)


def machine(device: str) -> dict[str, str]:
    out = {"torch": torch.__version__, "python": platform.python_version()}
    if device == "cuda":
        about = torch.cuda.get_device_properties(0)
        out["device"] = f"{about.name}, {about.total_memory >> 30} GiB"
    else:
        out["device"] = f"{platform.machine()} CPU"
    return out
