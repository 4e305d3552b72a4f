"""Every method, and everything it declares."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import pytest

from autokd.recipe import axes
from autokd.recipe.vocabulary import VOCABULARY
from tests.methods import conformance
from tests.methods.cases import CASES, Case
from tests.methods.conformance import registered
from tests.methods.reference import REFERENCES
from tests.methods.runs import hyperparameters, setting, student_weights, values_to_try


@pytest.mark.parametrize(("axis", "kind"), registered())
def test_conforms(axis: Any, kind: str) -> None:
    conformance.check(axis, kind)


@pytest.mark.parametrize(("axis", "kind"), registered())
def test_arguments_are_annotated_as_the_vocabulary_says(axis: Any, kind: str) -> None:
    m = axes.method(axis, kind)
    hints = typing.get_type_hints(m.fn, include_extras=True)
    assert {w: hints.get(w) for w in m.reads} == {w: VOCABULARY[axis][w].type for w in m.reads}
    assert "return" in hints


def test_no_case_without_a_method() -> None:
    assert set(CASES) == set(registered())


def test_no_reference_without_a_method() -> None:
    assert set(REFERENCES) == set(registered())


def test_a_method_without_a_case_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CASES, ("losses", "kl"))
    with pytest.raises(AssertionError, match="losses/kl has no case"):
        conformance.check("losses", "kl")


@pytest.fixture
def squared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A new loss, registered as a file in ``autokd/methods`` does it, and its case."""

    @axes.register("losses", "squared", paper="ours")
    def squared(student_logits: Any, teacher_logits: Any) -> Any:
        """The mean squared difference of the logits. Returns a scalar."""
        return (student_logits - teacher_logits).square().mean()

    monkeypatch.setitem(CASES, ("losses", "squared"), Case(equal="teacher_logits"))
    yield
    del axes.METHODS["losses", "squared"]


def test_a_method_without_reference_values_fails(squared: None) -> None:
    with pytest.raises(AssertionError, match="losses/squared has no reference values"):
        conformance.check("losses", "squared")


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_a_method_is_held_to_its_reference_values(
    squared: None, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    def values(given: Any) -> float:
        apart = given["student_logits"].numpy() - given["teacher_logits"].numpy()
        return factor * float((apart**2).mean())

    monkeypatch.setitem(REFERENCES, ("losses", "squared"), values)
    if factor == 1:
        conformance.check("losses", "squared")
    else:
        with pytest.raises(AssertionError, match="losses/squared"):
            conformance.check("losses", "squared")


@pytest.mark.parametrize(("axis", "kind", "name"), hyperparameters())
def test_no_hyperparameter_is_dead(axis: Any, kind: str, name: str) -> None:
    """Each value gives another student after four steps, all else equal."""
    context = CASES[axis, kind].context
    context = {**context.get("", {}), **context.get(name, {})}
    students = [
        student_weights(setting(axis, kind, name, v, context))
        for v in values_to_try(axis, kind, name)
    ]
    for i, one in enumerate(students):
        for other in students[:i]:
            assert (one - other).abs().max() > 1e-6
