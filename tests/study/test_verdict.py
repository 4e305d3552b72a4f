"""What a study hands back, on which pictures its answer stands, and the words for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autokd import recipe
from autokd.cli import summary
from autokd.engine import search
from autokd.study import outcomes, verdict, words
from autokd.study.controls import ALONE, CONTROLS, FINALIST, REFERENCE
from autokd.study.statistics import Difference
from autokd.study.verdict import Result
from tests.study.driver import curve, drive, loaded, new

VAL, TEST = "val/accuracy", 10  # the epoch by which the driver's objective knows a reading of test
ONE_SEED = ("search/trials=6", "search/finalists/seeds=3", "student/resolution=8")


def alone(made: dict[str, Any]) -> bool:
    return set(made["distill"]["losses"]) == {"ce"}


def better_alone(made: dict[str, Any], epoch: int) -> float:
    return 0.95 if alone(made) else curve(made, epoch)


def test_a_control_that_is_better_is_handed_back(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, *ONE_SEED))
    drive(study, f=better_alone)
    outcome = search.close(study)
    won = outcome.winner
    assert won is not None and won.handed == ALONE and won.mean == pytest.approx(0.95)
    assert outcome.recipe is not None
    made = recipe.load(outcome.recipe)
    assert not made.needs_teacher and made.seed == min(won.seeds)
    text = outcome.recipe.read_text()
    told = "The best that was confirmed is the student trained alone: it is handed back."
    assert told in text.splitlines()[1] and told in summary.as_text(outcome, width=1000)
    results = recipe.document.parse(text).data["results"]
    assert results["handed_back"] == "student alone" and results["mean"] == pytest.approx(0.95)
    assert set(results["controls"]) == {"finalist", "reference KD"}
    assert results["student_sha256"] == study.trials[won.best_trial].student


def test_as_good_as_a_control_is_not_worse(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, *ONE_SEED))
    drive(study, f=lambda made, epoch: 0.9)
    won = search.close(study).winner
    assert won is not None and won.handed == FINALIST


def test_no_group_hands_back_what_was_worse(tmp_path: Path, space_file: Path) -> None:
    """Distillation helps at 4 px and hurts at 8 px."""

    def f(made: dict[str, Any], epoch: int) -> float:
        small = made["student"]["resolution"] == 4
        return (0.8 if small else 0.9) + (0.05 if alone(made) != small else 0) + made["seed"] / 1e4

    s = loaded(
        space_file,
        "search/finalists={per: student/resolution, seeds: 3}",
        "student/resolution=8",
        "search/trials=12",
    )
    study = new(tmp_path, s)
    drive(study, f=f)
    outcome = search.close(study)
    won = {r.group: r for r in verdict.winners(outcome.results)}
    assert {g: r.handed for g, r in won.items()} == {4: FINALIST, 6: ALONE, 8: ALONE}
    for group, r in won.items():
        made = recipe.load(study.book.path / "recipes" / f"{group}.yaml")
        assert made.needs_teacher == (group == 4)
        assert r.test_mean is not None  # each group's winner was read, all in one reading
    assert len(study.book.table.tests) == 1
    assert outcome.winner is not None and outcome.winner.group in {6, 8}
    text = summary.as_text(outcome, width=1000)
    assert text.count("handed back: the student trained alone; the finalist was not better") == 2


def test_what_test_shows_to_be_worse_is_not_handed_back(tmp_path: Path, space_file: Path) -> None:
    def f(made: dict[str, Any], epoch: int) -> float:
        # the two sides vary a little otherwise from seed to seed
        own = 0.001 * ((made["seed"] * (3 if alone(made) else 5)) % 7)
        ahead = not alone(made) if epoch < TEST else alone(made)
        return own + (0.9 if ahead else 0.85)

    study = new(tmp_path, loaded(space_file, *ONE_SEED))
    drive(study, f=f)
    won = search.close(study).winner
    assert won is not None and won.overruled and won.handed == ALONE
    assert won.chosen_by == won.means[FINALIST] > won.mean == won.means[ALONE]
    told = words.sentence(won, VAL)
    assert told.startswith("Test shows the student trained alone to be better")
    assert "Distillation hurts: " in told and "on test (+" in told


def difference(low: float, high: float, **how: Any) -> Difference:
    made = verdict.difference(
        {
            "control": CONTROLS[ALONE],
            "mean": (low + high) / 2,
            "low": low,
            "high": high,
            "n": 5,
            "verdict": "not shown",
        }
        | how
    )
    return made


def result(on_validation: Difference, on_test: Difference | None = None, **how: Any) -> Result:
    out = Result(None, 0, FINALIST, 0.9, 0.01, [1, 2, 3, 4, 5], 7, {}, {FINALIST: 0.9}, **how)
    out.differences = [on_validation]
    out.test_differences = [on_test] if on_test else []
    return out


def test_the_words_say_what_is_known() -> None:
    validation = difference(0.02, 0.06, verdict="better")
    assert words.sentence(result(validation), VAL) == (
        "Distillation helps: +4.0 points [+2.0, +6.0] against the student alone on validation,"
        " which chose it and so flatters it."
    )
    test = difference(0.01, 0.03, verdict="better")
    assert words.sentence(result(validation, test), VAL) == (
        "Distillation helps: +2.0 points [+1.0, +3.0] against the student alone on test"
        " (+4.0 points [+2.0, +6.0] on validation, which chose it)."
    )
    wide = difference(
        -0.04,
        0.161,
        detectable=0.14,
        seeds_needed=None,
        cases_needed=12_000,
        over="seeds and pictures",
    )
    told = words.sentence(result(wide), VAL)
    assert told.startswith("Whether distillation helps is not shown: +6.0 points [-4.0, +16.1]")
    assert "did not help" not in told
    assert told.endswith(
        "A study like this one finds a difference of 14 points in 80 % of cases; 1 point would take"
        " 12,000 pictures."
    )
    small = difference(-0.004, 0.006, verdict="no larger")
    assert "Distillation did not help: no larger than ±1 point, " in words.sentence(
        result(validation, small), VAL
    )
    hurts = difference(-0.03, -0.01, verdict="worse")
    assert "Distillation hurts: " in words.sentence(result(hurts), VAL)
    nats = difference(-0.004, 0.006, verdict="no larger")
    assert words.shown(nats, "val/nll") == "no larger than ±0.01"


@pytest.mark.parametrize(
    ("low", "high", "sign", "word"),
    [
        (0.001, 0.02, 1, "better"),
        (0.001, 0.02, -1, "worse"),
        (-0.02, -0.001, 1, "worse"),
        (-0.009, 0.01, 1, "no larger"),
        (-0.009, 0.011, 1, "not shown"),
    ],
)
def test_the_verdict_of_an_interval(low: float, high: float, sign: int, word: str) -> None:
    from autokd.study.statistics import judge

    assert judge(low, high, sign, 0.01) == word


def test_what_the_intervals_cover_is_said(tmp_path: Path, space_file: Path) -> None:
    """With the outcomes of each picture, when they are gone, and of a study that had none."""
    study = new(tmp_path, loaded(space_file, *ONE_SEED))
    draw = np.random.default_rng(0)
    hard = draw.random(400)

    def f(made: dict[str, Any], epoch: int) -> float:
        return curve(made, epoch) - (0.1 if alone(made) else 0)

    drive(study, f=f)
    table, folder = study.book.table, study.book.path
    (bare,) = verdict.results(table, VAL, 1, folder)
    assert "alone, as what came of each picture was not kept" in words.interval(bare)
    assert bare.differences[0].over == "seeds"
    for role, numbers in (table.finalists or [])[0]["runs"].items():
        for n in numbers.values():
            right = hard < table.trials[n].last[VAL] + 0.02 * draw.standard_normal(400)
            columns = {"correct": right, "case": np.arange(400)}
            where = folder / table.trials[n].folder
            kept = {part: outcomes.write(where, part, columns) for part in outcomes.PARTS}
            study.book.append("outcomes", outcomes={str(n): kept})
        assert role in {FINALIST, ALONE, REFERENCE}
    outcome = search.close(study)
    assert outcome.winner is not None
    known = [*outcome.winner.test_differences, *outcome.winner.differences]
    assert {d.over for d in known} == {"seeds and pictures"} and {d.cases for d in known} == {400}
    assert "and over pictures; other splits" in words.interval(outcome.winner)
    assert known[-2].mean == bare.differences[0].mean and known[-2].low != bare.differences[0].low
    for file in folder.glob("trials/*/*/outcomes-*"):
        file.unlink()
    (again,) = verdict.results(table, VAL, 1, folder)
    assert [*again.test_differences, *again.differences] == known  # what was said stays said
    assert json.dumps(again.to_dict())


def test_several_groups_are_several_questions(tmp_path: Path, space_file: Path) -> None:
    """Distillation helps by 2 points in one of three groups, by a little in the others."""
    size = {4: 0.02, 6: 0.0054, 8: 0.0052}

    def f(made: dict[str, Any], epoch: int) -> float:
        own = 0.005 * np.sin(1.3 * made["seed"])
        return 0.85 + (0 if alone(made) else size[made["student"]["resolution"]] + own)

    s = loaded(
        space_file, "search/finalists={per: student/resolution, seeds: 5}", "search/trials=12"
    )
    study = new(tmp_path, s)
    drive(study, f=f)
    found = {r.group: r for r in verdict.winners(verdict.results(study.book.table, VAL, 1))}
    first = {g: r.differences[0] for g, r in found.items()}
    raw = sorted(d.p for d in first.values())
    assert raw[2] < 0.05 < 2 * raw[1]  # each of them alone would be called better
    assert [first[g].corrected for g in sorted(first, key=lambda g: first[g].p)] == pytest.approx(
        [3 * raw[0], 2 * raw[1], 2 * raw[1]]
    )
    assert {g: d.verdict for g, d in first.items()} == {4: "better", 6: "not shown", 8: "not shown"}
    assert "Holm's correction over the groups" in words.sentence(found[6], VAL)


def test_holm_s_correction() -> None:
    """The example of Holm's paper's kind: 0.01, 0.04, 0.03, 0.005 of four."""
    from autokd.study.statistics import holm

    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
