"""Recipes: mistakes, overrides, the fingerprint, the ladder."""

from __future__ import annotations

from pathlib import Path

import pytest

from autokd import recipe
from autokd.errors import UserError
from autokd.recipe import document
from autokd.recipe.recipe import LATER
from autokd.study import recipe_yaml
from autokd.study.controls import with_controls
from tests.helpers.documents import problems


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("distill: {preset: {a: 1}}", "unknown preset"),
        ("distill: {temperature: {kind: []}}", "unknown kind of temperature"),
        ("distill: {losses: {²/kl: 1}}", "unknown loss"),
        ("data: {name: 'folder:x', group_by: 'a{99999999999999}'}", "is not a regular expression"),
    ],
)
def test_any_value_in_place_of_a_word_is_an_error_of_the_recipe(
    tmp_path: Path, text: str, rule: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert rule in str(problems(recipe.load, tmp_path / "bad.yaml")[0])


def test_a_home_that_nobody_has_is_part_of_a_name(recipe_file: Path) -> None:
    assert recipe.load(
        recipe_file, ("teacher/weights='~nobody-at-all/a.pt'",)
    ).teacher.weights.endswith("~nobody-at-all/a.pt")


def test_five_mistakes_in_a_recipe_are_five_errors_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "data: {name: digits, resolutionn: 8}\n"
        "train: {epochs: 1.5}\n"
        "student: {model: resnt20, resolution: 6}\n"
        "distill: {temperature: {kind: flws}, losses: {kl: {weight: -1}}}\n"
        "sede: 1\n"
    )
    found = {(p.line, p.path) for p in problems(recipe.load, path)}
    assert found == {
        (1, "data/resolutionn"),
        (2, "train/epochs"),
        (3, "student/model"),
        (4, "distill/temperature/kind"),
        (4, "distill/losses/kl/weight"),
        (5, "sede"),
    }
    path.write_text("student: {model: resnt20, resolution: 16}\ndata: {name: digit}\n")
    found_text = "\n".join(map(str, problems(recipe.load, path)))
    assert "did you mean 'resnet20'" in found_text
    assert "did you mean 'digits'" in found_text
    assert "must not exceed data/resolution" in found_text


def test_set_overrides_and_says_what_it_cannot(recipe_file: Path) -> None:
    made = recipe.load(
        recipe_file,
        ("train/epochs=7", "distill/temperature={kind: flsw, tau: 5}", "ladder=[cnn-3x8]"),
    )
    assert made.train.epochs == 7
    assert made.distill["temperature"]["tau"] == 5
    assert made.ladder == ["cnn-3x8"]
    with pytest.raises(UserError, match="PATH=VALUE"):
        recipe.load(recipe_file, ("train/epochs",))
    assert "unknown key" in str(problems(recipe.load, recipe_file, ("train/epoch=7",))[0])


def test_a_dumped_recipe_reads_back_the_same(recipe_file: Path) -> None:
    made = recipe.load(recipe_file)
    again = recipe.parse(document.parse(document.dump(made.to_dict())).data)
    assert again == made and again.fingerprint() == made.fingerprint()


@pytest.mark.parametrize("weights", ["train", "pretrained", "teacher.safetensors"])
@pytest.mark.parametrize(
    "distill",
    [{"preset": "kd"}, {"preset": "student-alone"}, {"preset": "ctkd"}, {"preset": "takd"}],
)
def test_the_fingerprint_forgets_nothing_else(weights: str, distill: dict) -> None:
    made = recipe.parse(
        {"teacher": {"weights": weights}, "ladder": ["cnn-3x8"], "distill": distill}
    )
    dead = made.inactive()
    alive = {
        p
        for p in document.flatten(made.to_dict())
        if not any(p == d or p.startswith(f"{d}/") for d in dead)
    }
    later = alive & set(LATER)
    assert set(document.flatten(made.effective())) == alive - later  # at what they meant before
    new = {
        "train/ema": 0.9,
        "train/nesterov": True,
        "train/decay_norms": False,
        "data/augment/erasing/probability": 0.2,
        "data/augment/trivial_augment": True,
        "student/weights": "pretrained",
    }
    added = set(document.flatten(made.with_(new).effective())) - (alive - later)
    assert added == set(new)
    assert all(p in alive for p in ("seed", "train/lr", "train/epochs"))


def test_the_fingerprint_forgets_what_nothing_reads(recipe_file: Path) -> None:
    made = recipe.load(recipe_file)
    for path, value in (("randaugment/magnitude", 3), ("erasing/scale", [0.1, 0.2])):
        off = made.with_({f"data/augment/{path}": value})
        assert off.fingerprint() == made.fingerprint()
    on = made.with_({"data/augment/randaugment/operations": 2})
    stronger = on.with_({"data/augment/randaugment/magnitude": 3})
    assert len({made.fingerprint(), on.fingerprint(), stronger.fingerprint()}) == 3
    # a single teacher has no ladder
    assert made.with_({"ladder": ["cnn-3x8"]}).fingerprint() == made.fingerprint()
    assert made.with_({"ladder_train/epochs": 9}).fingerprint() == made.fingerprint()
    # a chain without a ladder is single
    assert made.with_({"distill/teaching": {"kind": "chain"}}).fingerprint() == made.fingerprint()
    assert made.with_({"teacher/seed": 9}).fingerprint() != made.fingerprint()
    alone = made.with_({"distill": {"preset": "student-alone"}})
    assert alone.with_({"teacher/model": "cnn-3x8"}).fingerprint() == alone.fingerprint()


def test_members_are_taught_by_the_larger_and_never_by_the_recipe_s_own_settings(
    recipe_file: Path,
) -> None:
    chain = recipe.load(
        recipe_file,
        (
            "distill/teaching={kind: chain}",
            "ladder=[cnn-3x16, cnn-3x8]",
            "distill/losses/kl/weight=0.3",
        ),
    )
    small, middle, full = chain.members()
    assert [m.student.model for m in (small, middle, full)] == ["cnn-3x8", "cnn-3x16", "cnn-3x16"]
    assert small.ladder == ["cnn-3x16"] and middle.ladder == [] and not full.needs_teacher
    assert small.distill["losses"]["kl"]["weight"] == 0.9 and small.train == chain.ladder_train
    assert small.resolution == 8  # assistants see the full resolution
    dense = chain.with_({"distill/teaching": {"kind": "dense"}})
    assert dense.members()[0].distill["teaching"]["kind"] == "dense"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("teacher: {weights: pretraind}", "did you mean 'pretrained'"),
        ("student: {weights: pretraind}", "did you mean 'pretrained'"),
        ("student: {weights: train}", "what is random is always trained"),
        ("teacher: {weights: random}", "a network of random weights that is not trained"),
        ("teacher: {train: null}", "a network of random weights that is not trained"),
    ],
)
def test_weights_that_mean_nothing(tmp_path: Path, text: str, rule: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    (problem,) = problems(recipe.load, tmp_path / "bad.yaml")
    assert rule in str(problem)


def test_weights_are_a_start_and_train_is_what_follows(recipe_file: Path) -> None:
    made = recipe.load(recipe_file)
    random = made.with_({"teacher/weights": "random"})
    assert random.fingerprint() == made.fingerprint()  # `train` is the older word
    assert random.member_keys() == made.member_keys()
    tuned = made.with_({"teacher/weights": "pretrained"})
    given = tuned.with_({"teacher/train": None})
    (teacher,) = tuned.members()
    assert teacher.student.weights == "pretrained" and teacher.train == made.teacher.train
    assert given.members()[0].student.weights == "random"  # it is loaded, not trained
    assert len({r.fingerprint() for r in (made, tuned, given)}) == 3
    assert len({r.member_keys()[0] for r in (made, tuned, given)}) == 3
    started = made.with_({"student/weights": "pretrained"})
    assert started.fingerprint() != made.fingerprint()
    assert started.member_keys() == made.member_keys()
    assert made.with_({"student/mean": [0.5]}).fingerprint() == made.fingerprint()  # of a file's


def test_controls_start_where_the_finalist_starts(recipe_file: Path) -> None:
    made = recipe.load(recipe_file, ("student/weights=pretrained",))
    for role, control in with_controls(made.to_dict()).items():
        assert control["student"] == made.to_dict()["student"], role


def test_embeddings_are_tables_where_a_loss_reads_them_and_no_stages(recipe_file: Path) -> None:
    made = recipe.load(recipe_file, ("distill={preset: rkd}",))
    assert made.tables_embeddings and not made.online
    online = made.with_({"teacher/embedding": "online"})
    assert online.online and not online.tables_embeddings
    assert online.fingerprint() != made.fingerprint()
    old = recipe.parse(made.to_dict() | {"version": 1, "teacher": {"model": "cnn-3x16"}})
    assert old.online  # as in format 1
    for preset in ("kd", "at"):  # no embedding; stages too
        other = made.with_({"distill": {"preset": preset}})
        assert not other.tables_embeddings and other.online == (preset == "at")
        assert other.with_({"teacher/embedding": "online"}).fingerprint() == other.fingerprint()


def test_members_of_a_ladder_may_be_blocks(recipe_file: Path) -> None:
    blocks = [
        {"model": "cnn-4x8", "weights": "big.pth", "mean": [0.2]},
        {"model": "cnn-3x8", "weights": "mid.pth", "train": {"epochs": 7}},
        {"model": "cnn-2x16", "train": {"epochs": 9}},
        "cnn-2x8",
    ]
    made = recipe.load(recipe_file, ("distill={preset: takd}",))
    ladder = made.with_({"ladder": blocks})
    *small, full = ladder.members()
    plain, own, tuned, given = small
    assert given.given and (given.given.weights, given.given.mean) == ("big.pth", [0.2])
    assert not given.needs_teacher
    assert (tuned.student.weights, tuned.train.epochs) == ("mid.pth", 7) and tuned.needs_teacher
    assert (own.student.weights, own.train.epochs) == ("random", 9)
    assert plain.train == made.ladder_train and [a.model for a in plain.assistants] == [
        "cnn-4x8",
        "cnn-3x8",
        "cnn-2x16",
    ]
    assert recipe.files(ladder) == {"ladder/0/weights": "big.pth", "ladder/1/weights": "mid.pth"}
    assert len(set(ladder.member_keys())) == 5
    # a name is a block that says no more
    named = made.with_({"ladder": ["cnn-3x8"]})
    assert made.with_({"ladder": [{"model": "cnn-3x8"}]}).members()[0] == named.members()[0]
    # nothing is trained as `ladder_train` says
    assert "ladder_train" in made.with_({"ladder": blocks[:3]}).inactive()
    assert "ladder_train" not in ladder.inactive()
    moved = ladder.with_({"ladder/0/weights": "/elsewhere/big.pth"})
    assert recipe_yaml.identity(moved) == recipe_yaml.identity(ladder)


@pytest.mark.parametrize(
    ("entry", "path", "rule"),
    [
        ("{model: cnn-3x8, wights: a.pth}", "ladder/0/wights", "did you mean 'weights'"),
        ("{model: resnt20}", "ladder/0/model", "did you mean 'resnet20'"),
        ("resnt20", "ladder/0", "did you mean 'resnet20'"),
        ("{model: cnn-3x8, weights: pretraned}", "ladder/0/weights", "did you mean 'pretrained'"),
        ("{model: cnn-3x8, head: probe}", "ladder/0/weights", "must not be random"),
        ("{weights: a.pth}", "ladder/0/model", "required"),
    ],
)
def test_mistakes_in_a_ladder_s_blocks(tmp_path: Path, entry: str, path: str, rule: str) -> None:
    (tmp_path / "bad.yaml").write_text(f"distill: {{preset: takd}}\nladder: [{entry}]\n")
    (problem,) = problems(recipe.load, tmp_path / "bad.yaml")
    assert problem.path == path and rule in str(problem)


def test_a_folder_beside_the_recipe_is_found_from_elsewhere(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "own/pets" / name).mkdir(parents=True)
    (tmp_path / "own/r.yaml").write_text('data: {name: "folder:pets"}\n')
    assert recipe.load(tmp_path / "own/r.yaml").data.name == f"folder:{tmp_path / 'own/pets'}"
    (tmp_path / "own/r.yaml").write_text('data: {name: "folder:elsewhere"}\n')
    # in the current folder, or in --data-dir
    assert recipe.load(tmp_path / "own/r.yaml").data.name == "folder:elsewhere"
