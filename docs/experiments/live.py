"""Whole searches beside what one would do without them, at equal epochs, on test pictures.

    uv run python docs/experiments/live.py digits [--searches 3] [--epochs 540] [--seeds 5]
    uv run python docs/experiments/live.py fashion --data-dir DIR
    uv run python docs/experiments/live.py cifar100 --data-dir DIR

For each of several search seeds, three `autokd search` commands, each with as many epochs for its
trials and finals of its own: over all methods, their settings and the learning rate, with today's
defaults (``search``) and with those of before (``before``: the student judged after a third of its
epochs, presets run whole); and over the learning rate of plain KD alone (``KD, rate tuned``). What
each hands back is trained again with seeds that none of them saw, beside the best preset at its
defaults, by one validation run each, and plain KD at its own; test pictures are read then. Prints
test accuracies, and the paired differences of ``search`` to the others with 95 % intervals over
seeds and pictures.

fashion: 4,000 training pictures at 14 px. cifar100: a folder cifar100-small in DIR with train/ and
test/; 2,000 training pictures, the teacher at 32 px, the student at 12.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from autokd import recipe
from autokd.cache import default_cache
from autokd.recipe import axes
from autokd.recipe.document import dump, read
from autokd.study import crossed
from autokd.train import distill, prepare
from autokd.train.store import Store

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "pipelines/digits.yaml"
RESNETS = {"epochs": 30, "batch_size": 64, "lr": 0.1, "warmup": 0.1}
# Of each data set: changes to pipelines/digits.yaml, the range of the learning rate, ladders.
DATA: dict[str, tuple[dict[str, Any], list[float], list[list[str]]]] = {
    "digits": ({}, [0.01, 0.2], [["cnn-3x16"], ["cnn-3x16", "cnn-3x8"]]),
    "fashion": (
        {
            "data/name": "fashion-mnist",
            "data/resolution": 14,
            "data/validation": 0.05,
            "data/limit": 4000,
            "teacher/train/batch_size": 64,
            "ladder_train/batch_size": 64,
            "student/resolution": 14,
            "train/batch_size": 64,
        },
        [0.01, 0.2],
        [["cnn-3x16"], ["cnn-3x16", "cnn-3x8"]],
    ),
    "cifar100": (
        {
            "data/name": "folder:cifar100-small",
            "data/resolution": 32,
            "data/limit": 2000,
            "teacher/model": "resnet20",
            "teacher/train": RESNETS,
            "ladder_train": RESNETS,
            "student/model": "resnet8",
            "student/resolution": 12,
            "train/batch_size": 64,
        },
        [0.02, 0.4],
        [["resnet14"], ["resnet14", "resnet8"]],
    ),
}
SPACES = ("search", "before", "KD, rate tuned")
BEFORE = {"judge": "student", "grace_epochs": 9, "exempt_baselines": True}
FRESH = 5_000_000  # the first seed that no search saw


def base(name: str) -> recipe.Recipe:
    changes = [f"{path}={json.dumps(value)}" for path, value in DATA[name][0].items()]
    return recipe.load(BASE, tuple(changes))


def documents(name: str, folder: Path, epochs: int) -> None:
    """The base and the three spaces."""
    (folder / "base.yaml").write_text(dump(base(name).to_dict()))
    _, rates, ladders = DATA[name]
    rate = {"train/lr": {"log_uniform": rates}}
    methods = read(ROOT / "search_spaces/methods.yaml").data["vary"]["one_of"]
    methods[1]["ladder"] = {"choice": ladders}
    one_of = {"one_of": methods}
    search: dict[str, Any] = {
        "trials": 10_000,
        "epochs": epochs,
        "objective": {"maximize": "val/accuracy"},
        "finalists": {"top": 2, "seeds": 5},
    }
    every = [
        (search, one_of | rate),
        (search | {"asha": BEFORE}, one_of | rate),
        (search, rate),
    ]
    for space, (settings, vary) in zip(SPACES, every, strict=True):
        made = {"base": "base.yaml", "search": settings, "vary": vary}
        (folder / f"{space}.yaml").write_text(dump(made))


def answer(folder: Path, space: str, seed: int) -> recipe.Recipe:
    """What a search with that seed hands back; run now, where it is not there."""
    name = f"{space.replace(', ', '-').replace(' ', '-')}-{seed}"
    found = folder / "mlruns/studies" / name / "recipe.yaml"
    if not found.exists():
        begun = (found.parent / "events.jsonl").exists()
        command = ["--resume", name] if begun else ["--space", f"{space}.yaml", "--name", name]
        command += [] if begun else ["--seed", str(seed), "--jobs", "1"]
        subprocess.run(
            [sys.executable, "-m", "autokd", "search", *command, "--quiet"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return recipe.load(found)


def best_preset(start: recipe.Recipe, ladder: list[str], store: Store) -> recipe.Recipe:
    """The preset whose defaults come best through one run, by validation accuracy."""
    found: list[tuple[float, recipe.Recipe]] = []
    for name in sorted(set(axes.presets()) - {"student-alone"}):
        changes: dict[str, Any] = {"distill": {"preset": name}}
        try:
            made = start.with_(changes)
        except recipe.RecipeError:  # it needs assistants
            made = start.with_({**changes, "ladder": ladder})
        try:
            found.append((prepare.train(made, store)[1]["val/accuracy"], made))
        except distill.Diverged:
            continue
    return max(found, key=lambda f: f[0])[1]


def outcomes(made: recipe.Recipe, seeds: int, store: Store) -> np.ndarray:
    """``[seeds, pictures]``: whether each test picture was answered rightly."""
    rows = []
    for seed in range(seeds):
        run = prepare.train(made.with_({"seed": FRESH + seed}), store)[0]
        test = run.data.read_test()
        rows.append((run.logits_of(test).argmax(1) == test.labels).cpu().numpy())
    return np.stack(rows)


def difference(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Points, with the 95 % interval over seeds and pictures."""
    d = ours.astype(float) - theirs
    half = crossed.of_means(d, np.arange(d.shape[1])).half_width
    return f"{100 * d.mean():+.1f} ± {100 * half:.1f}"


def described(made: recipe.Recipe, start: recipe.Recipe) -> str:
    """What it changes of the base."""
    was, now = flat(start.to_dict()), flat(made.to_dict())
    parts = (
        f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}"
        for k, v in now.items()
        if was.get(k) != v
    )
    return ", ".join(p for p in parts if not p.startswith("seed="))


def flat(tree: dict[str, Any], under: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            out |= flat(value, f"{under}{key}/")
        else:
            out[f"{under}{key}"] = value
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=list(DATA))
    parser.add_argument("--data-dir")
    parser.add_argument("--searches", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=540)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("live"), help="where the studies are kept")
    args = parser.parse_args()
    if args.data_dir:
        os.environ["AUTOKD_DATA"] = args.data_dir
    folder = args.out.resolve() / args.name
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["AUTOKD_RUNS"] = str(folder / "mlruns")
    documents(args.name, folder, args.epochs)
    start, store = base(args.name), Store(default_cache())
    kept: dict[str, np.ndarray] = {}

    def right(made: recipe.Recipe) -> np.ndarray:
        if made.fingerprint not in kept:
            kept[made.fingerprint] = outcomes(made, args.seeds, store)
        return kept[made.fingerprint]

    preset = best_preset(start, DATA[args.name][2][0], store)
    fixed = {"best preset": preset, "KD": start}
    print(f"best preset: {described(preset, start)}", flush=True)
    print("| search seed | answer | test, % |", *(f"against {n} |" for n in (*SPACES[1:], *fixed)))
    print(f"|{'---|' * (3 + len(SPACES) - 1 + len(fixed))}")
    for seed in range(args.searches):
        answers = {space: answer(folder, space, seed) for space in SPACES}
        ours = right(answers.pop("search"))
        cells = [difference(ours, right(other)) for other in (answers | fixed).values()]
        what = described(answer(folder, "search", seed), start)
        print(f"| {seed} | {what} | {100 * ours.mean():.1f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
