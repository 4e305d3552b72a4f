"""Search spaces: mistakes, names, presets, what is forbidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from autokd import recipe, space
from autokd.recipe import network_names
from autokd.space import tree
from tests.helpers.documents import problems


def test_a_missing_base_is_no_space_and_a_missing_space_no_recipe(space_file: Path) -> None:
    folder = space_file.parent
    (folder / "bases.yaml").write_text("base: base.yaml\nvary: {train/lr: {uniform: [0.1, 0.2]}}\n")
    (folder / "broken.yaml").write_text("a: [1")
    space_file.write_text(space_file.read_text().replace("base: base.yaml", "base: basse.yaml"))
    assert [p.hint for p in problems(space.load, space_file)] == ["did you mean 'base.yaml'?"]
    (folder / "base.yaml").unlink()
    assert [p.hint for p in problems(space.load, space_file)] == [""]
    assert "did you mean 'bases.yaml'" in str(problems(space.load, folder / "basis.yaml")[0])


def test_an_objective_in_a_wrong_form_has_only_that_form_s_errors(recipe_file: Path) -> None:
    path = recipe_file.parent / "space.yaml"
    path.write_text(
        "base: base.yaml\nsearch: {objective: {maximise: val/accuracy}}\nvary: {train/lr: {uniform:"
        " [0.1, 0.2]}}\n"
    )
    assert [p.path for p in problems(space.load, path)] == ["search/objective/maximise"]


def test_five_mistakes_in_a_space_are_five_errors_at_once(recipe_file: Path) -> None:
    path = recipe_file.parent / "bad.yaml"
    path.write_text(
        "base: base.yaml\n"
        # wrong type, and the test data
        "search: {trials: many, objective: {maximize: test/accuracy}}\n"
        "serach: {}\n"  # unknown key
        "vary:\n"
        "  train/lr: {log_uniform: [1, 0.1]}\n"  # min >= max
        "  distill: {one_of: [{preset: kd}, {preset: dtdd}]}\n"  # unknown preset
        "  student/resolutoin: {choice: [4, 6]}\n"  # not in the base
    )
    found = {(p.line, p.path): str(p) for p in problems(space.load, path)}
    assert set(found) == {
        (2, "search/trials"),
        (2, "search/objective"),
        (3, "serach"),
        (5, "train/lr"),
        (6, "distill/preset"),
        (7, "student/resolutoin"),
    }
    assert "did you mean 'search'" in found[3, "serach"]
    assert "did you mean 'dtd'" in found[6, "distill/preset"]
    assert "did you mean 'student/resolution'" in found[7, "student/resolutoin"]
    assert all(str(path) in text for text in found.values())


def test_the_test_data_is_no_objective(space_file: Path) -> None:
    found = problems(space.load, space_file, None, ("search/objective/maximize=test/accuracy",))
    assert "test data is read once" in str(found[0])


def test_a_search_without_validation_pictures_is_refused(recipe_file: Path) -> None:
    rule = "data/validation: must be above 0 in a search"
    path = recipe_file.parent / "space.yaml"
    path.write_text("base: base.yaml\nvary:\n  train/lr: {uniform: [0.1, 0.2]}\n")
    recipe_file.write_text("# nothing held out\ndata: {validation: 0}\n")
    (found,) = problems(space.load, path)
    assert str(found).startswith(f"{recipe_file}:2: {rule}")
    space.load(path, sets=("data/validation=0.2",))
    recipe_file.write_text("data: {validation: 0.2}\n")
    path.write_text("base: base.yaml\nvary:\n  data/validation: {choice: [0.2, 0.0]}\n")
    (found,) = problems(space.load, path)
    assert str(found).startswith(f"{path}:3: {rule}")


@pytest.mark.parametrize(
    ("vary", "rule"),
    [
        ("ladder: {choice: [[], [cnn-3x8]]}", "nothing reads it (distill/teaching is single)"),
        ("seed: {choice: [0, 1]}", "a seed is never varied"),
        (
            (
                "distill/losses/kl: {weight: {uniform: [0, 1]}}\n  distill/losses/kl/weight:"
                " {uniform: [0, 1]}"
            ),
            "overlaps with",
        ),
        ("student/resolution: {choice: [4, 60]}", "must not exceed data/resolution"),
        ("distill/losses/kl/weight: {uniform: [-1, 1]}", "must be greater than or equal to 0"),
        (
            "train/momentum: {uniform: [0.5, 0.9]}\n  train/optimizer: {choice: [sgd, adamw]}",
            "no use for it",
        ),
        (
            "distill/temperature: {one_of: [{kind: constant, tau: {uniform: [1, 2]}, beta: 3}]}",
            "unknown key",
        ),
        ("train/lr: {uniform: [0.1, 0.2], prior: 3.0}", "prior lies outside"),
        ("train/lr: {}", "train/lr: must be a valid number; got {}"),
        ("train/lr: {one_of: [{}]}", "train/lr: must be a valid number; got {}"),
        ("distill: {one_of: [{preset: {a: 1}}]}", "distill/preset: unknown preset"),
        ("distill: {one_of: [{preset: []}], free: recommended}", "distill/preset: unknown preset"),
        (
            "distill/temperature: {kind: {choice: [flsw, {a: 1}]}}",
            'unknown kind of temperature; got {"a": 1}',
        ),
        ("train/optimizer: {choice: [sgd, {a: 1}]}", "must be 'sgd' or 'adamw'"),
        ("student/model/0: {choice: [a, b]}", "is not in the base"),
        (
            "distill: {preset: dtd, temperature: 3, temperature/tau: {uniform: [2, 9]}}",
            "distill/temperature/tau: overlaps with distill/temperature",
        ),
        (
            "distill: {preset: dtd, losses/kl/weight/x: {uniform: [2, 9]}}",
            "a value of the preset stands in the way",
        ),
        (
            "train: {uniform: [1, 2]}\n  train/lr: {uniform: [0.1, 0.2]}",
            "train/lr: overlaps with train",
        ),
        (
            "one_of: [{train/lr: {uniform: [0.1, 0.2]}}]\n  train/lr: {uniform: [0.1, 0.2]}",
            "train/lr: overlaps with train/lr",
        ),
        ("train/lr: {uniform: [0.1, 0.2]}\nforbid: [{}]", "forbids every trial"),
        (
            "train/lr: {uniform: [0.1, 0.2]}\nsearch: {objective: {maximise: 1}}",
            "search/objective/maximise: unknown key; did you mean 'maximize'?",
        ),
        (
            "train/lr: {uniform: [0.1, 0.2]}\nsearch: {objective: [{maximise: 1}]}",
            "search/objective/0/maximise: unknown key; did you mean 'maximize'?",
        ),
        (
            "train/lr: {uniform: [0.1, 0.2]}\nsearch: {objective: {maximize: 3}}",
            "search/objective/maximize: must be a valid string",
        ),
        (
            "train/lr: {uniform: [0.1, 0.2]}\nsearch: {objective: []}",
            "search/objective: must have at least 1 item",
        ),
        (
            "train/lr: {uniform: [0.1, 0.2]}\nsearch: {plateau: {trial: 3}}",
            "search/plateau/trial: unknown key; did you mean 'trials'?",
        ),
    ],
)
def test_a_space_is_refused_where_a_corner_of_it_is(
    recipe_file: Path, vary: str, rule: str
) -> None:
    path = recipe_file.parent / "space.yaml"
    path.write_text(f"base: base.yaml\nvary:\n  {vary}\n")
    assert any(rule in str(p) for p in problems(space.load, path))


def test_names_carry_the_branch_for_optuna_and_not_for_people(space_file: Path) -> None:
    loaded = space.load(space_file)
    assert [n.name for n in loaded.leaves()] == [
        "distill/temperature/kind",
        "distill/temperature/constant/tau",
        "distill/temperature/flsw/tau",
        "distill/temperature/flsw/beta",
        "distill/losses/kl/weight",
        "student/resolution",
    ]
    name, point = loaded.starting_points()[0]
    assert name == "base" and point.varied["distill/temperature/tau"] == 4.0
    assert recipe.parse(point.data).effective() == loaded.base.effective()


def test_two_weights_that_are_one_choice(recipe_file: Path) -> None:
    path = recipe_file.parent / "tied.yaml"
    path.write_text(
        "base: base.yaml\nvary:\n  distill: {one_of: [{preset: cqkd}], free: recommended}\n"
    )
    of_cqkd = space.load(path)
    assert {n.path for n in of_cqkd.leaves()} == {
        "distill",
        "distill/temperature/tau",
        "distill/losses/kl/weight",
    }
    for weight, rest in ((0.9, 0.1), (0.2, 0.8), (1.0, 0.0)):
        point = of_cqkd.point(
            lambda n, w=weight: {"distill": "cqkd", "distill/losses/kl/weight": w}.get(n.path, 12.0)
        )
        losses = recipe.parse(point.data).distill["losses"]
        assert {k: v["weight"] for k, v in losses.items()} == {"ce": rest, "kl": weight}
    # a branch that says what one of the two is unties them
    path.write_text(path.read_text().replace("cqkd}", "cqkd, losses/ce/weight: 0.3}"))
    point = space.load(path).starting_points()[0][1]
    assert recipe.parse(point.data).distill["losses"]["ce"]["weight"] == 0.3


@pytest.mark.parametrize(
    ("leaf", "rule"),
    [
        ("{uniform: [0, 2], complement: distill/losses/ce/weight}", "within [0, 1]"),
        ("{uniform: [0, 1], complement: distill/losses/cee/weight}", "distill/losses/ce/weight"),
        ("{uniform: [0, 1], complement: train/l}", "train/lr"),
        ("{uniform: [0, 1], complement: distill/losses/kl}", "another number"),
        ("{uniform: [0, 1], compliment: train/lr}", "complement"),
    ],
)
def test_a_complement_that_cannot_be_is_told(recipe_file: Path, leaf: str, rule: str) -> None:
    path = recipe_file.parent / "tied.yaml"
    path.write_text(f"base: base.yaml\nvary:\n  distill/losses/kl/weight: {leaf}\n")
    assert any(rule in str(p) for p in problems(space.load, path))


def test_presets_with_recommended_ranges_make_a_short_space(recipe_file: Path) -> None:
    path = recipe_file.parent / "space.yaml"
    path.write_text(
        "base: base.yaml\nvary:\n  distill:\n    one_of: [{preset: kd}, {preset: dtd,"
        " temperature/beta: 7.0}]\n    free: recommended\n"
    )
    loaded = space.load(path)
    assert [n.name for n in loaded.leaves()] == [
        "distill/preset",
        "distill/kd/temperature/tau",
        "distill/kd/losses/kl/weight",
        "distill/dtd/temperature/tau",
        "distill/dtd/losses/kl/weight",
        "distill/dtd/temperature/gamma",
    ]
    assert [name for name, _ in loaded.starting_points()] == ["kd", "dtd"]
    assert loaded.starting_points()[1][1].data["distill"]["temperature"]["beta"] == 7.0


def test_forbid_speaks_of_recipes_and_of_branches(space_file: Path) -> None:
    text = space_file.read_text()
    space_file.write_text(
        text
        + "forbid: [{distill/temperature/kind: flsw, student/resolution: [4, 6]}, {distill/preset:"
        " kd}]\n"
    )
    assert "names no path" in str(problems(space.load, space_file)[0])
    space_file.write_text(
        text + "forbid: [{distill/temperature/kind: flsw, student/resolution: [4, 6]}]\n"
    )
    loaded = space.load(space_file)

    def choose(kind: str, resolution: int):
        wanted = {"distill/temperature/kind": kind, "student/resolution": resolution}
        return loaded.point(lambda n: wanted[n.name] if n.name in wanted else tree.default(n))

    assert loaded.forbidden(choose("flsw", 4)) and loaded.forbidden(choose("flsw", 6))
    assert not loaded.forbidden(choose("flsw", 8)) and not loaded.forbidden(choose("constant", 4))


def test_a_space_that_was_frozen_in_format_1_is_read_as_it_was_meant() -> None:
    """Its values are the ledger's own: a sampler that is asked again must say the same words."""
    old = recipe.parse({"version": 1, "teacher": {"model": "resnet50"}}).to_dict()
    base = old | {"version": 1, "teacher": old["teacher"] | {"model": "resnet50"}}
    names = ["resnet50", "resnet20", "resnet152"]
    document = {"vary": {"teacher/model": {"choice": names}}}
    thawed = space.thaw({"space": document, "base": base})
    points = thawed.starting_points()
    assert [(name, p.params) for name, p in points] == [("base", {"teacher/model": "resnet50"})]
    assert recipe.parse(points[0][1].data).teacher.model == "cifar:resnet50"
    for name in names:
        point = thawed.point(lambda node, name=name: name)
        assert point.params == {"teacher/model": name}
        assert network_names.older(recipe.parse(point.data).teacher.model) == name
    assert thawed.base.teacher.model == "cifar:resnet50"
    with pytest.raises(recipe.document.DocumentError, match="two networks have this name"):
        space.thaw({"space": document, "base": thawed.base.to_dict()})
    # a training beside weights that were given meant nothing
    base["teacher"] = base["teacher"] | {"weights": "pretrained"}
    thawed = space.thaw({"space": document, "base": base})
    assert recipe.parse(thawed.starting_points()[0][1].data).teacher.train is None
