"""What was confirmed: each group's winner beside its own controls, the intervals, and the recipe to run again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from urllib.parse import quote

from autokd import export, verdict
from autokd.document import dump
from autokd.report.charts import BLUE, VERMILION, Trace, chart, titled
from autokd.report.parts import choices, esc, folded, label, note, number, plain, row, sane, seeds, short, table, wrapped
from autokd.report.view import ROLES, View
from autokd.verdict import Difference, Result

SIGNS = {"better": "▲", "worse": "▼", "not distinguishable": "≈"}
CONTROLS = ("control-ce", "control-kd")
WORDS = (
    "Each winner beside its own controls: the same data, networks, resolution, training and seeds, without any distillation (student alone), "
    "or with the plain one (reference KD: soft labels at one fixed temperature). "
)
SPREAD = "±: the standard deviation over seeds; in brackets: the 95 % interval of the difference, “better” or “worse” where it leaves out zero."


def confirmed(view: View) -> str:
    """Each group's winner beside its own controls, on validation and test."""
    won = verdict.winners(view.results)
    if not won:
        return note("No finalist was confirmed, so nothing is compared with a control.")
    rows = []
    for r in won:
        of = "" if r.group is None else f"<b>{esc(_group(view, r))}</b> · "
        mark = " <em>winner</em>" if r is view.best and len(won) > 1 else ""
        rows.append(f'<tr class="group"><td colspan="4">{of}trial {r.trial}{mark}<br><small>{esc(choices(view.table.trials[r.trial]))}</small></td></tr>')
        value = f"{number(r.mean)} ± {number(r.sd)}" if len(r.seeds) > 1 else number(r.mean)
        rows.append(row(["validation", f"{value}<br><small>{seeds(len(r.seeds))}</small>", *_cells(view, r, r.differences)]))
        if r.test_mean is not None:
            rows.append(row([f"test, read {verdict.times(len(view.table.tests))}", number(r.test_mean), *_cells(view, r, r.test_differences)]))
    head = ["", view.metric.replace("val/", ""), *(f"against {ROLES[role]}" for role in CONTROLS)]
    return note(WORDS + (SPREAD if any(len(r.seeds) > 1 for r in won) else "")) + table(head, rows, "results") + _forest(view, won) + _seeds(view)


def _group(view: View, r: Result) -> str:
    return f"{label(view.search.finalists.per or 'group')} {short(r.group)}"


def _against(differences: Sequence[Difference], role: str) -> Difference | None:
    return next((d for d in differences if d.control == ROLES[role]), None)


def _cells(view: View, r: Result, differences: list[Difference]) -> list[str]:
    out = []
    for role in CONTROLS:
        d = _against(differences, role)
        if d is not None:
            over = f", {seeds(d.n)}" if d.n != len(r.seeds) else ""
            out.append(f"{esc(verdict.figure(d, view.metric))}<br><small>{SIGNS[d.verdict]} {esc(d.verdict)}{over}</small>")
        else:
            out.append(f"<small>is {ROLES[role]} itself</small>" if r.itself == ROLES[role] else "<small>no run</small>")
    return out


def _seeds(view: View) -> str:
    """Seed by seed, for whoever wants to check the interval."""
    assert view.best is not None
    by_role = {role: {t.seed: t for t in view.runs(role)} for role in view.roles}
    ours = sorted({s for runs in by_role.values() for s in runs})
    rows = [[str(s), *(number(view.value(runs[s])) if s in runs else "" for runs in by_role.values())] for s in ours]
    of = "" if view.best.group is None else f", for {_group(view, view.best)}"
    return folded(f"Seed by seed{of}", table(["seed", *view.roles.values()], rows))


# ---------------------------------------------------------------- intervals


def _forest(view: View, won: list[Result]) -> str:
    """The paired differences with their intervals: a forest plot."""
    found: list[tuple[str, str, Difference]] = []
    for r in won:
        name = "" if r.group is None else f"{plain(short(r.group), 14)} · "
        for role in CONTROLS:
            for where, differences in (("validation", r.differences), ("test", r.test_differences)):
                if d := _against(differences, role):
                    found.append((f"{name}{ROLES[role]}", where, d))
    if not found:
        return ""
    heights = {name: y for y, name in enumerate(reversed(dict.fromkeys(name for name, *_ in found)))}
    data = []
    for where, shift, colour, mark in (("validation", 0.16, BLUE, "circle"), ("test", -0.16, VERMILION, "diamond-open")):
        own = [(heights[name] + shift, d) for name, w, d in found if w == where]
        if own:
            data.append(_intervals(view.metric, where, own, colour, mark))
    _, unit = verdict.scale(view.metric)
    layout = {
        "xaxis": titled(f"winner minus control, {unit.strip() or view.metric}")
        | {"zeroline": True, "zerolinecolor": "#222", "zerolinewidth": 2, "rangemode": "tozero"},
        "yaxis": {"tickvals": list(heights.values()), "ticktext": list(heights), "range": [-0.6, len(heights) - 0.4], "zeroline": False},
    }
    better = "right of the line" if view.sign > 0 else "left of the line"
    known = any(math.isfinite(d.low) for *_, d in found)
    drawn = "with 95 % intervals of the paired difference" if known else "without intervals, which neither one seed nor equal differences give"
    of = f" Before the dot: {label(view.search.finalists.per or 'group')}." if view.groups else ""
    caption = f"Winner against its own controls, same seeds, {drawn}; {better} the winner is better.{of}"
    return chart(data, layout, caption, height=130 + 44 * len(heights))


def _intervals(metric: str, where: str, own: list[tuple[float, Difference]], colour: str, mark: str) -> Trace:
    """``own``: heights and differences. An interval without end is not drawn."""
    scale, _ = verdict.scale(metric)
    high = [(d.high - d.mean) * scale if math.isfinite(d.high) else 0 for _, d in own]
    low = [(d.mean - d.low) * scale if math.isfinite(d.low) else 0 for _, d in own]
    return {
        "type": "scatter", "mode": "markers", "name": where, "x": [d.mean * scale for _, d in own], "y": [y for y, _ in own],
        "marker": {"color": colour, "symbol": mark, "size": 11, "line": {"width": 2, "color": colour}},
        "error_x": {"symmetric": False, "type": "data", "thickness": 2, "width": 5, "array": high, "arrayminus": low, "color": colour},
        "hovertext": [wrapped([f"{where}: {verdict.figure(d, metric)}", d.verdict]) for _, d in own], "hoverinfo": "text",
    }  # fmt: skip


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
    link = f"data:text/yaml;charset=utf-8,{quote(sane(text))}"
    again = f"autokd search --resume {view.name}\n" if not view.table.closed else ""
    return (
        f'{note(about)}<pre class="command">{esc(again + commands)}</pre>'
        f'<p class="screen"><a download="recipe.yaml" href="{esc(link)}">Save recipe.yaml</a></p><pre class="recipe">{esc(text)}</pre>'
    )
