"""Where a document's files and folders are looked for, and what is said where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from autokd import recipe
from autokd.data.sources import resolve
from autokd.errors import UserError
from autokd.recipe.document import DocumentError, read

TEXT = "data: {name: 'folder:pets', resolution: 8}\nstudent: {model: cnn-2x8}\n"


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe in a folder of its own, below the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOKD_DATA", raising=False)
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "recipe.yaml").write_text(TEXT)
    return tmp_path / "exp" / "recipe.yaml"


def _found(file: Path, data_dir: Path | None = None) -> Path:
    return resolve(recipe.load(read(file)).data.name, data_dir)


def test_a_folder_is_looked_for_beside_then_here_then_below_data_dir(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "stored"
    monkeypatch.setenv("AUTOKD_DATA", str(stored))
    for place in (stored / "pets", tmp_path / "pets", exported.parent / "pets"):
        place.mkdir(parents=True)
        assert _found(exported, stored) == place


def test_what_was_used_before_is_found_by_its_bare_name(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "pets").mkdir(parents=True)
    recipe.remember(["data/pets"])
    assert _found(exported) == tmp_path / "data" / "pets"
    (tmp_path / "other" / "pets").mkdir(parents=True)
    recipe.remember(["other/pets"])  # two of that name: neither is meant for sure
    with pytest.raises(UserError, match="there is no folder"):
        _found(exported)


def test_all_places_that_were_looked_at_are_named_with_the_remedy(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOKD_DATA", str(tmp_path / "stored"))
    with pytest.raises(UserError) as told:
        _found(exported, tmp_path / "stored")
    for place in (exported.parent, tmp_path, tmp_path / "stored"):
        assert str(place / "pets") in str(told.value)
    assert "--set data/name=folder:PATH" in str(told.value)
    assert "--data-dir" in str(told.value)


@pytest.mark.parametrize("name", ["/etc", "../..", "../../elsewhere"])
def test_no_document_names_what_lies_elsewhere(exported: Path, name: str) -> None:
    exported.write_text(TEXT.replace("pets", name))
    with pytest.raises(DocumentError, match="lies outside the document's folder"):
        recipe.load(read(exported))
