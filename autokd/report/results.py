"""What was confirmed: each group's winner beside its own controls, the intervals, and the recipe to
run again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from urllib.parse import quote

from autokd.recipe.document import dump
from autokd.report.charts import BLUE, VERMILION, Trace, chart, titled
from autokd.report.parts import esc, folded, note, number, plain, row, sane, seeds, table, wrapped
from autokd.report.study_data import ROLES, StudyData
from autokd.study import recipe_yaml, verdict, words
from autokd.study.choices import choices, label, short
from autokd.study.controls import CONTROLS, FINALIST, OWN
from autokd.study.verdict import Difference, Result

SIGNS = {"better": "▲", "worse": "▼", "no larger": "≈", "not shown": "?"}
WORDS = (
    "Each winner beside its own controls: the same data, networks, resolution, training and seeds,"
    " without any distillation (student alone), or with the plain one (reference KD: soft labels at"
    " one fixed temperature). "
)
TUNED_WORDS = (
    "A tuned control has the training that a search of its own found best for it: to help is to be"
    " better than the tuned student alone. "
)
SPREAD = (
    "±: the standard deviation over seeds; in brackets: the 95 % interval of the finalist's"
    " difference, “better” or “worse” where it leaves out zero, “no larger” where it lies within"
    " what is too small to matter, else “not shown”. "
)


def confirmed(study: StudyData) -> str:
    """Each group's winner beside its own controls, on validation and test."""
    won = verdict.winners(study.results)
    if not won:
        return note("No finalist was confirmed, so nothing is compared with a control.")
    columns = [role for role in CONTROLS if role in OWN or any(role in r.runs for r in won)]
    rows = []
    for r in won:
        of = "" if r.group is None else f"<b>{esc(_group(study, r))}</b> · "
        mark = " <em>winner</em>" if r is study.best and len(won) > 1 else ""
        if r.handed != FINALIST:
            mark += f" <em>handed back: {esc(words.NAMES[r.handed])}</em>"
        chosen = esc(choices(study.table.trials[r.trial]))
        rows.append(
            f'<tr class="group"><td colspan="{2 + len(columns)}">{of}trial {r.trial}{mark}<br>'
            f"<small>{chosen}</small></td></tr>"
        )
        value = f"{number(r.mean)} ± {number(r.sd)}" if len(r.seeds) > 1 else number(r.mean)
        value += f"<br><small>{seeds(len(r.seeds))}</small>"
        if r.test_mean is not None:
            where = f"test, read {words.times(len(study.table.tests))}"
            rows.append(
                row([where, number(r.test_mean), *_cells(study, r, r.test_differences, columns)])
            )
        rows.append(
            row(["validation, which chose it", value, *_cells(study, r, r.differences, columns)])
        )
    head = ["", study.metric.replace("val/", ""), *(f"against {ROLES[role]}" for role in columns)]
    tuned = TUNED_WORDS if len(columns) > len(OWN) else ""
    return (
        note(WORDS + tuned + (SPREAD if any(len(r.seeds) > 1 for r in won) else ""))
        + table(head, rows, "results")
        + _forest(study, won)
        + _seeds(study)
    )


def _group(study: StudyData, r: Result) -> str:
    return f"{label(study.search.finalists.per or 'group')} {short(r.group)}"


def _against(differences: Sequence[Difference], role: str) -> Difference | None:
    return next((d for d in differences if d.control == ROLES[role]), None)


def _cells(
    study: StudyData, r: Result, differences: list[Difference], columns: Sequence[str]
) -> list[str]:
    out = []
    for role in columns:
        d = _against(differences, role)
        if d is not None:
            over = f", {seeds(d.n)}" if d.n != len(r.seeds) else ""
            out.append(
                f"{esc(words.figure(d, study.metric))}<br><small>{SIGNS[d.verdict]}"
                f" {esc(words.shown(d, study.metric))}{over}</small>"
            )
        else:
            out.append(
                f"<small>is {ROLES[role]} itself</small>"
                if r.runs.get(role) == r.runs[FINALIST]
                else "<small>no run</small>"
            )
    return out


def _seeds(study: StudyData) -> str:
    """Seed by seed, for whoever wants to check the interval."""
    assert study.best is not None
    by_role = {role: {t.seed: t for t in study.runs(role)} for role in study.roles}
    ours = sorted({s for runs in by_role.values() for s in runs})
    rows = [
        [str(s), *(number(study.value(runs[s])) if s in runs else "" for runs in by_role.values())]
        for s in ours
    ]
    of = "" if study.best.group is None else f", for {_group(study, study.best)}"
    return folded(f"Seed by seed{of}", table(["seed", *study.roles.values()], rows))


# ---------------------------------------------------------------- intervals


def _forest(study: StudyData, won: list[Result]) -> str:
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
    heights = {
        name: y for y, name in enumerate(reversed(dict.fromkeys(name for name, *_ in found)))
    }
    data = []
    for where, shift, colour, mark in (
        ("validation", 0.16, BLUE, "circle"),
        ("test", -0.16, VERMILION, "diamond-open"),
    ):
        own = [(heights[name] + shift, d) for name, w, d in found if w == where]
        if own:
            data.append(_intervals(study.metric, where, own, colour, mark))
    _, unit = words.scale(study.metric)
    layout = {
        "xaxis": (
            titled(f"finalist minus control, {unit.strip() or study.metric}")
            | {
                "zeroline": True,
                "zerolinecolor": "#222222",
                "zerolinewidth": 2,
                "rangemode": "tozero",
            }
        ),
        "yaxis": {
            "tickvals": list(heights.values()),
            "ticktext": list(heights),
            "range": [-0.6, len(heights) - 0.4],
            "zeroline": False,
        },
    }
    better = "right of the line" if study.sign > 0 else "left of the line"
    known = any(math.isfinite(d.low) for *_, d in found)
    drawn = (
        "with 95 % intervals of the paired difference"
        if known
        else "without intervals, which neither one seed nor equal differences give"
    )
    of = f" Before the dot: {label(study.search.finalists.per or 'group')}." if study.groups else ""
    caption = (
        f"Finalist against its own controls, same seeds, {drawn}; {better} the finalist is"
        f" better.{of}"
    )
    return chart(data, layout, caption, height=130 + 44 * len(heights))


def _intervals(
    metric: str, where: str, own: list[tuple[float, Difference]], colour: str, mark: str
) -> Trace:
    """``own``: heights and differences. An interval without end is not drawn."""
    scale, _ = words.scale(metric)
    high = [(d.high - d.mean) * scale if math.isfinite(d.high) else 0 for _, d in own]
    low = [(d.mean - d.low) * scale if math.isfinite(d.low) else 0 for _, d in own]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": where,
        "x": [d.mean * scale for _, d in own],
        "y": [y for y, _ in own],
        "marker": {
            "color": colour,
            "symbol": mark,
            "size": 11,
            "line": {"width": 2, "color": colour},
        },
        "error_x": {
            "symmetric": False,
            "type": "data",
            "thickness": 2,
            "width": 5,
            "array": high,
            "arrayminus": low,
            "color": colour,
        },
        "hovertext": [
            wrapped([f"{where}: {words.figure(d, metric)}", words.shown(d, metric)]) for _, d in own
        ],
        "hoverinfo": "text",
    }


# ---------------------------------------------------------------- recipe


def recipe(study: StudyData) -> str:
    """The document itself, and how to run it again."""
    if study.best is not None:
        closed = study.table.closed or {}
        text = closed.get("recipe_text") or recipe_yaml.recipe_text(
            study.name, study.table, study.best, study.metric
        )
        about = (
            "Save it as recipe.yaml; the first command proves it, by training again and comparing,"
            " the second only trains it."
        )
        commands = "autokd reproduce recipe.yaml\nautokd train recipe.yaml"
    elif study.ranked:
        text = dump(study.ranked[0].recipe)
        about = f"Of trial {study.ranked[0].number}, the best so far; it is not confirmed."
        commands = "autokd train recipe.yaml"
    else:
        return ""
    link = f"data:text/yaml;charset=utf-8,{quote(sane(text))}"
    again = f"autokd search --resume {study.name}\n" if not study.table.closed else ""
    return (
        note(about)
        + f'<pre class="command">{esc(again + commands)}</pre>'
        + f'<p class="screen"><a download="recipe.yaml" href="{esc(link)}">Save recipe.yaml</a></p>'
        + f'<pre class="recipe" tabindex="0">{esc(text)}</pre>'
    )
