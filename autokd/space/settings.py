"""The ``search:`` block of a space: how to look, when to stop, what is confirmed in the end.
Light.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from autokd.errors import nearest
from autokd.recipe import Block, Finding, bounds, validate
from autokd.recipe.axes import Positive
from autokd.recipe.document import split
from autokd.space import samplers

METRICS = ("val/accuracy", "val/nll", "val/ece", "val/entropy")
LATENCY = "student/latency_ms"  # known after a trial, the other costs before
COSTS = ("student/flops", "student/params", LATENCY)


class Asha(Block):
    """Asynchronous successive halving: which trials get how many epochs."""

    form: Annotated[
        Literal["promotion", "stopping", "none"],
        Field(description="pause and resume the best, stop the rest, or neither"),
    ] = "promotion"
    grace_epochs: Annotated[
        int | None,
        Field(
            ge=1,
            description=(
                "epochs that every trial gets: the first rung; left out: a ninth of its own where"
                " averages are judged, else a third"
            ),
        ),
    ] = None
    reduction: Annotated[int, Field(ge=2, description="one in so many goes on from a rung")] = 3
    judge: Annotated[
        Literal["student", "average"],
        Field(
            description=(
                "what a rung ranks: the student, or the moving average of its weights, which says"
                " more of how a trial ends"
            )
        ),
    ] = "average"
    average_epochs: Annotated[
        float, Field(gt=0, description="over about how many epochs the weights are averaged")
    ] = 3.0
    compare: Annotated[
        Literal["branch", "all"],
        Field(description="rank within a branch of the space, or across all"),
    ] = "branch"
    exempt_baselines: Annotated[
        bool,
        Field(
            description=(
                "presets and other baselines run to their end whatever their rank; else they come"
                " first, and are judged like any trial"
            )
        ),
    ] = False
    exempt: Annotated[
        int, Field(ge=0, description="one random trial in so many always runs to its end (0: none)")
    ] = 8
    raise_grace_below: Annotated[
        float | None,
        Field(
            ge=-1,
            le=1,
            description=(
                "later trials pass the lowest rung unjudged once its rank correlation with the"
                " final value, over 8 or more trials that ran to their end whatever their rank, is"
                " below this (0.3, say); left out: never"
            ),
        ),
    ] = None


class Racing(Block):
    """Further seeds for the most promising trials, before the finalists are chosen."""

    runs: Annotated[
        int,
        Field(ge=0, description="how many such runs in all; search/epochs covers them; 0: none"),
    ] = 0
    seeds: Annotated[
        int, Field(ge=2, description="that one trial has at most, its own included")
    ] = 3


class Controls(Block):
    """The student alone and reference KD, tuned where the space frees their training."""

    share: Annotated[
        float,
        Field(
            ge=0,
            le=0.75,
            description=(
                "the part of the trials that tunes the controls over what the space frees of"
                " `train` and `data/augment`, so that they have an equal chance; 0: they run at"
                " their finalist's values alone"
            ),
        ),
    ] = 0.25
    start: Annotated[
        Literal["even", "random"],
        Field(
            description=(
                "how their search begins, after the finalist's training, the base's and the"
                " presets': points that cover the space evenly, or the sampler's own start"
            )
        ),
    ] = "even"


class Finalists(Block):
    """What is confirmed over fresh seeds, beside its controls."""

    top: Annotated[int, Field(ge=1, le=bounds.TRIALS)] = 1
    per: Annotated[
        str | None,
        Field(description="a varied path: the best `top` are taken for each of its values"),
    ] = None
    seeds: Annotated[
        int,
        Field(
            ge=0,
            le=bounds.SEEDS,
            description="fresh seeds of each finalist and control; 0 leaves the finals out",
        ),
    ] = 5
    repeat: Annotated[
        Literal["seed", "split"],
        Field(
            description=(
                "what a fresh seed changes: student weights and batch order; or the split, the"
                " views and the teacher's seed as well, for small data"
            )
        ),
    ] = "seed"
    until: Annotated[
        float | None,
        Field(
            gt=0,
            description=(
                "winners get more seeds until the interval against the student alone, on"
                " validation, is no wider than ± this, in hundredths of the objective's unit"
            ),
        ),
    ] = None
    most: Annotated[int, Field(ge=2, description="seeds that `until` may lead to")] = 20


class Resources(Block):
    """What one trial takes."""

    gpu: Annotated[
        float | None,
        Field(
            ge=0,
            description=(
                "GPUs; 0.25: four trials share one (default: the GPUs there are, shared by --jobs)"
            ),
        ),
    ] = None


class Objective(Block):
    maximize: str | None = None
    minimize: str | None = None

    @property
    def metric(self) -> str:
        return self.maximize or self.minimize or ""

    @property
    def sign(self) -> int:
        return 1 if self.maximize else -1


class Constraint(NamedTuple):
    """``metric <= bound`` or ``metric >= bound``."""

    metric: str
    sign: int  # 1: at most
    bound: float

    def holds(self, value: float) -> bool:
        return self.sign * value <= self.sign * self.bound


class Plateau(Block):
    """Stop when so many trials in a row brought nothing."""

    trials: Annotated[int, Field(ge=1)] = 20
    margin: Annotated[
        float, Field(ge=0, description="what counts as better, in the objective's unit")
    ] = 0.0


SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Of ``90s``, ``30m``, ``2h``. Raises ValueError."""
    try:
        return float(text[:-1]) * SECONDS[text[-1]]
    except (KeyError, ValueError, IndexError):
        raise ValueError("must be a number and a unit, such as 90s, 30m or 2h") from None


def _known_sampler(name: Any) -> Any:
    known = samplers.names()
    if name not in known:
        listed = ", ".join(f"'{n}'" for n in known[:-1])
        raise ValueError(f"Input should be {listed} or '{known[-1]}'")
    return name


class Search(Block):
    """How to look, and when to stop: each limit is for the whole search, whatever runs side by
    side.
    """

    trials: Annotated[int, Field(ge=1, le=bounds.TRIALS)] = 40
    time: Annotated[
        Positive | None,
        BeforeValidator(lambda given: seconds(given) if isinstance(given, str) else given),
        Field(
            description=(
                "wall time of the whole command, finals included: seconds, or 90s, 30m, 2h;"
                " no trial is started that would leave no time for the finals"
            ),
            json_schema_extra={"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "null"}]},
        ),
    ] = None
    epochs: Annotated[
        int | None, Field(ge=1, description="epochs of training after which no trial is started")
    ] = None
    target: Annotated[
        float | None, Field(description="stop when the objective has reached this")
    ] = None
    plateau: Plateau | None = None
    objective: Annotated[
        Objective | Annotated[list[Objective], Field(min_length=1)],
        Field(description="one, or several for a Pareto front; pruning looks at the first"),
    ] = Objective(maximize="val/accuracy")
    constraints: Annotated[list[str], Field(description="for example `student/flops <= 20e6`")] = []
    sampler: Annotated[
        str,
        BeforeValidator(_known_sampler),
        Field(json_schema_extra=lambda schema: schema.update(enum=[*samplers.names()])),
    ] = "tpe"
    margin: Annotated[
        float,
        Field(
            gt=0,
            description=(
                "a difference that is too small to matter, in hundredths of the objective's unit:"
                " points of accuracy"
            ),
        ),
    ] = 1.0
    asha: Asha = Asha()
    racing: Racing = Racing()
    controls: Controls = Controls()
    finalists: Finalists = Finalists()
    resources: Resources = Resources()

    @property
    def objectives(self) -> list[Objective]:
        return self.objective if isinstance(self.objective, list) else [self.objective]

    @property
    def limits(self) -> list[Constraint]:
        return [c for text in self.constraints if (c := parse_constraint(text))]


# What a study meant that froze its settings before these keys were there.
ONCE: dict[str, dict[str, Any]] = {
    "asha": {"judge": "student", "average_epochs": 1.0, "exempt_baselines": True},
    "racing": {"runs": 0},
    "controls": {"share": 0.0, "start": "random"},
}


def parse_constraint(text: str) -> Constraint | None:
    """Parse ``student/flops <= 20e6``; None where it is no constraint."""
    parts = text.split()
    if len(parts) != 3 or parts[1] not in {"<=", ">="}:
        return None
    try:
        bound = float(parts[2])
    except ValueError:
        return None
    return Constraint(parts[0], 1 if parts[1] == "<=" else -1, bound) if isfinite(bound) else None


def check(value: Any) -> tuple[Search | None, list[Finding]]:
    """The settings, or None where they do not fit the schema; and everything wrong with them."""
    made, findings = validate(Search, value, "search")
    wrong = {split(f.path)[1] for f in findings if len(split(f.path)) > 1}
    # what fits the schema is looked at too, so that all mistakes are told at once
    rest = made or (isinstance(value, Mapping) and validate(Search, _without(value, wrong), "")[0])
    if not rest:
        return None, findings
    for i, objective in enumerate(rest.objectives):
        # Pruning looks at the first, and needs something that each epoch reports.
        findings += _objective(objective, METRICS + COSTS if i else METRICS)
    for i, text in enumerate(rest.constraints):
        findings += _constraint(text, f"search/constraints/{i}")
    if wrong.isdisjoint({"sampler", "asha", "objective"}):
        findings += _sampler(rest)
    return made, findings


def _without(value: Mapping[str, Any], keys: set[str | int]) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k not in keys}


def _objective(objective: Objective, known: tuple[str, ...]) -> list[Finding]:
    path, metric = "search/objective", objective.metric
    if bool(objective.maximize) == bool(objective.minimize):
        return [Finding(path, "must name one metric to maximize or to minimize")]
    if metric.startswith("test/"):
        rule = "the test data is read once, at the end: a search never looks at it"
        return [Finding(path, rule, metric, "use val/" + metric[5:])]
    if metric not in known:
        rule = "unknown metric"
        if metric in COSTS:
            rule = "the first objective must be a validation metric"
        return [Finding(path, rule, metric, nearest(metric, known))]
    return []


def _constraint(text: str, path: str) -> list[Finding]:
    limit = parse_constraint(text)
    if limit is None:
        return [Finding(path, "must read like 'student/flops <= 20e6'", text)]
    if limit.metric not in COSTS:
        return [Finding(path, "unknown metric", limit.metric, nearest(limit.metric, COSTS))]
    return []


def _sampler(search: Search) -> list[Finding]:
    path = "search/sampler"
    sampler = samplers.sampler(search.sampler)
    out = []
    if not sampler.learns_from_pruned and search.asha.form != "none":
        rule = "learns nothing from pruned trials: add asha: {form: none}, or use tpe"
        out.append(Finding(path, f"{sampler.name} {rule}"))
    if not sampler.several_objectives and len(search.objectives) > 1:
        out.append(Finding(path, f"{sampler.name} takes one objective here: use nsga2 or tpe"))
    return out
