"""Records learning curves for the replay: configurations of a space, drawn at random, each trained
to its full length.

    uv run python -m tests.benchmarks.curves digits [--configurations 200] [--seeds 0 1]
    uv run python -m tests.benchmarks.curves fashion --data-dir DIR [--configurations 120]
    uv run python -m tests.benchmarks.curves cifar100 --data-dir DIR [--configurations 60]
    uv run python -m tests.benchmarks.curves digits --summary

Every preset of search_spaces/methods.yaml at its defaults comes first, at each student's
resolution, then points drawn by a generator seeded by their number, so that more can be added
later; the learning rate is varied too. A line of tests/benchmarks/curves/<name>-<seed>.jsonl is one
run: validation accuracy and NLL of each epoch, of the student and of the averages of its weights,
and, with seed 0, what Optuna would see of it. What the files hold already is not run again.
Teachers and tables are computed once (`AUTOKD_CACHE`). cifar100 is a folder of that name in DIR
with train/ and test/: 40 pictures a class for training.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autokd import space
from autokd.recipe.document import read as read_document
from autokd.space import Space
from autokd.space.tree import Free, OneOf, Point

ROOT = Path(__file__).resolve().parents[2]
CURVES = Path(__file__).resolve().parent / "curves"
# A set's changes to the base of the space of methods, and to what is varied in it.
SETS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "digits": ((), {"train/lr": {"log_uniform": [0.01, 0.2]}}),
    "fashion": (
        (
            "data/name=fashion-mnist",
            "data/resolution=14",
            "data/validation=0.05",
            "data/limit=400",
            "teacher/train/batch_size=20",
            "ladder_train/batch_size=20",
            "train/batch_size=20",
        ),
        {"train/lr": {"log_uniform": [0.01, 0.2]}},
    ),
    "cifar100": (  # 20 pictures a class to train on, 8 for validation
        (
            "data/name=folder:cifar100-small",
            "data/resolution=32",
            "data/limit=2000",
            "teacher/model=resnet20",
            "teacher/train={epochs: 30, batch_size: 64, lr: 0.1, warmup: 0.1}",
            "ladder_train={epochs: 30, batch_size: 64, lr: 0.1, warmup: 0.1}",
            "train/batch_size=64",
        ),
        {
            "train/lr": {"log_uniform": [0.02, 0.4]},
            "teacher/model": {"choice": ["resnet20"]},
            "student/model": {"choice": ["resnet8", "cnn-3x16"]},
            "student/resolution": {"choice": [32]},
        },
    ),
}
LADDERS = {"cifar100": [["resnet14"], ["resnet14", "resnet8"]]}  # else those of the space
AVERAGES = (1, 3)  # epochs over which weights are averaged


def load(name: str, *more: str) -> Space:
    """The space of methods on that data."""
    document = read_document(ROOT / "search_spaces/methods.yaml")
    sets, varied = SETS[name]
    document.data["vary"] |= varied
    if name in LADDERS:
        document.data["vary"]["one_of"][1]["ladder"] = {"choice": LADDERS[name]}
    return space.load(document, sets=(*sets, *more))


def drawn(index: int) -> Callable[[Free], Any]:
    """Choices for the configuration of that number: uniform over branches and ranges, on a log
    scale where the range is.
    """
    rng = np.random.default_rng(index)

    def choose(node: Free) -> Any:
        if isinstance(node, OneOf) or node.kind == "choice":
            return node.options[rng.integers(len(node.options))]
        low, high = node.options
        if node.kind == "int_uniform":
            return int(rng.integers(low, high + 1))
        if node.kind == "log_uniform":
            return float(np.exp(rng.uniform(np.log(low), np.log(high))))
        return float(rng.uniform(low, high))

    return choose


def configurations(s: Space, count: int) -> list[tuple[str, Point]]:
    """``(name of the preset, or nothing, point)``; every preset first."""
    first = s.starting_points()
    return [*first, *(("", s.point(drawn(i))) for i in range(len(first), count))]


def run(point: Point, seed: int, store: Any) -> dict[str, Any]:
    """Train it to its end: accuracy and NLL of the student after each epoch, and of the averages of
    its weights. A run that diverges keeps the epochs before.
    """
    from autokd.recipe import parse
    from autokd.train import metrics, prepare
    from autokd.train.averaging import MovingAverage, decay_over
    from autokd.train.batches import steps_in
    from autokd.train.distill import Diverged

    made = prepare.start(parse(point.data).with_({"seed": seed}), store)
    steps = steps_in(len(made.data.train), made.recipe.train.batch_size)
    averages = {n: MovingAverage(made.student, decay_over(n * steps)) for n in AVERAGES}
    made.optimizer.register_step_post_hook(
        lambda *_: [average.update() for average in averages.values()] and None
    )
    out: dict[str, Any] = {"accuracy": [], "nll": []}
    out |= {f"average {n}": {"accuracy": [], "nll": []} for n in AVERAGES}
    try:
        while not made.done:
            found = {"": made.epoch()}
            labels = made.data.validation.labels
            for n, average in averages.items():
                logits = made.logits(made.validation, average.network)
                measured = metrics.evaluate(logits, labels)
                found[f"average {n}"] = {f"val/{k}": v for k, v in measured.items()}
            for name, values in found.items():
                kept = out[name] if name else out
                for metric in ("accuracy", "nll"):
                    kept[metric].append(round(values[f"val/{metric}"], 4))
    except Diverged:
        pass
    return out


def file(name: str, seed: int) -> Path:
    return CURVES / f"{name}-{seed}.jsonl"


def read(name: str, seed: int) -> dict[int, dict[str, Any]]:
    """The recorded runs by their configuration's number."""
    path = file(name, seed)
    runs = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {r["index"]: r for r in runs}


def record(
    name: str, seed: int, found: list[tuple[str, Point]], store: Any, described: bool
) -> None:
    """Add what is missing to the file of that seed."""
    done = read(name, seed)
    with file(name, seed).open("a") as out:
        for index, (preset, point) in enumerate(found):
            if index in done:
                continue
            made = run(point, seed, store)
            about = (
                {
                    "name": preset,
                    "branch": point.branch,
                    "params": rounded(point.params),
                    "varied": rounded(point.varied),
                }
                if described
                else {}
            )
            out.write(json.dumps({"index": index, **about, **made}, separators=(",", ":")) + "\n")
            out.flush()
            print(f"{index} seed {seed}: {point.branch}: {made['accuracy'][-1:]}", flush=True)


def summary(name: str) -> str:
    """What the recorded curves say of pruning: each epoch's rank correlation with the final
    accuracy, and the noise of a seed.
    """
    from scipy.stats import spearmanr

    first, second = read(name, 0), read(name, 1)
    accuracy = np.array([r["accuracy"] for r in first.values()])
    final = accuracy[:, -1]
    good = final >= np.median(final)
    both = np.array(
        [(first[i]["accuracy"][-1], second[i]["accuracy"][-1]) for i in first if i in second]
    )
    noise, noise_of_good = (
        100 * np.sqrt((np.diff(pairs) ** 2).mean() / 2)
        for pairs in (both, both[both.mean(1) >= np.median(final)])
    )
    rows = [
        (
            f"{name}: {len(first)} configurations of {len({r['branch'] for r in first.values()})}"
            f" branches, {len(both)} of them at two seeds"
        ),
        (
            f"final accuracy, %: median {100 * np.median(final):.1f}, best {100 * final.max():.1f};"
            f" best mean of two seeds {100 * both.mean(1).max():.1f}"
        ),
        f"sd of a seed, points: {noise:.1f}; of the better half {noise_of_good:.1f}",
        "rank correlation with the final accuracy, of all and of the better half:",
        *(
            f"  epoch {e}: {spearmanr(accuracy[:, e - 1], final)[0]:.2f},"
            f" {spearmanr(accuracy[good, e - 1], final[good])[0]:.2f}"
            for e in (1, 3, 6, 9, 13, 18)
        ),
    ]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=list(SETS))
    parser.add_argument("--configurations", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--data-dir", help="where torchvision's files are; else AUTOKD_DATA")
    parser.add_argument(
        "--summary", action="store_true", help="say what is recorded, and record nothing"
    )
    args = parser.parse_args()
    if args.summary:
        print(summary(args.name))
        return
    if args.data_dir:
        os.environ["AUTOKD_DATA"] = args.data_dir

    from autokd.cache import default_cache
    from autokd.train.store import Store

    store = Store(default_cache())
    found = configurations(load(args.name), args.configurations)
    CURVES.mkdir(exist_ok=True)
    for seed in args.seeds:
        record(args.name, seed, found, store, described=seed == 0)


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Five significant digits are enough to say where a point lies."""
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in values.items()}


if __name__ == "__main__":
    main()
