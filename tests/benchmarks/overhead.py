"""What a search costs beyond its training: per trial, per report, with two workers, and in the driver's memory.

    uv run python tests/benchmarks/overhead.py [--parts trial workers memory]

trial: trials of 1 and of 31 epochs with one worker, MLflow (SQLite) and ledger included. The wall time from the first trial's start to the
last one's end, less what the workers spent in their steps, is overhead; what the longer trials have more of it belongs to their reports.
workers: trials of about a second, one worker and two, in turns. memory: the driver's resident memory along 500 trials of one epoch.
Every search is a process of its own, as a user starts it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autokd import ledger

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


def search(where: Path, *, trials: int, epochs: int, jobs: int, limit: int = 40, every: int = 0) -> tuple[float, float, list[float]]:
    """One search. Wall seconds from the first start to the last end, seconds within the workers' steps, and the driver's MB every so many trials."""
    where.mkdir()
    (where / "base.yaml").write_text(BASE % (limit, epochs))
    (where / "space.yaml").write_text(SPACE % trials)
    command = [sys.executable, "-m", "autokd", "search", "--space", "space.yaml", "--name", "s", "--jobs", str(jobs), "--quiet"]
    with subprocess.Popen(command, cwd=where, env=os.environ | {"AUTOKD_CACHE": str(where / "cache")}, stdout=subprocess.DEVNULL) as process:
        file, memory = where / "mlruns/studies/s/events.jsonl", list[float]()
        while process.poll() is None:
            ended = file.read_bytes().count(b'"finished"') if every and file.exists() else 0
            if every and ended >= every * (len(memory) + 1):
                status = Path(f"/proc/{process.pid}/status").read_text()
                memory.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
            time.sleep(0.2)
    events, table = ledger.read(file.parent)
    assert process.returncode == 0 and all(t.state == "complete" for t in table.trials.values())
    wall = max(t.ended for t in table.trials.values()) - min(e["t"] for e in events if e["event"] == "started")
    inside = sum(e["seconds"] for e in events if e["event"] == "epoch")
    return wall, inside, memory


def per_trial(root: Path, rounds: int, trials: int) -> None:
    short, long = [], []
    for i in range(rounds):
        for found, epochs in ((short, 1), (long, 31)):
            wall, inside, _ = search(root / f"t{epochs}-{i}", trials=trials, epochs=epochs, jobs=1)
            found.append((wall - inside) / trials)
    report = (statistics.median(long) - statistics.median(short)) / 30
    print(f"| overhead of a trial, one worker, {trials} trials | {statistics.median(short):.3f} s | 0.5 s |")
    print(f"| overhead of a report (an epoch) | {1000 * report:.1f} ms | 5 ms |", flush=True)


def workers(root: Path, rounds: int, trials: int, epochs: int) -> None:
    ratios, seconds = [], []
    for i in range(rounds):
        walls = {}
        for jobs in (1, 2):
            walls[jobs], inside, _ = search(root / f"w{jobs}-{i}", trials=trials, epochs=epochs, jobs=jobs, limit=200)
            seconds += [inside / trials] if jobs == 1 else []
        ratios.append(walls[1] / walls[2])
    print(f"| two workers against one, trials of {statistics.median(seconds):.2f} s | {statistics.median(ratios):.2f} × | 1.6 × |", flush=True)


def memory(root: Path, trials: int) -> None:
    _, _, found = search(root / "memory", trials=trials, epochs=1, jobs=2, every=trials // 10)
    shown = ", ".join(f"{x:.0f}" for x in found)
    print(f"| driver's memory at each tenth of {trials} trials | {shown} MB | flat |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=["trial", "workers", "memory"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=27, help="of the trials that two workers run")
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
