"""What a search costs beyond its training: per trial, per report, with two workers, and in the
driver's memory.

    uv run python -m tests.benchmarks.overhead [--parts trial workers memory]

trial: trials of 1 and of 31 epochs with one worker, MLflow (SQLite) and ledger included. The wall
time less what the workers spent in their steps is overhead; what the longer trials have more of it
belongs to their reports. workers: trials of about a second, one worker and two, in turns. Both are
counted from when every worker has ended a trial, and once more from the first trial's start,
workers' start-up (Ray's processes, PyTorch's import) included. memory: the driver's resident memory
along 500 trials of one epoch. Every search is a process of its own, as a user starts it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from autokd.study import ledger

BASE = """\
data:    {name: digits, resolution: 8, limit: %d}
student: {model: cnn-2x8}
distill: {preset: student-alone}
train:   {epochs: %d, batch_size: 20, lr: 0.05}
"""
SPACE = """\
base: base.yaml
search: {trials: %d, asha: {form: none}, finalists: {seeds: 0}}
vary: {train/lr: {log_uniform: [0.01, 0.1]}, train/weight_decay: {log_uniform: [1.0e-5, 1.0e-3]}}
"""


@dataclass
class Found:
    """What one search took, in seconds."""

    inside: float  # within the workers' steps
    inside_steady: float  # of the trials that ended in ``steady``
    whole: float  # from the first trial's start to the last one's end
    began: float  # from the process's start to the end of every worker's first trial
    steady: float  # from there to the last trial's end
    ended: int  # trials that ended in ``steady``
    memory: list[float]  # the driver's MB, every so many trials


def search(
    where: Path, *, trials: int, epochs: int, jobs: int, limit: int = 40, every: int = 0
) -> Found:
    where.mkdir()
    (where / "base.yaml").write_text(BASE % (limit, epochs))
    (where / "space.yaml").write_text(SPACE % trials)
    command = [
        sys.executable,
        "-m",
        "autokd",
        "search",
        "--space",
        "space.yaml",
        "--name",
        "s",
        "--jobs",
        str(jobs),
        "--quiet",
    ]
    start = time.time()
    with subprocess.Popen(
        command,
        cwd=where,
        env=os.environ | {"AUTOKD_CACHE": str(where / "cache")},
        stdout=subprocess.DEVNULL,
    ) as process:
        file = where / "mlruns/studies/s/events.jsonl"
        memory = list[float]()
        while process.poll() is None:
            ended = file.read_bytes().count(b'"finished"') if every and file.exists() else 0
            if every and ended >= every * (len(memory) + 1):
                status = Path(f"/proc/{process.pid}/status").read_text()
                memory.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
            time.sleep(0.2)
    events, table = ledger.read(file.parent)
    assert process.returncode == 0 and all(t.state == "complete" for t in table.trials.values())
    first = max(table.trials[i].ended for i in range(jobs))  # the first trials, one for each worker
    ends = sorted(t.ended for t in table.trials.values())
    whole = ends[-1] - min(e["t"] for e in events if e["event"] == "started")
    spent = [
        (table.trials[e["trial"]].ended > first, e["seconds"])
        for e in events
        if e["event"] == "epoch"
    ]
    inside = sum(s for _, s in spent)
    inside_steady = sum(s for later, s in spent if later)
    return Found(
        inside,
        inside_steady,
        whole,
        first - start,
        ends[-1] - first,
        sum(t > first for t in ends),
        memory,
    )


def per_trial(root: Path, rounds: int, trials: int) -> None:
    steady = []
    whole = []
    long = []
    began = []
    for i in range(rounds):
        short = search(root / f"t1-{i}", trials=trials, epochs=1, jobs=1)
        whole.append((short.whole - short.inside) / trials)
        steady.append((short.steady - short.inside_steady) / short.ended)
        began.append(short.began)
        found = search(root / f"t31-{i}", trials=trials, epochs=31, jobs=1)
        long.append((found.whole - found.inside) / trials)
    report = (statistics.median(long) - statistics.median(whole)) / 30
    print(f"| overhead of a trial, one worker | {statistics.median(steady):.3f} s | 0.5 s |")
    print(
        f"| the same, with the worker's start-up spread over {trials} trials |"
        f" {statistics.median(whole):.3f} s | |"
    )
    print(f"| overhead of a report (an epoch) | {1000 * report:.1f} ms | 5 ms |")
    print(
        f"| from the command to the first trial's end | {statistics.median(began):.1f} s | |",
        flush=True,
    )


def workers(root: Path, rounds: int, trials: int, epochs: int) -> None:
    rates = []
    whole = []
    seconds = []
    for i in range(rounds):
        one, two = (
            search(root / f"w{jobs}-{i}", trials=trials, epochs=epochs, jobs=jobs, limit=200)
            for jobs in (1, 2)
        )
        seconds.append(one.inside / trials)
        rates.append((two.ended / two.steady) / (one.ended / one.steady))
        whole.append(one.whole / two.whole)
    print(
        f"| trials per minute, two workers against one, trials of {statistics.median(seconds):.2f}"
        f" s | {statistics.median(rates):.2f} × | 1.6 × |"
    )
    print(
        f"| the same over the whole of {trials} trials, start-up included |"
        f" {statistics.median(whole):.2f} × | |",
        flush=True,
    )


def memory(root: Path, trials: int) -> None:
    found = search(root / "memory", trials=trials, epochs=1, jobs=2, every=trials // 10)
    shown = ", ".join(f"{x:.0f}" for x in found.memory)
    print(f"| driver's memory at each tenth of {trials} trials | {shown} MB | flat |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="*", default=["trial", "workers", "memory"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=50, help="of the trials that two workers run")
    args = parser.parse_args()
    print("| | measured | goal |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        if "trial" in args.parts:
            per_trial(Path(folder), args.rounds, args.trials)
        if "workers" in args.parts:
            workers(Path(folder), args.rounds, args.trials, args.epochs)
        if "memory" in args.parts:
            memory(Path(folder), 500)


if __name__ == "__main__":
    main()
