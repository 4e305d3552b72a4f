"""What is said of the finalist's teacher on the test pictures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autokd import recipe
from autokd.study import words
from autokd.study.controls import FINALIST


@pytest.mark.parametrize(
    ("teacher", "seen"),
    [
        ({"model": "cnn-3x16"}, ""),
        ({"model": "timm:test_vit", "weights": "pretrained"}, f"; {words.SEEN}"),
    ],
)
def test_a_teacher_that_was_not_trained_from_scratch_may_have_seen_them(
    teacher: dict[str, Any], seen: str
) -> None:
    trial = SimpleNamespace(parsed=recipe.parse({"teacher": teacher}))
    readings = [{"results": {"7": {"test/teacher_accuracy": a}, "8": {}}} for a in (0.5, 0.875)]
    table: Any = SimpleNamespace(trials={3: trial}, tests=readings)
    result: Any = SimpleNamespace(trial=3, runs={FINALIST: {0: 7}})
    assert words.teacher_on_test(table, result) == (0.875, seen)
    other: Any = SimpleNamespace(trial=3, runs={FINALIST: {0: 8}})
    assert words.teacher_on_test(table, other) is None
