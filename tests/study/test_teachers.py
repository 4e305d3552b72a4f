"""Teachers in a study: before their trials, once, and what happens when one fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from autokd import space
from autokd.errors import UserError
from autokd.recipe import parse
from autokd.study import words
from autokd.study.ledger import Ledger
from autokd.study.queue import DONE, Job, Study
from tests.study.driver import drive, loaded, new, rows


@pytest.mark.parametrize("jobs", [1, 3])
def test_teachers_come_before_their_trials_and_once(
    tmp_path: Path, recipe_file: Path, jobs: int
) -> None:
    ladders = (
        "vary: {ladder: {choice: [[], [cnn-2x16], [cnn-2x16, cnn-2x12]]}, teacher/model: {choice:"
        " [cnn-3x16, cnn-3x24]}}\n"
    )
    (tmp_path / "s.yaml").write_text(
        "base: base.yaml\nsearch: {trials: 24, finalists: {seeds: 2}}\n" + ladders
    )
    s = space.load(tmp_path / "s.yaml", sets=("distill={preset: takd}",))
    study = new(tmp_path, s, "whole", jobs=jobs, teach=True)
    taught: list[str] = []
    preloaded: list[int] = []

    def heard(job: Job) -> None:
        if job.role == "preload":
            assert study.teaching_jobs
            preloaded.append(job.trial)
        keys = parse(job.recipe).member_keys() if job.role not in {"test", "preload"} else []
        if job.role == "teacher":
            assert len(study.running) <= jobs
            assert len(set(study.teaching_jobs.values())) == len(study.teaching_jobs)
            taught.append(keys[job.member])
        assert all(
            key in study.book.table.teachers
            for key in (keys[job.member + 1 :] if job.role == "teacher" else keys)
        )

    drive(study, heard=heard)
    assert len(taught) == len(set(taught)) == 6  # two teachers, each with two assistants
    assert len(preloaded) < jobs
    assert all(t.state in {"complete", "pruned"} for t in study.trials.values())
    lines = (tmp_path / "whole" / "events.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(
        1, len(lines), 7
    ):  # killed there, it goes on, and teaches nobody twice whose scratch_loss was written down
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "events.jsonl").write_bytes(b"".join(lines[:cut]))
        again = Study(s, Ledger(folder).open(), jobs=jobs, teach=True)
        drive(again)
        assert len([e for e in again.book.events if e["event"] == "teacher"]) == 6
        assert jobs > 1 or rows(again) == rows(study)
        again.book.close()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_teacher_that_diverges_ends_the_trials_that_need_it_and_no_other(
    tmp_path: Path, space_file: Path, jobs: int
) -> None:
    space_file.write_text(
        space_file.read_text() + "  teacher/model: {choice: [cnn-3x16, cnn-3x24]}\n"
    )
    study = new(tmp_path, loaded(space_file, "search/asha/form=none"), jobs=jobs, teach=True)
    bad = "cnn-3x24"
    drive(
        study,
        outcome=lambda job: (
            "diverged"
            if job.role == "teacher" and job.recipe["teacher"]["model"] == bad
            else "finished"
        ),
    )
    states = {(t.recipe["teacher"]["model"] == bad, t.state) for t in study.trials.values()}
    assert states == {(True, "diverged"), (False, "complete")}
    assert all(bad in t.reason for t in study.trials.values() if t.state == "diverged")
    assert sum(e["event"] == "teacher" for e in study.book.events) == 2


def test_a_given_teacher_that_cannot_be_used_ends_the_search(
    tmp_path: Path, space_file: Path
) -> None:
    study = new(tmp_path, loaded(space_file), teach=True)
    job = study.next_job()
    assert isinstance(job, Job) and job.role == "teacher"
    with pytest.raises(UserError, match="teacher cnn-3x16: 10 classes, not 100"):
        study.taught(job.trial, "failed", given=True, reason="10 classes, not 100")


def test_a_teacher_s_worker_that_dies_is_replaced_three_times(
    tmp_path: Path, space_file: Path
) -> None:
    study = new(
        tmp_path, loaded(space_file, "search/trials=1", "search/finalists/seeds=0"), teach=True
    )
    for _ in range(3):
        job = study.next_job()
        assert isinstance(job, Job) and job.role == "teacher"
        study.lost(job.trial, "killed")
    assert study.next_job() is DONE
    assert study.trials[0].state == "failed"
    assert "workers died" in study.trials[0].reason


def test_a_teacher_no_better_than_the_student_alone_is_warned_about(
    tmp_path: Path, space_file: Path
) -> None:
    study = new(tmp_path, loaded(space_file), teach=True)
    drive(study, f=lambda recipe, epoch: 0.85)
    assert words.weak_teachers(study.book.table) == []
    better = new(tmp_path, loaded(space_file), "b", teach=True)
    drive(better, f=lambda recipe, epoch: 0.95)
    (warning,) = words.weak_teachers(better.book.table)
    assert warning.startswith(
        "the teacher cnn-3x16 (0.9000 on validation) is no better than the student cnn-2x8 at"
    )
