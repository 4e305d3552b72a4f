"""How long a search is said to take, beside one that is driven on virtual time."""

from __future__ import annotations

import functools
import heapq
import json
import math
import random

import pytest

from autokd import space
from autokd.files import built_in
from autokd.recipe import parse
from autokd.recipe.document import canonical
from autokd.study import plan
from autokd.study.forecast import Costs, Shape, forecast, kinds, shape
from autokd.study.jobs import DONE, TEST, Job
from autokd.study.queue import Study
from tests.benchmarks.simulate import Memory


def _costs(s: space.Space) -> Costs:
    """Seconds by what is trained: larger networks and more pixels take longer, far apart."""

    def seconds(name: str, resolution: int) -> float:
        depth, width = map(int, name.removeprefix("cnn-").split("x"))
        return 0.002 * depth * width * resolution**2 / 8

    epochs = {
        kind: seconds(kind.student, kind.resolution)
        + (0.3 * seconds(kind.beside, kind.resolution) if kind.beside else 0)
        for kind in kinds(s)
    }
    networks = {m.student.model for m in plan.teachers(s).values()}
    return Costs(
        epochs,
        {n: 0.2 * seconds(n, 8) for n in networks},
        {n: 30 * seconds(n, 8) for n in networks},
    )


def _driven(s: space.Space, costs: Costs, jobs: int, trials: int) -> float:
    """Virtual seconds of a whole search; a worker makes the tables that are not there."""
    book, draw = Memory(), random.Random(1)
    book.append("created", name="s", seed=0, jobs=jobs, trials=trials, frozen=s.frozen)
    study = Study(
        s, book, jobs=jobs, trials=trials, clock=lambda: book.clock, teach=True, rebuild=False
    )
    quality: dict[str, float] = {}
    tables: set[tuple[str, int]] = set()
    queue: list[tuple[float, int, Job, int]] = []
    book.clock, order = costs.start, 0
    while True:
        while isinstance(job := study.next_job(), Job):
            order, first, took = order + 1, 0, 0.0
            if job.role == "teacher":
                took = costs.teachers[parse(job.recipe).members()[job.member].student.model]
            elif job.trial >= 0:
                first = study.trials[job.trial].checkpoint_epoch + 1
                took = costs.job + _epoch(job, first, costs, tables)
            heapq.heappush(queue, (book.clock + took, order, job, first))
        if not queue:
            assert job is DONE
            return book.clock
        book.clock, _, job, epoch = heapq.heappop(queue)
        if job.trial == TEST:
            results = {n: {"test/accuracy": draw.random()} for n in job.students}
            study.tested(results)
        elif job.role == "preload":
            study.preloaded(job.trial)
        elif job.role == "teacher":
            metrics = {"val/accuracy": 0.9}
            study.taught(job.trial, "taught", metrics=metrics, seconds=1.0, resolution=8)
        else:
            end = quality.setdefault(str(job.trial), draw.random())
            value = {"val/accuracy": end * (1 - math.exp(-epoch / 5)), "val/nll": 1.0}
            kept = "c" if epoch in job.rungs else None
            if not study.report(job.trial, job.attempt, epoch, value, kept):
                continue
            if epoch >= job.recipe["train"]["epochs"]:
                study.finish(job.trial, job.attempt, "finished", student="s", facts={})
            else:
                order += 1
                took = _epoch(job, epoch + 1, costs, tables)
                heapq.heappush(queue, (book.clock + took, order, job, epoch + 1))


def _epoch(job: Job, epoch: int, costs: Costs, tables: set[tuple[str, int]]) -> float:
    kind, members = _about(canonical(job.recipe))
    took = costs.epoch(kind)
    for model, key in members:
        if (key, epoch) not in tables:
            tables.add((key, epoch))
            took += costs.tables[model]
    return took


@functools.cache
def _about(recipe: str) -> tuple[Shape, list[tuple[str, str]]]:
    made = parse(json.loads(recipe))
    names = [member.student.model for member in made.members()]
    return shape(made), [*zip(names, made.member_keys(), strict=True)]


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize(("name", "trials"), [("dtd", 40), ("methods", 50), ("stkd", 30)])
def test_the_time_that_is_foretold_is_within_a_factor_of_two(
    name: str, trials: int, jobs: int
) -> None:
    s = space.load(built_in()[name], sets=("search/sampler=random",))
    costs, made = _costs(s), plan.plan(s, trials)
    told = forecast(s, costs, trials=trials, jobs=jobs, teachers=made.teachers, tables=made.tables)
    took = _driven(s, costs, jobs, trials)
    assert took / 2 <= told.seconds <= took * 2
    assert told.low <= took <= told.high


def test_a_limit_on_time_bounds_what_is_foretold() -> None:
    s = space.load(built_in()["dtd"], sets=("search/time=60",))
    made = plan.plan(s)
    costs = Costs({kind: 10.0 for kind in kinds(s)})
    told = forecast(s, costs, trials=40, jobs=1, teachers=made.teachers, tables=made.tables)
    assert told.seconds == told.high == 60
