"""How many trials fit side by side: the CPU cores and GPUs of this machine, or of a cluster."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from autokd.engine.session import nodes
from autokd.errors import UserError
from autokd.space import Space


def gpus() -> int:
    """How many NVIDIA GPUs this process may use, without loading CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    folder = Path("/proc/driver/nvidia/gpus")
    found = len(list(folder.iterdir())) if folder.is_dir() else 0
    if visible is None:
        return found
    return min(found, len([v for v in visible.split(",") if v.strip() not in {"", "-1"}]))


@dataclass(frozen=True)
class Capacity:
    """What there is for trials: on this machine, or on all nodes of a cluster."""

    cpus: float
    gpus: float
    largest: float  # GPUs of the node that has most

    def jobs(self, wanted: float | None) -> int:
        """Trials side by side: where there are GPUs one on each, or as many as share them; else one
        a CPU core.
        """
        if self.gpus and wanted != 0:
            share = wanted or 1.0
            if share > 1:
                return max(1, int(self.gpus / share))
            return max(1, int(self.gpus) * int(1 / share + 1e-6))
        return max(1, int(self.cpus))

    def share(self, wanted: float | None, jobs: int) -> float:
        """GPUs of one trial; as none is spread over two, each takes its equal part of the jobs,
        rounded up.
        """
        if wanted is None:
            return 1 / math.ceil(jobs / self.gpus) if self.gpus else 0.0
        return wanted


def capacity(space: Space, address: str | None = None) -> Capacity:
    """Raises :class:`UserError` where the cluster cannot be reached, or a trial asks for more GPUs
    than there are.
    """
    if address:
        there = nodes(address)
        found = Capacity(
            sum(n.get("CPU", 0) for n in there),
            sum(n.get("GPU", 0) for n in there),
            max((n.get("GPU", 0) for n in there), default=0),
        )
    else:
        found = Capacity(len(os.sched_getaffinity(0)), gpus(), gpus())
    wanted = space.search.resources.gpu or 0
    if wanted > found.largest:
        where = (
            f"no node of the cluster at {address} has more than {found.largest:g}"
            if address
            else f"this machine has {found.largest:g}"
        )
        raise UserError(f"search/resources/gpu: a trial asks for {wanted:g} GPUs, and {where}")
    return found
