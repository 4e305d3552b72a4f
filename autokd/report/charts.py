"""What every figure is made of: colours, the frame that the page's script draws in, lines, and
thinning. Values are plotly's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from autokd.report.parts import esc, plain

# Okabe and Ito's colours, which no common colour blindness confuses; a mark and a dash say the same
# once more.
BLUE = "#0072B2"
SKY = "#56B4E9"
ORANGE = "#E69F00"
VERMILION = "#D55E00"
GREEN = "#009E73"
GREY = "#595959"
COLOUR = {"finalist": BLUE, "control-kd": ORANGE, "control-ce": GREY}
COLOUR |= {"tuned-kd": "#8a5f00", "tuned-ce": "#000000"}
MARK = {"finalist": "circle", "control-kd": "square", "control-ce": "diamond"}
MARK |= {"tuned-kd": "square-open", "tuned-ce": "diamond-open"}
DASH = {"finalist": "solid", "control-kd": "dash", "control-ce": "dot"}
DASH |= {"tuned-kd": "longdash", "tuned-ce": "dashdot"}
# What a colour becomes on a dark page, where it would not be seen, or would glare: the page's
# script puts it in.
DARK = {
    BLUE: "#6cc0ff",
    SKY: "#3f83b3",
    GREY: "#b4bac1",
    VERMILION: "#f08a45",
    "#8a5f00": "#d9a53c",
    "#000000": "#ffffff",
    "#1c1f23": "#e4e7ea",
    "#e8e8e8": "#31373e",
    "#bbbbbb": "#5c6570",
    "#888888": "#7d8790",
    "#444444": "#a6adb5",
    "#222222": "#e4e7ea",
    "#666666": "#a6adb5",
    "#f2f2f2": "#22272d",
    "#e4e4e4": "#2b3036",  # parallel coordinates: from what was stopped to the best fifth
    "#c8c8c8": "#4a525b",
    "#a5b4c4": "#566b80",
    "#6f9fc8": "#4f86b5",
    "#2b7bba": "#5fb0ee",
    "#08306b": "#b9e0ff",
    "#b5bdc6": "#4a525b",
    "#9aa7b4": "#77838f",
    "#a84800": "#f2a06a",
    "#ffffff": "#16191d",
    "#d6e6f2": "#1d3346",
    "#6aaed6": "#2f76ab",
    "rgba(255,255,255,0.85)": "rgba(22,25,29,0.85)",
}
BASE = {
    "margin": {"l": 62, "r": 16, "t": 14, "b": 48},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "hovermode": "closest",
    "font": {
        "family": "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
        "size": 13,
        "color": "#1c1f23",
    },
    "dragmode": False,
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
    "hoverlabel": {"align": "left"},
}
AXIS = {
    "gridcolor": "#e8e8e8",
    "zerolinecolor": "#bbbbbb",
    "linecolor": "#888888",
    "automargin": True,
}

Trace = dict[str, Any]
Layout = dict[str, Any]


def chart(
    data: list[Trace], layout: Layout, caption: str, *, height: int = 360, width: int = 0
) -> str:
    """A figure that the page's script draws. ``width``: the least, below which it scrolls
    sideways.
    """
    layout = (
        {"height": height}
        | BASE
        | layout
        | {axis: AXIS | layout.get(axis, {}) for axis in ("xaxis", "yaxis")}
    )
    text = (
        json.dumps({"data": data, "layout": layout}, separators=(",", ":"), allow_nan=False)
        .replace("<", "\\u003c")
        .replace("&", "\\u0026")
    )
    least = f' style="min-width:{width}px"' if width else ""
    return (
        '<figure data-chart><div class="wide" tabindex="0" role="group" aria-label="chart">'
        '<div class="plot" role="img"'
        f' aria-label="{esc(caption)}"{least}></div></div><script'
        f' type="application/json">{text}</script><figcaption>{esc(caption)}</figcaption></figure>'
    )


def titled(text: str) -> Layout:
    """An axis with that title."""
    return {"title": {"text": plain(text, 60), "standoff": 8}}


def thin(items: Sequence[Any], most: int) -> list[Any]:
    """The first third, and of the others every k-th."""
    if len(items) <= most:
        return list(items)
    head, rest = items[: most // 3], items[most // 3 :]
    step = len(rest) / (most - len(head))
    return [*head, *(rest[int(i * step)] for i in range(most - len(head)))]


def strand(lines: Iterable[tuple[Sequence[Any], Sequence[Any], str]]) -> Trace:
    """Many lines as one trace, a gap between two: ``(x, y, text)`` each. It has one hover text a
    line.
    """
    xs: list[Any] = []
    ys: list[Any] = []
    texts: list[str | None] = []
    for x, y, text in lines:
        xs += [*x, None]
        ys += [*y, None]
        texts += [text] * len(x) + [None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xs,
        "y": ys,
        "hovertext": texts,
        "hoverinfo": "text",
        "connectgaps": False,
    }


def highlight() -> Trace:
    """An empty trace, which the page's script fills with the line under the pointer."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [None],
        "y": [None],
        "line": {"color": VERMILION, "width": 4},
        "hoverinfo": "skip",
        "showlegend": False,
        "meta": "highlight",
    }
