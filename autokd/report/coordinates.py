"""What was tried: parallel coordinates, with a lane for parameters that a trial's branch does not
have.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autokd.recipe.document import canonical
from autokd.report.charts import Layout, Trace, chart, highlight, strand, thin
from autokd.report.parts import (
    branch_name,
    choices,
    folded,
    label,
    note,
    number,
    plain,
    short,
    wrapped,
)
from autokd.report.study_data import StudyData
from autokd.space.tree import Leaf
from autokd.study.ledger import Trial

LINES = 240  # drawn of a long study
AXES = 9  # in one chart
UNUSED = -0.14  # the height of the lane; values lie between 0 and 1
# worst fifth to best: lighter to darker, also in grey
SCALE = ["#c8c8c8", "#a5b4c4", "#6f9fc8", "#2b7bba", "#08306b"]
STILL = {"showgrid": False, "zeroline": False, "fixedrange": True}


def parallel(study: StudyData) -> str:
    """One axis a parameter; a trial whose branch does not have it runs through the lane below the
    axis.
    """
    epoch = study.common_epoch(study.searched)
    trials = [t for t in study.ranked if epoch and study.value(t, epoch) is not None]
    paths = list(dict.fromkeys(path for t in trials for path in t.varied))
    paths = [
        p
        for p in paths
        if len({canonical(t.varied[p]) if p in t.varied else None for t in trials}) > 1
    ]
    if len(trials) < 3 or not paths:
        return ""
    trials.sort(key=lambda t: -study.sign * (study.value(t, epoch) or 0))
    shown = thin(trials, LINES)
    everywhere = [p for p in paths if all(p in t.varied for t in trials)]
    text = (
        f"Each line is a trial, darker the better after {epoch} epochs, which all of these"
        f" {len(trials)} reached."
    )
    text += (
        f" Drawn: the best {LINES // 3}, and {len(shown) - LINES // 3} of the others."
        if len(shown) < len(trials)
        else ""
    )
    text += (
        " A line in the lane “not used” belongs to a branch without that parameter."
        if everywhere != paths
        else ""
    )
    if len(paths) <= AXES:
        return note(text) + _figure(
            study, shown, paths, epoch, "Parallel coordinates of the search's trials."
        )
    common = _figure(
        study,
        shown,
        everywhere or paths[: AXES - 1],
        epoch,
        "Parallel coordinates of what every trial has.",
    )
    return note(text) + common + "".join(_branches(study, trials, paths, epoch))


def _branches(study: StudyData, trials: list[Trial], paths: list[str], epoch: int) -> Iterator[str]:
    """A chart for each branch, of what differs within it."""
    for branch in sorted({t.branch for t in trials}):
        own = [t for t in trials if t.branch == branch]
        of = [
            p
            for p in paths
            if any(p in t.varied for t in own)
            and len({canonical(t.varied.get(p)) for t in own}) > 1
        ]
        if len(own) >= 3 and of:
            name = branch_name(branch)
            yield folded(
                f"{name}: {len(own)} trials",
                _figure(study, thin(own, LINES), of, epoch, f"Parallel coordinates of {name}."),
            )


# ---------------------------------------------------------------- axes


@dataclass
class Axis:
    """Where a parameter's values lie between 0 and 1, and what is written beside them."""

    path: str
    values: list[Any]
    log: bool = False
    kinds: list[Any] | None = None  # of a choice, in the space's order

    def at(self, value: Any, jitter: float = 0.0) -> float:
        if self.kinds is not None:
            where = next(i for i, k in enumerate(self.kinds) if canonical(k) == canonical(value))
            return (where + 0.5 + 0.5 * jitter) / len(self.kinds)
        low, high = min(self.values), max(self.values)
        if self.log:
            low = math.log(low)
            high = math.log(high)
            value = math.log(value)
        return 0.5 if high == low else (value - low) / (high - low)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        if self.kinds is not None:
            step = math.ceil(len(self.kinds) / 10)
            return [(self.at(k), short(k)) for k in self.kinds[::step]]
        low, high = min(self.values), max(self.values)
        middle = math.sqrt(low * high) if self.log else (low + high) / 2
        return [(self.at(float(v)), f"{v:.3g}") for v in (low, middle, high)]


def _axis(study: StudyData, path: str, trials: Sequence[Trial]) -> Axis:
    values = [t.varied[path] for t in trials if path in t.varied]
    leaves = [
        leaf
        for leaf in study.leaves.values()
        if path in (leaf.path, leaf.name) and isinstance(leaf, Leaf)
    ]
    listed = [v for leaf in leaves if leaf.kind == "choice" for v in leaf.options]
    if listed or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        kinds = {canonical(v): v for v in [*listed, *values]}
        used = {canonical(v) for v in values}
        return Axis(path, values, kinds=[v for k, v in kinds.items() if k in used])
    if min(values) <= 0:
        return Axis(path, values)
    return Axis(
        path,
        values,
        log=(
            any(leaf.kind == "log_uniform" for leaf in leaves)
            if leaves
            else max(values) / min(values) > 50
        ),
    )


# ---------------------------------------------------------------- figure


def _figure(
    study: StudyData, trials: list[Trial], paths: list[str], epoch: int, caption: str
) -> str:
    """``trials``: best first. A parameter that none of them has, all that have it having been
    thinned out, gets no axis.
    """
    paths = [p for p in paths if any(p in t.varied for t in trials)]
    axes = [_axis(study, path, trials) for path in paths]
    final = Axis(study.metric, [study.value(t, epoch) for t in trials])
    lane = any(p not in t.varied for t in trials for p in paths)
    names = [
        *(_two_lines(label(path)) for path in paths),
        f"{plain(study.metric)}<br>after {epoch}",
    ]
    layout = {
        "xaxis": (
            STILL
            | {
                "tickvals": list(range(len(names))),
                "ticktext": names,
                "side": "top",
                "range": [-0.12, len(names) - 0.88],
                "tickangle": 0,
                "showline": False,
                "ticklabeloverflow": "allow",
                "automargin": False,
            }
        ),
        "yaxis": STILL | {"visible": False, "range": [UNUSED - 0.08 if lane else -0.06, 1.06]},
        "annotations": _annotations([*axes, final], lane),
        "shapes": _shapes(len(names), lane),
        "margin": {"l": 46, "r": 46, "t": 56, "b": 36},
        "legend": {"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0},
    }
    return chart(
        [*_traces(study, trials, axes, final, epoch), highlight()],
        layout,
        caption,
        height=440,
        width=110 * len(names),
    )


def _traces(
    study: StudyData, trials: list[Trial], axes: list[Axis], final: Axis, epoch: int
) -> Iterator[Trace]:
    """One a fifth, the best on top."""
    fifths: dict[int, list[tuple[list[int], list[float], str]]] = defaultdict(list)
    for place, t in enumerate(trials):
        value, jitter = study.value(t, epoch), (t.number * 0.618034) % 1 - 0.5
        ys = [
            a.at(t.varied[a.path], jitter) if a.path in t.varied else UNUSED + 0.05 * jitter
            for a in axes
        ]
        ys.append(final.at(value))
        text = wrapped(
            [f"trial {t.number}: {study.metric} {number(value)} after {epoch} epochs", choices(t)]
        )
        fifths[place * len(SCALE) // len(trials)].append(
            (list(range(len(ys))), [round(y, 4) for y in ys], text)
        )
    best, others = ((2.2, 1), (1.2, 0.75)) if len(trials) <= 100 else ((1.2, 0.75), (0.8, 0.5))
    worst = len(SCALE) - 1
    for fifth in sorted(fifths, reverse=True):
        name = {0: "best fifth", worst: "worst fifth"}.get(fifth, "")
        width, opacity = best if fifth == 0 else others
        look = {
            "line": {"color": SCALE[worst - fifth], "width": width},
            "opacity": opacity,
            "name": name,
            "showlegend": bool(name),
        }
        yield strand(fifths[fifth]) | look


def _annotations(axes: list[Axis], lane: bool) -> list[Layout]:
    """The ticks, right of each axis but the last."""
    paper = {"showarrow": False, "bgcolor": "rgba(255,255,255,0.85)", "borderpad": 1}
    right = {"xanchor": "left", "xshift": 5}
    left = {"xanchor": "right", "xshift": -5}
    out: list[Layout] = []
    for x, a in enumerate(axes):
        side = right if a is not axes[-1] else left
        out += [
            paper | side | {"x": x, "y": y, "text": plain(text, 16), "font": {"size": 11}}
            for y, text in a.ticks
        ]
    if lane:
        out.append(
            paper
            | {
                "x": 0,
                "y": UNUSED,
                "text": "not used",
                **right,
                "font": {"size": 11, "color": "#666"},
            }
        )
    return out


def _shapes(axes: int, lane: bool) -> list[Layout]:
    """The axes themselves, and the lane."""
    out: list[Layout] = [
        {
            "type": "line",
            "x0": x,
            "x1": x,
            "y0": 0,
            "y1": 1,
            "line": {"color": "#444", "width": 1.5},
        }
        for x in range(axes)
    ]
    if lane:
        band = {
            "type": "rect",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": UNUSED - 0.05,
            "y1": UNUSED + 0.05,
        }
        out.append(band | {"fillcolor": "#f2f2f2", "line": {"width": 0}, "layer": "below"})
    return out


def _two_lines(text: str) -> str:
    first, _, second = plain(text, 30).partition(" ")
    return f"{first}<br>{second}" if second else first
