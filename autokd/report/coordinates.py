"""What was tried: parallel coordinates, with a lane for parameters that a trial's branch does not
have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from autokd.report.axes import Axis, Row, Rows, axis, free
from autokd.report.charts import ORANGE, Layout, Trace, chart, highlight, strand, thin
from autokd.report.parts import folded, note, number, plain, wrapped
from autokd.report.study_data import StudyData
from autokd.study.choices import branch, choices, label, settings
from autokd.study.ledger import Trial

LINES = 240  # drawn of a long study
AXES = 9  # in one chart
UNUSED = -0.14  # the height of the lane; values lie between 0 and 1
# worst fifth to best: lighter to darker, also in grey
SCALE = ["#c8c8c8", "#a5b4c4", "#6f9fc8", "#2b7bba", "#08306b"]
STOPPED, PALE = len(SCALE), "#e4e4e4"  # as a fifth of their own
STILL = {"showgrid": False, "zeroline": False, "fixedrange": True}


def parallel(study: StudyData) -> str:
    """One axis a parameter; a trial whose branch does not have it runs through the lane below the
    axis. Ranked are the trials that ran to their end, each among its rivals.
    """
    trials = [*study.complete, *(t for t in study.ranked if t.state != "complete")]
    rows = {t.number: settings(t.varied) for t in trials}
    paths = free(rows.values())
    if len(trials) < 3 or not study.complete or not paths:
        return ""
    everywhere = [p for p in paths if all(p in row for row in rows.values())]
    intro = note(_intro(study, trials, everywhere != paths))
    if len(paths) <= AXES:
        about = "Parallel coordinates of the search's trials."
        return intro + _figure(study, trials, rows, paths, about)
    common = everywhere or paths[: AXES - 1]
    about = "Parallel coordinates of what every trial has."
    return (
        intro
        + _figure(study, trials, rows, common, about)
        + "".join(_branches(study, trials, rows))
    )


def _intro(study: StudyData, trials: list[Trial], lane: bool) -> str:
    """What a line is, and by what it is ranked."""
    among = f", among those of its {label(_grouped(study))}" if _grouped(study) else ""
    text = (
        f"Each line is a trial. The stronger its colour, the better its {study.metric} at the end"
        f" of its run, one seed{among}; so ranked are the {len(study.complete)} trials that ran to"
        " their end."
    )
    if stopped := len(trials) - len(study.complete):
        text += (
            f" {stopped} that were paused, stopped or are still at it are the palest lines: they"
            " have no final value, and reach no last axis."
        )
    drawn = len(_drawn(study, trials))
    text += f" Drawn: {drawn} of {len(trials)}, the best among them." if drawn < len(trials) else ""
    if study.won:
        text += " Orange: what won" + (" in each group." if len(study.won) > 1 else ".")
    if lane:
        text += " A line in the lane “not used” belongs to a branch without that parameter."
    return text


def _grouped(study: StudyData) -> str:
    """The path that groups the finals, where there are several groups."""
    return study.search.finalists.per or "" if len(study.groups) > 1 else ""


def _drawn(study: StudyData, trials: list[Trial]) -> list[Trial]:
    """Not all of a long study: ranked ones before others, and what won."""
    ranked = [t for t in trials if t.state == "complete"]
    others = [t for t in trials if t.state != "complete"]
    kept = thin(ranked, LINES - min(len(others), LINES // 3))
    kept += [t for t in study.won if t in trials and t not in kept]
    return kept + thin(others, max(LINES - len(kept), 0))


def _branches(study: StudyData, trials: list[Trial], rows: Rows) -> Iterator[str]:
    """A chart for each branch, of what differs within it."""
    for key in sorted({t.branch for t in trials}):
        own = [t for t in trials if t.branch == key]
        if len(own) >= 3 and (of := free(rows[t.number] for t in own)):
            name = branch(own[0].varied) or "all"
            yield folded(
                f"{name}: {len(own)} trials",
                _figure(study, own, rows, of, f"Parallel coordinates of {name}."),
            )


# ---------------------------------------------------------------- figure


def _figure(
    study: StudyData, trials: list[Trial], rows: Rows, paths: list[str], caption: str
) -> str:
    """A parameter that none of those drawn has, all that have it having been thinned out, gets no
    axis.
    """
    trials = _drawn(study, trials)
    drawn = [rows[t.number] for t in trials]
    paths = [p for p in paths if any(p in row for row in drawn)]
    axes = [axis(study, path, drawn) for path in paths]
    ends = [study.value(t) for t in trials if t.state == "complete"]
    final = [Axis(study.metric, ends)] if ends else []
    lane = any(p not in row for row in drawn for p in paths)
    names = [_two_lines(label(path)) for path in paths]
    names += [f"{plain(study.metric)}<br>at the end"] if final else []
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
        "annotations": _annotations([*axes, *final], lane),
        "shapes": _shapes(len(names), lane),
        "margin": {"l": 46, "r": 46, "t": 56, "b": 36},
        "legend": {"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0},
    }
    return chart(
        [*_traces(study, trials, rows, axes, final), highlight()],
        layout,
        caption,
        height=440,
        width=110 * len(names),
    )


Line = tuple[list[int], list[float], str]


def _traces(
    study: StudyData, trials: list[Trial], rows: Rows, axes: list[Axis], final: list[Axis]
) -> Iterator[Trace]:
    """What was stopped, then one a fifth, the best on top, and above all what won."""
    fifths: dict[int, list[Line]] = defaultdict(list)
    won: list[Line] = []
    places = _fifths(study)
    for t in trials:
        line = _line(study, t, rows[t.number], axes, final)
        fifths[places.get(t.number, STOPPED)].append(line)
        won += [line] if t in study.won else []
    best, others = ((2.2, 1), (1.2, 0.75)) if len(trials) <= 100 else ((1.2, 0.75), (0.8, 0.5))
    worst = len(SCALE) - 1
    for fifth in sorted(fifths, reverse=True):
        name = {0: "best fifth", worst: "worst fifth", STOPPED: "stopped early"}.get(fifth, "")
        width, opacity = best if fifth == 0 else others
        look = {
            "line": {"color": PALE if fifth == STOPPED else SCALE[worst - fifth], "width": width},
            "opacity": opacity,
            "name": name,
            "showlegend": bool(name),
        }
        yield strand(fifths[fifth]) | look
    if won:
        look = {"line": {"color": ORANGE, "width": 3.5}, "name": "winner", "showlegend": True}
        yield strand(won) | look


def _fifths(study: StudyData) -> dict[int, int]:
    """Trial → the fifth of its rivals in which it ended, 0 the best."""
    return {
        t.number: place * len(SCALE) // len(own)
        for own in study.rivals.values()
        for place, t in enumerate(own)
    }


def _line(study: StudyData, t: Trial, own: Row, axes: list[Axis], final: list[Axis]) -> Line:
    value, jitter = study.value(t), (t.number * 0.618034) % 1 - 0.5
    ys = [a.at(own[a.path], jitter) if a.path in own else UNUSED + 0.05 * jitter for a in axes]
    told = f"trial {t.number}: {study.metric} {number(value)} after {t.epochs} epochs"
    if t.state == "complete":
        ys += [a.at(value) for a in final]
    else:
        told += f", {t.state}"
    text = wrapped([told, choices(t)])
    return list(range(len(ys))), [round(y, 4) for y in ys], text


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
                "font": {"size": 11, "color": "#666666"},
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
            "line": {"color": "#444444", "width": 1.5},
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
