"""What RKD costs beside its student alone, with the teacher's embeddings read from tables, and with
the teacher run on each batch.

    uv run python -m tests.benchmarks.embeddings [--students resnet8 wrn-16-1] [--rounds 5]

Pictures of 32 px made up for tests (500 of them, batches of 64), one thread. Each round runs an
epoch of the student alone, of RKD on warm tables and of RKD online, in turns in one process; the
first round is not counted. Prints the median of the rounds' ratios to the student alone.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from autokd.recipe import parse
from autokd.train import prepare
from autokd.train.store import Store

KINDS: dict[str, dict[str, Any]] = {
    "alone": {"distill": {"preset": "student-alone"}},
    "tables": {"distill": {"preset": "rkd"}},
    "online": {"distill": {"preset": "rkd"}, "teacher/embedding": "online"},
}


def ratios(student: str, teacher: str, rounds: int, store: Store) -> dict[str, float]:
    """Kind → seconds of an epoch over those of the student alone."""
    base = parse(
        {
            "data": {"name": "fake", "resolution": 32, "limit": 500},
            "teacher": {"model": teacher, "train": {"epochs": 1}},
            "student": {"model": student},
            "train": {"epochs": rounds + 1, "batch_size": 64},
        }
    )
    recipes = {kind: base.with_(changes) for kind, changes in KINDS.items()}
    prepare.train(recipes["tables"], store)  # every table is there
    runs = {kind: prepare.start(r, store) for kind, r in recipes.items()}
    found: dict[str, list[float]] = {kind: [] for kind in runs}
    for epoch in range(rounds + 1):
        seconds = {}
        for kind, run in runs.items():
            began = time.perf_counter()
            run.epoch()
            seconds[kind] = time.perf_counter() - began
        if epoch:
            for kind, took in seconds.items():
                found[kind].append(took / seconds["alone"])
    return {kind: statistics.median(values) for kind, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--students", nargs="+", default=["resnet8", "wrn-16-1"])
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for student in given.students:
        with tempfile.TemporaryDirectory() as scratch:
            got = ratios(student, given.teacher, given.rounds, Store(Path(scratch)))
        shown = ", ".join(f"{kind} {value:.3f}" for kind, value in got.items() if kind != "alone")
        print(f"{student}: {shown} of the student alone", flush=True)


if __name__ == "__main__":
    main()
