"""What a search will cost, measured: epochs of each kind of student in the space, and of those who
teach, on some of its pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from autokd import cache, data
from autokd.recipe import Recipe
from autokd.space import Space
from autokd.study import forecast, plan
from autokd.study.forecast import Costs, Shape
from autokd.study.plan import Plan
from autokd.train import prepare
from autokd.train.distill import Run
from autokd.train.store import Store

SAMPLE = 512  # training pictures
BYTES = {"fp16": 2, "fp32": 4}  # of one logit in a table
PATIENCE = 60.0  # seconds, after which no further kind is measured
T = TypeVar("T")


class Probe:
    """Measures on a sample of the base's pictures; times are those of all of them."""

    def __init__(self, base: Recipe):
        self.store = Store(None, "cuda" if torch.cuda.is_available() else "cpu")
        whole = data.load(base.data, self.store.device)
        self.all = len(whole.train)
        self.classes = len(whole.classes)
        own = self.all - whole.summary["unlabelled"]
        self.few = min(own, max(SAMPLE, 4 * self.classes, 4 * base.train.batch_size))
        self.width = 0  # of a teacher's embedding, where one is a table
        self.began = time.monotonic()

    @property
    def tired(self) -> bool:
        return time.monotonic() - self.began > PATIENCE

    def student(self, recipe: Recipe) -> tuple[float, float]:
        """Seconds of an epoch with its tables, and of making those of one network."""
        short = self._short(recipe)
        run = prepare.start(short, self.store)
        run.epoch()  # the first of a process is slow
        cold, _ = _timed(run.epoch)
        again = prepare.start(short, self.store)
        again.epoch()
        warm, _ = _timed(again.epoch)
        if recipe.tables_embeddings:
            self.width = max(self.width, _width(again))
        table = max(cold - warm, 0.0) * self.all / self.few / max(len(run.members), 1)
        return self._scaled(again, warm), table

    def teacher(self, member: Recipe) -> float:
        """Seconds of an epoch of a teacher's or assistant's own training."""
        run = prepare.start(self._short(member), self.store)
        run.epoch()
        return self._scaled(run, _timed(run.epoch)[0])

    def _short(self, recipe: Recipe) -> Recipe:
        least = {"train/epochs": 2, "ladder_train/epochs": 1}
        if recipe.teacher.train:
            least["teacher/train/epochs"] = 1
        short = recipe.with_(least)
        if self.few < self.all:
            fewer = {"data/limit": self.few, "data/labelled": None, "data/unlabelled": None}
            short = short.with_(fewer)
        return short

    def _scaled(self, run: Run, seconds: float) -> float:
        """Validation is whole in the probe too."""
        measuring, _ = _timed(lambda: run.logits(run.validation))
        return max(seconds - measuring, 0.0) * self.all / self.few + measuring


def probe(space: Space, made: Plan, jobs: int) -> Plan:
    """The plan with the time and disk that it will take."""
    probe = Probe(space.base)
    made.notes += data.notes(space.base.data)
    costs = _costs(space, probe)
    found = forecast.forecast(
        space, costs, trials=made.trials, jobs=jobs, teachers=made.teachers, tables=made.tables
    )
    made.seconds, made.low, made.high = found.seconds, found.low, found.high
    made.measured = {str(kind): round(seconds, 4) for kind, seconds in costs.epochs.items()}
    numbers = made.tables * probe.classes + made.embedded * (probe.classes + probe.width)
    made.disk_mb = numbers * probe.all * BYTES[space.base.teacher.table] / 1e6
    limit = cache.budget(cache.default_cache(), 0) / 1e6
    if made.disk_mb > limit:
        made.notes.append(
            f"tables may take {limit:,.0f} MB (AUTOKD_CACHE_SIZE): what is beyond is computed again"
            " by each trial"
        )
    return made


def _costs(space: Space, probe: Probe) -> Costs:
    """The most frequent kinds first; what is not measured in time counts as those most alike."""
    epochs: dict[Shape, float] = {}
    tables: dict[str, float] = {}
    teachers: dict[str, float] = {}
    for kind, (recipe, _) in forecast.kinds(space).items():
        if epochs and probe.tired:
            break
        epochs[kind], table = probe.student(recipe)
        if recipe.needs_teacher:
            name = recipe.teacher.model
            tables[name] = max(table, tables.get(name, 0.0))
    for (_, weights), member in plan.teachers(space).items():
        name = member.student.model
        if weights == "train" and name not in teachers and not (teachers and probe.tired):
            teachers[name] = probe.teacher(member) * member.train.epochs
    return Costs(epochs, tables, teachers)


def _width(run: Run) -> int:
    """How many numbers the full teacher's embedding has."""
    network, side = run.members[-1].network, run.members[-1].resolution
    with torch.inference_mode():
        return network.embedding(
            torch.zeros(2, run.data.channels, side, side, device=run.device)
        ).shape[1]


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    began = time.monotonic()
    done = work()
    return time.monotonic() - began, done
