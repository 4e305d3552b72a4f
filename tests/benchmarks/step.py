"""What a trial costs beside what its student costs, side by side in one process, as ratios.

    uv run python tests/benchmarks/step.py [--students resnet20 resnet8x4] [--precisions fp32 bf16] [--threads 2]

(a) an epoch with warm tables / an epoch of the student alone: KD, DTD, and CES-KD with a ladder of four; (e) what filling a table
costs; (f) memory. CIFAR-shaped pictures (`fake`), batches of 64. Settings alternate epoch by epoch, so that a noisy machine hits
all of them; medians.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch

from autokd import distill, recipe
from autokd.store import Store

SETTINGS = {
    "student alone": {"distill": {"preset": "student-alone"}},
    "KD": {"distill": {"preset": "kd"}},
    "DTD": {"distill": {"preset": "dtd"}},
    "CES-KD, ladder of four": {"distill": {"preset": "ces-kd"}, "ladder": ["resnet32", "resnet20", "resnet14"]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", nargs="*", default=["resnet20", "resnet8x4"])
    parser.add_argument("--precisions", nargs="*", default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print("| student | precision | setting | ms a step | / student alone | ms to fill a table |\n|---|---|---|---|---|---|")
    for student in args.students:
        teacher = {"resnet20": "resnet56", "resnet8x4": "resnet32x4"}[student]
        for precision in args.precisions:
            train = {"epochs": args.rounds + 1, "batch_size": 64, "lr": 0.01, "precision": precision, "threads": args.threads}
            base = recipe.parse(
                {
                    "data": {"name": "fake", "resolution": 32, "limit": args.pictures, "augment": {"crop_padding": 4, "flip": True}},
                    "teacher": {"model": teacher, "train": train | {"epochs": 1}},
                    "ladder_train": train | {"epochs": 1},
                    "student": {"model": student},
                    "train": train,
                }
            )
            with tempfile.TemporaryDirectory() as folder:
                store = Store(Path(folder), device)
                runs, filling = {}, {}
                for name, changes in SETTINGS.items():
                    made = base.with_(changes)
                    began = time.perf_counter()
                    distill.train(made, store)  # trains the teachers and fills every table
                    filling[name] = time.perf_counter() - began
                    runs[name] = distill.Run(made, store)
                times: dict[str, list[float]] = {name: [] for name in runs}
                for _ in range(args.rounds + 1):
                    for name, run in runs.items():
                        began = time.perf_counter()
                        run.epoch()
                        if device == "cuda":
                            torch.cuda.synchronize()
                        times[name].append(time.perf_counter() - began)
                member = runs["KD"].members[-1]
                began = time.perf_counter()
                member.table(distill.Views(runs["KD"].data.train.pictures, base.data.augment, 99, 0), None)
                table = time.perf_counter() - began
            steps = -(-args.pictures // 64)
            for name, found in times.items():
                ratio = statistics.median(a / b for a, b in zip(found[1:], times["student alone"][1:], strict=True))
                shown = f"{1000 * table / steps:.0f} a step's worth" if name == "KD" else ""
                print(f"| {student} | {precision} | {name} | {1000 * statistics.median(found[1:]) / steps:.1f} | {ratio:.3f} | {shown} |", flush=True)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB; {device}, {args.threads} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
