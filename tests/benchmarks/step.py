"""What a trial costs beside what its student costs, side by side in one process, as ratios.

    uv run python -m tests.benchmarks.step [--students resnet20 resnet8x4] \\
        [--precisions fp32 bf16] [--threads 2] [--clock cpu]

(a) an epoch with warm tables / an epoch of the student alone: KD, DTD, and CES-KD with a ladder of
four; (e) what filling a table costs, in steps of the student alone; (f) memory, of a process each.
CIFAR-shaped pictures (`fake`), batches of 64, validation included. Settings alternate epoch by
epoch, so that a noisy machine hits all of them; medians of the rounds' ratios. `--clock cpu` counts
the process's own CPU time, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from autokd import recipe
from autokd.data.views import Views
from autokd.recipe import Recipe
from autokd.train import prepare
from autokd.train.store import Store

SETTINGS = {
    "student alone": {"distill": {"preset": "student-alone"}},
    "KD": {"distill": {"preset": "kd"}},
    "DTD": {"distill": {"preset": "dtd"}},
    "CES-KD, ladder of four": {
        "distill": {"preset": "ces-kd"},
        "ladder": ["resnet32", "resnet14", "resnet8"],
    },
}
TEACHERS = {"resnet20": "resnet56", "resnet8x4": "resnet32x4"}
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def recipes(student: str, precision: str, args: argparse.Namespace) -> dict[str, Recipe]:
    train = {
        "epochs": args.rounds + 1,
        "batch_size": 64,
        "lr": 0.01,
        "precision": precision,
        "threads": args.threads,
    }
    base = {
        "data": {
            "name": "fake",
            "resolution": 32,
            "limit": args.pictures,
            "augment": {"crop_padding": 4, "flip": True},
        },
        "teacher": {"model": TEACHERS[student], "train": train | {"epochs": 1}},
        "ladder_train": train | {"epochs": 1},
        "student": {"model": student},
        "train": train,
    }
    return {name: recipe.parse(base | changes) for name, changes in SETTINGS.items()}


def compare(
    made: dict[str, Recipe], store: Store, clock: Callable[[], float]
) -> tuple[dict[str, list[float]], float]:
    """Seconds of each epoch by setting, in turn, with every table there; and the seconds that a
    table took, per picture.
    """
    runs = {name: prepare.start(r, store) for name, r in made.items()}  # trains the teachers
    data, augment = runs["KD"].data, made["KD"].data.augment
    for run in runs.values():
        for member in run.members:
            member.validation()
            for epoch in range(made["KD"].train.epochs):
                member.table(Views(data.train.pictures, augment, 0, epoch), None)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(made["KD"].train.epochs):
        for name, run in runs.items():
            began = clock()
            run.epoch()
            if store.device == "cuda":
                torch.cuda.synchronize()
            times[name].append(clock() - began)
    began = clock()
    runs["KD"].members[-1].table(Views(data.train.pictures, augment, 0, 99), None)
    return times, (clock() - began) / len(data.train)


def memory(made: Recipe, root: str | None) -> float:
    """Peak megabytes of a process of its own that runs one epoch."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (made.to_dict(), root))


def _peak(made: dict, root: str | None) -> float:
    prepare.start(recipe.parse(made), Store(Path(root) if root else None)).epoch()
    status = Path("/proc/self/status").read_text()  # getrusage would count the parent too
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--students", nargs="*", default=list(TEACHERS))
    parser.add_argument("--precisions", nargs="*", default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    steps = -(-args.pictures // 64)
    print(
        "| student | precision | setting | ms a step | / student alone | a table of 64 pictures, in"
        " its steps | peak MB |\n|---|---|---|---|---|---|---|"
    )
    for student in args.students:
        for precision in args.precisions:
            with tempfile.TemporaryDirectory() as folder:
                made = recipes(student, precision, args)
                times, table = compare(made, Store(Path(folder), device), CLOCKS[args.clock])
                alone = times["student alone"][1:]
                for name, found in times.items():
                    ratio = statistics.median(a / b for a, b in zip(found[1:], alone, strict=True))
                    filled = (
                        f"{64 * table * steps / statistics.median(alone):.2f}"
                        if name == "KD"
                        else ""
                    )
                    shown = (
                        f"{1000 * statistics.median(found[1:]) / steps:.1f} | {ratio:.3f} |"
                        f" {filled} | {memory(made[name], folder):.0f}"
                    )
                    print(f"| {student} | {precision} | {name} | {shown} |", flush=True)
    print(f"\n{device}, {args.threads} threads, {args.clock} time, torch {torch.__version__}")


if __name__ == "__main__":
    main()
