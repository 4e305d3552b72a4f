"""How long a search will take, from what epochs cost: those of each kind of student in the space,
of each teacher and of its tables. Light; :mod:`autokd.engine.probe` measures the costs.

Counted is what the space lets differ: which networks and resolutions trials have (a sample of it,
as a search draws it, and the baselines themselves), how far pruning lets them go, which tables and
teachers are made once for all.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from autokd.recipe import Recipe, check
from autokd.space import Space, training
from autokd.space.tree import Free, Leaf, Point
from autokd.study import asha
from autokd.study.controls import ALONE, REFERENCE, with_controls

SAMPLE = 200  # points of the space
RANGE = 0.6, 1.7  # of the expectation: what ASHA, shared controls and a busy machine leave open


class Shape(NamedTuple):
    """What the time of a student's epoch depends on."""

    student: str
    resolution: int
    taught: bool  # whether anything asks a teacher
    # the network that is run on every batch beside the student, where a loss looks into it
    beside: str
    batch: int

    def __str__(self) -> str:
        beside = f" beside {self.beside}" if self.beside else ""
        return f"{self.student} at {self.resolution} px{beside}"


@dataclass
class Costs:
    """Seconds. ``epochs``: of a student, its tables being there; ``tables``: of one epoch's table,
    by network; ``teachers``: of a whole training, by network; ``job``: of a trial's stretch besides
    its epochs; ``start``: of Ray and its workers.
    """

    epochs: Mapping[Shape, float]
    tables: Mapping[str, float] = field(default_factory=dict)
    teachers: Mapping[str, float] = field(default_factory=dict)
    job: float = 0.5
    start: float = 15.0

    def epoch(self, shape: Shape) -> float:
        """Of a kind that was not measured: as those most alike."""
        near = [
            [v for k, v in self.epochs.items() if k == shape],
            [v for k, v in self.epochs.items() if k[:2] == shape[:2]],
            [v for k, v in self.epochs.items() if k.student == shape.student],
            [*self.epochs.values()],
        ]
        return statistics.fmean(next(values for values in near if values))


@dataclass(frozen=True)
class Forecast:
    """Seconds of wall time: what is expected, and between what it should lie."""

    seconds: float
    low: float
    high: float


def shape(recipe: Recipe) -> Shape:
    scratch = recipe.methods.teaching.method.flags.get("scratch")
    beside = recipe.teacher.model if recipe.online or scratch else ""
    return Shape(
        recipe.student.model,
        recipe.resolution,
        recipe.needs_teacher,
        beside,
        recipe.train.batch_size,
    )


def drawn(space: Space, number: int = SAMPLE) -> list[Recipe]:
    """Recipes from all over the space, each choice as likely as any other."""
    draw = random.Random(0)

    def choose(node: Free) -> object:
        if not isinstance(node, Leaf):
            return draw.choice(node.labels)
        if node.kind == "choice":
            return draw.choice(node.options)
        low, high = node.options
        return draw.randint(low, high) if node.kind == "int_uniform" else draw.uniform(low, high)

    points = (space.point(choose) for _ in range(number))
    return [*_recipes(space, points)]


def _recipes(space: Space, points: Iterator[Point]) -> Iterator[Recipe]:
    for point in points:
        made, _ = check(point.data)
        if made is not None and not space.forbidden(point):
            yield made


def kinds(space: Space) -> dict[Shape, tuple[Recipe, float]]:
    """Each kind of student with a recipe of it and its share, the most frequent first; controls
    too.
    """
    found = drawn(space) or [space.base]
    found += [made for _, p in space.starting_points() if (made := check(p.data)[0])]
    counts = Counter(shape(r) for r in found)
    example = {shape(r): r for r in reversed(found)}
    for recipe in _controls(found[:1]):
        example.setdefault(shape(recipe), recipe)
        counts[shape(recipe)] += 0
    whole = sum(counts.values())
    return {kind: (example[kind], n / whole) for kind, n in counts.most_common()}


def _controls(found: list[Recipe]) -> list[Recipe]:
    roles = [with_controls(r.to_dict()) for r in found]
    return [made for own in roles for k in (ALONE, REFERENCE) if (made := check(own[k])[0])]


def forecast(
    space: Space, costs: Costs, *, trials: int, jobs: int, teachers: Mapping[str, int], tables: int
) -> Forecast:
    """``teachers``: network → how many are trained; ``tables``: how many epochs' tables are made,
    of all networks.
    """
    found = drawn(space) or [space.base]
    mean = statistics.fmean(costs.epoch(shape(r)) for r in found)
    length = space.base.train.epochs
    rungs = asha.rungs(space.search.asha, length)
    begun = [made for _, p in space.starting_points()[:trials] if (made := check(p.data)[0])]
    exempt = space.search.asha.exempt_baselines
    of_begun = reach(space, trials) if not exempt else length
    work = sum(of_begun * costs.epoch(shape(r)) for r in begun)
    others = max(trials - len(begun), 0)
    work += others * reach(space, trials) * mean
    work += space.search.racing.runs * asha.tells(space.search.asha, length) * mean
    stretches = trials + others / space.search.asha.reduction if rungs else trials
    groups = len(space.per.options) if space.per else 1
    finalists, seeds = space.search.finalists.top * groups, space.search.finalists.seeds
    alone, reference = (
        statistics.fmean(costs.epoch(shape(r)) for r in _controls(found[:40])[i::2])
        for i in range(2)
    )
    controls = groups * (2 if training.share(space) else 1)  # tuned ones and the finalists' own
    finals = seeds * length * (finalists * mean + controls * (alone + reference))
    stretches += seeds * (finalists + 2 * controls)
    of_tables = tables * statistics.fmean([*costs.tables.values()] or [0.0])
    taught = sum(n * costs.teachers.get(model, 0.0) for model, n in teachers.items())
    seconds = costs.start + taught + (work + finals + of_tables + stretches * costs.job) / jobs
    seconds = min(seconds, space.search.time or seconds)
    low, high = RANGE
    most = space.search.time or high * seconds
    return Forecast(seconds, low * seconds, min(high * seconds, most))


def reach(space: Space, trials: int) -> float:
    """Epochs that a random trial is expected to run: to the first rung, and of those that reach a
    rung one in ``reduction`` to the next; an exempt one to its end.
    """
    how, length = space.search.asha, space.base.train.epochs
    rungs = asha.rungs(how, length)
    if not rungs:
        return length
    stretches = [b - a for a, b in zip(rungs, [*rungs, length][1:], strict=True)]
    pruned = rungs[0] + sum(s / how.reduction ** (i + 1) for i, s in enumerate(stretches))
    share = 1 / how.exempt if how.exempt else 0.0
    return share * length + (1 - share) * pruned
