"""One parameter at a time: the value at the end of training against it, a dot a trial."""

from __future__ import annotations

from autokd.report.axes import Axis, Rows, axis, free
from autokd.report.charts import BLUE, ORANGE, Trace, chart, thin, titled
from autokd.report.parts import folded, note, number, plain, wrapped
from autokd.report.study_data import StudyData
from autokd.study.choices import choices, label, settings
from autokd.study.ledger import Trial

MOST = 12  # parameters
DOTS = 200  # in one chart


def one_by_one(study: StudyData) -> str:
    """A chart a parameter, folded away: there may be many."""
    trials = thin(study.complete, DOTS)
    trials += [t for t in study.won if t not in trials]
    rows: Rows = {t.number: settings(t.varied) for t in trials}
    paths = free(rows.values())[:MOST]
    if len(trials) < 3 or not paths:
        return ""
    charts = "".join(_slice(study, trials, rows, path) for path in paths)
    intro = note(
        "Each dot is a trial that ran to its end, one seed. The other parameters differ from dot to"
        " dot, so a slope may be theirs; “What mattered” weighs all of them together. Orange: what"
        " won."
    )
    title = "One parameter" if len(paths) == 1 else f"{len(paths)} parameters, one by one"
    return intro + folded(title, f'<div class="cards">{charts}</div>')


def _slice(study: StudyData, trials: list[Trial], rows: Rows, path: str) -> str:
    have = [t for t in trials if path in rows[t.number]]
    own = axis(study, path, [rows[t.number] for t in have])
    won = [t for t in have if t in study.won]
    others = [t for t in have if t not in won]
    data = []
    if others:
        look = {"color": BLUE, "size": 7, "opacity": 0.6}
        data.append(_dots(study, others, own, rows, look))
    if won:
        look = {"color": ORANGE, "size": 11, "symbol": "diamond"}
        data.append(_dots(study, won, own, rows, look))
    across = titled(label(path))
    if own.kinds is not None:
        ticks = own.ticks
        across |= {"tickvals": [at for at, _ in ticks], "range": [0, 1]}
        across |= {"ticktext": [plain(text, 16) for _, text in ticks]}
    elif own.log:
        across |= {"type": "log"}
    layout = {"xaxis": across, "yaxis": titled(study.metric), "showlegend": False}
    caption = f"{label(path)}: {len(have)} trials"
    if absent := len(trials) - len(have):
        caption += f"; {absent} others do not have it"
    return chart(data, layout, f"{caption}.", height=270)


def _dots(study: StudyData, trials: list[Trial], own: Axis, rows: Rows, look: object) -> Trace:
    """Those of a choice stand beside each other."""
    values = [rows[t.number][own.path] for t in trials]
    if own.kinds is not None:
        spread = [(t.number * 0.618034) % 1 - 0.5 for t in trials]
        values = [round(own.at(v, s), 4) for v, s in zip(values, spread, strict=True)]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": values,
        "y": [study.value(t) for t in trials],
        "marker": look,
        "hoverinfo": "text",
        "hovertext": [
            wrapped([f"trial {t.number}: {number(study.value(t))}", choices(t)]) for t in trials
        ],
    }
