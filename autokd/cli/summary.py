"""What a search prints when it is over: the answer, per group, and where the recipe lies."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from autokd.study import verdict, words
from autokd.study.choices import choices
from autokd.study.controls import FINALIST
from autokd.study.ledger import BROKEN
from autokd.study.statistics import Difference
from autokd.study.words import group, reasons

if TYPE_CHECKING:
    from autokd.engine.search import SearchResult

WIDTH = 100  # columns, where nothing tells


def as_text(outcome: SearchResult, width: int = WIDTH) -> str:
    """``width``: of the terminal; longer lines go on, indented, behind a comma or a space. The last
    line is the recipe's path.
    """
    *lines, last = _lines(outcome)
    return "\n".join([*(part for line in lines for part in wrapped(line, width)), last])


def wrapped(line: str, width: int) -> list[str]:
    """The line in parts that fit, broken behind a comma, a colon or a semicolon where that leaves
    no part very short.
    """
    indent = len(line) - len(line.lstrip())
    out, rest = [], line
    while len(rest) > width:
        ends = [m.end() for m in re.finditer(r"[,;:](?= )", rest[: width + 1])]
        ends = [e for e in ends if e > width // 2] or [rest.rfind(" ", indent + 1, width + 1)]
        if ends[-1] <= indent + 4:
            break
        out.append(rest[: ends[-1]].rstrip())
        rest = " " * (indent + 4) + rest[ends[-1] :].lstrip()
    return [*out, rest]


def what_next(outcome: SearchResult) -> str:
    """The commands that go on from here."""
    name = shlex.quote(outcome.name)
    ways = [(f"autokd report {name}", "its page: what was tried, what mattered, how sure it is")]
    if outcome.recipe is not None:
        ways += [
            (f"autokd export {name}", "the student as a folder to hand on"),
            (f"autokd reproduce {outcome.recipe}", "the same student, trained again"),
        ]
    ways += [("autokd ui", "all trials in MLflow")]
    longest = max(len(command) for command, _ in ways)
    return "\n".join(["next:", *(f"  {command:{longest}}  {what}" for command, what in ways)])


def _lines(outcome: SearchResult) -> list[str]:
    table, metric = outcome.table, outcome.metric
    states = Counter(t.state for t in table.trials.values() if t.searching)
    lines = [
        f"study {outcome.name}: " + ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    ]
    broken = reasons(t for t in table.trials.values() if t.state in BROKEN)
    lines += [f"broken off: {broken}"] if broken and outcome.recipe is not None else []
    for result in verdict.winners(outcome.results):
        source = table.trials[result.trial]
        of = group(table, result)
        lines += ["", (f"{of}: " if of else "") + f"trial {result.trial} ({choices(source)})"]
        if result.handed != FINALIST:
            lines.append(
                f"  handed back: {words.NAMES[result.handed]}; the finalist was not better"
            )
        if result.test_mean is not None:
            read = words.times(len(table.tests))
            n = len(result.seeds)
            over = f", the mean of {n} seeds" if n > 1 else ""
            own = words.exported(table, result, metric) if n > 1 else None
            alone = f"; the exported student's own {own[1]:.4f}" if own else ""
            taught = words.teacher_on_test(table, result)
            teacher = f" (its teacher: accuracy {taught[0]:.4f}{taught[1]})" if taught else ""
            lines.append(
                f"  test, read {read}: {metric.replace('val/', '')} {result.test_mean:.4f}"
                f"{over}{alone}{teacher}"
            )
            lines += _against(result.test_differences, metric)
        over = (
            f" ± {result.sd:.4f} (sd over {len(result.seeds)} fresh seeds)"
            if len(result.seeds) > 1
            else " (one fresh seed)"
        )
        lines.append(f"  validation, which chose it: {metric} {result.mean:.4f}{over}")
        lines += _against(result.differences, metric)
        lines += [f"  {told}" for told in words.enough(table, result)]
        if result.itself:
            lines.append(f"    the finalist is {result.itself} itself")
    for rung, r, n in outcome.rungs:
        known = f"{r:.2f}" if r is not None else "not known"
        warning = (
            "; it foretells little: raise asha/grace_epochs" if r is not None and r < 0.4 else ""
        )
        lines += [
            "",
            (
                f"rank correlation of epoch {rung} with the end: {known} ({n} trials that ran on"
                f" whatever their rank){warning}"
            ),
        ]
    if outcome.front:
        lines += ["", "Pareto front: trials " + ", ".join(map(str, outcome.front))]
    if table.stopping:
        lines += ["", f"The search stopped early: {table.stopping}."]
    for warning in words.warnings(table, outcome.winner):
        lines += ["", f"Warning: {warning}."]
    if outcome.winner is not None:
        lines += ["", words.sentence(outcome.winner, metric)]
        lines += filter(None, [words.interval(outcome.winner), words.tuned(outcome.winner.tuned)])
    if outcome.recipe is None and any(not g["runs"] for g in table.finalists or []):
        lines += ["", "No recipe: no finals were asked for"]
    elif outcome.recipe is None:
        lines += [
            "",
            "No recipe: " + (reasons(table.trials.values()) or "no trial keeps the constraints"),
        ]
    else:
        lines += ["", str(outcome.recipe)]
    return lines


def _against(differences: Iterable[Difference], metric: str) -> list[str]:
    differences = [*differences]
    width = max([13, *(len(d.control) for d in differences)]) + 1
    return [
        f"    finalist against {d.control + ':':{width}} {words.figure(d, metric)}:"
        f" {words.shown(d, metric)}"
        for d in differences
    ]


def as_json(outcome: SearchResult) -> dict[str, Any]:
    states = Counter(t.state for t in outcome.table.trials.values() if t.searching)
    return {
        "study": outcome.name,
        "recipe": str(outcome.recipe) if outcome.recipe else None,
        "states": dict(states),
        "metric": outcome.metric,
        "results": [r.to_dict() for r in outcome.results],
        "winner": outcome.winner.to_dict() if outcome.winner else None,
        "tests_read": len(outcome.table.tests),
        "rungs": outcome.rungs,
        "front": outcome.front,
        "stopped": outcome.table.stopping,
        "teachers": [
            {k: e.get(k) for k in ("model", "state", "resolution", "given", "assistant", "metrics")}
            for e in outcome.table.teachers.values()
        ],
        "warnings": [*outcome.warnings, *words.warnings(outcome.table, outcome.winner)],
    }
