"""Every preset beside the two controls, under one equal budget: same data, networks, epochs,
optimizer and seeds.

    uv run python docs/experiments/presets.py [--base pipelines/digits.yaml] [--seeds 8] \\
        [--set PATH=VALUE]…

Each preset runs at its defaults, not tuned; presets that need a ladder get one. Prints a
Markdown table: validation accuracy, and the paired difference to the student alone and to reference
KD with 95 % t intervals over the seeds.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from autokd import recipe
from autokd.cache import default_cache
from autokd.recipe import axes
from autokd.study import words
from autokd.study.statistics import paired
from autokd.train import distill, prepare
from autokd.train.store import Store


def accuracies(made: recipe.Recipe, seeds: int, store: Store) -> list[float] | str:
    out = []
    for seed in range(seeds):
        try:
            _, metrics = prepare.train(made.with_({"seed": made.seed + seed}), store)
        except distill.Diverged as e:
            return f"diverged: {e}"
        out.append(metrics["val/accuracy"])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, default=Path("pipelines/digits.yaml"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--ladder", nargs="*", default=["cnn-3x16", "cnn-3x8"])
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    base = recipe.load(args.base, tuple(args.set))
    store = Store(default_cache())
    rows: dict[str, list[float] | str] = {}
    for name in ["student-alone", "kd", *sorted(set(axes.presets()) - {"student-alone", "kd"})]:
        made = base.with_({"distill": {"preset": name}})
        if made.needs_ladder:
            made = made.with_({"ladder": args.ladder})
        rows[name] = accuracies(made, args.seeds, store)
    alone, plain = rows["student-alone"], rows["kd"]
    assert not isinstance(alone, str) and not isinstance(plain, str)
    print(
        "| preset | accuracy % | against student alone | against reference KD |\n|---|---|---|---|"
    )
    for name, values in rows.items():
        if isinstance(values, str):
            print(f"| {name} | {values} | | |")
            continue
        cells = [f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"]
        for control in (alone, plain):
            d = paired("", values, control)
            cells.append(
                "–"
                if values is control
                else f"{words.figure(d, 'val/accuracy').replace(' points', '')}"
                f" {words.shown(d, 'val/accuracy')}"
            )
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
