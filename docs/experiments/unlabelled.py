"""What pictures without labels bring where labels are few: 5 % of 4,000 pictures of Fashion-MNIST
have labels, and the others are a folder's without any.

    uv run python docs/experiments/unlabelled.py --data-dir DIR [--seeds 5] [--epochs 12]

The teacher (cnn-3x32) and all students (cnn-2x16) know the same 200 labels. Prints a Markdown
table: test accuracy, and the paired difference to the student trained alone on the labelled part,
and to one taught by KD on the labelled part, with 95 % intervals over seeds and test pictures.
Every student takes as many steps: so few pictures are seen in more epochs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autokd import data, networks, recipe
from autokd.study import crossed
from autokd.train import prepare
from autokd.train.store import Store

LABELLED, ALL = 200, 4000
DATA = {
    "name": "fashion-mnist",
    "resolution": 28,
    "limit": LABELLED,
    "validation": 0.005,
    "augment": {"crop_padding": 2, "flip": True},
}


def folder(root: Path) -> Path:
    """So many of its training pictures as files, without the labelled and the validation ones."""
    whole = recipe.parse({"data": DATA | {"limit": None}, "student": {"resolution": 28}})
    train = data.load(whole.data).train.pictures
    few = {p.numpy().tobytes() for p in data.load(recipe.parse({"data": DATA}).data).train.pictures}
    rows = np.random.default_rng(0).permutation(len(train))
    chosen = [i for i in rows.tolist() if train[i].numpy().tobytes() not in few]
    for i in chosen[: ALL - LABELLED]:
        Image.fromarray(train[i, 0].numpy()).save(root / f"{i}.png")
    return root


def made(pictures: dict[str, Any], distill: str, teacher: str, epochs: int, seed: int) -> Any:
    return recipe.parse(
        {
            "data": DATA | pictures,
            "teacher": {"model": "cnn-3x32", "weights": teacher},
            "student": {"model": "cnn-2x16"},
            "distill": {"preset": distill},
            "train": {"epochs": epochs, "batch_size": 64, "lr": 0.05, "warmup": 0.1},
            "seed": seed,
        }
    )


def outcomes(own: Any, store: Store) -> tuple[np.ndarray, float]:
    """Which test pictures the student gets right ``[N]``, and its teacher's accuracy."""
    run, _ = prepare.train(own, store)
    split = run.data.read_test()
    right = (run.logits_of(split).argmax(1) == split.labels).numpy().astype(float)
    return right, run.members[-1].accuracy_on(split) if run.members else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    given = parser.parse_args()
    os.environ["AUTOKD_DATA"] = given.data_dir
    many = given.epochs * -(-ALL // 64) // -(-LABELLED // 64)  # as many steps
    with tempfile.TemporaryDirectory() as scratch:
        teacher = f"{scratch}/teacher.safetensors"
        store = Store(Path(scratch))
        train = {"epochs": many, "batch_size": 64, "lr": 0.1, "warmup": 0.1}
        own = recipe.parse(
            {
                "data": DATA,
                "student": {"model": "cnn-3x32"},
                "distill": {"preset": "student-alone"},
                "train": train,
            }
        )
        run, _ = prepare.train(own, store)
        run.save_student(Path(teacher))
        print(f"teacher {networks.weights_hash(run.student)[:12]}, {many} epochs", flush=True)
        (Path(scratch) / "more").mkdir()
        more = {"unlabelled": f"folder:{folder(Path(scratch) / 'more')}"}
        arms: dict[str, tuple[dict[str, Any], str, int]] = {
            "200 labelled, alone": ({}, "student-alone", many),
            "200 labelled, KD": ({}, "kd", many),
            "200 labelled and 3,800 without labels, KD": (more, "kd", given.epochs),
        }
        found: dict[str, list[np.ndarray]] = {arm: [] for arm in arms}
        for seed in range(given.seeds):
            for arm, (pictures, distill, epochs) in arms.items():
                own = made(pictures, distill, teacher, epochs, seed)
                right, of_teacher = outcomes(own, store)
                found[arm].append(right)
                print(f"{arm}, {seed}: {right.mean():.4f}, teacher {of_teacher:.4f}", flush=True)
    values = {arm: np.stack(rows) for arm, rows in found.items()}
    first, second, _ = arms
    print(f"\n| arm | test accuracy | against {first} | against {second} |\n|---|---|---|---|")
    for arm, rows in values.items():
        cells = [f"{100 * rows.mean():.1f}"]
        for other in (first, second):
            cells.append(difference(rows - values[other]) if arm != other else "–")
        print(f"| {arm} | {' | '.join(cells)} |")


def difference(rows: np.ndarray) -> str:
    """Of ``[S, N]`` differences: mean and 95 % interval in points, over seeds and pictures."""
    spread = crossed.of_means(rows, np.arange(rows.shape[1]))
    half = spread.half_width
    low, high = 100 * (rows.mean() - half), 100 * (rows.mean() + half)
    return f"{100 * rows.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


if __name__ == "__main__":
    main()
