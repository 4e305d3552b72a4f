"""What is confirmed when a search is over: the finalists, each over fresh seeds beside its own
controls. Light.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autokd.recipe import parse
from autokd.space import Space, training
from autokd.space.settings import Search
from autokd.study.controls import ALONE, CONTROLS, OWN, TUNED, with_controls
from autokd.study.ledger import Event, Trial
from autokd.study.ranking import best, front
from autokd.study.verdict import Result


def chosen(trials: Mapping[int, Trial], search: Search) -> list[tuple[Any, int, Trial]]:
    """Group, place in it, and trial of those that are to be confirmed."""
    searched = [t for t in trials.values() if t.searching]
    out: list[tuple[Any, int, Trial]] = []
    for group in sorted({t.group for t in searched}, key=lambda g: (str(type(g)), g)):
        able = best((t for t in searched if t.group == group), search, trials)
        if len(search.objectives) > 1:
            on_front = {t.number for t in front(trials, search)}
            able = [t for t in able if t.number in on_front] or able
        out += [(group, place, t) for place, t in enumerate(able[: search.finalists.top])]
    return out


def freeze(
    trials: Mapping[int, Trial],
    search: Search,
    tuned: Callable[[Trial], dict[str, Any] | None],
) -> tuple[list[Event], list[Event]]:
    """The finalists of each group with their runs, and those runs as the ledger has them.
    ``tuned``: how a finalist's controls were tuned (``Tuning.result``).
    """
    finalists: list[Event] = []
    planned: list[Event] = []
    for group, place, trial in chosen(trials, search):
        entry: Event = {"group": group, "trial": trial.number, "place": place}
        if how := tuned(trial):
            entry["tuned"] = how
        runs = _runs(entry, trials, search, range(search.finalists.seeds), planned)
        finalists.append(entry | {"runs": runs})
    return finalists, planned


def extended(
    trials: Mapping[int, Trial],
    search: Search,
    finalists: Sequence[Event],
    more: Mapping[int, int],
) -> tuple[list[Event], list[Event]]:
    """The finalists with so many more seeds, by the finalist's trial, and the new runs."""
    planned: list[Event] = []
    out = []
    for entry in finalists:
        runs = {role: dict(own) for role, own in entry["runs"].items()}
        begun = max(map(len, runs.values()), default=0)
        seeds = range(begun, begun + more.get(entry["trial"], 0))
        added = _runs(entry, trials, search, seeds, planned)
        for role, own in added.items():
            runs.setdefault(role, {}).update(own)
        out.append(entry | {"runs": runs})
    return out, planned


def _repeated(recipe: dict[str, Any], search: Search, by: int) -> dict[str, Any]:
    """The recipe with what a fresh seed changes raised by so much."""
    own = recipe | {"seed": recipe["seed"] + by}
    if search.finalists.repeat == "seed":
        return own
    made = parse(own)
    fresh = {
        "data/split_seed": made.data.split_seed + by,
        "view/seed": made.view.seed + by,
        "teacher/seed": made.teacher.seed + by,
    }
    return made.with_(fresh).to_dict()


def more_seeds(result: Result, search: Search) -> tuple[int, str]:
    """How many more a group's winner needs by `finalists/until`, or why none."""
    until, most = search.finalists.until, search.finalists.most
    d, seeds = result.against(ALONE, result.differences), max(map(len, result.runs.values()))
    if until is None or d is None:
        return 0, "there is no difference to the student alone"
    width, wanted = d.half_width, until / 100
    if width <= wanted:
        return 0, f"the interval is ±{100 * width:.2g} after {seeds} seeds"
    if d.at_best is not None and d.at_best > wanted:
        told = f"the pictures alone leave ±{100 * d.at_best:.2g}"
        return 0, f"more than {seeds} seeds cannot help: {told}"
    if seeds >= most:
        return (
            0,
            f"the interval is ±{100 * width:.2g} after {seeds} seeds, the most that were asked for",
        )
    # as if all of it came from seeds, and no more than twice as many at once
    needed = seeds * (width / wanted) ** 2 if math.isfinite(width) else math.inf
    return int(min(max(needed - seeds, 1), seeds, most - seeds)), ""


def most_runs(space: Space) -> int:
    """How many runs there are at most, before seeds are added: finalists and controls of each
    group.
    """
    how = space.search.finalists
    controls = len(CONTROLS) if training.share(space) else len(OWN)
    groups = len(space.per.options) if space.per else 1
    return (how.top + controls) * groups * how.seeds


def _contenders(entry: Event, trials: Mapping[int, Trial]) -> dict[str, dict[str, Any]]:
    """Role → recipe of a finalist, its own controls, and those that were tuned."""
    out = with_controls(trials[entry["trial"]].recipe)
    chosen = entry.get("tuned", {}).get("chosen", {})
    return out | {
        TUNED[control]: with_controls(trials[number].recipe)[control]
        for control, number in chosen.items()
    }


def _runs(
    entry: Event,
    trials: Mapping[int, Trial],
    search: Search,
    seeds: range,
    planned: list[Event],
) -> dict[str, dict[str, int]]:
    """Role → seed → trial of this finalist and its controls, over the fresh seeds of these
    numbers. A run that exists, or that another finalist has planned already, is shared; what is new
    is added to ``planned``.
    """
    runs: dict[str, dict[str, int]] = {}
    source = trials[entry["trial"]]
    known = {
        t.parsed.fingerprint(): t.number
        for t in trials.values()
        if not t.judged and t.state == "complete"
    }
    known |= {p["key"]: p["trial"] for p in planned}
    for role, recipe in _contenders(entry, trials).items():
        for i in seeds:
            own = _repeated(recipe, search, 1 + i)
            key = parse(own).fingerprint()
            if key not in known:
                known[key] = len(trials) + len(planned)
                planned.append(
                    {
                        "key": key,
                        "trial": known[key],
                        "role": role,
                        "recipe": own,
                        "group": source.group,
                        "parent": source.number,
                    }
                )
            runs.setdefault(role, {})[str(own["seed"])] = known[key]
    return runs
