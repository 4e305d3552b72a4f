"""What a study says of distillation where training is free, with and without tuned controls.

    uv run python -m tests.benchmarks.tuned [--studies 60] [--trials 40] [--shares 0 0.25 0.5]
        [--start random]

Each study is a real ``Study`` over ``train/lr`` (two decades) and ``distill/temperature/tau``; its
trials are replaced by a synthetic curve. The student alone is best at one learning rate, somewhere
in the middle of the range's lower half, distillation at another, in that of the upper half; either
loses 5 points a squared decade from there. Distilled it ends ``gain`` points higher; a run's noise
is half a point. Printed is how often the answer says that distillation helps, that it does not (no
larger than ±1 point, or hurts), or that this is not shown; and how far from its best the student
alone was that decided it (median, in points).
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections import Counter
from typing import Any

from autokd import space
from autokd.recipe import document
from autokd.space import Space
from autokd.study import verdict
from autokd.study.controls import ALONE, TUNED
from autokd.study.queue import Study
from tests.benchmarks.simulate import Memory
from tests.study.driver import drive

BASE = {
    "data": {"name": "digits"},
    "student": {"model": "cnn-2x8"},
    "distill": {"preset": "kd"},
    "train": {"epochs": 9, "lr": 0.1},
}
NOISE = 0.005
STEEP = 0.05  # lost a squared decade


def searched(trials: int, share: float, start: str) -> Space:
    vary = {
        "train/lr": {"log_uniform": [0.01, 1.0]},
        "distill/temperature/tau": {"uniform": [1, 16]},
    }
    search = {
        "trials": trials,
        "controls": {"share": share, "start": start},
        "finalists": {"seeds": 5},
    }
    data = {"base": "base.yaml", "search": search, "vary": vary}
    return space.build(document.Document(data), document.Document(BASE))


class World:
    """The values of one study's runs."""

    def __init__(self, seed: int, gain: float):
        draw = random.Random(seed)
        self.seed = seed
        self.gain = gain
        # decades: by whether there is no distillation
        self.best = {True: draw.uniform(-1.75, -1.25), False: draw.uniform(-0.75, -0.25)}

    def lost(self, recipe: dict[str, Any]) -> float:
        far = math.log10(recipe["train"]["lr"]) - self.best[alone(recipe)]
        return STEEP * far**2

    def value(self, recipe: dict[str, Any], epoch: int) -> float:
        run = f"{self.seed} {recipe['seed']} {alone(recipe)} {recipe['train']['lr']}"
        tau = recipe["distill"]["temperature"].get("tau")
        noise = random.Random(f"{run} {tau}").gauss(0, NOISE)
        gain = 0.0 if alone(recipe) else self.gain
        return 0.9 + gain - self.lost(recipe) + noise - 0.3 * math.exp(-epoch)


def alone(recipe: dict[str, Any]) -> bool:
    return set(recipe["distill"]["losses"]) == {"ce"}


def answer(trials: int, share: float, seed: int, gain: float, start: str) -> tuple[str, float]:
    """The verdict, and what the control that decided it had lost."""
    s, world = searched(trials, share, start), World(seed, gain)
    book = Memory()
    book.append("created", name="", seed=seed, jobs=1, trials=trials, frozen=s.frozen)
    study = Study(s, book, seed=seed)
    drive(study, f=world.value)
    (found,) = verdict.results(book.table, study.metric, study.sign)
    d = found.against(ALONE, found.headline)
    assert d is not None
    own = found.runs[TUNED[ALONE] if TUNED[ALONE] in found.runs else ALONE]
    return d.verdict, 100 * world.lost(study.trials[min(own.values())].recipe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.25, 0.5])
    parser.add_argument("--gains", type=float, nargs="+", default=[0.0, 3.0])
    parser.add_argument("--start", choices=["even", "random"], default="even")
    given = parser.parse_args()
    print("| gain | share | helps | does not | not shown | the student alone's loss |")
    print("|---|---|---|---|---|---|")
    for gain in given.gains:
        for share in given.shares:
            seen = [
                answer(given.trials, share, seed, gain / 100, given.start)
                for seed in range(given.studies)
            ]
            said = Counter(v for v, _ in seen)
            counts = said["better"], said["no larger"] + said["worse"], said["not shown"]
            told = " | ".join(f"{100 * n / given.studies:.0f} %" for n in counts)
            lost = statistics.median(x for _, x in seen)
            print(f"| {gain:g} | {share:g} | {told} | {lost:.2f} |", flush=True)


if __name__ == "__main__":
    main()
