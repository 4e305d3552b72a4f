"""What people are shown of a recipe: what something in it reads."""

from __future__ import annotations

import pytest

from autokd import recipe
from autokd.recipe import axes
from autokd.recipe.document import flatten


def _made(preset: str) -> recipe.Recipe:
    needs_ladder = recipe.parse({"distill": {"preset": preset}}).needs_ladder
    ladder = {"ladder": ["cnn-3x16"]} if needs_ladder else {}
    return recipe.parse({"distill": {"preset": preset}, **ladder})


@pytest.mark.parametrize("preset", sorted(axes.presets()))
def test_what_is_shown_describes_the_same_run(preset: str) -> None:
    made = _made(preset)
    assert recipe.parse(made.read()).fingerprint() == made.fingerprint()


def test_a_student_alone_shows_neither_teacher_nor_temperature() -> None:
    shown = flatten(_made("student-alone").read())
    assert not [p for p in shown if p.startswith(("teacher", "ladder"))]
    assert [p for p in shown if p.startswith("distill/") and "losses" not in p] == [
        "distill/view/kind"
    ]
    assert "distill/losses/ce/weight" in shown and "train/lr" in shown
    taught = flatten(_made("kd").read())
    assert taught["distill/temperature/tau"] == 4.0 and "teacher/model" in taught
    relations = flatten(_made("at-alone").read())  # asks the teacher, and softens nothing
    assert "teacher/model" in relations and "distill/temperature/tau" not in relations


def test_what_would_be_another_run_stays() -> None:
    """The temperature of a student alone counts in its fingerprint, so another one is kept."""
    made = _made("student-alone").with_({"distill/temperature/tau": 9.0})
    assert made.read()["distill"]["temperature"]["tau"] == 9.0
    assert recipe.parse(made.read()).fingerprint() == made.fingerprint()
