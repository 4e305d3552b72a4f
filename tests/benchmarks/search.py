"""(d) A search with and without tables.

    uv run python -m tests.benchmarks.search [--trials 16] [--epochs 4] [--jobs 1]

`autokd search` as a user runs it, over the temperature of DGKD with a ladder of four (resnet56,
resnet44, resnet32 and resnet20 teach resnet8; every member teaches every picture). "With" begins
without a table and fills them; "without" has a budget of 0 (`AUTOKD_CACHE_SIZE=0`), so that every
trial asks every teacher again. The teachers are trained before both, so neither pays for them. No
pruning, no finals. Seconds of the whole command, and of the trials' epochs alone (from the ledger;
the difference is the start of Ray and of its workers, the same on both sides).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPACE = """\
base: base.yaml
search: {sampler: random, asha: {form: none}, finalists: {seeds: 0}}
vary:
  distill/temperature/tau: {uniform: [1, 16]}
"""


def run(folder: Path, *command: str, size: str) -> float:
    own = os.environ | {
        "AUTOKD_CACHE": str(folder / "cache"),
        "AUTOKD_RUNS": str(folder / "runs"),
        "AUTOKD_CACHE_SIZE": size,
    }
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "autokd", *command],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--pictures", type=int, default=640)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--precision", default="bf16")
    args = parser.parse_args()
    train = {
        "epochs": args.epochs,
        "batch_size": 64,
        "lr": 0.01,
        "precision": args.precision,
        "threads": args.threads,
    }
    base = {
        "data": {
            "name": "fake",
            "resolution": 32,
            "limit": args.pictures,
            "augment": {"crop_padding": 4, "flip": True},
        },
        "teacher": {"model": "resnet56", "train": train | {"epochs": 1}},
        "ladder": ["resnet44", "resnet32", "resnet20"],
        "ladder_train": train | {"epochs": 1},
        "student": {"model": "resnet8"},
        "distill": {"preset": "dgkd"},
        "train": train,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "base.yaml").write_text(json.dumps(base))  # JSON is YAML
        (folder / "space.yaml").write_text(SPACE)
        run(
            folder, "train", "base.yaml", "--set", "train/epochs=1", "--quiet", size="0"
        )  # the teachers
        print("| tables | whole command, s | trials' epochs, s | tables, MB |\n|---|---|---|---|")
        seconds: dict[str, tuple[float, float]] = {}
        for side, size in (("with", "10GB"), ("without", "0")):
            shutil.rmtree(folder / "cache" / "tables", ignore_errors=True)
            search = [
                "search",
                "--space",
                "space.yaml",
                "--trials",
                str(args.trials),
                "--jobs",
                str(args.jobs),
                "--name",
                side,
                "--quiet",
            ]
            whole = run(folder, *search, size=size)
            lines = (folder / "runs" / "studies" / side / "events.jsonl").read_text().splitlines()
            epochs = [e for e in map(json.loads, lines) if e["event"] == "epoch"]
            assert len(epochs) == args.trials * args.epochs, f"{len(epochs)} epochs"
            seconds[side] = whole, sum(e["seconds"] for e in epochs)
            kept = (
                sum(p.stat().st_size for p in (folder / "cache" / "tables").rglob("*.safetensors"))
                / 1e6
            )
            print(
                f"| {side} | {seconds[side][0]:.1f} | {seconds[side][1]:.1f} | {kept:.1f} |",
                flush=True,
            )
        print(
            "| without / with | {:.2f} | {:.2f} | |".format(
                *(a / b for a, b in zip(seconds["without"], seconds["with"], strict=True))
            )
        )


if __name__ == "__main__":
    main()
