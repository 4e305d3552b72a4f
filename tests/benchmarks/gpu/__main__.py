"""What AutoKD does on a GPU, in order of value, within a time given; begun again, it goes on.

    python -m tests.benchmarks.gpu --minutes 9 [--out gpu] [--data-dir DIR] [--cifar-epochs 30]
    python -m tests.benchmarks.gpu --rehearse      # on a CPU, tiny: that every unit runs

Needs torch, torchvision, scikit-learn, scipy, timm, pydantic, ruamel.yaml, filelock, platformdirs,
safetensors, typer, rich, pytest; Optuna for the search, without which that unit says so. No Ray, no
MLflow. Each unit of work is one figure or a few. A unit that is done is not done again, one that
would not end in time waits for the next call, and one that fails is told and is no hindrance:
``OUT/gpu.json`` is written after each, and ``OUT/gpu.md`` from it. Timings are of CIFAR-shaped
pictures that are made up; ``--data-dir`` has Fashion-MNIST (as torchvision keeps it), and a folder
``cifar100`` with ``train/`` and ``test/`` for the reference rows.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from pathlib import Path

import torch

from tests.benchmarks.gpu import accuracy, searching, speed
from tests.benchmarks.gpu.units import REAL, REHEARSAL, Notes, Sizes, Unit


def units(sizes: Sizes) -> list[Unit]:
    """In order of value."""
    parts = (
        speed.tests,
        speed.epochs,
        speed.peers,
        speed.tables,
        speed.views,
        searching.side_by_side,
        searching.search,
        accuracy.precisions,
        accuracy.cifar100,
    )
    return [unit for part in parts for unit in part(sizes)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--data-dir", help="else AUTOKD_DATA")
    parser.add_argument("--cifar-epochs", type=int, default=30)
    parser.add_argument("--only", nargs="*", help="units whose name begins so")
    parser.add_argument("--rehearse", action="store_true")
    args = parser.parse_args()
    began = time.monotonic()
    if not args.rehearse and not torch.cuda.is_available():
        print("no CUDA device: --rehearse runs all of it on a CPU, tiny", file=sys.stderr)
        return 2
    if args.data_dir:
        os.environ["AUTOKD_DATA"] = str(Path(args.data_dir).resolve())
    os.environ.setdefault("AUTOKD_CACHE", str(args.out.resolve() / "cache"))
    sizes = REHEARSAL if args.rehearse else REAL._replace(cifar_epochs=args.cifar_epochs)
    notes = Notes(args.out, sizes)
    waiting = 0
    for unit in units(sizes):
        if args.only and not unit.name.startswith(tuple(args.only)):
            continue
        if notes.done(unit):
            continue
        left = 60 * args.minutes - (time.monotonic() - began)
        if unit.seconds > left and not args.rehearse:
            waiting += 1
            continue
        start = time.monotonic()
        try:
            found = unit.work()
        except Exception as e:  # the next unit may tell something all the same
            traceback.print_exc()
            found = {"failed": f"{type(e).__name__}: {e}"[:300]}
        notes.add(unit, found, time.monotonic() - start)
    if waiting:
        print(f"{waiting} units wait for another call", file=sys.stderr)
    failed = notes.failed()
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
