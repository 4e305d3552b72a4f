"""Teachers that cannot teach."""

from __future__ import annotations

import pytest

from autokd.study import weak


@pytest.mark.parametrize(
    ("metrics", "classes", "pictures", "word"),
    [
        ({"accuracy": 0.95, "linear_accuracy": 0.9}, 10, 300, None),
        ({"accuracy": 0.9, "linear_accuracy": 0.9}, 10, 300, "than a linear model"),
        ({"accuracy": 0.11, "linear_accuracy": 0.05}, 10, 300, "at chance"),
        # 3 standard errors of 300 coin-flips with one side in ten: 0.152
        ({"accuracy": 0.151}, 10, 300, "at chance"),
        ({"accuracy": 0.153}, 10, 300, None),
        ({"accuracy": 0.0333}, 10, 300, "far below chance"),
        ({"accuracy": 0.0333}, 10, 30, "at chance"),  # three of thirty would be chance
        ({"accuracy": 0.5}, 2, 100, "at chance"),
        ({"accuracy": 0.1, "relabelled_accuracy": 0.9}, 10, 300, "with other labels"),
        ({"accuracy": 0.7, "relabelled_accuracy": 0.9}, 10, 300, "teacher/labels"),
        ({}, 10, 0, None),
    ],
)
def test_signs(metrics: dict[str, float], classes: int, pictures: int, word: str | None) -> None:
    found = weak.sign({f"val/{k}": v for k, v in metrics.items()}, classes, pictures)
    assert (found is None) if word is None else word in (found or "")
