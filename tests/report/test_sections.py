"""Sections of the page: rank correlation, importance, coordinates, times, reliability."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest

from autokd import report
from autokd.report import coordinates
from autokd.study import ledger
from autokd.study.ledger import Trial
from tests.helpers.synthetic import Story
from tests.report.outline import Outline


def test_rank_correlation_counts_only_what_ran_on_whatever_its_rank(tmp_path: Path) -> None:
    story = Story(tmp_path / "studies" / "s", epochs=18, finals=0)
    story.search(20)
    view = report.StudyData("s", story.book.events, story.book.table)
    assert "not known" in report.rank_correlation(view)  # 5 of them are exempt
    for t in story.book.table.trials.values():
        t.exempt = t.state == "complete"
    for number in range(100, 108):
        metrics = {e: {"val/accuracy": number / 1000 + e / 100} for e in range(1, 19)}
        story.book.table.trials[number] = Trial(
            number,
            "trial",
            story.book.table.trials[0].recipe,
            exempt=True,
            state="complete",
            metrics=metrics,
            group=9,
        )
    for t in list(story.book.table.trials.values()):
        t.exempt = t.number >= 100
    view = report.StudyData("s", story.book.events, story.book.table)
    assert "<td>+1.00</td><td>8</td>" in report.rank_correlation(view)
    story.book.close()


def test_importance_finds_what_matters_and_says_when_nothing_is_known(finished: Path) -> None:
    view = report.StudyData("demo", *ledger.read(finished))
    own, draw = list(view.searched[:40]), random.Random(0)
    view.groups = []
    for t in own:
        t.group = None
        t.varied = {"a": draw.random(), "b": draw.random(), "c": draw.choice(["x", "y"])}
        t.state = "complete"
        t.metrics = {1: {"val/accuracy": 0.5 + 0.4 * t.varied["a"] + 0.02 * t.varied["b"]}}
    found, why = report.importance(view, own)
    assert found is not None
    assert found[0][0] == "a"
    assert found[0][1] > 0.8
    assert math.isclose(sum(s for _, s in found), 1.0)
    assert "40 trials at their end" in why
    for t in own:
        t.metrics = {1: {"val/accuracy": draw.random()}}
    found, why = report.importance(view, own)
    assert found is None and "chance" in why
    view = report.StudyData("demo", *ledger.read(finished))
    view = report.StudyData("demo", *ledger.read(finished))
    view.complete = view.complete[:5]
    assert re.search(
        rf"fewer than {report.LEAST} trials to compare at their end", report.importances(view)
    )


def test_parallel_coordinates_have_a_lane_for_what_a_branch_lacks(finished: Path) -> None:
    view = report.StudyData("demo", *ledger.read(finished))
    spec = json.loads(
        re.findall(r'<script type="application/json">(.*?)</script>', report.parallel(view))[0]
    )
    names = [text.replace("<br>", " ") for text in spec["layout"]["xaxis"]["ticktext"]]
    beta = names.index("temperature beta")
    below = sum(
        1
        for t in spec["data"]
        for x, y in zip(t["x"], t["y"], strict=True)
        if x == beta and y < -0.05
    )
    lines = [*view.ranked, *view.won]  # what won is drawn once more
    assert below == sum(1 for t in lines if "distill/temperature/beta" not in t.varied) > 0
    for t in view.searched:  # too many for one chart: what all have, and a chart for each branch
        t.varied |= (
            {
                f"distill/losses/{k}/weight": (t.number * (i + 3)) % 7
                for i, k in enumerate("abcdefg")
            }
            if "flsw" in t.branch
            else {}
        )
    assert (
        report.parallel(view).count("<details>") == 3 == report.parallel(view).count("<figure") - 1
    )
    assert all(
        -0.05 <= y <= 1.0
        for t in spec["data"]
        for x, y in zip(t["x"], t["y"], strict=True)
        if x == names.index("kl weight")
    )


@pytest.mark.parametrize("value", [3.0, "x"])
def test_what_only_trials_that_are_not_drawn_have_gets_no_axis(
    finished: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    monkeypatch.setattr("autokd.report.coordinates.LINES", 9)
    view = report.StudyData("demo", *ledger.read(finished))
    drawn = {t.number for t in coordinates._drawn(view, view.ranked)}
    next(t for t in view.ranked if t.number not in drawn).varied["rare"] = value
    text = report.parallel(view)
    assert f"Drawn: {len(drawn)} of {len(view.ranked)}" in text
    assert {t.number for t in view.won} <= drawn and "weight" in text and "rare" not in text


def test_time_is_split_as_the_ledger_tells_it(tmp_path: Path) -> None:
    story = Story(tmp_path / "studies" / "s", epochs=4, finals=0)
    recipe = story.space.point(story._choose).data
    story.add("suggested", trial=0, role="trial", recipe=recipe)
    story.add("started", 0.0, trial=0, attempt=1, epoch=0)
    for epoch, seconds in (
        (1, 11.0),
        (2, 1.0),
        (3, 1.0),
    ):  # ten seconds before the first epoch; then a crash, and the third again
        story.add("epoch", seconds, trial=0, attempt=1, epoch=epoch, metrics={"val/accuracy": 0.5})
    story.add("started", 5.0, trial=0, attempt=2, epoch=2)
    for epoch in (3, 4):
        story.add("epoch", 1.0, trial=0, attempt=2, epoch=epoch, metrics={"val/accuracy": 0.5})
    story.add("finished", 0.0, trial=0, attempt=2, facts={})
    s = report.spent(report.StudyData("s", story.book.events, story.book.table))
    assert "finals:" not in report.page(story.book.path).html
    assert math.isclose(s.epochs["search"], 4.0)
    assert math.isclose(s.again, 1.0)
    assert math.isclose(s.ahead, 10.0)
    story.book.close()


def test_time_of_the_finals_is_that_of_all_groups(finished: Path) -> None:
    cells = Outline(report.page(finished).html).text["td"]
    view = report.StudyData("demo", *ledger.read(finished))
    assert view.best is not None and len(view.results) > 1  # so not the winner's alone
    assert [c.strip() for c in cells if "finals:" in c] == [
        "finals: all finalists",
        "finals: reference KD",
        "finals: student alone",
    ]


def test_bins_of_several_runs_are_pooled_by_their_counts() -> None:
    one = {"confidence": [0.2, 0.9], "accuracy": [0.0, 1.0], "count": [10, 30]}
    two = {"confidence": [0.4, 0.9], "accuracy": [1.0, 0.5], "count": [30, 0]}
    assert report.pooled([one, two]) == [
        (pytest.approx(0.35), pytest.approx(0.75), 40.0),
        (0.9, 1.0, 30.0),
    ]


def test_thin_keeps_the_best_and_spreads_the_rest() -> None:
    kept = report.thin(list(range(1000)), 30)
    assert kept[:10] == list(range(10)) and len(kept) == 30 == len(set(kept)) and kept[-1] > 900
