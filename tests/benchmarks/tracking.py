"""What MLflow costs: a study of 2,000 trials × 30 epochs written to a fresh SQLite store, then once
more.

    uv run python -m tests.benchmarks.tracking [--trials 2000] [--epochs 30]

Prints milliseconds a report, wall and processor time, the memory that the writing process grew by
from one tenth of the trials to all of them, what the second writing changed, and the size and
making of the study's page. Nothing asserts on time.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import tempfile
import time
from pathlib import Path

from autokd import report
from autokd.tracking.follower import sync
from autokd.tracking.tracker import Tracker
from tests.helpers import synthetic


def memory() -> float:
    """This process's resident memory now, MB."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize() / 1e6


def rows(store: Path) -> dict[str, int]:
    """How much each of the store's tables holds."""
    with sqlite3.connect(store) as db:
        names = [
            name for (name,) in db.execute("select name from sqlite_master where type = 'table'")
        ]
        return {name: db.execute(f'select count(*) from "{name}"').fetchone()[0] for name in names}


def naive(tracker: Tracker, metrics: int) -> None:
    """For comparison, in the same store and the same minute: one call a metric, as Ray's stock
    callback does.
    """
    client = tracker.experiment.client
    run = client.create_run(client.create_experiment("naive")).info.run_id
    began = time.perf_counter()
    for step in range(5):
        for i in range(metrics):
            client.log_metric(run, f"val/{i}", 0.5, step=step)
    print(
        f"for comparison, one call a metric: {1000 * (time.perf_counter() - began) / 5:.0f} ms a"
        " report"
    )


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--trials", type=int, default=2000)
    asked.add_argument("--epochs", type=int, default=30)
    a = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        synthetic.study(
            root / "studies" / "long", a.trials, epochs=a.epochs, prune=False, broken=False
        )
        events = (root / "studies" / "long" / "events.jsonl").read_bytes()
        reports = events.count(b'"event":"epoch"')
        print(
            f"ledger: {a.trials} trials and their finals, {reports} reports,"
            f" {len(events) / 1e6:.0f} MB"
        )
        import mlflow  # noqa: F401  its import is not what is measured

        store = root / "mlflow.db"
        writer = Tracker(f"sqlite:///{store}", root, "long")
        marks, flushed = [], writer._flush

        def seen() -> int:
            return sum(max(t.metrics, default=0) for t in writer.table.trials.values())

        def flush(caught_up: bool, stopped: bool) -> None:
            flushed(caught_up, stopped)
            marks.append((seen(), memory()))

        writer._flush = flush  # type: ignore[method-assign]
        began, cpu = time.perf_counter(), time.process_time()
        writer.catch_up()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        early = next(m for seen, m in marks if seen >= reports / 10)
        late = marks[-2][1] if len(marks) > 1 else marks[-1][1]  # the last one made the page
        print(
            f"first writing: {wall:.1f} s, {1000 * wall / reports:.2f} ms a report (processor"
            f" {1000 * cpu / reports:.2f} ms)"
        )
        print(
            f"memory: {early:.0f} MB after a tenth, {late:.0f} MB at the end,"
            f" {late - early:+.0f} MB"
        )
        naive(writer, 12)
        before = rows(store)
        began = time.perf_counter()
        sync(root, f"sqlite:///{store}", ["long"])
        after = rows(store)
        changed = {
            name: (before.get(name), n) for name, n in after.items() if before.get(name) != n
        }
        print(
            f"second writing: {time.perf_counter() - began:.1f} s, changed: {changed or 'nothing'}"
        )
        began = time.perf_counter()
        page = report.write(root / "studies" / "long")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"page: {page.stat().st_size / 1e6:.1f} MB in {time.perf_counter() - began:.1f} s; peak"
            f" {peak:.0f} MB"
        )


if __name__ == "__main__":
    main()
