"""What auto sees in a folder, and what it says of a bad one."""

from __future__ import annotations

import doctest
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autokd.errors import UserError
from autokd.planner import look as looking
from autokd.planner.look import look
from tests.helpers.pictures import picture, tree


def test_docstrings() -> None:
    assert doctest.testmod(looking).failed == 0


def test_pictures_classes_and_sizes(tmp_path: Path) -> None:
    tree(tmp_path / "pets", {"cat": 30, "dog": 6}, size=(40, 50))
    found = look(str(tmp_path / "pets"))
    assert found.classes == {"cat": 30, "dog": 6} and found.sides == (40, 40, 40)
    assert any("imbalanced: from 6 to 30" in note for note in found.notes)
    assert found.group_by is None and not found.broken


def test_what_is_there_twice_is_told(tmp_path: Path) -> None:
    pets = tree(tmp_path / "pets", {"cat": 8, "dog": 8}, size=(40, 40))
    shutil.copy(pets / "cat/000.png", pets / "dog/copy.png")
    picture(1, 40, 40).resize((60, 60)).save(pets / "cat/larger.png")
    notes = "\n".join(look(str(pets)).notes)
    assert "1 pairs are the same file in two classes" in notes
    assert "pairs are nearly the same" in notes


def test_tracks_stay_together(tmp_path: Path) -> None:
    for c in ("a", "b"):
        (tmp_path / "walks" / c).mkdir(parents=True)
        for track in range(6):
            for frame in range(4):
                name = f"track{track + 10 * (c == 'b')}_{frame}.png"
                picture(100 * track + frame).save(tmp_path / "walks" / c / name)
    found = look(str(tmp_path / "walks"))
    assert found.group_by and "track" in found.group_by


def test_a_broken_picture_is_counted(tmp_path: Path) -> None:
    pets = tree(tmp_path / "pets", {"cat": 8, "dog": 8})
    (pets / "cat/000.png").write_bytes(b"no picture")
    found = look(str(pets))
    assert found.broken == 1 and any("cannot be read and are skipped" in n for n in found.notes)


def _empty(top: Path) -> None:
    top.mkdir()


def _one_class(top: Path) -> None:
    tree(top, {"cat": 8})


def _one_each(top: Path) -> None:
    tree(top, {"cat": 1, "dog": 1})


def _broken(top: Path) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        for i in range(6):
            file = top / f"{name[:-5]}{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"no picture")


def _many(top: Path) -> None:
    (top / "cat").mkdir(parents=True)
    for i in range(100_000):
        (top / "cat" / f"{i}.png").touch()


def _sparse(top: Path) -> None:
    _broken(top)
    os.truncate(top / "cat/0.png", 10**9)


def _a_file(top: Path) -> None:
    top.write_text("")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_empty, "it is empty"),
        (_one_class, "there is one class"),
        (_one_each, "at least 5 pictures"),
        (_broken, "none of 12 pictures can be read"),
        (_sparse, "none of 12 pictures can be read"),
        (_many, "there is one class"),
        (_a_file, "is a file"),
        (lambda top: None, "neither a folder nor a data set"),
    ],
)
def test_a_bad_folder_ends_in_a_sentence(
    make: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    make(tmp_path / "set")
    with pytest.raises(UserError, match=told):
        look(str(tmp_path / "set"))
