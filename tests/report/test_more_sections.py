"""The path to the winner, slices, the budget by branch, the teacher's level, links and choices."""

from __future__ import annotations

import re
from pathlib import Path

from autokd import report
from autokd.recipe.document import canonical
from autokd.report import budget, learning, path, slices, trials
from autokd.report.charts import DARK
from autokd.study import ledger
from autokd.study.ledger import Trial
from tests.report.outline import Outline


def view(folder: Path) -> report.StudyData:
    return report.StudyData(folder.name, *ledger.read(folder), folder)


def test_the_path_to_the_winner_is_its_group_s_records(finished: Path) -> None:
    study = view(finished)
    assert study.best is not None
    winner = study.table.trials[study.best.trial]
    own = sorted(study.complete, key=lambda t: t.number)
    study.rivals = {canonical(winner.group): own}
    low = [t for t in own if t is not winner][:3]
    for t, value in zip([*low, winner], (0.50, 0.45, 0.60, 0.70), strict=True):
        t.metrics[t.epochs]["val/accuracy"] = value
    winner.number = 10_000  # after them all
    low[0].varied, low[2].varied, winner.varied = (
        {"a": 1, "b": [], "c": 2},
        {"a": 1, "b": ["cnn-3x8"]},
        {"a": 3, "b": ["cnn-3x8"]},
    )
    for t in own:
        if t not in low and t is not winner:
            t.metrics[t.epochs]["val/accuracy"] = 0.9  # better than the winner at one seed
    study.table.trials[10_000] = winner
    study.best.trial = 10_000
    assert path.records(study) == [low[0], low[2], winner]
    cells = Outline(path.to_the_winner(study)).text["td"]
    assert [c for c in cells if "points" in c] == ["+10.0 points", "+10.0 points"]
    assert "b none → cnn-3x8; no c" in cells and "a 1 → 3" in cells


def test_slices_have_a_dot_for_each_trial_that_has_the_parameter(finished: Path) -> None:
    study = view(finished)
    for t in study.complete[:2]:  # of a branch without it
        t.varied = {k: v for k, v in t.varied.items() if not k.endswith("beta")}
    page = slices.one_by_one(study)
    charts = Outline(page).charts
    beta = next(c for c in charts if c["layout"]["xaxis"]["title"]["text"] == "temperature beta")
    have = [t for t in study.complete if any(k.endswith("/beta") for k in t.varied)]
    dots = sorted((x, y) for d in beta["data"] for x, y in zip(d["x"], d["y"], strict=True))
    assert dots == sorted((_value(t, "beta"), study.value(t)) for t in have) and dots
    assert f"temperature beta: {len(dots)} trials; " in page
    assert f"; {len(study.complete) - len(dots)} others do not have it." in page


def _value(t: Trial, name: str) -> float:
    return next(v for k, v in t.varied.items() if k.endswith(name))


def test_the_budget_by_branch_adds_up(finished: Path) -> None:
    study = view(finished)
    cells = Outline(budget.by_branch(study)).text["td"]
    rows = [cells[i : i + 6] for i in range(0, len(cells), 6)]
    assert {r[0] for r in rows} == {f"temperature {k}" for k in ("constant", "flsw", "cwsm")}
    spent = sum(len(t.metrics) for t in study.searched if t.varied)
    assert sum(int(r[3]) for r in rows) == spent
    assert sum(int(r[1]) for r in rows) == sum(bool(t.varied) for t in study.searched)


def test_the_teacher_s_level_stands_in_the_learning_curves(finished: Path) -> None:
    study = view(finished)
    told = {"model": "cnn-3x32", "resolution": 8, "metrics": {"val/accuracy": 0.975}}
    study.table.teachers["a"] = told
    study.table.teachers["b"] = told | {"model": "cnn-3x16", "assistant": True}
    line = next(
        t
        for t in Outline(learning.curves(study)).charts[0]["data"]
        if t["name"].startswith(f"teacher {told['model']}")
    )
    assert set(line["y"]) == {0.975} and "teacher cnn-3x16" not in learning.curves(study)


def test_cost_is_by_choice(finished: Path) -> None:
    study = view(finished)
    for t in study.complete:
        t.facts["student/latency_ms"] = 1.0 + t.number / 7
    page = trials.pareto(study)
    options = re.findall(r"<option>([^<]*)</option>", page)
    assert any("latency" in o for o in options) and any("FLOPs" in o for o in options)
    assert len(options) == page.count("<figure")


def test_every_section_has_a_link_that_leads_to_it(finished: Path) -> None:
    page = report.page(finished).html
    names = re.findall(r'<section id="([^"]+)">', page)
    assert len(names) == len(set(names)) > 8
    links = re.findall(r'href="#([^"]+)"', page)
    assert set(links) == set(names) and "recipe" in names
    assert "Use it: <code>autokd export demo</code>" in page


def test_every_colour_of_the_charts_has_one_for_the_dark(finished: Path) -> None:
    """But for those that are seen on either."""
    charts = "".join(s for k, s in Outline(report.page(finished).html).scripts if "json" in k)
    used = set(re.findall(r'"(#[0-9a-fA-F]{3,6})"', charts)) - set(DARK.values())
    assert used - DARK.keys() <= {"#E69F00", "#009E73"}
