"""Samplers: told the truth, resumed exactly; several objectives, constraints, what is forbidden."""

from __future__ import annotations

import math
from pathlib import Path

import optuna
import pytest

from autokd import space
from autokd.errors import UserError
from autokd.space import tree
from autokd.study.ledger import Ledger
from autokd.study.queue import Job, Study
from autokd.study.spread import COUNT, spread
from tests.study.driver import drive, loaded, new, rows


def test_optuna_is_told_the_truth(tmp_path: Path, space_file: Path) -> None:
    study = new(tmp_path, loaded(space_file, "search/asha/form=stopping"))
    drive(study)
    told = study.suggestions.sampler.study.trials
    states = {t.number: t.state for t in study.trials.values() if t.searching}
    assert len(told) == len(states)
    for trial, (_number, state) in zip(told, states.items(), strict=True):
        assert trial.state.name == {"complete": "COMPLETE", "pruned": "PRUNED"}[state]
        assert trial.intermediate_values == {
            e: m["val/accuracy"] for e, m in study.trials[trial.number].metrics.items()
        }
    assert optuna.trial.TrialState.PRUNED in {t.state for t in told}


def test_forbidden_suggestions_never_become_trials(tmp_path: Path, space_file: Path) -> None:
    space_file.write_text(space_file.read_text() + "forbid: [{distill/temperature/kind: flsw}]\n")
    study = new(tmp_path, loaded(space_file))
    drive(study)
    assert study.book.table.refused > 0
    assert all(
        t.recipe["distill"]["temperature"]["kind"] == "constant" for t in study.trials.values()
    )


FLAT = """\
base: base.yaml
search: {trials: 24, asha: {form: none}, finalists: {seeds: 0}}
vary:
  distill/temperature/tau: {log_uniform: [1, 16]}
  distill/losses/kl/weight: {uniform: [0.1, 1.0]}
"""


@pytest.mark.parametrize(
    ("name", "trials"),
    [("tpe", 24), ("random", 24), ("qmc", 24), ("cmaes", 24), ("gp", 14), ("nsga2", 24)],
)
def test_every_sampler_searches_and_resumes_exactly(
    tmp_path: Path, recipe_file: Path, name: str, trials: int
) -> None:
    path = recipe_file.parent / "flat.yaml"
    path.write_text(FLAT)
    how = (f"search/sampler={name}", f"search/trials={trials}")
    s = space.load(path, sets=("train/epochs=2", *how))
    whole = new(tmp_path, s, "whole")
    drive(whole)
    lines = (tmp_path / "whole/events.jsonl").read_bytes().splitlines(keepends=True)
    for cut in (5, len(lines) // 2, len(lines) - 3):
        (tmp_path / f"cut{cut}").mkdir()
        (tmp_path / f"cut{cut}" / "events.jsonl").write_bytes(b"".join(lines[:cut]))
        study = Study(s, Ledger(tmp_path / f"cut{cut}").open())
        drive(study)
        assert rows(study) == rows(whole)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("qmc", "cannot model distill/temperature/kind"),
        ("cmaes", "learns nothing from pruned trials"),
        ("gp", "learns nothing from pruned trials"),
    ],
)
def test_a_sampler_that_would_silently_be_random_is_refused(
    space_file: Path, name: str, rule: str
) -> None:
    with pytest.raises(UserError, match=rule):
        space.load(space_file, sets=(f"search/sampler={name}",))


def test_several_objectives_have_a_front(tmp_path: Path, space_file: Path) -> None:
    objective = "search/objective=[{maximize: val/accuracy}, {minimize: student/flops}]"
    study = new(tmp_path, loaded(space_file, objective, "search/asha/form=none"))
    finish = study.finish

    def with_cost(number: int, attempt: int, state: str, **how) -> None:
        how["facts"] = {
            "student/flops": (study.trials[number].recipe["student"]["resolution"] or 8) ** 2
        }
        finish(number, attempt, state, **how)

    study.finish = with_cost  # type: ignore[method-assign]
    drive(study)
    front = study.front()
    # each resolution is the best of its cost
    assert {t.facts["student/flops"] for t in front} == {16, 36, 64}
    for a in front:
        assert not any(
            b.last["val/accuracy"] > a.last["val/accuracy"]
            and b.facts["student/flops"] <= a.facts["student/flops"]
            for b in front
        )
    assert {t.state.name for t in study.suggestions.sampler.study.trials} == {"COMPLETE"}
    assert len(study.suggestions.sampler.study.trials[0].values) == 2


def test_several_objectives_with_pruning_resume_exactly(tmp_path: Path, space_file: Path) -> None:
    """Several rungs: what is promoted may be paused again, and is then one more pruned trial of the
    sampler's.
    """
    s = loaded(
        space_file,
        "search/objective=[{maximize: val/accuracy}, {minimize: val/nll}]",
        "search/trials=14",
    )

    def outcome(job: Job) -> str:
        return "diverged" if job.trial % 4 == 1 and job.trial < 14 else "finished"

    whole = new(tmp_path, s, "whole")
    drive(whole, outcome=outcome)
    assert any(len(t.rungs) == 2 and t.state == "pruned" for t in whole.trials.values())
    lines = (tmp_path / "whole/events.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines), 19):
        (tmp_path / f"cut{cut}").mkdir()
        (tmp_path / f"cut{cut}/events.jsonl").write_bytes(b"".join(lines[:cut]))
        study = Study(s, Ledger(tmp_path / f"cut{cut}").open())
        drive(study, outcome=outcome)
        assert rows(study) == rows(whole)
        study.book.close()


def test_a_cost_that_is_known_beforehand_is_never_trained(tmp_path: Path, space_file: Path) -> None:
    s = loaded(space_file, "search/constraints=['student/flops <= 40']")
    study = new(
        tmp_path, s, costs=lambda data: {"student/flops": (data["student"]["resolution"] or 8) ** 2}
    )
    drive(study)
    assert 0 < study.book.table.refused < 30  # the sampler learns from it
    assert {t.recipe["student"]["resolution"] for t in study.trials.values()} <= {4, 6}
    with pytest.raises(UserError, match="must read like"):
        loaded(space_file, "search/constraints=['student/flops < 40']")


def test_a_space_of_which_nothing_is_left_says_by_what(tmp_path: Path, space_file: Path) -> None:
    s = loaded(space_file, "search/constraints=['student/flops <= 4']", "search/sampler=random")
    study = new(
        tmp_path, s, costs=lambda data: {"student/flops": (data["student"]["resolution"] or 8) ** 2}
    )
    with pytest.raises(UserError, match="is anything left of it.* constraint: student/flops is"):
        drive(study)


def test_a_few_points_already_cover_a_space(space_file: Path) -> None:
    """Of four points one lies in each quarter of every range; options come in equal shares."""
    s = space.load(space_file)
    points = list(spread(s, seed=3))
    assert len(points) == COUNT and points == list(spread(s, seed=3))
    assert points != list(spread(s, seed=4))
    leaves = {leaf.name: leaf for leaf in s.leaves() if isinstance(leaf, tree.Leaf)}
    always = [name for name in leaves if all(name in p for p in points)]
    assert always
    for name in always:
        values = [p[name] for p in points]
        if leaves[name].kind == "choice":
            assert max(map(values.count, values)) - min(map(values.count, values)) <= 1
            continue
        low, high = leaves[name].options
        for start in range(0, COUNT, 4):
            quarters = {int(4 * share(leaves[name], v)) for v in values[start : start + 4]}
            assert quarters == {0, 1, 2, 3}, name
        assert all(low <= v <= high for v in values)


def share(leaf: tree.Leaf, value: float) -> float:
    low, high = leaf.options
    if leaf.kind == "log_uniform":
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)
