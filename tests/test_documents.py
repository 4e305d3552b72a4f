"""Documents: YAML in, all problems out, and nothing else happens."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from autokd import document, recipe, space, tree
from autokd.document import DocumentError, UserError
from tests.conftest import autokd
from tests.mutations import mutants

ROOT = Path(__file__).resolve().parent.parent
YAMLS = sorted([*(ROOT / "pipelines").rglob("*.yaml"), *(ROOT / "search_spaces").rglob("*.yaml")])


def problems(load, *args) -> list[document.Problem]:
    with pytest.raises(DocumentError) as e:
        load(*args)
    return e.value.problems


def test_every_yaml_of_the_repository_is_valid() -> None:
    recipes = [p for p in YAMLS if p.parts[-2] == "pipelines"]
    spaces = [p for p in YAMLS if p not in recipes]
    assert (len(recipes), len(spaces)) == (16, 7), "a YAML was added or lost: say so here"
    for path in recipes:
        recipe.load(path)
        header = path.read_text().partition("\ndata:")[0]
        assert f"autokd train pipelines/{path.name}" in header and all(line.startswith("#") for line in header.splitlines()), path
        assert ("*Not yet run.*" in header) != ("Measured" in header), f"{path} says neither, or both"
    for path in spaces:
        assert space.load(path).starting_points(), f"{path} has no baseline"


def test_numbers_and_words_are_those_of_yaml_1_2() -> None:
    data = document.parse("a: 1e-4\nb: no\nc: 5e-4\nd: 0.1\ne: 1_0\nf: ~\ng: true").data
    assert data == {"a": 1e-4, "b": "no", "c": 5e-4, "d": 0.1, "e": 10, "f": None, "g": True}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a: !!python/object:os.system ls", "tags are not used"),
        ("a: &x [1]\nb: *x", "anchors and aliases"),
        ("a: 1\na: 2", "twice"),
        ("a: [1, 2", "not valid YAML"),
        ("- 1\n- 2", "must be a mapping"),
        ("a: {<<: {b: 1}}", "a key is a plain word"),
        ("a: \x07", "not valid YAML"),
        ("a: .inf", "must be a finite number"),
        ("a: 1e999", "must be a finite number"),
        (f"a: 1{'0' * 400}", "is too large a number"),
        ('a: "\\0"', "a character that is no text"),
        ('a: "\\ud800"', "a character that is no text"),
        ("'': 1", "a key is a plain word"),
        ("a//b: 1", "a key is a plain word"),
        ("a: " + "[" * 5000, "nested more than 40 levels"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than 40 levels"),
        ("a/" * 60 + "a: 1", "nested more than 40 levels"),
    ],
)
def test_what_yaml_could_do_and_a_document_may_not(text: str, rule: str) -> None:
    assert rule in str(problems(document.parse, text)[0])


def test_a_billion_laughs_is_refused_before_it_is_built() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
    assert "anchors" in str(problems(document.parse, text)[0])


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.yaml").open("wb") as f:
        f.truncate(100_000_000)
    assert "larger than" in str(problems(document.read, tmp_path / "big.yaml")[0])


@pytest.mark.parametrize("text", ["", "# distill it\n"])
def test_an_empty_file_is_no_recipe_of_defaults(text: str) -> None:
    assert "is empty" in str(problems(document.parse, text)[0])


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", f"echo 'train: {{lr: 0.5}}' > {pipe}"]):
        shown = autokd("show", str(pipe), cwd=tmp_path)
    assert "lr: 0.5" in shown.stdout


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").touch()
    assert "did you mean 'digits.yaml'" in str(problems(document.read, tmp_path / "digit.yaml")[0])


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
    path.write_text("base: base.yaml\nsearch: {objective: {maximise: val/accuracy}}\nvary: {train/lr: {uniform: [0.1, 0.2]}}\n")
    assert [p.path for p in problems(space.load, path)] == ["search/objective/maximise"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("distill: {preset: {a: 1}}", "unknown preset"),
        ("distill: {temperature: {kind: []}}", "unknown kind of temperature"),
        ("distill: {losses: {²/kl: 1}}", "unknown loss"),
        ("data: {name: 'folder:x', group_by: 'a{99999999999999}'}", "is not a regular expression"),
    ],
)
def test_any_value_in_place_of_a_word_is_an_error_of_the_recipe(tmp_path: Path, text: str, rule: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert rule in str(problems(recipe.load, tmp_path / "bad.yaml")[0])


def test_a_home_that_nobody_has_is_part_of_a_name(recipe_file: Path) -> None:
    assert recipe.load(recipe_file, ("teacher/weights='~nobody-at-all/a.pt'",)).teacher.weights.endswith("~nobody-at-all/a.pt")


def test_a_folder_or_a_device_in_place_of_a_file(tmp_path: Path) -> None:
    assert "cannot be read" in str(problems(recipe.load, tmp_path)[0])
    assert "larger than" in str(problems(recipe.load, Path("/dev/zero"))[0])


@pytest.mark.parametrize(("folder", "count"), [("search_spaces", 100), ("pipelines", 250)])
def test_a_document_gone_wrong_at_random_is_valid_or_refused(tmp_path: Path, folder: str, count: int) -> None:
    """Nothing but a DocumentError or a UserError comes of it, and each problem is one line that can be read."""
    for path in YAMLS:
        (tmp_path / path.parts[-2]).mkdir(exist_ok=True)
        (tmp_path / path.parts[-2] / path.name).write_text(path.read_text())
    broken, refused = tmp_path / folder / "mutant.yaml", 0
    for made in mutants([p.read_text() for p in YAMLS if p.parts[-2] == folder], count, seed=0):
        broken.write_bytes(made)
        try:
            space.load(broken).starting_points() if folder == "search_spaces" else recipe.load(broken)
        except UserError as e:
            refused += 1
            assert all(line and len(line) < 1200 for line in str(e).split("\n")), e
        except Exception as e:
            raise AssertionError(made.decode("utf-8", "replace")) from e
    assert refused > count / 2


def test_five_mistakes_in_a_space_are_five_errors_at_once(recipe_file: Path) -> None:
    path = recipe_file.parent / "bad.yaml"
    path.write_text(
        "base: base.yaml\n"
        "search: {trials: many, objective: {maximize: test/accuracy}}\n"  # wrong type, and the test data
        "serach: {}\n"  # unknown key
        "vary:\n"
        "  train/lr: {log_uniform: [1, 0.1]}\n"  # min >= max
        "  distill: {one_of: [{preset: kd}, {preset: dtdd}]}\n"  # unknown preset
        "  student/resolutoin: {choice: [4, 6]}\n"  # not in the base
    )
    found = {(p.line, p.path): str(p) for p in problems(space.load, path)}
    assert set(found) == {
        (2, "search/trials"), (2, "search/objective"), (3, "serach"), (5, "train/lr"), (6, "distill/preset"), (7, "student/resolutoin"),
    } or set(found) == {(2, "search/trials"), (3, "serach"), (5, "train/lr"), (6, "distill/preset"), (7, "student/resolutoin")}  # fmt: skip
    assert "did you mean 'search'" in found[3, "serach"]
    assert "did you mean 'dtd'" in found[6, "distill/preset"]
    assert "did you mean 'student/resolution'" in found[7, "student/resolutoin"]
    assert all(str(path) in text for text in found.values())


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
    assert found == {(1, "data/resolutionn"), (2, "train/epochs"), (4, "distill/temperature/kind"), (4, "distill/losses/kl/weight"), (5, "sede")}
    path.write_text("student: {model: resnt20, resolution: 16}\ndata: {name: digit}\n")
    found_text = "\n".join(map(str, problems(recipe.load, path)))
    assert "did you mean 'resnet20'" in found_text and "did you mean 'digits'" in found_text and "must not exceed data/resolution" in found_text


def test_the_test_data_is_no_objective(space_file: Path) -> None:
    found = problems(space.load, space_file, None, ("search/objective/maximize=test/accuracy",))
    assert "test data is read once" in str(found[0])


@pytest.mark.parametrize(
    ("vary", "rule"),
    [
        ("ladder: {choice: [[], [cnn-3x8]]}", "nothing reads it (distill/teaching is single)"),
        ("seed: {choice: [0, 1]}", "a seed is never varied"),
        ("distill/losses/kl: {weight: {uniform: [0, 1]}}\n  distill/losses/kl/weight: {uniform: [0, 1]}", "overlaps with"),
        ("student/resolution: {choice: [4, 60]}", "must not exceed data/resolution"),
        ("distill/losses/kl/weight: {uniform: [-1, 1]}", "must be greater than or equal to 0"),
        ("train/momentum: {uniform: [0.5, 0.9]}\n  train/optimizer: {choice: [sgd, adamw]}", "no use for it"),
        ("distill/temperature: {one_of: [{kind: constant, tau: {uniform: [1, 2]}, beta: 3}]}", "unknown key"),
        ("train/lr: {uniform: [0.1, 0.2], prior: 3.0}", "prior lies outside"),
        ("train/lr: {}", "train/lr: must be a valid number; got {}"),
        ("train/lr: {one_of: [{}]}", "train/lr: must be a valid number; got {}"),
        ("distill: {one_of: [{preset: {a: 1}}]}", "distill/preset: unknown preset"),
        ("distill: {one_of: [{preset: []}], free: recommended}", "distill/preset: unknown preset"),
        ("distill/temperature: {kind: {choice: [flsw, {a: 1}]}}", 'unknown kind of temperature; got {"a": 1}'),
        ("train/optimizer: {choice: [sgd, {a: 1}]}", "must be 'sgd' or 'adamw'"),
        ("student/model/0: {choice: [a, b]}", "is not in the base"),
        ("distill: {preset: dtd, temperature: 3, temperature/tau: {uniform: [2, 9]}}", "distill/temperature/tau: overlaps with distill/temperature"),
        ("distill: {preset: dtd, losses/kl/weight/x: {uniform: [2, 9]}}", "a value of the preset stands in the way"),
        ("train: {uniform: [1, 2]}\n  train/lr: {uniform: [0.1, 0.2]}", "train/lr: overlaps with train"),
        ("one_of: [{train/lr: {uniform: [0.1, 0.2]}}]\n  train/lr: {uniform: [0.1, 0.2]}", "train/lr: overlaps with train/lr"),
        ("train/lr: {uniform: [0.1, 0.2]}\nforbid: [{}]", "forbids every trial"),
        ("train/lr: {uniform: [0.1, 0.2]}\nsearch: {objective: {maximise: 1}}", "search/objective/maximise: unknown key; did you mean 'maximize'?"),
        ("train/lr: {uniform: [0.1, 0.2]}\nsearch: {objective: [{maximise: 1}]}", "search/objective/0/maximise: unknown key; did you mean 'maximize'?"),
        ("train/lr: {uniform: [0.1, 0.2]}\nsearch: {objective: {maximize: 3}}", "search/objective/maximize: must be a valid string"),
        ("train/lr: {uniform: [0.1, 0.2]}\nsearch: {objective: []}", "search/objective: must have at least 1 item"),
        ("train/lr: {uniform: [0.1, 0.2]}\nsearch: {plateau: {trial: 3}}", "search/plateau/trial: unknown key; did you mean 'trials'?"),
    ],
)
def test_a_space_is_refused_where_a_corner_of_it_is(recipe_file: Path, vary: str, rule: str) -> None:
    path = recipe_file.parent / "space.yaml"
    path.write_text(f"base: base.yaml\nvary:\n  {vary}\n")
    assert any(rule in str(p) for p in problems(space.load, path))


def test_names_carry_the_branch_for_optuna_and_not_for_people(space_file: Path) -> None:
    loaded = space.load(space_file)
    assert [n.name for n in loaded.leaves()] == [
        "distill/temperature/kind", "distill/temperature/constant/tau", "distill/temperature/flsw/tau", "distill/temperature/flsw/beta",
        "distill/losses/kl/weight", "student/resolution",
    ]  # fmt: skip
    name, point = loaded.starting_points()[0]
    assert name == "base" and point.varied["distill/temperature/tau"] == 4.0
    assert recipe.parse(point.data).essence() == loaded.base.essence()


def test_presets_with_recommended_ranges_make_a_short_space(recipe_file: Path) -> None:
    path = recipe_file.parent / "space.yaml"
    path.write_text("base: base.yaml\nvary:\n  distill:\n    one_of: [{preset: kd}, {preset: dtd, temperature/beta: 7.0}]\n    free: recommended\n")
    loaded = space.load(path)
    assert [n.name for n in loaded.leaves()] == [
        "distill/preset", "distill/kd/temperature/tau", "distill/kd/losses/kl/weight",
        "distill/dtd/temperature/tau", "distill/dtd/losses/kl/weight", "distill/dtd/temperature/gamma",
    ]  # fmt: skip
    assert [name for name, _ in loaded.starting_points()] == ["kd", "dtd"]
    assert loaded.starting_points()[1][1].data["distill"]["temperature"]["beta"] == 7.0


def test_set_overrides_and_says_what_it_cannot(recipe_file: Path) -> None:
    made = recipe.load(recipe_file, ("train/epochs=7", "distill/temperature={kind: flsw, tau: 5}", "ladder=[cnn-3x8]"))
    assert made.train.epochs == 7 and made.distill["temperature"]["tau"] == 5 and made.ladder == ["cnn-3x8"]
    with pytest.raises(UserError, match="PATH=VALUE"):
        recipe.load(recipe_file, ("train/epochs",))
    assert "unknown key" in str(problems(recipe.load, recipe_file, ("train/epoch=7",))[0])


def test_a_dumped_recipe_reads_back_the_same(recipe_file: Path) -> None:
    made = recipe.load(recipe_file)
    again = recipe.parse(document.parse(document.dump(made.to_dict())).data)
    assert again == made and again.fingerprint() == made.fingerprint()


@pytest.mark.parametrize("weights", ["train", "pretrained", "teacher.safetensors"])
@pytest.mark.parametrize("distill", [{"preset": "kd"}, {"preset": "student-alone"}, {"preset": "ctkd"}, {"preset": "takd"}])
def test_the_fingerprint_forgets_nothing_else(weights: str, distill: dict) -> None:
    made = recipe.parse({"teacher": {"weights": weights}, "ladder": ["cnn-3x8"], "distill": distill})
    dead = made.dead()
    alive = {p for p in document.flatten(made.to_dict()) if not any(p == d or p.startswith(f"{d}/") for d in dead)}
    assert set(document.flatten(made.essence())) == alive
    assert all(p in alive for p in ("seed", "train/lr", "train/epochs"))


def test_the_fingerprint_forgets_what_nothing_reads(recipe_file: Path) -> None:
    made = recipe.load(recipe_file)
    assert made.with_({"ladder": ["cnn-3x8"]}).fingerprint() == made.fingerprint()  # a single teacher has no ladder
    assert made.with_({"ladder_train/epochs": 9}).fingerprint() == made.fingerprint()
    assert made.with_({"distill/teaching": {"kind": "chain"}}).fingerprint() == made.fingerprint()  # a chain without a ladder is single
    assert made.with_({"teacher/seed": 9}).fingerprint() != made.fingerprint()
    alone = made.with_({"distill": {"preset": "student-alone"}})
    assert alone.with_({"teacher/model": "cnn-3x8"}).fingerprint() == alone.fingerprint()


def test_members_are_taught_by_the_larger_and_never_by_the_recipe_s_own_settings(recipe_file: Path) -> None:
    chain = recipe.load(recipe_file, ("distill/teaching={kind: chain}", "ladder=[cnn-3x16, cnn-3x8]", "distill/losses/kl/weight=0.3"))
    small, middle, full = chain.members()
    assert [m.student.model for m in (small, middle, full)] == ["cnn-3x8", "cnn-3x16", "cnn-3x16"]
    assert small.ladder == ["cnn-3x16"] and middle.ladder == [] and not full.needs_teacher
    assert small.distill["losses"]["kl"]["weight"] == 0.9 and small.train == chain.ladder_train
    assert small.resolution == 8  # assistants see the full resolution
    dense = chain.with_({"distill/teaching": {"kind": "dense"}})
    assert dense.members()[0].distill["teaching"]["kind"] == "dense"


def test_forbid_speaks_of_recipes_and_of_branches(space_file: Path) -> None:
    text = space_file.read_text()
    space_file.write_text(text + "forbid: [{distill/temperature/kind: flsw, student/resolution: [4, 6]}, {distill/preset: kd}]\n")
    assert "names no path" in str(problems(space.load, space_file)[0])
    space_file.write_text(text + "forbid: [{distill/temperature/kind: flsw, student/resolution: [4, 6]}]\n")
    loaded = space.load(space_file)

    def choose(kind: str, resolution: int):
        wanted = {"distill/temperature/kind": kind, "student/resolution": resolution}
        return loaded.point(lambda n: wanted[n.name] if n.name in wanted else tree.default(n))

    assert loaded.forbidden(choose("flsw", 4)) and loaded.forbidden(choose("flsw", 6))
    assert not loaded.forbidden(choose("flsw", 8)) and not loaded.forbidden(choose("constant", 4))
