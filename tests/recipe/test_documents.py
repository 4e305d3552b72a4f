"""Documents: YAML in, all problems out, and nothing else happens."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from autokd import recipe, space
from autokd.recipe import document, migration
from autokd.recipe.document import DocumentError
from autokd.study import recipe_yaml
from tests.helpers.commands import autokd
from tests.helpers.documents import YAMLS, problems


def test_an_older_format_is_migrated_or_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "old.yaml"
    now = migration.FORMAT
    file.write_text(f"version: {now}\nrate: 0.25\n")
    monkeypatch.setattr(migration, "FORMAT", now + 1)
    with pytest.raises(
        DocumentError,
        match=f"old.yaml:1: version: no longer read: in format {now} the same words meant another",
    ):
        recipe.load(file)
    monkeypatch.setitem(
        migration.MIGRATIONS,
        now,
        lambda old: {k: v for k, v in old.items() if k != "rate"} | {"train": {"lr": old["rate"]}},
    )
    data, refused = migration.migrated({"version": now, "rate": 0.25})
    assert refused is None and data == {"version": now + 1, "train": {"lr": 0.25}}


OLD = json.loads((Path(__file__).parent / "format_1.json").read_text())


@pytest.mark.parametrize("name", OLD)
def test_a_recipe_of_format_1_is_the_run_that_it_was(name: str) -> None:
    old = OLD[name]  # written by the version before format 2, with what it said of them
    made = recipe.parse(old["recipe"])
    assert made.fingerprint() == old["fingerprint"]
    assert recipe_yaml.identity(made) == old["identity"]
    assert recipe.parse(made.to_dict()) == made and made.to_dict()["version"] == 2
    if name.startswith(("given", "pretrained")):  # its training meant nothing then
        assert old["recipe"]["teacher"]["train"]["epochs"] == 3 and made.teacher.train is None
    else:
        assert made.member_keys() == old["members"]
        assert [m.fingerprint() for m in made.members()] == old["networks"]


def test_how_a_given_teacher_of_format_1_was_run_is_kept() -> None:
    old = OLD["given"]["recipe"]
    teacher = old["teacher"] | {"train": old["teacher"]["train"] | {"precision": "bf16"}}
    made = recipe.parse(old | {"teacher": teacher | {"weights": "a.pth"}})
    assert made.teacher.train is None and made.teacher.precision == "bf16"
    assert [m.train.precision for m in made.members()] == ["bf16"]
    assert made.member_keys() != made.with_({"teacher/precision": "fp32"}).member_keys()


def test_every_yaml_of_the_repository_is_valid() -> None:
    recipes = [p for p in YAMLS if p.parts[-2] == "pipelines"]
    spaces = [p for p in YAMLS if p not in recipes]
    assert (len(recipes), len(spaces)) == (24, 7), "a YAML was added or lost: say so here"
    for path in recipes:
        recipe.load(path)
        header = path.read_text().partition("\ndata:")[0]
        assert f"autokd train pipelines/{path.name}" in header and all(
            line.startswith("#") for line in header.splitlines()
        ), path
        assert ("*Not yet run.*" in header) != ("Measured" in header), (
            f"{path} says neither, or both"
        )
    for path in spaces:
        assert space.load(path).starting_points(), f"{path} has no baseline"


def test_every_override_that_a_header_shows_is_accepted() -> None:
    seen = 0
    for path in (p for p in YAMLS if p.parts[-2] == "pipelines"):
        header = path.read_text().partition("\ndata:")[0]
        for quoted, plain in re.findall(r"--set (?:'([^']+)'|(\S+=[\w.]*\w))", header):
            recipe.load(path, (quoted or plain,))
            seen += 1
    assert seen > 20


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
    text = "a0: &a0 [x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
    )
    assert "anchors" in str(problems(document.parse, text)[0])


def test_of_thousands_of_mistakes_the_first_are_told_and_a_count(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("".join(f"k{i}: 1\n" for i in range(60_000)))
    done = autokd("validate", "bad.yaml", cwd=tmp_path, code=2)
    lines = done.stderr.splitlines()
    assert len(lines) == 21 and lines[0].startswith("error: bad.yaml:1: k0: unknown key")
    assert lines[20] == "error: and 59,980 more problems like these"


@pytest.mark.parametrize("key", ["7", "a/7", "7/b", "0x7", "007"])
def test_a_key_that_looks_like_a_number_has_its_line(tmp_path: Path, key: str) -> None:
    (tmp_path / "bad.yaml").write_text(f"# one\ntrain:\n  epochs: 2\n  {key}: 1\n")
    (found,) = problems(recipe.load, tmp_path / "bad.yaml")
    assert (found.line, found.path) == (4, f"train/{key}")


def test_a_problem_is_one_line_whatever_names_stand_in_it(tmp_path: Path) -> None:
    space_file = tmp_path / "space.yaml"
    space_file.write_text('base: "x\\ny\\e[31m\u202e.yaml"\nvary: {train/lr: {uniform: [1, 2]}}\n')
    (found,) = problems(space.load, space_file)
    assert "x\\ny" in str(found) and str(found).isprintable()


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


def test_a_folder_or_a_device_in_place_of_a_file(tmp_path: Path) -> None:
    assert "cannot be read" in str(problems(recipe.load, tmp_path)[0])
    assert "larger than" in str(problems(recipe.load, Path("/dev/zero"))[0])
