"""Learning curves: the search's by epoch, winner and controls over their seeds, and the best value
so far.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict

from autokd.report.charts import (
    BLUE,
    COLOUR,
    DASH,
    GREEN,
    GREY,
    SKY,
    VERMILION,
    Layout,
    Trace,
    chart,
    highlight,
    strand,
    thin,
    titled,
)
from autokd.report.parts import number, plain, seeds, wrapped
from autokd.report.study_data import StudyData
from autokd.study.choices import choices
from autokd.study.ledger import BROKEN, Trial

CURVES = 200  # drawn of a long study
POINTS = 60  # of one curve


def curves(study: StudyData) -> str:
    """The objective by epoch, with the rungs at which trials were judged; and winner and controls
    over their seeds.
    """
    if not study.ranked:
        return ""
    shown = thin(study.ranked, CURVES)
    best = [study.table.trials[n] for n in dict.fromkeys(r.trial for r in study.results)]
    over = study.table.finalists is not None  # what is paused until then may go on
    rest = [t for t in shown if t not in best and t.role != "baseline"]
    kinds = [
        (
            "stopped early" if over else "paused or stopped early",
            [t for t in rest if not study.full(t)],
            {"color": "#b5bdc6", "width": 1},
        ),
        ("ran to the end", [t for t in rest if study.full(t)], {"color": SKY, "width": 1.5}),
        (
            "baselines",
            [t for t in study.ranked if t.role == "baseline" and t not in best],
            {"color": GREY, "width": 2, "dash": "dash"},
        ),
        ("later confirmed", best, {"color": BLUE, "width": 2.5}),
    ]
    data = [
        strand(_curve(study, t) for t in ts) | {"name": f"{name} ({len(ts)})", "line": line}
        for name, ts, line in kinds
        if ts
    ]
    data += _teachers(study)
    rungs = sorted({r for t in study.searched for r in t.rungs})
    layout = {"xaxis": titled("epoch"), "yaxis": titled(study.metric)} | _marked(rungs)
    text = f"Validation after each epoch: {len(shown)} of {len(study.ranked)} trials."
    text += " Dotted: the rungs, where trials are paused, stopped or go on." if rungs else ""
    return f'<div class="pair">{chart([*data, highlight()], layout, text)}{_confirmed(study)}</div>'


def _teachers(study: StudyData) -> list[Trace]:
    """The level of each full teacher, from the first epoch to the last."""
    last = max((e for t in study.ranked for e in t.metrics), default=1)
    found = [
        (f"teacher {e['model']}, {e['resolution']} px", e["metrics"][study.metric])
        for e in study.table.teachers.values()
        if not e.get("assistant")
        and math.isfinite(e.get("metrics", {}).get(study.metric, math.nan))
    ]
    line = {"color": GREEN, "width": 2, "dash": "longdashdot"}
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": plain(name, 40),
            "x": [1, last],
            "y": [value, value],
            "line": line,
            "hoverinfo": "name+y",
        }
        for name, value in found
    ]


def _curve(study: StudyData, t: Trial) -> tuple[list[int], list[float], str]:
    points = study.points(t)
    step = max(1, math.ceil(len(points) / POINTS))
    kept = [
        p for i, p in enumerate(points) if i % step == 0 or i == len(points) - 1 or p[0] in t.rungs
    ]
    text = wrapped([f"trial {t.number}, {t.state}: {number(study.value(t))}", choices(t)])
    return [e for e, _ in kept], [round(v, 5) for _, v in kept], text


def _marked(rungs: list[int]) -> Layout:
    upright = {
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": VERMILION, "width": 1.5, "dash": "dot"},
    }
    foot = {
        "yref": "paper",
        "y": 0,
        "yanchor": "bottom",
        "xanchor": "left",
        "showarrow": False,
        "font": {"size": 11, "color": "#a84800"},
    }
    return {
        "shapes": [upright | {"type": "line", "x0": r, "x1": r} for r in rungs],
        "annotations": [foot | {"x": r, "text": f"rung {r}"} for r in rungs],
    }


# ---------------------------------------------------------------- over seeds


def _confirmed(study: StudyData) -> str:
    """Winner and controls: the mean over seeds, between the least and the greatest."""
    data = [trace for role, name in study.roles.items() for trace in _over_seeds(study, role, name)]
    if not data:
        return ""
    layout = {"xaxis": titled("epoch"), "yaxis": titled(study.metric), "hovermode": "x unified"}
    return chart(
        data,
        layout,
        "Winner and its controls over fresh seeds: the mean, and from the least to the greatest.",
    )


def _over_seeds(study: StudyData, role: str, name: str) -> list[Trace]:
    runs = study.runs(role)
    values: dict[int, list[float]] = defaultdict(list)
    for t in runs:
        for epoch, value in study.points(t):
            values[epoch].append(value)
    at = [e for e in sorted(values) if len(values[e]) == len(runs)]
    at = [e for i, e in enumerate(at) if i % max(1, len(at) // POINTS) == 0 or e == at[-1]]
    red, green, blue = (int(COLOUR[role][i : i + 2], 16) for i in (1, 3, 5))
    edge = {
        "type": "scatter",
        "mode": "lines",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": role,
        "x": at,
    }
    return [
        edge | {"y": [round(min(values[e]), 5) for e in at]},
        edge
        | {
            "y": [round(max(values[e]), 5) for e in at],
            "fill": "tonexty",
            "fillcolor": f"rgba({red},{green},{blue},0.13)",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"{name} ({seeds(len(runs))})",
            "x": at,
            "y": [round(statistics.fmean(values[e]), 5) for e in at],
            "line": {"color": COLOUR[role], "dash": DASH[role], "width": 2.5},
            "legendgroup": role,
        },
    ]


# ---------------------------------------------------------------- best so far

Steps = list[tuple[int, float]]  # epochs that the search had spent, and the value reached


def best_so_far(study: StudyData) -> str:
    """The search's progress in the unit that costs: epochs."""
    spent, any_epoch, at_end = _progress(study)
    if not any_epoch:
        return ""
    data = [
        _stairs("at any epoch", any_epoch, spent)
        | {"line": {"color": SKY, "width": 2, "dash": "dot", "shape": "hv"}}
    ]
    if at_end:
        data.append(
            _stairs("at the end of a full run", at_end, spent)
            | {"line": {"color": BLUE, "width": 3, "shape": "hv"}}
        )
    values = [_settled(any_epoch, spent), any_epoch[-1][1]]
    values += [v for _, v in at_end if study.sign * v >= study.sign * values[0]]
    if found := _best_baseline(study):
        name, value = found
        line = {"color": GREY, "dash": "dash", "width": 1.5}
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"best baseline: {plain(name, 30)}",
                "x": [0, spent],
                "y": [value, value],
                "line": line,
            }
        )
        values.append(value)
    pad = 0.06 * (max(values) - min(values)) or 0.01
    layout = {
        "xaxis": titled("epochs spent by the search"),
        "yaxis": titled(study.metric) | {"range": [min(values) - pad, max(values) + pad]},
    }
    return chart(
        data,
        layout,
        "The best value so far, one seed each, against the epochs that the search had spent.",
        height=320,
    )


def _progress(study: StudyData) -> tuple[int, Steps, Steps]:
    """The epochs spent; each value better than all before; and the same of full runs' ends
    alone.
    """
    spent = 0
    any_epoch: Steps = []
    at_end: Steps = []
    for e in study.events:
        t = study.table.trials.get(e.get("trial", -1))
        if e["event"] != "epoch" or t is None or not t.searching:
            continue
        spent += 1
        v = e["metrics"].get(study.metric)
        if v is None or not math.isfinite(v) or t.state in BROKEN:
            continue
        for steps, counts in (
            (any_epoch, True),
            (at_end, e["epoch"] >= t.recipe["train"]["epochs"]),
        ):
            if counts and (not steps or study.sign * v > study.sign * steps[-1][1]):
                steps.append((spent, v))
    return spent, any_epoch, at_end


def _stairs(name: str, steps: Steps, spent: int) -> Trace:
    """The last step goes on to now."""
    x, y = [s for s, _ in steps] + [spent], [v for _, v in steps] + [steps[-1][1]]
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y}


def _settled(steps: Steps, spent: int) -> float:
    """The value after a twentieth of the epochs: the first steps' climb would take all of the
    axis.
    """
    return next(v for s, v in reversed(steps) if s <= max(spent / 20, steps[0][0]))


def _best_baseline(study: StudyData) -> tuple[str, float] | None:
    """Of those that ran to their end: the name and the value."""
    found = [
        (t.name, v)
        for t in study.searched
        if t.role == "baseline" and study.full(t) and (v := study.value(t)) is not None
    ]
    return max(found, key=lambda b: study.sign * b[1], default=None)
