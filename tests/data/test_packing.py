"""Data as users have it: folders of anything, published sets, broken files, small classes; packed
once, split for good.
"""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
import torch

from autokd import data, recipe
from autokd.data import decoding, packing, packs
from autokd.data.views import Pictures, Views
from autokd.errors import UserError
from autokd.recipe import DataSettings
from autokd.train import prepare
from autokd.train.teachers import Store
from tests.helpers.pictures import packed, picture, spec, tree


def test_a_second_start_packs_nothing_and_a_changed_folder_is_packed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "pets", {"cat": 10, "dog": 10})
    first = packed(root)
    monkeypatch.setattr(decoding, "decode", lambda *a: pytest.fail("decoded again"))
    assert packed(root).fingerprint == first.fingerprint and packed(root).manifest == first.manifest
    monkeypatch.undo()
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    picture(99).save(root / "cat" / "003.png")
    second = packed(root)
    assert second.fingerprint != first.fingerprint
    os.utime(root / "dog" / "000.png", ns=(1, 1))
    assert packed(root).fingerprint == second.fingerprint  # of the content, not of the files' dates
    shutil.copytree(root, tmp_path / "copy")
    assert packed(tmp_path / "copy").fingerprint == second.fingerprint
    (root / "cat" / "003.png").unlink()
    assert packed(root).parts == {"train": 19}


def test_a_damaged_pack_is_never_used(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", {"cat": 10, "dog": 10})
    whole = packed(root)
    assert whole.file and whole.manifest
    content = whole.file.read_bytes()
    for damage in (content[:-1], content + b"x", content[:-200] + bytes(200)):
        whole.file.write_bytes(damage)
        assert packed(root).fingerprint == whole.fingerprint and whole.file.read_bytes() == content
    for text in ("", "{}", "[1]", whole.manifest.read_text().replace('"format": ', '"format": 9')):
        whole.manifest.write_text(text)
        assert packed(root).fingerprint == whole.fingerprint
    # of a process that was killed
    (whole.file.parent / f".{whole.manifest.stem}-left.part").write_bytes(b"half")
    whole.file.unlink()
    assert packed(root).fingerprint == whole.fingerprint
    assert not list(whole.file.parent.glob(".*.part"))
    assert data.verify(spec(root)) == whole.fingerprint == data.verify(spec(root))
    flipped = bytearray(content)
    flipped[100] ^= 1  # one value: too costly to look for at every start
    whole.file.write_bytes(flipped)
    with pytest.raises(UserError, match="damaged: its checksum"):
        data.verify(spec(root))
    assert (
        data.verify(DataSettings(name="digits"))
        == data.pack(DataSettings(name="digits")).fingerprint
    )


def test_two_processes_pack_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "pets", {"cat": 60, "dog": 60})
    made = []
    real = packing.write
    monkeypatch.setattr(packing, "write", lambda *a, **k: (made.append(1), real(*a, **k)))
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(
                packs._pack.__wrapped__(
                    (f"folder:{root}",), 64, False, tmp_path, tmp_path / "cache/data", False
                ).fingerprint
            )
        )
        for _ in range(4)
    ]
    [t.start() for t in threads], [t.join() for t in threads]
    assert len(set(found)) == 1 and len(found) == 4 and len(made) == 1


def test_what_is_not_in_memory_gives_the_same_students(tmp_path: Path) -> None:
    """A pack that exceeds the budget is read from its map, and nothing else changes."""
    equal = tree(tmp_path / "equal", {"a": 30, "b": 30})
    mixed = tree(tmp_path / "mixed", {"a": 20, "b": 20}, (24, 36))
    tree(mixed, {"a": 30, "b": 35}, (40, 20), seed=9)
    for root, augment in (
        (equal, {"crop_padding": 2, "flip": True}),
        (mixed, {"flip": True, "random_resized_crop": {"scale": [0.3, 1.0]}}),
        (mixed, {}),
    ):
        own = spec(root, augment=augment)
        resident = data.load(own)
        mapped = data.load(own, budget=0)
        assert isinstance(mapped.train.pictures, Pictures)
        assert mapped.train.pictures.mapped is not None
        assert mapped.summary["mapped"]
        assert mapped.fingerprint == resident.fingerprint
        assert torch.equal(mapped.train.labels, resident.train.labels)
        rows = torch.randperm(len(resident.train), generator=torch.Generator().manual_seed(0))
        one, other = (
            Views(d.train.pictures, own.augment, 0, 1).render(rows, 12) for d in (resident, mapped)
        )
        assert torch.equal(one, other)
        for a, b in (
            (resident.validation, mapped.validation),
            (resident.read_test(), mapped.read_test()),
        ):
            assert torch.equal(a.pictures[:], b.pictures[:])
            assert torch.equal(a.pictures.float(), b.pictures.float())
        r = recipe.parse(
            {
                "data": own.model_dump(),
                "student": {"model": "cnn-2x8", "resolution": 12},
                "distill": {"preset": "kd"},
                "teacher": {"model": "cnn-2x8", "train": {"epochs": 1, "batch_size": 16}},
                "train": {"epochs": 2, "batch_size": 16},
            }
        )
        runs = [prepare.start(r, Store(None), d) for d in (resident, mapped)]
        assert runs[0].epoch() == runs[1].epoch() and runs[0].epoch() == runs[1].epoch()
        assert runs[0].test() == runs[1].test()


def test_data_is_kept_from_run_to_run() -> None:
    assert data.load(DataSettings(name="fake")) is data.load(DataSettings(name="fake"))
    assert data.load(DataSettings(name="fake"), budget=5) is not data.load(
        DataSettings(name="fake"), budget=6
    )
