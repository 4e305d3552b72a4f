"""Files that cannot be read are named, and stop or are counted."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autokd import data
from autokd.data import packing
from autokd.data.sources import folders
from autokd.errors import UserError
from tests.helpers.pictures import packed, spec, stored, tree

BROKEN = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:400]), "truncated"),
    "text": (lambda path: path.write_text("not a picture"), "no picture that Pillow knows"),
    "nothing": (lambda path: path.write_bytes(b""), "no picture that Pillow knows"),
    "thread": (lambda path: Image.new("RGB", (60000, 1)).save(path), "60000×1 pixels"),
    "dangling": (lambda path: (path.unlink(), path.symlink_to("nowhere.png")), "No such file"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_and_stops_or_is_counted(kind: str, tmp_path: Path) -> None:
    damage, reason = BROKEN[kind]
    root = tree(tmp_path / "pets", {"cat": 40, "dog": 40})
    damage(root / "dog" / "007.png")
    with pytest.raises(
        UserError,
        match=rf"pets/dog/007.png: cannot be read as a picture: .*{reason}.*data/on_error: skip",
    ):
        data.load(spec(root))
    cache = tmp_path / "cache" / "data"
    assert not list(cache.glob("*.pack"))
    assert not list(cache.glob("*.json"))
    assert not list(cache.glob(".*.part"))
    d = data.load(spec(root, on_error="skip"))
    assert d.summary["skipped"] == 1
    assert d.summary["train"] + d.summary["validation"] + d.summary["test"] == 79
    pack = data.pack(spec(root, on_error="skip"))
    assert "dog/007.png" not in pack.paths()
    assert pack.skipped[0]["path"].endswith("dog/007.png")
    assert len(pack.paths()) == 79
    whole = [Image.open(root / path).convert("RGB") for path in pack.paths()]
    assert all(np.array_equal(stored(pack, i), np.asarray(image)) for i, image in enumerate(whole))
    with pytest.raises(
        UserError, match="pets/dog/007.png: cannot be read"
    ):  # a pack that skipped is not silently used under `stop`
        packed(root)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "pets", {"cat": 10, "dog": 10})
    if os.geteuid():
        (root / "cat" / "003.png").chmod(0)
    else:  # root may read everything, so Pillow is told that it may not
        real = Image.open

        def refusing(path: Any, *args: Any, **more: Any) -> Any:
            if str(path).endswith("cat/003.png"):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return real(path, *args, **more)

        monkeypatch.setattr(packing.Image, "open", refusing)
    with pytest.raises(
        UserError, match="cat/003.png: cannot be read as a picture: Permission denied"
    ):
        packed(root)
    assert len(packed(root, on_error="skip").skipped) == 1


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "pets", {"cat": 4, "dog": 4})
    real = os.scandir

    def refusing(path: Any) -> Any:
        if str(path).endswith("dog"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(folders.os, "scandir", refusing)
    with pytest.raises(UserError, match="pets/dog: cannot be read: Permission denied"):
        packed(root)


def test_a_class_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"cat": 4, "dog": 2})
    for path in (root / "dog").iterdir():
        path.write_text("x")
    with pytest.raises(UserError, match="class 'dog' has no readable training picture"):
        packed(root, on_error="skip")
    for path in (root / "cat").iterdir():
        path.write_text("x")
    with pytest.raises(UserError, match="none of its 6 files could be read"):
        packed(root, on_error="skip")
