"""Text for people and for HTML: escaping, names, numbers, tables. What users wrote passes through
:func:`esc`, or in charts :func:`plain`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# ---------------------------------------------------------------- users' text


def sane(text: str) -> str:
    """Without what no HTML file may hold: control characters and halves of surrogate pairs."""
    return re.sub(
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]",
        "\ufffd",
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
    )


def esc(text: Any) -> str:
    """Text in HTML, shown as it is."""
    return html.escape(sane(str(text)), quote=True)


def plain(text: Any, longest: int = 0) -> str:
    """Text in a chart, where plotly would take ``<b>`` and ``&lt;`` for markup."""
    text = " ".join(sane(str(text)).split())
    text = text if not longest or len(text) <= longest else text[: longest - 1] + "…"
    return html.escape(text, quote=False)


def wrapped(parts: Iterable[str], width: int = 60) -> str:
    """Lines of a chart's label, long ones broken."""
    lines = [
        sane(part)[i : i + width] for part in parts for i in range(0, min(len(part), 400), width)
    ]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


# ---------------------------------------------------------------- names and numbers


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def big(value: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def seeds(n: int) -> str:
    return "one seed" if n == 1 else f"{n} seeds"


# ---------------------------------------------------------------- HTML


def row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def table(head: Sequence[str], rows: Iterable[Sequence[str] | str], kind: str = "") -> str:
    """Cells, or whole rows, are HTML already. ``kind``: CSS classes; ``sortable``: by a click on a
    column's name.
    """
    top = "".join(f'<th scope="col">{esc(h)}</th>' if h else "<td></td>" for h in head)
    body = "".join(r if isinstance(r, str) else row(r) for r in rows)
    return (
        '<div class="wide" tabindex="0" role="group" aria-label="table"><table'
        f' class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def note(text: str) -> str:
    return f'<p class="note">{esc(text)}</p>'


def folded(summary: str, content: str) -> str:
    """``content`` is HTML already, ``summary`` is not."""
    return f"<details><summary>{esc(summary)}</summary>{content}</details>"


def one_of(name: str, parts: Mapping[str, str]) -> str:
    """A choice between parts (label → HTML), of which one is shown; in print, and without scripts,
    all.
    """
    if len(parts) < 2:
        return "".join(parts.values())
    options = "".join(f"<option>{esc(label)}</option>" for label in parts)
    shown = "".join(f"<div>{part}</div>" for part in parts.values())
    return (
        f'<div class="one-of"><label class="screen">{esc(name)} <select>{options}</select></label>'
        f"{shown}</div>"
    )
