"""What a search will do, before it begins."""

from __future__ import annotations

from pathlib import Path

from autokd import space
from autokd.study import plan


def test_a_plan_of_fewer_trials_than_baselines(space_file: Path) -> None:
    made = plan.plan(
        space.load(
            space_file, sets=("search/asha/exempt=8", "search/finalists/per=student/resolution")
        ),
        trials=2,
    )
    assert made.baselines == ["base 4", "base 6"] and made.search_epochs == 2 * 4  # seen through


def test_a_plan_counts_the_tables_of_a_teacher_that_exists(space_file: Path) -> None:
    trained, given = (
        plan.plan(space.load(space_file, sets=sets))
        for sets in ((), ("teacher/weights=teacher.pth", "teacher/train=null"))
    )
    assert trained.teachers == {"cnn-3x16": 1}
    assert given.teachers == {}
    assert given.tables == trained.tables == 4
    assert "teachers      none to train" in plan.text(space.load(space_file), given)
