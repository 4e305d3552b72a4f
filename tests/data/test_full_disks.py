"""Packs that do not fit: asked about, foreseen, and nothing kept of what broke off."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autokd.data import packing
from autokd.errors import UserError
from tests.data.decoding import decode_by, left_behind
from tests.helpers.pictures import packed, stored, tree


@pytest.mark.parametrize("how", ["one by one", "threads", "processes"])
def test_a_disk_that_fills_up_leaves_nothing_behind(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "pets", {"cat": 80, "dog": 80})
    before = packed(root)
    tree(root, {"cat": 81}, seed=7)
    real, room = os.pwrite, [60_000]

    def filling(handle: int, block: Any, offset: int) -> int:
        room[0] -= len(block)
        if room[0] < 0:
            real(handle, bytes(block)[:100], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, block, offset)

    monkeypatch.setattr(packing.os, "pwrite", filling)
    decode_by(how, monkeypatch)
    with pytest.raises(
        UserError, match="the disk filled up while packing .*pets; nothing was kept.*AUTOKD_CACHE"
    ):
        packed(root)
    cache = tmp_path / "cache" / "data"
    assert not list(cache.glob(".*.part")) and [f.name for f in cache.glob("*.pack")] == [
        before.file.name
    ]  # type: ignore[union-attr]
    monkeypatch.setattr(packing.os, "pwrite", real)
    after = packed(root)
    assert after.parts == {"train": 161} and after.fingerprint != before.fingerprint
    assert [f.name for f in cache.glob("*.pack")] == [after.file.name]  # and the old pack is gone
    assert all(
        np.array_equal(stored(after, i), np.asarray(Image.open(root / path)))
        for i, path in enumerate(after.paths())
    )


@pytest.mark.parametrize("share", [0.5, 1.01])
@pytest.mark.parametrize("how", ["one by one", "threads", "processes"])
def test_what_the_system_will_not_write_is_nowhere(
    how: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real limit, in the middle of the pixels and in what follows them."""
    import resource

    root = tree(tmp_path / "pets", {"cat": 80, "dog": 80})
    decode_by(how, monkeypatch)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * 160 * 20 * 20 * 3), old[1]))
    try:
        with pytest.raises(
            UserError, match="cache/data: packing folder:.*pets failed: File too large"
        ):
            packed(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert not left_behind(tmp_path / "cache")
    assert not list((tmp_path / "cache" / "data").glob("*.pack"))
    assert packed(root).parts == {"train": 160}


def test_large_packs_are_asked_for_and_full_disks_foreseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "pets", {"cat": 100, "dog": 100}, (40, 60))
    needed = 200 * 40 * 60 * 3
    monkeypatch.setattr(packing, "LARGE", needed * 0.9)
    with pytest.raises(
        UserError,
        match="the pack will take about 0 GB there.*AUTOKD_LARGE=1.*data/store/short_side",
    ):
        packed(root)
    monkeypatch.setenv("AUTOKD_LARGE", "1")
    assert packed(root).flat.size == needed
    monkeypatch.undo()
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "other"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        packing.shutil, "disk_usage", lambda where: usage._replace(free=needed // 2)
    )
    with pytest.raises(UserError, match="needs about 0.0 GB, and 0.0 GB are free"):
        packed(root)
    assert packed(root, store={"short_side": 20}).sizes.min() == 20
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "pets" / "cat" / "000.png"))
    with pytest.raises(UserError, match="packs cannot be kept there.*AUTOKD_CACHE"):
        packed(root)
