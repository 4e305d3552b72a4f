"""Plans are documents that load, under their bounds, and fit the budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from autokd.api.planning import bound
from autokd.errors import UserError
from autokd.planner import candidates, plan
from autokd.planner.candidates import Bounds, Candidate
from autokd.planner.look import Look
from autokd.space import load

SEEN = Look("digits", dict.fromkeys("0123456789", 150), 1, (8, 8, 8))


def some(step: float) -> list[Candidate]:
    """As they are measured, at made-up speeds."""
    return [
        Candidate(model, side, 500 * (i + 1) ** 2, 10**5 * (i + 1), i + 1.0, 0.1, step * (i + 1))
        for side in (6, 8)
        for i, model in enumerate(candidates.SMALL)
    ]


@pytest.mark.parametrize("step", [0.0005, 0.005, 0.5])
@pytest.mark.parametrize("seconds", [60, 600, 7200])
def test_documents_load_whatever_the_speed(step: float, seconds: float, tmp_path: Path) -> None:
    able = sorted(some(step), key=lambda c: c.step)
    made = plan.plan(SEEN, able, able, seconds=seconds, jobs=2, bounds=Bounds())
    (tmp_path / "base.yaml").write_text(made.base)
    (tmp_path / "space.yaml").write_text(made.space)
    space = load(tmp_path / "space.yaml")
    assert plan.EPOCHS[0] <= space.base.train.epochs <= plan.EPOCHS[1]
    assert space.search.time is not None and space.search.time <= seconds
    assert {r.student.model for _, r in [("", space.base)]} <= {c.model for c in made.students}
    assert all(reason.split(":")[0] in made.base + made.space for reason in made.reasons)


def test_no_student_is_beyond_its_bounds() -> None:
    bounds = Bounds(latency_ms=4.0, params=10_000)
    able = candidates.allowed(some(0.001), bounds)
    assert {c.model for c in able} == set(candidates.SMALL[:3])  # 4.0 ± 0.1 ms may be more
    with pytest.raises(UserError, match="no student is within the bounds: cnn-2x8 at 6 px"):
        candidates.allowed(some(0.001), Bounds(params=10))


def test_what_is_measured_is_what_a_student_costs() -> None:
    found = candidates.measure("cnn-2x8", 1, 10, 8, 16, "cpu")
    assert found.params > 500 and found.latency_ms > 0 and found.step > 0


@pytest.mark.parametrize("text", ["-1", "five", "nan", "1Q", "0"])
def test_a_bound_is_a_number(text: str) -> None:
    with pytest.raises(UserError, match="--max-size .*must be a number"):
        bound("--max-size", text)
