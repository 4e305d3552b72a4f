"""The search's decisions with a fake objective: no Ray, no torch, virtual workers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from autokd.cli import summary
from autokd.engine.result import close
from autokd.recipe import document
from autokd.study import asha, verdict
from autokd.study.queue import Job
from tests.study.driver import drive, loaded, new, rows


def test_a_whole_study(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file))
    spent = drive(study)
    searched = [t for t in study.trials.values() if t.searching]
    assert len(searched) == 30 and {t.state for t in searched} == {"complete", "pruned"}
    assert searched[0].role == "baseline"
    assert spent < 30 * 9 + 3 * 2 * 9
    assert all(
        t.epochs in asha.rungs(study.search.asha, 9) and t.checkpoint
        for t in searched
        if t.state == "pruned"
    )
    result = verdict.overall(verdict.results(study.book.table, "val/accuracy", 1), 1)
    assert result is not None and len(result.seeds) == 2 and result.test_mean is not None
    assert len(study.book.table.tests) == 1
    best = study.trials[result.trial]
    assert best.value if hasattr(best, "value") else best.varied["student/resolution"] == 8
    # the search's seed is not used again
    assert {t.seed for t in study.trials.values() if not t.searching} == {1, 2}


@pytest.mark.parametrize("trials", [1, 2, 5])
@pytest.mark.parametrize("limit", ["search/epochs=1000", "search/epochs=3"])
def test_however_few_the_trials_each_group_has_finalists(
    tmp_path: Path, space_file: Path, trials: int, limit: str
) -> None:
    """The best of a group goes on though it is not one in three."""
    sets = ("search/finalists={per: student/resolution, top: 2}", f"search/trials={trials}", limit)
    study = new(tmp_path, loaded(space_file, *sets, "search/asha={grace_epochs: 1, exempt: 0}"))
    drive(study)
    searched = [t for t in study.trials.values() if t.searching]
    for group in {t.group for t in searched}:
        own = sorted(
            (t for t in searched if t.group == group),
            key=lambda t: -t.metrics[1]["val/accuracy"],
        )
        assert [t.state for t in own[:2]] == ["complete"] * len(own[:2]), limit
        assert all(t.state == "pruned" for t in own[2:])
    assert study.book.table.finalists
    told = [e for e in study.book.events if e["event"] == "promoted" and e.get("reason")]
    assert told and {e["reason"] for e in told} == {"its group lacks finalists"}


def test_one_seed_one_search(tmp_path: Path, space_file: Path) -> None:
    s = loaded(space_file)
    studies = [new(tmp_path, s, name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    for study in studies:
        drive(study)
    assert rows(studies[0]) == rows(studies[1]) != rows(studies[2])


def test_a_trial_that_diverges_is_worse_than_any_other_and_the_search_goes_on(
    tmp_path: Path, space_file: Path
) -> None:
    study = new(tmp_path, loaded(space_file))
    drive(
        study,
        outcome=lambda job: "diverged" if job.trial % 3 == 1 and job.trial < 30 else "finished",
    )
    gone = [t for t in study.trials.values() if t.state == "diverged"]
    assert len(gone) == 10 and all(study.value(t) == 0.0 for t in gone)
    assert sum(t.searching for t in study.trials.values()) == 30
    assert not {t.number for t in gone} & {e["trial"] for e in study.book.table.finalists or []}
    values = [t.value for t in study.suggestions.sampler.study.trials if t.state.name == "COMPLETE"]
    assert values.count(0.0) == 10 and all(v is not None and math.isfinite(v) for v in values)


def test_when_nothing_succeeds_the_study_ends_without_a_winner(
    tmp_path: Path, space_file: Path
) -> None:
    study = new(tmp_path, loaded(space_file))
    drive(study, outcome=lambda job: "failed")
    assert study.book.table.finalists == [] and not study.book.table.tests


def test_a_lost_worker_s_trial_is_tried_again_three_times(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/trials=2"))
    for attempt in (1, 2, 3):
        job = study.next_job()
        assert isinstance(job, Job) and (job.trial, job.attempt) == (0, attempt)
        study.lost(0, "killed")
    assert study.trials[0].state == "failed"
    # an orphan of an older attempt is not heard
    assert not study.report(0, 2, 1, {"val/accuracy": 1.0})
    assert study.trials[0].metrics == {}


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"train/loss": 1.0}, "epoch 1: the worker's report lacks val/accuracy"),
        ({"val/accuracy": math.nan}, "epoch 1: val/accuracy is nan"),
        ({"val/accuracy": 0.5, "val/nll": math.inf}, "epoch 1: val/nll is inf"),
        ({"val/accuracy": 0.5, "val/ece": None}, "epoch 1: val/ece is None"),
    ],
)
def test_a_report_that_cannot_be_worked_with_ends_its_trial(
    tmp_path: Path, space_file: Path, metrics: dict, reason: str
) -> None:
    study = new(tmp_path, loaded(space_file, "search/trials=4"))
    job = study.next_job()
    assert isinstance(job, Job)
    assert not study.report(job.trial, job.attempt, 1, metrics)
    assert (study.trials[0].state, study.trials[0].reason) == ("failed", reason)
    drive(study)  # the others go on
    assert {t.state for t in study.trials.values() if t.number} <= {"complete", "pruned"}
    text = (tmp_path / "a" / "events.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text


def test_a_study_whose_data_has_no_test_pictures_ends_without_a_test(
    tmp_path: Path, space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new(tmp_path, loaded(space_file, "search/trials=4"))
    tested = study.tested
    monkeypatch.setattr(study, "tested", lambda results: tested({}))
    drive(study)
    found = close(study)
    assert found.winner and found.winner.test_mean is None and found.recipe
    assert "test" not in document.read(found.recipe).data["results"]
    assert summary.as_json(found)["tests_read"] == 0


@pytest.mark.parametrize("judge", ["student", "average"])
def test_averages_are_asked_of_what_a_rung_judges(
    judge: str, tmp_path: Path, space_file: Path
) -> None:
    sets = (f"search/asha/judge={judge}", "search/asha/average_epochs=2")
    jobs: list[Job] = []
    study = new(tmp_path, loaded(space_file, *sets))
    drive(study, heard=jobs.append)
    asked = {(job.role in {"trial", "baseline"}, job.average) for job in jobs if job.trial >= 0}
    assert asked == {(True, 2.0 if judge == "average" else None), (False, None)}
