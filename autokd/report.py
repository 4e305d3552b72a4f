"""The study's page: one HTML file that opens anywhere, asks the network for nothing, and begins with the answer.

Everything is read from the ledger. Charts are drawn by plotly.js, which the file carries; they are SVG, so that they print.
What users wrote (titles, names, choices, reasons) is only ever text: escaped in HTML, in the charts' JSON and for plotly's own
markup, and the page's policy lets no script run but the two that it was made with. Curves are thinned out in long studies.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from autokd import asha, export, ledger, verdict
from autokd import space as spaces
from autokd.document import DocumentError, canonical, dump, flow, get, write_atomically
from autokd.ledger import ENDED, Event, Table, Trial
from autokd.verdict import Difference, Result

LEAST = 8  # trials; with fewer, what a statistic says about them is "not known"
CURVES, LINES, ROWS, TOP = 200, 240, 50, 15  # drawn or listed of a long study
POINTS = 60  # of one curve
IMPORTANCE_TRIALS = 200  # the time of fANOVA grows with their square
ROLES = {"finalist": "winner", "control-kd": "reference KD", "control-ce": "student alone"}
# Okabe and Ito's colours, which no common colour blindness confuses; a mark and a dash say the same once more.
COLOUR = {"finalist": "#0072B2", "control-kd": "#E69F00", "control-ce": "#595959"}
MARK = {"finalist": "circle", "control-kd": "square", "control-ce": "diamond"}
FINALS = COLOUR | {"finalist": "#56B4E9"}  # where the search itself is blue
DASH = {"finalist": "solid", "control-kd": "dash", "control-ce": "dot"}
SCALE = ["#c8c8c8", "#a5b4c4", "#6f9fc8", "#2b7bba", "#08306b"]  # worst fifth to best: lighter to darker, also in grey
SIGNS = {"better": "▲", "worse": "▼", "not distinguishable": "≈"}


@dataclass(frozen=True)
class Page:
    """The file, and its first line as plain text: our own words alone, and with the recipe, where users' words may stand."""

    html: str
    headline: str
    answer: str


def write(folder: Path, out: Path | None = None) -> Path:
    """The page of the study in ``folder``, as a file. Raises OSError where it cannot be written."""
    out = out or folder / "report.html"
    write_atomically(out, page(folder).html)
    return out


def page(folder: Path) -> Page:
    """The page of the study in ``folder``, finished or not."""
    events, table = ledger.read(folder)
    view = View(folder.name, events, table)
    headline, choice, notes = answer(view)
    sections = [
        ("Result", results_section(view)),
        ("Leaderboard of the search", leaderboard(view)),
        ("Quality against cost", pareto(view)),
        ("What was tried", parallel(view)),
        ("What mattered", importances(view)),
        ("Learning curves", curves(view)),
        ("Best so far", best_so_far(view)),
        ("Calibration", reliability(view)),
        ("Do early epochs predict the end?", rank_correlation(view)),
        ("Where the time went", time_spent(view)),
        ("Recipe", recipe(view)),
    ]
    first = f"{headline} {choice}".strip()
    body = f'<header><h1>{esc(headline)} <span class="choice">{esc(choice)}</span></h1>{notes}{facts(view)}</header>'
    body += "".join(f"<section><h2>{esc(title)}</h2>{content}</section>" for title, content in sections if content)
    return Page(document(view.title, body + provenance(view)), headline, first)


@dataclass
class View:
    """A study as the page sees it."""

    name: str
    events: list[Event]
    table: Table
    search: spaces.Search = field(init=False)
    leaves: dict[str, spaces.Leaf | spaces.OneOf] = field(init=False)  # by Optuna's names
    results: list[Result] = field(init=False)

    def __post_init__(self) -> None:
        frozen = self.table.created.get("frozen", {"space": {}, "base": {}})
        self.search = spaces.Search.model_validate(frozen["space"].get("search") or {})
        try:
            self.leaves = {leaf.name: leaf for leaf in spaces.thaw(frozen).leaves()}
        except (DocumentError, KeyError):  # of another version, say: the trials themselves then tell
            self.leaves = {}
        first = self.search.objectives[0]
        self.metric, self.sign = first.metric, first.sign
        self.results = verdict.results(self.table, self.metric, self.sign)
        self.best = verdict.overall(self.results, self.sign)
        self.trials = list(self.table.trials.values())
        self.searched = [t for t in self.trials if t.searching]
        self.ranked = sorted((t for t in self.searched if self.value(t) is not None), key=self._place)
        groups = {canonical(t.group): t.group for t in self.searched if t.group is not None}
        self.groups = sorted(groups.values(), key=lambda g: (str(type(g)), g))
        self.title = str(frozen["space"].get("title") or f"Study {self.name}")

    def _place(self, t: Trial) -> tuple[Any, ...]:
        return (not self.full(t), 0 if self.full(t) else -t.epochs, asha.rank(t, t.epochs, self.metric, self.sign))

    def value(self, t: Trial, epoch: int | None = None) -> float | None:
        """The objective after its last epoch, or after that one; None for a run that broke off, and for what is not finite."""
        if t.state in {"diverged", "oom", "failed"}:
            return None
        v = t.metrics.get(t.epochs if epoch is None else epoch, {}).get(self.metric)
        return v if v is not None and math.isfinite(v) else None

    def full(self, t: Trial) -> bool:
        return t.state == "complete" or t.epochs >= t.recipe["train"]["epochs"]

    def common_epoch(self, trials: Sequence[Trial]) -> int:
        """The last epoch that all of them reached, those aside that broke off or are still at it."""
        done = [t.epochs for t in trials if t.state in ENDED | {"paused"} and self.value(t) is not None]
        return min(done, default=0)

    def runs(self, role: str) -> list[Trial]:
        """The overall winner's runs, or its controls'."""
        return [self.table.trials[n] for n in self.best.runs.get(role, {}).values()] if self.best else []

    @property
    def roles(self) -> dict[str, str]:
        """The roles whose runs differ: a winner that is reference KD itself is not drawn twice."""
        return {r: n for r, n in ROLES.items() if self.runs(r) and not (r == "control-kd" and self.best and self.best.is_reference)}


# ---------------------------------------------------------------- text


def esc(text: Any) -> str:
    """Text in HTML, shown as it is."""
    return html.escape(_sane(str(text)), quote=True)


def _sane(text: str) -> str:
    """Without what no HTML file may hold: control characters and halves of surrogate pairs."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\ufffd", text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def plain(text: Any, longest: int = 0) -> str:
    """Text in a chart, where plotly would take ``<b>`` and ``&lt;`` for markup."""
    text = " ".join(_sane(str(text)).split())
    text = text if not longest or len(text) <= longest else text[: longest - 1] + "…"
    return html.escape(text, quote=False)


def wrapped(parts: Iterable[str], width: int = 60) -> str:
    """Lines of a chart's label, long ones broken."""
    lines = [_sane(part)[i : i + width] for part in parts for i in range(0, min(len(part), 400), width)]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return " → ".join(value) or "none"
    return value if isinstance(value, str) else flow(value)


def label(path: str) -> str:
    """A recipe path as people say it: ``distill/losses/kl/weight`` → ``kl weight``."""
    keys = [k for k in path.split("/") if k not in {"distill", "losses", "kind"}]
    return " ".join(keys[-2:]) or path


def said(t: Trial) -> str:
    """What a trial chose."""
    return ", ".join(f"{label(path)} {short(value)}" for path, value in t.varied.items())


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def big(value: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def duration(seconds: float) -> str:
    for size, unit, below, smaller in ((3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // below):02d} {smaller}"
    return f"{seconds:.1f} s"


def _row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def table(head: Sequence[str], rows: Iterable[Sequence[str] | str], kind: str = "") -> str:
    """Cells, or whole rows, are HTML already."""
    top = "".join(f"<th>{esc(h)}</th>" for h in head)
    body = "".join(row if isinstance(row, str) else _row(row) for row in rows)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def note(text: str) -> str:
    return f'<p class="note">{esc(text)}</p>'


# ---------------------------------------------------------------- charts


def chart(data: list[dict[str, Any]], layout: dict[str, Any], caption: str, *, height: int = 360, width: int = 0) -> str:
    """A figure that the page's script draws. ``width``: the least, below which it scrolls sideways."""
    base = {
        "height": height, "margin": {"l": 62, "r": 16, "t": 14, "b": 48}, "paper_bgcolor": "white", "plot_bgcolor": "white", "hovermode": "closest",
        "font": {"family": "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", "size": 13, "color": "#222"}, "dragmode": False,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"}, "hoverlabel": {"align": "left"},
    }  # fmt: skip
    style = {"gridcolor": "#e8e8e8", "zerolinecolor": "#bbb", "linecolor": "#888", "automargin": True}
    for axis in ("xaxis", "yaxis"):
        layout[axis] = style | layout.get(axis, {})
    text = json.dumps({"data": data, "layout": base | layout}, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")
    least = f' style="min-width:{width}px"' if width else ""
    return (
        f'<figure data-chart><div class="wide"><div class="plot" role="img" aria-label="{esc(caption)}"{least}></div></div>'
        f'<script type="application/json">{text}</script><figcaption>{esc(caption)}</figcaption></figure>'
    )


def title(text: str) -> dict[str, Any]:
    return {"title": {"text": plain(text, 60), "standoff": 8}}


def thin(items: Sequence[Any], most: int) -> list[Any]:
    """The first third, and of the others every k-th."""
    if len(items) <= most:
        return list(items)
    head, rest = items[: most // 3], items[most // 3 :]
    step = len(rest) / (most - len(head))
    return [*head, *(rest[int(i * step)] for i in range(most - len(head)))]


def strand(lines: Iterable[tuple[Sequence[Any], Sequence[Any], str]]) -> dict[str, Any]:
    """Many lines as one trace, a gap between two: ``(x, y, text)`` each. It has one hover text a line."""
    xs, ys, texts = [], [], []  # type: list[Any], list[Any], list[str | None]
    for x, y, text in lines:
        xs += [*x, None]
        ys += [*y, None]
        texts += [text] * len(x) + [None]
    return {"type": "scatter", "mode": "lines", "x": xs, "y": ys, "hovertext": texts, "hoverinfo": "text", "connectgaps": False}


def highlight() -> dict[str, Any]:
    """An empty trace, which the page's script fills with the line under the pointer."""
    return {
        "type": "scatter", "mode": "lines", "x": [None], "y": [None], "line": {"color": "#D55E00", "width": 4}, "hoverinfo": "skip", "showlegend": False,
        "meta": "highlight",
    }  # fmt: skip


# ---------------------------------------------------------------- the answer


def answer(view: View) -> tuple[str, str, str]:
    """The first line: verdict and recipe; below it what else must be said, as HTML."""
    if view.best is None:
        return (*_no_answer(view), "")
    best, source = view.best, view.table.trials[view.best.trial]
    headline = verdict.sentence(best, view.metric)
    choice = f"Recipe: trial {best.trial}" + (f" ({source.name})" if source.name else "") + f", {_networks(source)}"
    choice += f": {said(source)}." if source.varied else "."
    notes = []
    reference = next((d for d in best.differences if d.control == ROLES["control-kd"]), None)
    if best.is_reference:
        notes.append("The winner is reference KD itself: over fresh seeds nothing else that was confirmed did better.")
    elif reference is not None:
        meaning = {"better": "", "worse": ": plain KD is the better choice", "not distinguishable": ": that its extras help is not shown"}
        notes.append(f"Against reference KD {verdict.figure(reference, view.metric)}, {reference.verdict}{meaning[reference.verdict]}.")
    for d in best.test_differences:
        held = next((v.verdict for v in best.differences if v.control == d.control), "") == d.verdict
        notes.append(f"On test, against {d.control}: {verdict.figure(d, view.metric)}, {d.verdict}" + ("." if held else ": test does not bear out validation."))
    if not best.test_differences:
        notes.append("Test data was not read: this answer stands on the validation pictures, on which the winner was also chosen.")
    if view.table.closed is None:
        notes.append("The study is not finished: this may change.")
    if view.table.stopping:
        notes.append(f"The search was stopped: {view.table.stopping}.")
    if len(view.table.tests) > 1:
        notes.append(f"Test data was read {len(view.table.tests)} times.")
    notes += [f"Warning: {warning}." for warning in verdict.weak_teachers(view.table)]
    notes.append(f"The 95 % intervals are {verdict.LEFT_OUT}.")
    return headline, choice, "<ul class=notes>" + "".join(f"<li>{esc(n)}</li>" for n in notes) + "</ul>"


def _networks(t: Trial) -> str:
    teacher, ladder = _at(t.recipe, "teacher/model"), _at(t.recipe, "ladder") or []
    return f"{_at(t.recipe, 'student/model')} taught by {' → '.join(map(str, [teacher, *ladder]))}"


def _no_answer(view: View) -> tuple[str, str]:
    if not view.ranked:
        broken = Counter(t.reason for t in view.trials if t.reason)
        reasons = "; ".join(f"{n} × {r}" for r, n in broken.most_common(3))
        return ("No answer: no trial succeeded." if broken else "No answer yet: no trial has reported."), reasons
    over = view.table.closed or view.table.finalists is not None
    first = view.ranked[0]
    headline = "No answer: nothing was confirmed over fresh seeds." if view.table.closed else "No answer yet: the study is not finished."
    far = f"{view.metric} {number(view.value(first))} after {first.epochs} epochs, one seed, {'not confirmed' if over else 'the search goes on'}"
    return headline, f"Best of {len(view.searched)} trials: trial {first.number}, {far}" + (f": {said(first)}." if first.varied else ".")


def facts(view: View) -> str:
    """The numbers that people ask for first."""
    states = Counter(t.state for t in view.searched)
    first, last = (view.events[0]["t"], view.events[-1]["t"]) if view.events else (0.0, 0.0)
    tiles = []
    if view.best:
        tiles.append((number(view.best.mean), f"{view.metric}, ± {number(view.best.sd)} (sd) over {len(view.best.seeds)} fresh seeds"))
        if view.best.test_mean is not None:
            tiles.append((number(view.best.test_mean), f"{view.metric.replace('val/', 'test/')}, read {_times(len(view.table.tests))}"))
    full = [e for e in view.table.teachers.values() if not e.get("assistant") and "val/accuracy" in e.get("metrics", {})]
    tiles += [(number(e["metrics"]["val/accuracy"]), f"val/accuracy of the teacher {e['model']} at {e['resolution']} px") for e in full[:2]]
    tiles.append((str(len(view.searched)), "trials: " + ", ".join(f"{n} {state}" for state, n in sorted(states.items()))))
    tiles.append((f"{sum(1 for e in view.events if e['event'] == 'epoch'):,}".replace(",", "\u202f"), "epochs trained, finals included"))
    tiles.append((duration(last - first), f"from first to last event, {view.table.created.get('jobs', '?')} at a time"))
    cells = "".join(f"<div><b>{esc(value)}</b><span>{esc(what)}</span></div>" for value, what in tiles)
    return f'<div class="tiles">{cells}</div>'


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


# ---------------------------------------------------------------- sections


def results_section(view: View) -> str:
    """Each group's winner beside its own controls, on validation and test."""
    won = verdict.winners(view.results)
    if not won:
        return note("No finalist was confirmed, so nothing is compared with a control.")
    rows = []
    for r in won:
        of = "" if r.group is None else f"<b>{esc(label(view.search.finalists.per or 'group'))} {esc(short(r.group))}</b> · "
        mark = " <em>winner</em>" if r is view.best and len(won) > 1 else ""
        rows.append(f'<tr class="group"><td colspan="4">{of}trial {r.trial}{mark}<br><small>{esc(said(view.table.trials[r.trial]))}</small></td></tr>')
        rows.append(_row(["validation", f"{number(r.mean)} ± {number(r.sd)}<br><small>{len(r.seeds)} seeds</small>", *_against(view, r, r.differences)]))
        if r.test_mean is not None:
            rows.append(_row([f"test, read {_times(len(view.table.tests))}", number(r.test_mean), *_against(view, r, r.test_differences)]))
    head = ["", view.metric.replace("val/", ""), f"against {ROLES['control-ce']}", f"against {ROLES['control-kd']}"]
    return table(head, rows, "results") + forest(view, won) + _seeds(view)


def _against(view: View, r: Result, differences: list[Difference]) -> list[str]:
    out = []
    for role in ("control-ce", "control-kd"):
        d = next((d for d in differences if d.control == ROLES[role]), None)
        if d is not None:
            seeds = f", {d.n} seeds" if d.n != len(r.seeds) else ""
            out.append(f"{esc(verdict.figure(d, view.metric))}<br><small>{SIGNS[d.verdict]} {esc(d.verdict)}{seeds}</small>")
        else:
            out.append("<small>is reference KD itself</small>" if r.is_reference and role == "control-kd" else "<small>no run</small>")
    return out


def _seeds(view: View) -> str:
    """Seed by seed, for whoever wants to check the interval."""
    assert view.best is not None
    by_role = {role: {t.seed: t for t in view.runs(role)} for role in view.roles}
    seeds = sorted({s for runs in by_role.values() for s in runs})
    rows = [[str(s), *(number(view.value(runs[s])) if s in runs else "" for runs in by_role.values())] for s in seeds]
    inner = table(["seed", *(view.roles[r] for r in by_role)], rows)
    return f"<details><summary>Seed by seed{'' if view.best.group is None else f', for {esc(short(view.best.group))}'}</summary>{inner}</details>"


def forest(view: View, won: list[Result]) -> str:
    """The paired differences with their intervals."""
    unit = 100 if view.metric.endswith(("accuracy", "ece", "agreement")) else 1
    rows = []
    for r in won:
        name = "" if r.group is None else f"{plain(short(r.group), 14)} · "
        for role in ("control-ce", "control-kd"):
            for where, differences in (("validation", r.differences), ("test", r.test_differences)):
                d = next((d for d in differences if d.control == ROLES[role]), None)
                if d is not None:
                    rows.append((f"{name}{ROLES[role]}", role, where, d))
    if not rows:
        return ""
    names = list(dict.fromkeys(name for name, *_ in rows))[::-1]
    data = []
    for where, shift in (("validation", 0.16), ("test", -0.16)):
        own = [(name, d) for name, _, w, d in rows if w == where]
        if not own:
            continue
        sizes = {"symmetric": False, "type": "data", "thickness": 2, "width": 5}
        high = [(d.high - d.mean) * unit if math.isfinite(d.high) else 0 for *_, d in own]
        low = [(d.mean - d.low) * unit if math.isfinite(d.low) else 0 for *_, d in own]
        colour, mark = ("#0072B2", "circle") if where == "validation" else ("#D55E00", "diamond-open")
        data.append({
            "type": "scatter", "mode": "markers", "name": where, "x": [d.mean * unit for *_, d in own],
            "y": [names.index(name) + shift for name, _ in own], "marker": {"color": colour, "symbol": mark, "size": 11, "line": {"width": 2, "color": colour}},
            "error_x": sizes | {"array": high, "arrayminus": low, "color": colour},
            "hovertext": [wrapped([f"{where}: {verdict.figure(d, view.metric)}", d.verdict]) for *_, d in own], "hoverinfo": "text",
        })  # fmt: skip
    better = "right of the line" if view.sign > 0 else "left of the line"
    axis = f"winner minus control, {'points' if unit == 100 else view.metric}"
    layout = {
        "xaxis": title(axis) | {"zeroline": True, "zerolinecolor": "#222", "zerolinewidth": 2},
        "yaxis": {"tickvals": list(range(len(names))), "ticktext": names, "range": [-0.6, len(names) - 0.4], "zeroline": False},
    }  # fmt: skip
    caption = f"Winner against its own controls, same seeds, with 95 % intervals of the paired difference; {better} the winner is better."
    return chart(data, layout, caption, height=130 + 44 * len(names))


def leaderboard(view: View) -> str:
    """The search's trials, best first."""
    if not view.ranked:
        return ""
    extra = [m for m in ("val/accuracy", "val/nll", "val/ece") if m != view.metric and m in view.ranked[0].last]
    head = ["", "trial", *([label(view.search.finalists.per or "group")] if view.groups else []), view.metric, *extra, "epochs", "state", "choices"]
    rows = []
    for place, t in enumerate(view.ranked[:ROWS], 1):
        cells = [str(place), f"{t.number}" + (f"<br><small>{esc(t.name)}</small>" if t.name else "")]
        cells += [esc(short(t.group))] if view.groups else []
        cells += [number(view.value(t)), *(number(t.last.get(m)) for m in extra), str(t.epochs), esc(t.state), f"<small>{esc(said(t))}</small>"]
        rows.append(cells)
    broken = Counter(t.state for t in view.searched if t.state in {"diverged", "oom", "failed"})
    text = "One seed each, and the best of many: these values flatter. What was confirmed over fresh seeds stands above. Full-length trials come first."
    text += f" {len(view.ranked) - ROWS} more are not listed." if len(view.ranked) > ROWS else ""
    text += f" Broken off: {', '.join(f'{n} {s}' for s, n in broken.items())}." if broken else ""
    rest = f"<details><summary>Places {TOP + 1} to {len(rows)}</summary>{table(head, rows[TOP:], 'board')}</details>" if len(rows) > TOP else ""
    return note(text) + table(head, rows[:TOP], "board") + rest


def pareto(view: View) -> str:
    """The objective against what it costs, where that differs between trials; and against the search's other objectives."""
    asked = {o.metric: o.sign for o in view.search.objectives[1:]} | {c.metric: -c.sign for c in view.search.limits}
    wanted = {"student/flops": -1, "student/params": -1} | asked  # latency differs from run to run: only where it was asked for
    done = [t for t in view.ranked if t.state == "complete"]
    out = [_front(view, done, cost, sign) for cost, sign in wanted.items()]
    return f'<div class="pair">{"".join(out)}</div>' if any(out) else ""


def _front(view: View, done: list[Trial], cost: str, sign: int) -> str:
    known = [(float(c), t) for t in done if isinstance(c := t.facts.get(cost, t.last.get(cost)), int | float) and math.isfinite(c)]
    if len({c for c, _ in known}) < 2:
        return ""
    rows = sorted(known, key=lambda r: (-sign * r[0], -view.sign * (view.value(r[1]) or 0), r[1].number))
    front: list[tuple[float, Trial]] = []
    for c, t in rows:
        if not front or view.sign * (view.value(t) or 0) > view.sign * (view.value(front[-1][1]) or 0):
            front.append((c, t))
    on_it = {t.number for _, t in front}

    def trace(name: str, points: list[tuple[float, Trial]], **look: Any) -> dict[str, Any]:
        texts = [wrapped([f"trial {t.number}: {view.metric} {number(view.value(t))}, {cost} {big(c)}", said(t)]) for c, t in points]
        xy = {"x": [c for c, _ in points], "y": [view.value(t) for _, t in points]}
        return {"type": "scatter", "name": name, "hoverinfo": "text", "hovertext": texts} | xy | look

    data = [
        trace("trials", thin([r for r in rows if r[1].number not in on_it], 1000), mode="markers", marker={"color": "#9aa7b4", "size": 7}),
        trace("Pareto front", front, mode="lines+markers", line={"color": "#0072B2", "shape": "hv", "width": 2}, marker={"size": 10, "symbol": "diamond"}),
    ]
    wide = min(c for c, _ in known) > 0 and max(c for c, _ in known) / min(c for c, _ in known) > 20
    said_cost = {"student/flops": "FLOPs of one picture", "student/params": "parameters", "student/latency_ms": "latency, ms"}.get(cost, cost)
    scale: dict[str, Any] = {"type": "log"} if wide else {"rangemode": "tozero"} if cost.startswith("student/") else {}
    layout = {"xaxis": title(f"{said_cost}{' (log scale)' if wide else ''}") | scale, "yaxis": title(view.metric)}
    return chart(data, layout, f"{len(rows)} trials that ran to their end, one seed each: {view.metric} against {said_cost}.")


# ---------------------------------------------------------------- parallel coordinates


def parallel(view: View) -> str:
    """One axis a parameter; a trial whose branch does not have it runs through the lane below the axis."""
    epoch = view.common_epoch(view.searched)
    trials = [t for t in view.ranked if epoch and view.value(t, epoch) is not None]
    paths = list(dict.fromkeys(path for t in trials for path in t.varied))
    paths = [p for p in paths if len({canonical(t.varied[p]) if p in t.varied else None for t in trials}) > 1]
    if len(trials) < 3 or not paths:
        return ""
    ordered = sorted(trials, key=lambda t: -view.sign * (view.value(t, epoch) or 0))
    shown = thin(ordered, LINES)
    everywhere = [p for p in paths if all(p in t.varied for t in trials)]
    out = note(
        f"Each line is a trial, darker the better after {epoch} epochs, which all of these {len(trials)} reached."
        + (f" Drawn: the best {LINES // 3}, and {len(shown) - LINES // 3} of the others." if len(shown) < len(trials) else "")
        + (" A line in the lane “not used” belongs to a branch without that parameter." if everywhere != paths else "")
    )
    if len(paths) <= 9:
        return out + _parallel(view, shown, paths, epoch, "Parallel coordinates of the search's trials.")
    out += _parallel(view, shown, everywhere or paths[:8], epoch, "Parallel coordinates of what every trial has.")
    for branch in sorted({t.branch for t in trials}):
        own = [t for t in ordered if t.branch == branch]
        of = [p for p in paths if any(p in t.varied for t in own) and len({canonical(t.varied.get(p)) for t in own}) > 1]
        if len(own) >= 3 and of:
            out += f"<details><summary>{esc(said_branch(branch))}: {len(own)} trials</summary>"
            out += _parallel(view, thin(own, LINES), of, epoch, f"Parallel coordinates of {said_branch(branch)}.") + "</details>"
    return out


def said_branch(branch: str) -> str:
    words = [word.rpartition("=") for word in branch.split(" ") if "=" in word]
    return ", ".join(f"{label(path)} {value}".strip() for path, _, value in words) or "all"


@dataclass
class Axis:
    """Where a parameter's values lie between 0 and 1, and what is written beside them."""

    path: str
    values: list[Any]
    log: bool
    kinds: list[Any] | None  # of a choice, in the space's order

    def at(self, value: Any, jitter: float) -> float:
        if self.kinds is not None:
            where = next(i for i, k in enumerate(self.kinds) if canonical(k) == canonical(value))
            return (where + 0.5 + 0.5 * jitter) / len(self.kinds)
        low, high = min(self.values), max(self.values)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return 0.5 if high == low else (value - low) / (high - low)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        if self.kinds is not None:
            step = math.ceil(len(self.kinds) / 10)
            return [(self.at(k, 0), short(k)) for i, k in enumerate(self.kinds) if i % step == 0]
        low, high = min(self.values), max(self.values)
        middle = math.sqrt(low * high) if self.log else (low + high) / 2
        return [(self.at(float(v), 0), f"{v:.3g}") for v in (low, middle, high)]


def _axis(view: View, path: str, trials: Sequence[Trial]) -> Axis:
    values = [t.varied[path] for t in trials if path in t.varied]
    leaves = [leaf for leaf in view.leaves.values() if path in (leaf.path, leaf.name) and isinstance(leaf, spaces.Leaf)]
    listed = [v for leaf in leaves if leaf.kind == "choice" for v in leaf.options]
    numeric = not listed and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not numeric:
        kinds = {canonical(v): v for v in [*listed, *values]}
        used = {canonical(v) for v in values}
        return Axis(path, values, False, [v for k, v in kinds.items() if k in used])
    log = any(leaf.kind == "log_uniform" for leaf in leaves) if leaves else min(values) > 0 and max(values) / min(values) > 50
    return Axis(path, values, log and min(values) > 0, None)


def _parallel(view: View, trials: list[Trial], paths: list[str], epoch: int, caption: str) -> str:
    axes = [_axis(view, path, trials) for path in paths]
    final = Axis(view.metric, [view.value(t, epoch) for t in trials], False, None)
    unused, lanes = -0.14, any(p not in t.varied for t in trials for p in paths)
    lines: dict[int, list[tuple[list[float], list[float], str]]] = defaultdict(list)
    for place, t in enumerate(trials):  # best first
        jitter = (t.number * 0.618034) % 1 - 0.5
        ys = [a.at(t.varied[a.path], jitter) if a.path in t.varied else unused + 0.05 * jitter for a in axes]
        ys.append(final.at(view.value(t, epoch), 0))
        text = wrapped([f"trial {t.number}: {view.metric} {number(view.value(t, epoch))} after {epoch} epochs", said(t)])
        lines[min(len(SCALE) - 1, place * len(SCALE) // len(trials))].append((list(range(len(ys))), [round(y, 4) for y in ys], text))
    data = []
    for fifth in sorted(lines, reverse=True):
        name = {0: "best fifth", len(SCALE) - 1: "worst fifth"}.get(fifth, "")
        width, opacity = ((2.2, 1) if fifth == 0 else (1.2, 0.75)) if len(trials) <= 100 else ((1.2, 0.75) if fifth == 0 else (0.8, 0.5))
        line = {"color": SCALE[len(SCALE) - 1 - fifth], "width": width}
        data.append(strand(lines[fifth]) | {"line": line, "opacity": opacity, "name": name, "showlegend": bool(name)})
    names = [*(_two_lines(label(a.path)) for a in axes), f"{plain(view.metric)}<br>after {epoch}"]
    paper = {"showarrow": False, "bgcolor": "rgba(255,255,255,0.85)", "borderpad": 1}
    notes: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    for x, a in enumerate([*axes, final]):
        shapes.append({"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": {"color": "#444", "width": 1.5}})
        side = {"xanchor": "left", "xshift": 5} if x < len(axes) else {"xanchor": "right", "xshift": -5}
        notes += [paper | side | {"x": x, "y": y, "text": plain(text, 16), "font": {"size": 11}} for y, text in a.ticks]
    if lanes:
        notes.append(paper | {"x": 0, "y": unused, "text": "not used", "xanchor": "left", "xshift": 5, "font": {"size": 11, "color": "#666"}})
        band = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": unused - 0.05, "y1": unused + 0.05}
        shapes.append(band | {"fillcolor": "#f2f2f2", "line": {"width": 0}, "layer": "below"})
    still = {"showgrid": False, "zeroline": False, "fixedrange": True}
    layout = {
        "xaxis": still | {"tickvals": list(range(len(names))), "ticktext": names, "side": "top", "range": [-0.12, len(names) - 0.88], "tickangle": 0,
                          "showline": False, "ticklabeloverflow": "allow", "automargin": False},
        "yaxis": still | {"visible": False, "range": [unused - 0.08 if lanes else -0.06, 1.06]}, "annotations": notes, "shapes": shapes,
        "margin": {"l": 46, "r": 46, "t": 56, "b": 36}, "legend": {"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0},
    }  # fmt: skip
    return chart([*data, highlight()], layout, caption, height=440, width=110 * len(names))


def _two_lines(text: str) -> str:
    first, _, second = plain(text, 30).partition(" ")
    return f"{first}<br>{second}" if second else first


# ---------------------------------------------------------------- importance


def importances(view: View) -> str:
    """What explains the differences, branch by branch, where there are enough trials to say."""
    branches = sorted({t.branch for t in view.searched if t.varied})
    parts = [("all trials, what they have in common", view.searched)] if len(branches) > 1 else []
    parts += [(said_branch(b), [t for t in view.searched if t.branch == b and t.varied]) for b in branches]
    if not branches:
        return ""
    out = []
    for name, trials in parts:
        epoch = view.common_epoch(trials)
        own = [t for t in trials if epoch and view.value(t, epoch) is not None]
        found, why = importance(view, own, epoch) if len(own) >= LEAST else (None, f"{len(own)} trials, fewer than {LEAST}")
        inner = f"<p><small>not known: {esc(why)}</small></p>"
        if found is not None:
            inner = "".join(
                f'<div class="bar"><span>{esc(label(_path(view, p)))}</span><i><b style="width:{100 * share:.1f}%"></b></i><em>{_percent(share)}</em></div>'
                for p, share in found
            )  # fmt: skip
            inner += f"<p><small>{esc(why)}</small></p>"
        out.append(f"<div class=card><h3>{esc(name)}</h3>{inner}</div>")
    text = "The share of the differences between trials that a parameter explains (fANOVA on a random forest). "
    text += "R² is the forest's, on trials it did not see: near 0, the shares mean little."
    return note(text) + f'<div class="cards">{"".join(out)}</div>'


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "< 1%"


def _path(view: View, name: str) -> str:
    leaf = view.leaves.get(name)
    return leaf.path if leaf is not None and leaf.path else name


def importance(view: View, trials: list[Trial], epoch: int) -> tuple[list[tuple[str, float]] | None, str]:
    """Shares by Optuna's names, largest first, and how far to trust them; or None, and why."""
    import numpy as np
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from sklearn.ensemble import RandomForestRegressor

    trials = sorted(thin(trials, IMPORTANCE_TRIALS), key=lambda t: t.number)
    y = [view.value(t, epoch) for t in trials]
    names = [n for n in trials[0].params if all(n in t.params for t in trials)]
    names = [n for n in names if len({canonical(t.params[n]) for t in trials}) > 1]
    if not names or max(y) == min(y):  # type: ignore[type-var]
        return None, "all of these trials are alike"
    ranges = {n: _distribution(view, n, [t.params[n] for t in trials]) for n in names}
    codes = {n: {canonical(v): i for i, v in enumerate(dict.fromkeys(t.params[n] for t in trials))} for n in names}
    is_number = {n: not isinstance(d, optuna.distributions.CategoricalDistribution) for n, d in ranges.items()}
    x = np.array([[t.params[n] if is_number[n] else codes[n][canonical(t.params[n])] for n in names] for t in trials], dtype=float)
    forest = RandomForestRegressor(n_estimators=100, oob_score=True, random_state=0, n_jobs=1).fit(x, y)
    if len(names) == 1:
        return [(names[0], 1.0)], f"the only parameter; {len(trials)} trials after {epoch} epochs, R² {forest.oob_score_:.2f}"
    if forest.oob_score_ <= 0:
        return None, f"{len(trials)} trials after {epoch} epochs tell no parameter from chance (R² {forest.oob_score_:.2f})"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    study.add_trials([optuna.trial.create_trial(params={n: t.params[n] for n in names}, distributions=ranges, value=v) for t, v in zip(trials, y, strict=True)])
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=32, seed=0))
    return [(n, float(s)) for n, s in shares.items()], f"{len(trials)} trials after {epoch} epochs, R² {forest.oob_score_:.2f}"


def _distribution(view: View, name: str, values: list[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    leaf = view.leaves.get(name)
    if any(isinstance(v, str | bool) or v is None for v in values) or leaf is None or isinstance(leaf, spaces.OneOf) or leaf.kind == "choice":
        if leaf is None and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            return FloatDistribution(min(values), max(values))
        return CategoricalDistribution(list(dict.fromkeys(values)))
    low, high = min(*leaf.options, *values), max(*leaf.options, *values)
    return FloatDistribution(low, high, log=leaf.kind == "log_uniform")


# ---------------------------------------------------------------- curves


def curves(view: View) -> str:
    """The objective by epoch, with the rungs at which trials were judged; and winner and controls over their seeds."""
    if not view.ranked:
        return ""
    shown = thin(view.ranked, CURVES)
    best = [view.table.trials[r.trial] for r in verdict.winners(view.results)]
    rest = [t for t in shown if t not in best and t.role != "baseline"]
    kinds = [
        ("stopped early", [t for t in rest if not view.full(t)], {"color": "#b5bdc6", "width": 1}),
        ("ran to the end", [t for t in rest if view.full(t)], {"color": "#56B4E9", "width": 1.5}),
        ("baselines", [t for t in view.ranked if t.role == "baseline" and t not in best], {"color": "#595959", "width": 2, "dash": "dash"}),
        ("later confirmed", best, {"color": "#0072B2", "width": 2.5}),
    ]
    data = [strand(_curve(view, t) for t in ts) | {"name": f"{name} ({len(ts)})", "line": line} for name, ts, line in kinds if ts]
    judged = sorted({r for t in view.searched for r in t.rungs})
    upright = {"yref": "paper", "y0": 0, "y1": 1, "line": {"color": "#D55E00", "width": 1.5, "dash": "dot"}}
    foot = {"yref": "paper", "y": 0, "yanchor": "bottom", "xanchor": "left", "showarrow": False, "font": {"size": 11, "color": "#a84800"}}
    shapes, labels = [upright | {"type": "line", "x0": r, "x1": r} for r in judged], [foot | {"x": r, "text": f"rung {r}"} for r in judged]
    layout = {"xaxis": title("epoch"), "yaxis": title(view.metric), "shapes": shapes, "annotations": labels}
    text = f"Validation after each epoch: {len(shown)} of {len(view.ranked)} trials."
    text += " Dotted: the rungs, where trials are paused, stopped or go on." if judged else ""
    return f'<div class="pair">{chart([*data, highlight()], layout, text)}{final_curves(view)}</div>'


def _curve(view: View, t: Trial) -> tuple[list[int], list[float], str]:
    points = [(e, m[view.metric]) for e, m in sorted(t.metrics.items()) if math.isfinite(m.get(view.metric, math.nan))]
    step = max(1, math.ceil(len(points) / POINTS))
    kept = [p for i, p in enumerate(points) if i % step == 0 or i == len(points) - 1 or p[0] in t.rungs]
    text = wrapped([f"trial {t.number}, {t.state}: {number(view.value(t))}", said(t)])
    return [e for e, _ in kept], [round(v, 5) for _, v in kept], text


def final_curves(view: View) -> str:
    """Winner and controls: the mean over seeds, between the least and the greatest."""
    data: list[dict[str, Any]] = []
    for role, name in view.roles.items():
        epochs: dict[int, list[float]] = defaultdict(list)
        runs = view.runs(role)
        for t in runs:
            for e, m in t.metrics.items():
                if math.isfinite(m.get(view.metric, math.nan)):
                    epochs[e].append(m[view.metric])
        at = [e for e in sorted(epochs) if len(epochs[e]) == len(runs)]
        at = [e for i, e in enumerate(at) if i % max(1, len(at) // POINTS) == 0 or e == at[-1]]
        band = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": role, "x": at}
        data.append(band | {"y": [round(min(epochs[e]), 5) for e in at]})
        data.append(band | {"y": [round(max(epochs[e]), 5) for e in at], "fill": "tonexty", "fillcolor": _faint(COLOUR[role])})
        data.append({
            "type": "scatter", "mode": "lines", "name": f"{name} ({len(runs)} seeds)", "x": at, "y": [round(statistics.fmean(epochs[e]), 5) for e in at],
            "line": {"color": COLOUR[role], "dash": DASH[role], "width": 2.5}, "legendgroup": role,
        })  # fmt: skip
    if not data:
        return ""
    layout = {"xaxis": title("epoch"), "yaxis": title(view.metric), "hovermode": "x unified"}
    return chart(data, layout, "Winner and its controls over fresh seeds: the mean, and from the least to the greatest.")


def _faint(colour: str) -> str:
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},0.13)"


def best_so_far(view: View) -> str:
    """The search's progress in the unit that costs: epochs."""
    spent, any_epoch, at_end = 0, [], []  # type: int, list[tuple[int, float]], list[tuple[int, float]]
    for e in view.events:
        t = view.table.trials.get(e.get("trial", -1))
        if e["event"] != "epoch" or t is None or not t.searching:
            continue
        spent += 1
        v = e["metrics"].get(view.metric)
        if v is None or not math.isfinite(v) or t.state in {"diverged", "oom", "failed"}:
            continue
        for steps, counts in ((any_epoch, True), (at_end, e["epoch"] >= t.recipe["train"]["epochs"])):
            if counts and (not steps or view.sign * v > view.sign * steps[-1][1]):
                steps.append((spent, v))
    if not any_epoch:
        return ""
    data = []
    for name, steps, line in (
        ("at any epoch", any_epoch, {"color": "#56B4E9", "width": 2, "dash": "dot"}), ("at the end of a full run", at_end, {"color": "#0072B2", "width": 3}),
    ):  # fmt: skip
        if steps:
            x, y = [s for s, _ in steps] + [spent], [v for _, v in steps] + [steps[-1][1]]
            data.append({"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": line | {"shape": "hv"}})
    baselines = [(t, view.value(t)) for t in view.searched if t.role == "baseline" and view.full(t) and view.value(t) is not None]
    baselines = sorted(baselines, key=lambda b: -view.sign * (b[1] or 0))[:1]
    for t, v in baselines:
        line = {"color": "#595959", "dash": "dash", "width": 1.5}
        name = f"best baseline: {plain(t.name, 30)}"
        data.append({"type": "scatter", "mode": "lines", "name": name, "x": [0, spent], "y": [v, v], "line": line})
    early = next(v for s, v in reversed(any_epoch) if s <= max(spent / 20, any_epoch[0][0]))  # not the first steps' climb
    ends = [early, any_epoch[-1][1], *(v for _, v in at_end if view.sign * v >= view.sign * early), *(v for _, v in baselines if v is not None)]
    pad = 0.06 * (max(ends) - min(ends)) or 0.01
    layout = {"xaxis": title("epochs spent by the search"), "yaxis": title(view.metric) | {"range": [min(ends) - pad, max(ends) + pad]}}
    return chart(data, layout, "The best value so far, one seed each, against the epochs that the search had spent.", height=320)


# ---------------------------------------------------------------- reliability


def reliability(view: View) -> str:
    """Whether the winner is as often right as it says, beside its controls."""
    data: list[dict[str, Any]] = []
    rows = []
    for role, name in reversed(view.roles.items()):  # the winner on top
        runs = view.runs(role)
        means = {m: statistics.fmean(t.last[m] for t in runs) for m in ("val/ece", "val/nll", "val/entropy") if all(m in t.last for t in runs)}
        rows.append([esc(name), *(number(means.get(m)) for m in ("val/ece", "val/nll", "val/entropy")), str(len(runs))])
        bins = pooled([t.facts["reliability"] for t in runs if isinstance(t.facts.get("reliability"), dict)])
        if bins:
            data.append({
                "type": "scatter", "mode": "lines+markers", "name": name, "x": [round(c, 4) for c, _, _ in bins], "y": [round(a, 4) for _, a, _ in bins],
                "line": {"color": COLOUR[role], "dash": DASH[role], "width": 2}, "hoverinfo": "text",
                "marker": {"symbol": MARK[role], "color": COLOUR[role], "size": [6 + 14 * math.sqrt(n / max(b[2] for b in bins)) for *_, n in bins]},
                "hovertext": [f"{name}: says {c:.1%}, right {a:.1%}, {n:g} pictures" for c, a, n in bins],
            })  # fmt: skip
    if not rows:
        return ""
    out = table(["", "val/ece", "val/nll, nats", "val/entropy, nats", "seeds"], rows[::-1])
    if not data:
        return out + note("This study did not record how often each run was right at which confidence, so there is no reliability diagram.")
    line = {"color": "#999", "dash": "dot", "width": 1}
    data.insert(0, {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "line": line, "name": "perfect", "hoverinfo": "skip"})
    axis = {"range": [-0.02, 1.03]}
    layout = {"xaxis": title("confidence") | axis, "yaxis": title("accuracy") | axis}
    text = "Reliability on validation pictures, all seeds together; a mark's size is its number of pictures. "
    text += "Below the diagonal a network is too sure of itself."
    return f'<div class="pair">{chart(data, layout, text, height=420)}<div>{out}</div></div>'


def pooled(parts: list[dict[str, Any]]) -> list[tuple[float, float, float]]:
    """Bins of several runs together: confidence, accuracy and count, empty ones left out."""
    sums: dict[int, list[float]] = {}
    for part in parts:
        for i, (c, a, n) in enumerate(zip(part.get("confidence", []), part.get("accuracy", []), part.get("count", []), strict=False)):
            if n and all(isinstance(v, int | float) and math.isfinite(v) for v in (c, a, n)):
                old = sums.setdefault(i, [0.0, 0.0, 0.0])
                sums[i] = [old[0] + c * n, old[1] + a * n, old[2] + n]
    return [(c / n, a / n, n) for _, (c, a, n) in sorted(sums.items())]


# ---------------------------------------------------------------- rungs and time


def rank_correlation(view: View) -> str:
    """How the order at each rung agrees with the order at the end, on trials that ran on whatever their rank."""
    exempt = [t for t in view.searched if t.exempt and t.state == "complete"]
    rungs = sorted({r for t in exempt for r in asha.rungs(view.search.asha, t.recipe["train"]["epochs"])})
    rungs = rungs or sorted({r for t in view.searched for r in asha.rungs(view.search.asha, t.recipe["train"]["epochs"])})
    if not rungs:
        return ""
    parts: list[tuple[str, list[Trial]]] = [("all", exempt)]
    parts += [(short(g), [t for t in exempt if t.group == g]) for g in view.groups] if len(view.groups) > 1 else []
    rows = []
    for rung in rungs:
        for name, trials in parts:
            pairs = [(a, b) for t in trials if (a := view.value(t, rung)) is not None and (b := view.value(t)) is not None]
            rho = spearman(pairs) if len(pairs) >= LEAST else None
            known = f"{rho:+.2f}" if rho is not None else "not known" if len(pairs) < LEAST else "not defined: all alike"
            rows.append([f"epoch&nbsp;{rung}", esc(name), known, str(len(pairs))])
    text = "Spearman's rank correlation of the objective at a rung with the objective at the end, on baselines and on the trials drawn to run on whatever "
    text += f"their rank: the others would flatter it. Fewer than {LEAST}: not known. Near 0, the rungs stop the wrong trials."
    return note(text) + table(["rung", label(view.search.finalists.per or "trials"), "rank correlation", "n"], rows)


def spearman(pairs: list[tuple[float, float]]) -> float | None:
    """Of ties, the mean rank. None where one side has a single value."""
    from scipy.stats import spearmanr

    if len({a for a, _ in pairs}) < 2 or len({b for _, b in pairs}) < 2:
        return None
    return float(spearmanr([a for a, _ in pairs], [b for _, b in pairs]).statistic)


@dataclass
class Spent:
    """Seconds of workers, read from the ledger's times."""

    epochs: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # by phase
    ahead: float = 0.0  # before the first epoch of a stretch, beyond an epoch's own time
    again: float = 0.0  # done, and done again after an interruption


def spent(view: View) -> Spent:
    """Each epoch's time by phase: as the worker measured it (``seconds``), else from report to report."""
    out, stretch = Spent(), {}  # type: Spent, dict[int, list[Event]]

    def close(number: int) -> None:
        events = stretch.pop(number)
        gaps = [b["t"] - a["t"] for a, b in zip(events, events[1:], strict=False)]
        own = [e.get("seconds", gap) for e, gap in zip(events[1:], gaps, strict=True)]
        if not own:
            return
        if "seconds" not in events[1]:  # its gap holds all that came before it
            own[0] = min(own[0], statistics.median(own[1:])) if own[1:] else own[0]
        t = view.table.trials[number]
        kept = events[-1].get("again", 0)
        out.again += sum(own[len(own) - kept :]) if kept else 0.0
        phase = "search" if t.searching else t.role
        out.epochs[phase] += sum(own[: len(own) - kept])
        out.ahead += max(0.0, gaps[0] - own[0])

    for e in view.events:
        n = e.get("trial", -1)
        if e["event"] == "started":
            if n in stretch:  # it was interrupted; what it had done past its checkpoint is done again
                lost = sum(1 for x in stretch[n] if x["event"] == "epoch" and x["epoch"] > e["epoch"])
                stretch[n][-1] = stretch[n][-1] | {"again": lost}
                close(n)
            stretch[n] = [e]
        elif e["event"] == "epoch" and n in stretch:
            stretch[n].append(e)
        elif e["event"] in {"paused", "pruned", "finished", "diverged", "oom", "failed"} and n in stretch:
            close(n)
    for n in list(stretch):
        close(n)
    return out


def time_spent(view: View) -> str:
    """Teachers, students, finals, overhead."""
    if not view.events:
        return ""
    s, jobs = spent(view), view.table.created.get("jobs") or 1
    wall = view.events[-1]["t"] - view.events[0]["t"]
    teachers = sum(e["seconds"] for e in view.table.teachers.values())
    rows = [("students of the search", s.epochs.pop("search", 0.0), "#0072B2")]
    rows += [(f"finals: {ROLES[role]}", s.epochs[role], colour) for role, colour in FINALS.items() if role in s.epochs]
    rows += [("done again after an interruption", s.again, "#000000")] if s.again else []
    rows += [("training, loading and measuring teachers", teachers, "#009E73")] if teachers else []
    rows.append(("before a first epoch: start of workers, data, waiting", s.ahead, "#D55E00"))
    rows.append(("workers idle, and the study's own time", max(0.0, jobs * wall - sum(r[1] for r in rows)), "#c8c8c8"))
    whole = sum(r[1] for r in rows) or 1.0
    bar = "".join(f'<b style="width:{100 * seconds / whole:.2f}%;background:{colour}"></b>' for _, seconds, colour in rows)
    cells = [[f'<i class="key" style="background:{colour}"></i> {esc(name)}', duration(seconds), f"{seconds / whole:.0%}"] for name, seconds, colour in rows]
    facts = [t.facts for t in view.trials] + [e.get("facts", {}) for e in view.table.teachers.values()]
    counts = Counter({k: sum(f.get(k, 0) for f in facts) for k in ("tables made", "tables read", "networks trained", "networks read")})
    text = f"{jobs} {'worker' if jobs == 1 else 'workers'} × {duration(wall)}, from the first event to the last, pauses between sessions included."
    asked, networks = counts["tables made"] + counts["tables read"], counts["networks trained"] + counts["networks read"]
    if asked:
        text += f" Teachers' answers: {counts['tables read']} of {asked} epoch tables came from the cache ({counts['tables read'] / asked:.0%});"
        text += f" {counts['networks trained']} of {networks} networks were trained; counted by the runs that ended."
    peak = max((t.facts.get("peak_memory_mb", 0) for t in view.trials), default=0)
    text += f" The largest worker took {peak:.0f} MB." if peak else ""
    return f'<div class="stack" aria-hidden="true">{bar}</div>' + table(["", "workers' time", "share"], cells, "time") + note(text)


# ---------------------------------------------------------------- recipe


def recipe(view: View) -> str:
    """The document itself, and how to run it again."""
    if view.best is not None:
        closed = view.table.closed or {}
        text = closed.get("recipe_text") or export.recipe_text(view.name, view.table, view.best, view.metric)
        about = "Save it as recipe.yaml; the first command proves it, by training again and comparing, the second only trains it."
        commands = "autokd reproduce recipe.yaml\nautokd train recipe.yaml"
    elif view.ranked:
        text, about = dump(view.ranked[0].recipe), f"Of trial {view.ranked[0].number}, the best so far; it is not confirmed."
        commands = "autokd train recipe.yaml"
    else:
        return ""
    link = f"data:text/yaml;charset=utf-8,{quote(_sane(text))}"
    again = f"autokd search --resume {view.name}\n" if not view.table.closed else ""
    return (
        f'{note(about)}<pre class="command">{esc(again + commands)}</pre>'
        f'<p class="screen"><a download="recipe.yaml" href="{esc(link)}">Save recipe.yaml</a></p><pre class="recipe">{esc(text)}</pre>'
    )


def provenance(view: View) -> str:
    from datetime import UTC, datetime

    created = view.table.created
    began = datetime.fromtimestamp(created["t"], UTC).strftime("%Y-%m-%d %H:%M UTC") if created else "?"
    data = sorted({str(t.facts["data"]) for t in view.trials if t.facts.get("data")})
    names = sorted({str(_at(t.recipe, "data/name")) for t in view.trials})
    parts = [f"Study {view.name}", f"begun {began}", f"sampler {view.search.sampler}, seed {created.get('seed', '?')}"]
    parts += [f"data {', '.join(names)} {', '.join(data)}".strip()]
    parts += [f"{k} {v}" for k, v in created.get("versions", {}).items()]
    return f"<footer>{esc(' · '.join(parts))}</footer>"


def _at(data: Any, path: str) -> Any:
    try:
        return get(data, path)
    except KeyError:
        return ""


# ---------------------------------------------------------------- the document


def document(name: str, body: str) -> str:
    """The whole file. Its policy: nothing is fetched, and of scripts only these two, told by their hashes, run."""
    from plotly.offline import get_plotlyjs

    library = re.sub(r"//# sourceMappingURL=\S*", "", get_plotlyjs()).strip()
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in (library, SCRIPT))
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="referrer" content="no-referrer"><link rel="icon" href="data:,"><title>{esc(name)} · AutoKD</title><style>{STYLE}</style></head>\n'
        f"<body><main>{body}</main><noscript><p>The charts need JavaScript; the tables do not.</p></noscript>\n"
        f"<script>{library}</script>\n<script>{SCRIPT}</script></body></html>\n"
    )


STYLE = """
:root { color-scheme: light; --ink: #1c1f23; --dim: #5a6169; --line: #dfe3e7; --soft: #f5f7f9; --blue: #0072B2 }
* { box-sizing: border-box }
body { margin: 0; background: #fff; color: var(--ink); -webkit-text-size-adjust: 100%; font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 40px }
h1, h3, small, summary, footer, .notes li, .note, figcaption, .bar span { overflow-wrap: anywhere }
h1 { font-size: clamp(1.35rem, 3.2vw, 1.9rem); line-height: 1.25; margin: 0 0 .6em; font-weight: 650; letter-spacing: -.01em }
h1 .choice { display: block; margin-top: .5em; font-size: clamp(1rem, 2vw, 1.12rem); font-weight: 400; letter-spacing: 0; line-height: 1.45; color: var(--dim) }
h2 { font-size: 1.2rem; margin: 2.2em 0 .4em; padding-top: .7em; border-top: 1px solid var(--line) }
h3 { font-size: .95rem; margin: 0 0 .5em }
.notes { margin: .8em 0 1.4em; padding-left: 1.2em }
.notes li { margin: .2em 0 }
.note, figcaption { color: var(--dim); font-size: .88rem; max-width: 78ch }
.note { margin: .2em 0 .9em }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 10px }
.tiles div { background: var(--soft); border-radius: 8px; padding: 12px 14px }
.tiles b { display: block; font-size: 1.25rem; font-weight: 650 }
.tiles span { font-size: .82rem; color: var(--dim); line-height: 1.35; display: block; overflow-wrap: anywhere }
.wide { overflow-x: auto; -webkit-overflow-scrolling: touch }
table { border-collapse: collapse; font-size: .9rem; width: 100%; font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: 600; color: var(--dim); font-size: .8rem; vertical-align: bottom }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line) }
td { vertical-align: top; unicode-bidi: isolate }
small { color: var(--dim); font-size: .82em }
td small { overflow-wrap: break-word }
tr.group td { padding-top: 14px; border-bottom: 0 }
table.board td:last-child small { display: inline-block; min-width: 24em }
table.board td:nth-child(2) small { display: inline-block; max-width: 12em }
table.time { max-width: 640px }
td em { font-style: normal; background: var(--blue); color: #fff; border-radius: 4px; font-size: .74rem; padding: 1px 6px; margin-left: 4px }
figure { margin: 6px 0; min-width: 0 }
figcaption { margin-top: 4px }
.plot { min-height: 120px }
.pair, .cards { display: grid; gap: 8px 32px; align-items: start; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)) }
.cards { gap: 16px 32px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 310px), 1fr)) }
.pair > *, .card { min-width: 0 }
.card p { margin: .4em 0; color: var(--dim) }
.bar { display: grid; grid-template-columns: minmax(90px, 38%) 1fr 3em; gap: 8px; align-items: center; font-size: .88rem; margin: 3px 0 }
.bar i { background: #eceff2; height: 14px; border-radius: 3px }
.bar b { display: block; height: 100%; background: var(--blue); border-radius: 3px; min-width: 1px }
.bar em { font-style: normal; text-align: right }
.stack { display: flex; height: 26px; border-radius: 5px; overflow: hidden; margin: 10px 0 }
.stack b { display: block; border-right: 1px solid #fff }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; vertical-align: -1px; margin-right: 4px }
pre { background: var(--soft); border-radius: 8px; padding: 12px 14px; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem;
  line-height: 1.5; font-family: ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace }
pre.recipe { max-height: 520px }
details { margin: 12px 0 }
summary { cursor: pointer; color: var(--blue); font-size: .92rem }
a { color: var(--blue) }
footer { margin-top: 3em; padding-top: 1em; border-top: 1px solid var(--line); color: var(--dim); font-size: .8rem }
@media (max-width: 600px) {
  main { padding: 18px 14px 30px }
  th, td { padding-right: 10px }
  h2 { margin-top: 1.7em }
  table { font-size: .84rem }
  table.board td:last-child small { min-width: 34em }
}
@media print {
  main { max-width: none; padding: 0 }
  body { font-size: 11pt }
  .screen { display: none }
  h2 { break-after: avoid }
  figure, .card, tr, .tiles { break-inside: avoid }
  .wide { overflow: visible }
  pre.recipe { max-height: none }
  table.board td:last-child small { min-width: 0 }
  .tiles div, .bar i, .bar b, .stack b, .key, td em, pre { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
"""

SCRIPT = """
(function () {
  'use strict';
  var settings = {responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false, doubleClick: 'reset'};
  function lift(plot) {  // the line under the pointer, drawn once more on top
    var top = plot.data.findIndex(function (t) { return t.meta === 'highlight'; });
    if (top < 0) return;
    plot.on('plotly_hover', function (e) {
      var p = e.points[0], t = plot.data[p.curveNumber], a = p.pointNumber, b = p.pointNumber;
      while (a > 0 && t.y[a - 1] !== null) a--;
      while (b < t.y.length - 1 && t.y[b + 1] !== null) b++;
      Plotly.restyle(plot, {x: [t.x.slice(a, b + 1)], y: [t.y.slice(a, b + 1)]}, [top]);
    });
    plot.on('plotly_unhover', function () { Plotly.restyle(plot, {x: [[null]], y: [[null]]}, [top]); });
  }
  function draw(figure) {
    var plot = figure.querySelector('.plot'), spec = JSON.parse(figure.querySelector('script').textContent);
    figure.dataset.chart = 'drawing';
    return Plotly.newPlot(plot, spec.data, spec.layout, settings).then(function () { figure.dataset.chart = 'drawn'; lift(plot); });
  }
  var figures = Array.from(document.querySelectorAll('figure[data-chart]'));
  figures.filter(function (f) { return !f.closest('details'); }).forEach(draw);
  document.querySelectorAll('details').forEach(function (d) {
    d.addEventListener('toggle', function () {
      d.querySelectorAll('figure[data-chart=""]').forEach(draw);
    });
  });
  function fit(width) {
    document.querySelectorAll('figure[data-chart="drawn"] .plot').forEach(function (p) {
      if (p.offsetParent) Plotly.relayout(p, width ? {width: width, autosize: false} : {width: null, autosize: true});
    });
  }
  window.addEventListener('beforeprint', function () { fit(680); });
  window.addEventListener('afterprint', function () { fit(0); });
})();
"""
