"""The search's trials: the leaderboard, and their quality against what they cost."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from typing import Any

from autokd.report.charts import BLUE, Layout, Trace, chart, thin, titled
from autokd.report.parts import big, esc, folded, note, number, one_of, table, wrapped
from autokd.report.study_data import StudyData
from autokd.study.choices import choices, label, short
from autokd.study.ledger import BROKEN, Trial
from autokd.study.words import reasons

ROWS, TOP = 50, 15  # listed, and of these not folded away
POINTS = 1000  # drawn beside the front
COSTS = {
    "student/flops": "FLOPs of one picture",
    "student/params": "parameters (size)",
    "student/latency_ms": "latency of one picture, ms, as each run measured it",
}

Costed = tuple[float, Trial]


def leaderboard(study: StudyData) -> str:
    """The search's trials, best first."""
    if not study.ranked:
        return ""
    extra = [
        m
        for m in ("val/accuracy", "val/nll", "val/ece")
        if m != study.metric and m in study.ranked[0].last
    ]
    head = [
        "",
        "trial",
        *([label(study.search.finalists.per or "group")] if study.groups else []),
        study.metric,
        *extra,
        "epochs",
        "state",
        "choices",
    ]
    rows = []
    for place, t in enumerate(study.ranked[:ROWS], 1):
        cells = [
            str(place),
            f"{t.number}{' <em>winner</em>' if t in study.won else ''}"
            + (f"<br><small>{esc(t.name)}</small>" if t.name else ""),
        ]
        cells += [esc(short(t.group))] if study.groups else []
        cells += [
            number(study.value(t)) + _over_seeds(study, t),
            *(number(t.last.get(m)) for m in extra),
            str(t.epochs),
            esc(t.state),
            f"<small>{esc(choices(t))}</small>",
        ]
        rows.append(cells)
    broken = Counter(t.state for t in study.searched if t.state in BROKEN)
    text = (
        "One seed each, and the best of many: these values flatter. What was confirmed over fresh"
        " seeds stands above. Full-length trials come first."
    )
    text += f" {len(study.ranked) - ROWS} more are not listed." if len(study.ranked) > ROWS else ""
    if broken:
        why = reasons(t for t in study.searched if t.state in BROKEN)
        text += f" Broken off: {', '.join(f'{n} {s}' for s, n in broken.items())}" + (
            f" ({why})." if why else "."
        )
    rest = (
        folded(f"Places {TOP + 1} to {len(rows)}", table(head, rows[TOP:], "board sortable"))
        if len(rows) > TOP
        else ""
    )
    return note(text) + table(head, rows[:TOP], "board sortable") + rest


def _over_seeds(study: StudyData, t: Trial) -> str:
    """The mean over the seeds of a trial that ran with several before the finals."""
    runs = [t, *study.again.get(t.number, [])]
    values = [v for run in runs if study.full(run) and (v := study.value(run)) is not None]
    if len(values) < 2:
        return ""
    return f"<br><small>{number(statistics.fmean(values))} over {len(values)} seeds</small>"


# ---------------------------------------------------------------- cost


def pareto(study: StudyData) -> str:
    """The objective against what it costs, where that differs between trials; and against the
    search's other objectives.
    """
    asked = {o.metric: o.sign for o in study.search.objectives[1:]} | {
        c.metric: -c.sign for c in study.search.limits
    }
    wanted = dict.fromkeys(COSTS, -1) | asked
    shown = {
        COSTS.get(cost, cost): drawn
        for cost, sign in wanted.items()
        if (drawn := _against_cost(study, cost, sign))
    }
    return one_of("against", shown)


def _against_cost(study: StudyData, cost: str, sign: int) -> str:
    """``sign``: −1 where less is better."""
    done = [t for t in study.ranked if t.state == "complete"]
    known = [
        (float(c), t)
        for t in done
        if isinstance(c := t.facts.get(cost, t.last.get(cost)), int | float) and math.isfinite(c)
    ]
    if len({c for c, _ in known}) < 2:
        return ""
    known.sort(key=lambda p: (-sign * p[0], -study.sign * _value(study, p[1]), p[1].number))
    front = _front(study, known)
    on_it = {t.number for _, t in front}
    others = thin([(c, t) for c, t in known if t.number not in on_it], POINTS)
    data = [
        _points(study, cost, "trials", others)
        | {
            "mode": "markers",
            "marker": {"color": "#9aa7b4", "size": 7},
        },
        _points(study, cost, "Pareto front", front)
        | {
            "mode": "lines+markers",
            "line": {"color": BLUE, "shape": "hv", "width": 2},
            "marker": {"size": 10, "symbol": "diamond"},
        },
    ]
    name = COSTS.get(cost, cost)
    layout = {"xaxis": _cost_axis(cost, name, [c for c, _ in known]), "yaxis": titled(study.metric)}
    return chart(
        data,
        layout,
        f"{len(known)} trials that ran to their end, one seed each: {study.metric} against {name}.",
    )


def _value(study: StudyData, t: Trial) -> float:
    return study.value(t) or 0.0


def _front(study: StudyData, known: list[Costed]) -> list[Costed]:
    """Those that are better than all that cost less; the cheapest stand first."""
    front: list[Costed] = []
    for c, t in known:
        if not front or study.sign * _value(study, t) > study.sign * _value(study, front[-1][1]):
            front.append((c, t))
    return front


def _points(study: StudyData, cost: str, name: str, points: list[Costed]) -> Trace:
    texts = [
        wrapped(
            [
                f"trial {t.number}: {study.metric} {number(study.value(t))}, {cost} {big(c)}",
                choices(t),
            ]
        )
        for c, t in points
    ]
    xy = {"x": [c for c, _ in points], "y": [study.value(t) for _, t in points]}
    return {"type": "scatter", "name": name, "hoverinfo": "text", "hovertext": texts} | xy


def _cost_axis(cost: str, name: str, values: list[float]) -> Layout:
    if min(values) > 0 and max(values) / min(values) > 20:
        return titled(f"{name} (log scale)") | {"type": "log"}
    scale: dict[str, Any] = {"rangemode": "tozero"} if cost.startswith("student/") else {}
    return titled(name) | scale
