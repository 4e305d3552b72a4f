"""Data as users have it: folders of anything, published sets, broken files, small classes; packed once, split for good."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import tracemalloc
import types
import urllib.error
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from autokd import data, distill, download, ledger, packing, recipe, sources
from autokd.cli import app
from autokd.document import DocumentError, UserError
from autokd.recipe import Data as Spec
from autokd.teachers import Store
from autokd.views import Pictures, Views
from tests.conftest import SHARED, autokd

realdata = pytest.mark.realdata


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AUTOKD_DATA", raising=False)
    monkeypatch.delenv("AUTOKD_LARGE", raising=False)
    forget()
    yield
    forget()


def forget() -> None:
    """As a new process starts."""
    data._pack.cache_clear()
    data._latest.clear()


def picture(seed: int, h: int = 20, w: int = 20, mode: str = "RGB") -> Image.Image:
    shape = (h, w) if mode == "L" else (h, w, len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), mode if mode in {"L", "RGB", "RGBA"} else None)


def tree(root: Path, counts: dict[str, int], size: tuple[int, int] = (20, 20), seed: int = 0) -> Path:
    """A folder of class folders with so many pictures each."""
    for c, (name, n) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            picture(seed + 1000 * c + i, *size).save(root / name / f"{i:03}.png")
    return root


def spec(where: Any, **more: Any) -> Spec:
    return Spec(name=f"folder:{where}" if isinstance(where, Path) else where, resolution=16, **more)


def packed(where: Any, **more: Any) -> packing.Pack:
    forget()
    return data.pack(spec(where, **more))


def stored(pack: packing.Pack, row: int) -> np.ndarray:
    return Pictures(pack.flat, pack.starts, pack.sizes, pack.channels, "cpu").stored(row)


def test_a_resolution_that_no_picture_has_is_told(tmp_path: Path) -> None:
    root = tree(tmp_path / "own", {"a": 3, "b": 3}, size=(20, 30))
    assert data.too_small(spec(root)) == "" and data.too_small(Spec(name=f"folder:{root}", resolution=20)) == ""
    picture(7, 24, 40).save(root / "a" / "x.png")
    forget()
    note = data.too_small(Spec(name=f"folder:{root}", resolution=32))
    assert note == "data/resolution is 32, and no picture's short side has more than 24 px: all are enlarged"


# --- the split ---------------------------------------------------------------------------------------------------------------------


def test_the_bytes_of_the_digits_splits_are_for_good() -> None:
    """Recipes in the world name these splits by their seed alone."""
    d = data.load(Spec(name="digits"))
    digest = hashlib.sha256()
    for split in (d.train, d.validation, d.read_test()):
        assert isinstance(split.pictures, torch.Tensor) and split.pictures.dtype == torch.uint8
        digest.update(split.pictures.numpy().tobytes() + split.labels.numpy().tobytes())
    assert digest.hexdigest()[:16] == "dfae739e4c04bb4c"
    assert (len(d.train), len(d.validation), len(d.read_test())) == (1150, 288, 359)
    assert d.channels == 1 and d.mean == [0.304563] and len(d.classes) == 10
    assert d.train.pictures.stride() == (64, 64, 8, 1)


def test_fake_is_the_same_everywhere() -> None:
    d = data.load(Spec(name="fake", resolution=32))
    assert d.pack == "483ee9dbb73150c1" and d.train.pictures.shape == (800, 3, 32, 32) and len(d.read_test()) == 200
    assert not (Path(os.environ["AUTOKD_CACHE"]) / "data").exists()


def test_splits_are_stratified_disjoint_and_seeded() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 21])
    chosen = data.stratified(labels, 20, 0, "p")
    assert np.bincount(labels[chosen]).tolist() == [10, 6, 4] and chosen.sum() == 20
    assert np.array_equal(chosen, data.stratified(labels, 20, 0, "p"))
    assert not np.array_equal(chosen, data.stratified(labels, 20, 1, "p")) and not np.array_equal(chosen, data.stratified(labels, 20, 0, "q"))
    pack = data.pack(Spec(name="digits"))
    train, validation, test = data.cut(pack, Spec(name="digits"))
    assert sorted([*train, *validation, *test]) == list(range(1797))


def test_moments_are_those_of_the_training_pictures(tmp_path: Path) -> None:
    for where in ("digits", tree(tmp_path / "a", {"x": 6, "y": 9}, (20, 30)), tree(tmp_path / "b", {"x": 6, "y": 9})):
        d = data.load(spec(where, test=0.0))
        p = d.train.pictures
        if isinstance(p, Pictures):
            values = np.concatenate([p.stored(i).reshape(-1, 3) for i in range(len(p))]) / 255
        else:
            values = p.permute(0, 2, 3, 1).reshape(-1, p.shape[1]).numpy() / 255
        assert np.allclose(d.mean, values.mean(0), atol=1e-6) and np.allclose(d.std, values.std(0), atol=1e-6)


def test_groups_stay_together(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    for c, name in enumerate(("cat", "dog")):
        for clip in range(10):
            (root / name / f"clip{clip}").mkdir(parents=True)
            for frame in range(2 + clip % 3):
                picture(100 * c + 10 * clip + frame).save(root / name / f"clip{clip}" / f"{frame}.png")
    pack = packed(root)
    clips = np.array([path.rpartition("/")[0] for path in pack.paths()])
    plain = data.cut(pack, spec(root))
    assert set(clips[plain[0]]) & set(clips[plain[1]])
    train, validation, test = data.cut(pack, spec(root, group_by=r"(.*/clip\d+)/"))
    assert sorted([*train, *validation, *test]) == list(range(len(clips)))
    assert not set(clips[train]) & (set(clips[validation]) | set(clips[test])) and not set(clips[validation]) & set(clips[test])
    assert abs(len(test) - 0.2 * len(clips)) <= 3 and abs(len(validation) - 0.16 * len(clips)) <= 3
    assert all(len(np.unique(pack.labels[rows])) == 2 for rows in (train, validation, test))
    with pytest.raises(UserError, match="matches none of the 58 paths, such as cat/clip0/0.png"):
        data.cut(pack, spec(root, group_by="scene"))
    with pytest.raises(UserError, match="into one group"):
        data.cut(pack, spec(root, group_by="clip"))
    with pytest.raises(UserError, match="makes more groups"):
        data.cut(pack, spec(root, group_by="^(cat|dog)/"))


def test_a_class_too_small_to_split_is_told_with_what_would_work(tmp_path: Path) -> None:
    root = tree(tmp_path / "few", {"many": 40, "rare": 5})
    with pytest.raises(UserError) as e:
        data.load(spec(root, validation=0.1, test=0.1))
    text = str(e.value)
    assert "class 'rare' has 5 pictures" in text and "each part needs one" in text
    share = float(text.split("of at least ")[1].split(",")[0])
    data.load(spec(root, test=share, validation=share))
    enough = int(text.split("or at least ")[1].split(" pictures")[0])
    data.load(spec(tree(tmp_path / "enough", {"many": 40, "rare": enough}), validation=0.1, test=0.1))
    with pytest.raises(UserError, match="class 'rare' has 1 picture,.*leaving the class out"):
        data.load(spec(tree(tmp_path / "one", {"many": 40, "rare": 1})))
    rare = tree(tmp_path / "limit", {"many": 40, "also": 40, "rare": 10})
    with pytest.raises(UserError, match="data/limit: 3 pictures leave class 'rare'.*at least 10 would work"):
        data.load(spec(rare, limit=3, test=0.1, validation=0.1))
    assert len(data.load(spec(rare, limit=10, test=0.1, validation=0.1)).train) == 10
    with pytest.raises(UserError, match="data/labelled: 3 pictures leave class 'rare'"):
        data.load(spec(rare, labelled=3, test=0.1, validation=0.1))
    with pytest.raises(UserError, match="data/limit: 2000 is outside"):
        data.load(Spec(name="digits", limit=2000))


def test_label_noise_is_symmetric_and_seeded() -> None:
    clean, noisy = (data.load(Spec(name="digits", label_noise=noise)) for noise in (0.0, 0.3))
    assert torch.equal(clean.train.pictures, noisy.train.pictures) and clean.fingerprint != noisy.fingerprint
    changed = clean.train.labels != noisy.train.labels
    assert abs(changed.float().mean() - 0.3) < 0.04 and noisy.summary["labels_changed"] == int(changed.sum())
    jump = (noisy.train.labels - clean.train.labels)[changed] % 10
    assert torch.bincount(jump, minlength=10)[0] == 0 and torch.bincount(jump, minlength=10)[1:].min() > 20
    assert torch.equal(noisy.validation.labels, clean.validation.labels) and torch.equal(noisy.read_test().labels, clean.read_test().labels)
    forget()
    assert torch.equal(data.load(Spec(name="digits", label_noise=0.3)).train.labels, noisy.train.labels)


def test_only_so_many_pictures_are_labelled() -> None:
    d = data.load(Spec(name="digits", labelled=50, limit=300))
    known = d.train.labels >= 0
    assert int(known.sum()) == 50 == d.summary["labelled"] and len(d.train) == 300
    assert torch.bincount(d.train.labels[known]).min() >= 4 and set(d.train.labels[~known].tolist()) == {-1}


# --- folders -----------------------------------------------------------------------------------------------------------------------


def test_folders_of_every_layout(tmp_path: Path) -> None:
    flat = tree(tmp_path / "flat", {"b": 10, "a": 12})
    assert packed(flat).classes == ["a", "b"] and packed(flat).parts == {"train": 22}
    split = tmp_path / "split"
    tree(split / "train", {"a": 8, "b": 8}), tree(split / "val", {"a": 2, "b": 3}, seed=50)
    p = packed(split)
    assert p.parts == {"train": 16, "test": 5} and p.rows("test").tolist() == [16, 17, 18, 19, 20]  # a lone val/ is the test part
    tree(split / "Test", {"a": 4, "b": 4}, seed=70)
    assert packed(split).parts == {"train": 16, "validation": 5, "test": 8}
    d = data.load(spec(split))
    assert (len(d.train), len(d.validation), len(d.read_test())) == (16, 5, 8)  # official parts are used as they are
    assert len(data.load(spec(split, validation=0.0)).validation) == 0
    toys = tree(tmp_path / "toys", {"train": 9, "plane": 9})
    assert packed(toys).classes == ["plane", "train"]  # a class that is called train
    (flat / ".hidden").mkdir(), (flat / "a" / "._000.png").write_bytes(b"x"), (flat / "a" / "notes.txt").write_text("x")
    (flat / "a" / "deeper").mkdir(), picture(5).save(flat / "a" / "deeper" / "x.JPG")
    os.symlink(flat / "a", flat / "a" / "deeper" / "loop")
    assert packed(flat).parts == {"train": 23} and "a/deeper/x.JPG" in packed(flat).paths()
    tree(split / "Test", {"c": 2})
    with pytest.raises(UserError, match="Test/c: .*no class of this name"):
        packed(split)


def test_relative_folders_are_found_from_here_and_from_the_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "sets" / "mine", {"a": 6, "b": 6})
    monkeypatch.chdir(tmp_path)
    one = data.pack(spec("folder:sets/mine"))
    monkeypatch.chdir(tmp_path / "sets")
    assert data.pack(spec("folder:mine")) is one
    monkeypatch.chdir("/")
    assert data.pack(spec("folder:mine"), data_dir=tmp_path / "sets") is one
    monkeypatch.setenv("AUTOKD_DATA", str(tmp_path / "sets"))
    assert data.pack(spec("folder:mine")) is one
    with pytest.raises(UserError, match="there is no folder /nothere nor .*nothere"):
        data.pack(spec("folder:nothere"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="did you mean 'sets'"):
        data.pack(spec("folder:set"))


def test_whatever_pillow_reads_becomes_its_rgb(tmp_path: Path) -> None:
    root = tree(tmp_path / "modes", {"plain": 3, "odd": 1})
    odd = root / "odd"
    picture(1, mode="L").save(odd / "grey.png")
    picture(2).quantize(16).save(odd / "palette.png")
    picture(3).quantize(16).save(odd / "transparent.png", transparency=bytes(range(16)))
    picture(4).convert("CMYK").save(odd / "cmyk.jpg")
    picture(5, mode="RGBA").save(odd / "alpha.png")
    picture(6, mode="L").convert("1").save(odd / "bits.png")
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)).save(odd / "deep.png")
    Image.fromarray((np.arange(400, dtype=np.uint16) % 256).reshape(20, 20)).save(odd / "shallow.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(7, 16, 24).save(odd / "turned.jpg", exif=exif)
    picture(7, 16, 24).save(odd / "turned.png", exif=exif)
    picture(8).save(odd / "moving.gif", save_all=True, append_images=[picture(9), picture(10)])
    picture(11).save(odd / "misnamed.png", format="JPEG")
    pack = packed(root)
    from PIL import ImageOps

    paths = pack.paths()
    assert pack.channels == 3 and len(paths) == 16
    for row, path in enumerate(paths):
        with Image.open(root / path) as image, warnings.catch_warnings(action="ignore"):
            turned = ImageOps.exif_transpose(image)
            assert np.array_equal(stored(pack, row), np.asarray(turned.convert("RGB"))), path
    assert pack.sizes[paths.index("odd/turned.jpg")].tolist() == [24, 16]
    assert pack.clipped == 1  # deep.png: Pillow makes its values above 255 white, and that is told


def test_large_pictures_are_made_smaller_with_their_aspect(tmp_path: Path) -> None:
    root = tmp_path / "large"
    for name, size in (("wide", (50, 200)), ("tall", (300, 60)), ("small", (10, 12)), ("photo", (400, 500))):
        (root / name).mkdir(parents=True)
        for i in range(5):
            smooth = picture(i, 4, 4).resize(size[::-1], Image.Resampling.BICUBIC)
            smooth.save(root / name / f"{i}.{'jpg' if name == 'photo' else 'png'}", **({"quality": 95} if name == "photo" else {}))
    pack = packed(root, store={"short_side": 40})
    sizes = {path.split("/")[0]: size for path, size in zip(pack.paths(), pack.sizes.tolist(), strict=True)}
    assert sizes == {"wide": [40, 160], "tall": [200, 40], "small": [10, 12], "photo": [40, 50]}
    for row, path in enumerate(pack.paths()):
        with Image.open(root / path) as image:
            h, w = sizes[path.split("/")[0]]
            want = np.asarray(image.convert("RGB").resize((w, h), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(stored(pack, row) - want).max() <= (0 if path.endswith("png") else 4)
    assert packed(root).sizes.max() > 200  # by default 64, the floor
    assert spec("digits").short_side == 64 and Spec(resolution=224).short_side == 258 and Spec(resolution=224, store={"short_side": 300}).short_side == 300
    d = data.load(spec(root, store={"short_side": 40}, test=0.3, validation=0.3))
    assert isinstance(d.train.pictures, Pictures) and d.train.pictures.shape[1:] == (3, 40, 40) and d.summary["stored"] == "short side up to 40"


# --- broken inputs -----------------------------------------------------------------------------------------------------------------


def test_folders_that_hold_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: it is empty; expected one folder of pictures for each class"):
        packed(tmp_path / "empty")
    (tmp_path / "hollow" / "a").mkdir(parents=True), (tmp_path / "hollow" / "b").mkdir()
    with pytest.raises(UserError, match="there are no pictures in its folders"):
        packed(tmp_path / "hollow")
    with pytest.raises(UserError, match="there is one class, 'only'"):
        packed(tree(tmp_path / "one", {"only": 5}))
    tree(tmp_path / "gap", {"a": 5})
    (tmp_path / "gap" / "b").mkdir()
    with pytest.raises(UserError, match="gap/b: this class has no pictures"):
        packed(tmp_path / "gap")
    with pytest.raises(UserError, match="pictures lie in it directly, such as 000.png"):
        packed(tmp_path / "one" / "only")
    with pytest.raises(UserError, match="is a file"):
        packed(tmp_path / "one" / "only" / "000.png")


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
    with pytest.raises(UserError, match=rf"pets/dog/007.png: cannot be read as a picture: .*{reason}.*data/on_error: skip"):
        data.load(spec(root))
    cache = tmp_path / "cache" / "data"
    assert not list(cache.glob("*.pack")) and not list(cache.glob("*.json")) and not list(cache.glob(".*.part"))
    d = data.load(spec(root, on_error="skip"))
    assert d.summary["skipped"] == 1 and d.summary["train"] + d.summary["validation"] + d.summary["test"] == 79
    pack = data.pack(spec(root, on_error="skip"))
    assert "dog/007.png" not in pack.paths() and pack.skipped[0]["path"].endswith("dog/007.png") and len(pack.paths()) == 79
    whole = [Image.open(root / path).convert("RGB") for path in pack.paths()]
    assert all(np.array_equal(stored(pack, i), np.asarray(image)) for i, image in enumerate(whole))
    with pytest.raises(UserError, match="pets/dog/007.png: cannot be read"):  # a pack that skipped is not silently used under `stop`
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
    with pytest.raises(UserError, match="cat/003.png: cannot be read as a picture: Permission denied"):
        packed(root)
    assert len(packed(root, on_error="skip").skipped) == 1


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "pets", {"cat": 4, "dog": 4})
    real = os.scandir

    def refusing(path: Any) -> Any:
        if str(path).endswith("dog"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(sources.os, "scandir", refusing)
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


# --- packs -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["one by one", "threads", "processes"])
def test_a_disk_that_fills_up_leaves_nothing_behind(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    with pytest.raises(UserError, match="the disk filled up while packing .*pets; nothing was kept.*AUTOKD_CACHE"):
        packed(root)
    cache = tmp_path / "cache" / "data"
    assert not list(cache.glob(".*.part")) and [f.name for f in cache.glob("*.pack")] == [before.file.name]  # type: ignore[union-attr]
    monkeypatch.setattr(packing.os, "pwrite", real)
    after = packed(root)
    assert after.parts == {"train": 161} and after.fingerprint != before.fingerprint
    assert [f.name for f in cache.glob("*.pack")] == [after.file.name]  # type: ignore[union-attr]  # and the old pack is gone
    assert all(np.array_equal(stored(after, i), np.asarray(Image.open(root / path))) for i, path in enumerate(after.paths()))


@pytest.mark.parametrize("share", [0.5, 1.01])
@pytest.mark.parametrize("how", ["one by one", "threads", "processes"])
def test_what_the_system_will_not_write_is_nowhere(how: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real limit, in the middle of the pixels and in what follows them."""
    import resource

    root = tree(tmp_path / "pets", {"cat": 80, "dog": 80})
    decode_by(how, monkeypatch)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * 160 * 20 * 20 * 3), old[1]))
    try:
        with pytest.raises(UserError, match="cache/data: packing folder:.*pets failed: File too large"):
            packed(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert not left_behind(tmp_path / "cache") and not list((tmp_path / "cache" / "data").glob("*.pack"))
    assert packed(root).parts == {"train": 160}


def test_a_second_start_packs_nothing_and_a_changed_folder_is_packed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "pets", {"cat": 10, "dog": 10})
    first = packed(root)
    monkeypatch.setattr(packing, "decode", lambda *a: pytest.fail("decoded again"))
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
    (whole.file.parent / f".{whole.manifest.stem}-left.part").write_bytes(b"half")  # of a process that was killed
    whole.file.unlink()
    assert packed(root).fingerprint == whole.fingerprint and not list(whole.file.parent.glob(".*.part"))
    assert data.verify(spec(root)) == whole.fingerprint == data.verify(spec(root))
    flipped = bytearray(content)
    flipped[100] ^= 1  # one value: too costly to look for at every start
    whole.file.write_bytes(flipped)
    with pytest.raises(UserError, match="damaged: its checksum"):
        data.verify(spec(root))
    assert data.verify(Spec(name="digits")) == data.pack(Spec(name="digits")).fingerprint


def test_two_processes_pack_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, made = tree(tmp_path / "pets", {"cat": 60, "dog": 60}), []
    real = packing.write
    monkeypatch.setattr(packing, "write", lambda *a, **k: (made.append(1), real(*a, **k)))
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(data._pack.__wrapped__(f"folder:{root}", 64, False, tmp_path, tmp_path / "cache/data", False).fingerprint))
        for _ in range(4)
    ]
    [t.start() for t in threads], [t.join() for t in threads]
    assert len(set(found)) == 1 and len(found) == 4 and len(made) == 1


DECODING = ["one by one", "threads", "processes"]


def decode_by(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing.os, "sched_getaffinity", lambda process: set(range(1 if how == "one by one" else 3)), raising=False)
    monkeypatch.setattr(packing, "_may_fork", lambda files: how == "processes")


def left_behind(cache: Path) -> list[Any]:
    """Processes of ours, and files that are no finished pack."""
    return [*multiprocessing.active_children(), *(f.name for f in cache.glob("*/*") if f.suffix not in {".lock", ".pack", ".json"})]


def test_decoding_side_by_side_gives_the_same_bytes_and_the_same_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, files = tree(tmp_path / "pets", {"cat": 90, "dog": 71}, (20, 30)), {}
    tree(root, {"cat": 30}, (31, 17), seed=3)
    broken = {path: path.read_bytes() for path in (root / "cat" / "004.png", root / "dog" / "069.png")}
    for how in DECODING:
        decode_by(how, monkeypatch)
        pack = packed(root)
        assert pack.file and len(pack.paths()) == 161
        for path in broken:
            path.write_text("x")
        with pytest.raises(UserError, match="cat/004.png: cannot be read"):  # the first in the order of the files, not of the processes
            packed(root)
        skipped = packed(root, on_error="skip")
        assert [Path(s["path"]) for s in skipped.skipped] == list(broken) and skipped.file
        files[how] = [pack.fingerprint, skipped.file.read_bytes(), skipped.fingerprint]
        assert not left_behind(tmp_path / "cache")
        for path, content in broken.items():
            path.write_bytes(content)
        shutil.rmtree(tmp_path / "cache")
    assert files["one by one"] == files["threads"] == files["processes"]


def test_processes_are_for_many_files_and_never_beside_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name == "ray"]:
        monkeypatch.delitem(sys.modules, module)
    assert packing._may_fork(packing.FORK_FROM) == sys.platform.startswith("linux") and not packing._may_fork(packing.FORK_FROM - 1)
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
    assert not packing._may_fork(10**6)


@pytest.mark.parametrize("when", ["decoding the first", "decoding a later one", "writing"])
def test_a_killed_process_is_told(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "pets", {"cat": 300, "dog": 300})
    decode_by("processes", monkeypatch)
    real, parent = packing.decode, os.getpid()

    def killed(*args: Any) -> Any:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    def decode(path: str, short_side: int) -> Any:
        if when == "decoding the first" or path.endswith("dog/290.png"):
            killed()
        return real(path, short_side)

    monkeypatch.setattr(packing.os, "pwrite", killed) if when == "writing" else monkeypatch.setattr(packing, "decode", decode)
    with pytest.raises(UserError, match="pets: a process that decodes pictures was killed; is there enough memory"):
        packed(root)
    assert not left_behind(tmp_path / "cache") and not list((tmp_path / "cache" / "data").glob("*.pack"))


SLOWLY = """\
import signal, sys, time
from pathlib import Path
from autokd import packing, sources
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
real = packing.decode
packing.decode = lambda *args: (time.sleep(0.02), real(*args))[1]
packing.os.sched_getaffinity = lambda process: {0, 1, 2}
packing._may_fork = lambda files: True
packing.obtain(Path("cache/x.json"), lambda: sources.folder(Path("pets")), "x", short_side=64, skip=False, fresh=lambda: None)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes decode on Linux alone")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_that_packs(number: signal.Signals, tmp_path: Path) -> None:
    tree(tmp_path / "pets", {"cat": 300, "dog": 300})
    run = subprocess.Popen([sys.executable, "-c", SLOWLY], cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True)
    children: list[psutil.Process] = []
    while len(children) < 3 and run.poll() is None:
        time.sleep(0.02)
        children = psutil.Process(run.pid).children()
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does: everyone gets it
    else:
        run.send_signal(number)
    said = run.communicate(timeout=30)[1]
    assert len(children) == 3 and run.returncode == -number, said
    assert not psutil.wait_procs(children, timeout=30)[1] and said.count("Traceback") == (number == signal.SIGINT), said  # the parent's own
    pack = packing.obtain(tmp_path / "cache/x.json", lambda: sources.folder(tmp_path / "pets"), "x", short_side=64, skip=False, fresh=lambda: None)
    assert len(pack.labels) == 600 and not list((tmp_path / "cache").glob(".*.part"))  # nobody holds the lock, and what was left is gone


@pytest.mark.parametrize("how", DECODING)
def test_memory_stays_flat_while_packing(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "many", {"a": 1, "b": 1}, (96, 96))
    for i in range(1, 600):
        for name in "ab":
            os.link(root / name / "000.png", root / name / f"{i:03}.png")
    contents, most = sources.folder(root), 1200 * 96 * 96 * 3 / 2  # half of the pixels
    decode_by(how, monkeypatch)
    packing.write(contents, tmp_path / "warm.json", "warm", short_side=96)
    real = packing.decode

    def decode(*args: Any) -> Any:
        assert tracemalloc.get_traced_memory()[1] < most  # of a process: in its own memory
        return real(*args)

    monkeypatch.setattr(packing, "decode", decode)
    tracemalloc.start()
    packing.write(contents, tmp_path / "x.json", "x", short_side=96)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    pack = packing.read(tmp_path / "x.json")
    assert pack is not None and pack.flat.size == 2 * most and peak < most


def test_large_packs_are_asked_for_and_full_disks_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "pets", {"cat": 100, "dog": 100}, (40, 60))
    needed = 200 * 40 * 60 * 3
    monkeypatch.setattr(packing, "LARGE", needed * 0.9)
    with pytest.raises(UserError, match="the pack will take about 0 GB there.*AUTOKD_LARGE=1.*data/store/short_side"):
        packed(root)
    monkeypatch.setenv("AUTOKD_LARGE", "1")
    assert packed(root).flat.size == needed
    monkeypatch.undo()
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "other"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda where: usage._replace(free=needed // 2))
    with pytest.raises(UserError, match="needs about 0.0 GB, and 0.0 GB are free"):
        packed(root)
    assert packed(root, store={"short_side": 20}).sizes.min() == 20
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "pets" / "cat" / "000.png"))
    with pytest.raises(UserError, match="packs cannot be kept there.*AUTOKD_CACHE"):
        packed(root)


def test_what_is_not_in_memory_gives_the_same_students(tmp_path: Path) -> None:
    """A pack that exceeds the budget is read from its map, and nothing else changes."""
    equal, mixed = tree(tmp_path / "equal", {"a": 30, "b": 30}), tree(tmp_path / "mixed", {"a": 20, "b": 20}, (24, 36))
    tree(mixed, {"a": 30, "b": 35}, (40, 20), seed=9)
    for root, augment in ((equal, {"crop_padding": 2, "flip": True}), (mixed, {"flip": True, "random_resized_crop": {"scale": [0.3, 1.0]}}), (mixed, {})):
        own = spec(root, augment=augment)
        resident = data.load(own)
        mapped = data.load(own, budget=0)
        assert isinstance(mapped.train.pictures, Pictures) and mapped.train.pictures.mapped is not None and mapped.summary["mapped"]
        assert mapped.fingerprint == resident.fingerprint and torch.equal(mapped.train.labels, resident.train.labels)
        rows = torch.randperm(len(resident.train), generator=torch.Generator().manual_seed(0))
        one, other = (Views(d.train.pictures, own.augment, 0, 1).render(rows, 12) for d in (resident, mapped))
        assert torch.equal(one, other)
        for a, b in ((resident.validation, mapped.validation), (resident.read_test(), mapped.read_test())):
            assert torch.equal(a.pictures[:], b.pictures[:]) and torch.equal(a.pictures.float(), b.pictures.float())
        r = recipe.parse({
            "data": own.model_dump(), "student": {"model": "cnn-2x8", "resolution": 12}, "distill": {"preset": "kd"},
            "teacher": {"model": "cnn-2x8", "train": {"epochs": 1, "batch_size": 16}}, "train": {"epochs": 2, "batch_size": 16},
        })  # fmt: skip
        runs = [distill.Run(r, Store(None), data=d) for d in (resident, mapped)]
        assert runs[0].epoch() == runs[1].epoch() and runs[0].epoch() == runs[1].epoch()
        assert runs[0].test() == runs[1].test()


def test_data_is_kept_from_run_to_run() -> None:
    assert data.load(Spec(name="fake")) is data.load(Spec(name="fake"))
    assert data.load(Spec(name="fake"), budget=5) is not data.load(Spec(name="fake"), budget=6)


# --- published sets ----------------------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def made_up(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


def place_mnist(root: Path, folder: str) -> tuple[np.ndarray, np.ndarray]:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 60), ("t10k", 20)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(made_up(n, 28, 28)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n) % 10))
    return made_up(60, 28, 28)[..., None], made_up(20, 28, 28)[..., None]


def place_cifar(root: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    from torchvision import datasets

    cls = datasets.CIFAR10 if kind == "cifar10" else datasets.CIFAR100
    base = root / cls.base_folder
    base.mkdir(parents=True)
    key, classes, each = ("labels", 10, 20) if kind == "cifar10" else ("fine_labels", 100, 200)
    pictures = []
    for files in (cls.train_list, cls.test_list):
        n = each * len(files)
        pictures.append(made_up(n, 3, 32, 32))
        for i, (name, _) in enumerate(files):
            rows = pictures[-1][i * each : (i + 1) * each].reshape(each, -1)
            (base / name).write_bytes(pickle.dumps({"data": rows, key: [int(v) % classes for v in range(i * each, (i + 1) * each)]}))
    (base / cls.meta["filename"]).write_bytes(pickle.dumps({cls.meta["key"]: [f"class {c}" for c in range(classes)]}))
    return pictures[0].transpose(0, 2, 3, 1), pictures[1].transpose(0, 2, 3, 1)


def place_svhn(root: Path) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import savemat

    pictures = [made_up(n, 32, 32, 3) for n in (60, 20)]
    for part, own in zip(("train", "test"), pictures, strict=True):
        savemat(root / f"{part}_32x32.mat", {"X": own.transpose(1, 2, 3, 0), "y": ((np.arange(len(own)) + 9) % 10 + 1)[:, None]})
    return pictures[0], pictures[1]


def place_stl(root: Path) -> tuple[np.ndarray, np.ndarray]:
    base = root / "stl10_binary"
    base.mkdir(parents=True)
    pictures = [made_up(n, 96, 96, 3) for n in (30, 20)]
    for part, own in zip(("train", "test"), pictures, strict=True):
        (base / f"{part}_X.bin").write_bytes(own.transpose(0, 3, 2, 1).tobytes())
        (base / f"{part}_y.bin").write_bytes((np.arange(len(own)) % 10 + 1).astype(np.uint8).tobytes())
    (base / "class_names.txt").write_text("\n".join(f"class {c}" for c in range(10)))
    return pictures[0], pictures[1]


@pytest.mark.parametrize("name", ["mnist", "kmnist", "fashion-mnist", "cifar10", "cifar100", "svhn", "stl10"])
def test_torchvisions_sets_are_read_from_its_own_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in the sets' own formats with made-up pictures, so that only their checksums have to be believed."""
    from torchvision import datasets
    from torchvision.datasets import cifar

    monkeypatch.setattr(cifar, "check_integrity", lambda *a: True)
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)
    root = tmp_path / "files"
    root.mkdir()
    folders = {"mnist": "MNIST", "kmnist": "KMNIST", "fashion-mnist": "FashionMNIST"}
    if name in folders:
        train, test = place_mnist(root, folders[name])
    elif name.startswith("cifar"):
        train, test = place_cifar(root, name)
    else:
        train, test = place_svhn(root) if name == "svhn" else place_stl(root)
    own = Spec(name=name, resolution=28, store={"short_side": 96})
    pack = data.pack(own, data_dir=root)
    assert pack.parts == {"train": len(train), "test": len(test)} and pack.channels == train.shape[3] and pack.side == train.shape[1]
    assert len(pack.classes) == (100 if name == "cifar100" else 10)
    assert pack.labels.tolist() == [i % len(pack.classes) for n in (len(train), len(test)) for i in range(n)]
    assert np.array_equal(pack.flat.reshape(-1, *train.shape[1:]), np.concatenate([train, test]))
    forget()
    shutil.rmtree(root)
    monkeypatch.setattr(sources, "contents", lambda *a: pytest.fail("a packed set needs its files no more"))
    assert data.pack(own).fingerprint == pack.fingerprint


def test_a_torchvision_set_without_files_or_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*a: Any, **k: Any) -> Any:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    for name in ("cifar100", "kmnist", "dtd"):
        with pytest.raises(UserError, match=f"{name} is not in .*files, and downloading it failed: .*--data-dir or AUTOKD_DATA"):
            data.pack(Spec(name=name, resolution=32), data_dir=tmp_path / "files")
    with pytest.raises(UserError, match="imagenet cannot be downloaded without an account.*ILSVRC2012_img_val.tar"):
        data.pack(Spec(name="imagenet", resolution=32), data_dir=tmp_path / "files")
    monkeypatch.setattr(download, "WAITS", (0.0, 0.0))
    with pytest.raises(UserError, match="Name or service not known. Where there is no network, bring it as CINIC-10.tar.gz"):
        data.pack(Spec(name="cinic10", resolution=32), data_dir=tmp_path / "files")


def test_dtd_has_its_official_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.SOURCES, "dtd", sources.Source("", files=True, counts=(("train", 8), ("validation", 4), ("test", 4)), classes=2))
    base = tmp_path / "dtd" / "dtd"
    (base / "labels").mkdir(parents=True)
    names = tree(base / "images", {"banded": 8, "dotted": 8}) and [f"{c}/{i:03}.png" for c in ("banded", "dotted") for i in range(8)]
    for file, own in (("train", names[::2]), ("val", names[1::4]), ("test", names[3::4])):
        (base / "labels" / f"{file}1.txt").write_text("\n".join(own) + "\n")
    d = data.load(Spec(name="dtd", resolution=16), data_dir=tmp_path)
    assert (len(d.train), len(d.validation), len(d.read_test())) == (8, 4, 4) and d.classes == ["banded", "dotted"]


def test_imagenet_is_read_as_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "imagenet" / "train", {"n01": 6, "n02": 6}), tree(tmp_path / "imagenet" / "val", {"n01": 2, "n02": 2}, seed=30)
    own = Spec(name="imagenet", resolution=16)
    with pytest.raises(UserError, match=r"this is not imagenet: it has 2 classes and 12 train \+ 4 test pictures.*folder:.*imagenet"):
        data.pack(own, data_dir=tmp_path)
    monkeypatch.setitem(sources.SOURCES, "imagenet", sources.Source("", files=True, counts=(("train", 12), ("test", 4)), classes=2))
    assert data.pack(own, data_dir=tmp_path).parts == {"train": 12, "test": 4}


# --- downloads ---------------------------------------------------------------------------------------------------------------------


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``files``; ``cut``: bytes after which a connection breaks; ``ranges``: whether it knows Range."""

    files: dict[str, bytes] = {}
    cut: int | None = None
    ranges = True
    asked: list[str | None] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.headers.get("Range"))
        body = self.files.get(self.path.lstrip("/"))
        if body is None:
            self.send_error(404)
            return
        start = 0
        if self.ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:] if self.cut is None else body[start : start + self.cut])

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Server]]]:
    monkeypatch.setattr(download, "WAITS", (0.0, 0.0))
    kind = type("Own", (Server,), {"files": {}, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as web:
        threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}", kind
        web.shutdown()


BODY = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(BODY).hexdigest()


def test_a_download_goes_on_where_it_broke(tmp_path: Path, server: Any) -> None:
    url, web = server
    web.files["set.zip"], web.cut = BODY, 100_000
    seen: list[tuple[int, int]] = []
    path = tmp_path / "set.zip"
    download.fetch(f"{url}/set.zip", MD5, path, progress=lambda what, done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY and not (tmp_path / "set.zip.part").exists()
    assert web.asked == [None, "bytes=100000-", "bytes=200000-"]
    assert seen[-1] == (300_000, 300_000) and [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_a_download_goes_on_in_the_next_process(tmp_path: Path, server: Any) -> None:
    url, web = server
    web.files["set.zip"] = BODY
    (tmp_path / "set.zip.part").write_bytes(BODY[:120_000])
    download.fetch(f"{url}/set.zip", MD5, tmp_path / "set.zip")
    assert (tmp_path / "set.zip").read_bytes() == BODY and web.asked == ["bytes=120000-"]
    (tmp_path / "whole.zip.part").write_bytes(BODY)  # all of it had come: the server answers 416
    download.fetch(f"{url}/set.zip", MD5, tmp_path / "whole.zip")
    assert (tmp_path / "whole.zip").read_bytes() == BODY
    web.ranges = False
    (tmp_path / "plain.zip.part").write_bytes(BODY[:120_000])
    download.fetch(f"{url}/set.zip", MD5, tmp_path / "plain.zip")
    assert (tmp_path / "plain.zip").read_bytes() == BODY


def test_a_download_that_is_not_what_was_published(tmp_path: Path, server: Any) -> None:
    url, web = server
    web.files["set.zip"] = BODY
    with pytest.raises(UserError, match="what arrived has the checksum .* was published; nothing of it was kept"):
        download.fetch(f"{url}/set.zip", "0" * 32, tmp_path / "set.zip")
    assert not list(tmp_path.iterdir())
    (tmp_path / "set.zip.part").write_bytes(b"of another version" * 1000)
    download.fetch(f"{url}/set.zip", MD5, tmp_path / "set.zip")  # once more from the start
    assert (tmp_path / "set.zip").read_bytes() == BODY and web.asked[-1] is None
    with pytest.raises(UserError, match="the server answers 404"):
        download.fetch(f"{url}/nothing.zip", MD5, tmp_path / "nothing.zip")
    web.cut = 0
    with pytest.raises(UserError, match="the connection ended early"):
        download.fetch(f"{url}/set.zip", MD5, tmp_path / "again.zip")
    web.cut = 1000
    web.files["set.zip"] = BODY[:50_000]
    (tmp_path / "more.zip.part").write_bytes(BODY[:2000])
    web.files = {}
    with pytest.raises(UserError, match="2,000 bytes are kept, and the next start goes on from there"):
        download.fetch(f"{url}/set.zip", MD5, tmp_path / "more.zip")
    assert (tmp_path / "more.zip.part").read_bytes() == BODY[:2000]


def archived(kind: str, root: Path) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as z:
            for path in sorted(root.rglob("*")):
                z.write(path, f"{root.name}/{path.relative_to(root)}")
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as t:
            for path in sorted(root.iterdir()):
                t.add(path, path.name)
    return buffer.getvalue()


def published(monkeypatch: pytest.MonkeyPatch, server: Any, name: str, body: bytes, counts: dict[str, int], classes: int) -> None:
    url, web = server
    real = sources.SOURCES[name].archive
    assert real
    web.files[real.file] = body
    own = real._replace(url=f"{url}/{real.file}", md5=hashlib.md5(body).hexdigest())
    monkeypatch.setitem(sources.SOURCES, name, sources.Source("", files=True, counts=tuple(counts.items()), classes=classes, archive=own))


def test_tiny_imagenet_is_fetched_unpacked_and_read(tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "made" / "tiny-imagenet-200"
    for c in ("n01", "n02"):
        tree(root / "train" / c, {"images": 6}, (64, 64), seed=ord(c[-1]))
        (root / "train" / c / f"{c}_boxes.txt").write_text("x")
    tree(root / "val", {"images": 4}, (64, 64), seed=500)
    (root / "val" / "val_annotations.txt").write_text("".join(f"{i:03}.png\tn0{1 + i % 2}\t0\t0\t9\t9\n" for i in range(4)))
    tree(root / "test", {"images": 3}, (64, 64))
    published(monkeypatch, server, "tiny-imagenet", archived("zip", root), {"train": 12, "test": 4}, 2)
    data_dir = tmp_path / "files"
    pack = data.pack(Spec(name="tiny-imagenet", resolution=64), data_dir=data_dir)
    assert pack.parts == {"train": 12, "test": 4} and pack.labels[12:].tolist() == [0, 1, 0, 1] and pack.classes == ["n01", "n02"] and pack.side == 64
    assert np.array_equal(stored(pack, 13), np.asarray(picture(501, 64, 64)))
    assert server[1].asked == [None]
    forget()
    shutil.rmtree(tmp_path / "cache")
    (data_dir / "tiny-imagenet-200.zip").unlink()
    assert data.pack(Spec(name="tiny-imagenet", resolution=64), data_dir=data_dir).fingerprint == pack.fingerprint  # what lies unpacked is used
    assert server[1].asked == [None]


def test_cinic10_is_used_from_an_archive_that_is_there(tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "made" / "cinic"
    for i, part in enumerate(("train", "valid", "test")):
        tree(root / part, {"cat": 5, "dog": 5}, (32, 32), seed=100 * i)
    body = archived("tar", root)
    published(monkeypatch, server, "cinic10", body, {"train": 10, "validation": 10, "test": 10}, 2)
    data_dir = tmp_path / "files"
    data_dir.mkdir()
    (data_dir / "CINIC-10.tar.gz").write_bytes(body[:-5])
    own = Spec(name="cinic10", resolution=32)
    with pytest.raises(UserError, match="its checksum is not that of the published file"):
        data.pack(own, data_dir=data_dir)
    (data_dir / "CINIC-10.tar.gz").write_bytes(body)
    d = data.load(own, data_dir=data_dir)
    assert (len(d.train), len(d.validation), len(d.read_test())) == (10, 10, 10) and server[1].asked == []
    assert sorted(p.name for p in data_dir.iterdir()) == [".CINIC-10.tar.gz.lock", "CINIC-10", "CINIC-10.tar.gz"]


def test_an_archive_is_unpacked_whole_or_not_at_all(tmp_path: Path) -> None:
    root = tree(tmp_path / "made", {"train": 3})
    (tmp_path / "x.tar.gz").write_bytes(archived("tar", root)[:600])
    with pytest.raises(UserError, match="x.tar.gz: damaged"):
        download.unpack(tmp_path / "x.tar.gz", tmp_path / "x", wrapped=False)
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as t:
        about = tarfile.TarInfo("../evil.txt")
        t.addfile(about)
    with pytest.raises(UserError, match="evil.tar.gz: damaged"):
        download.unpack(tmp_path / "evil.tar.gz", tmp_path / "x", wrapped=False)
    (tmp_path / "y.zip").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match="y.zip: damaged"):
        download.unpack(tmp_path / "y.zip", tmp_path / "x", wrapped=True)
    assert not (tmp_path / "x").exists() and not (tmp_path / "evil.txt").exists() and not list(tmp_path.glob(".x.*"))


# --- in recipes and on the command line --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "cifar1O"}, "data/name: unknown data set; got 'cifar1O'; did you mean 'cifar10'?"),
        ({"name": "pets/mine"}, "write folder:pets/mine for a folder"),
        ({"name": "folder:"}, "names no folder"),
        ({"group_by": "("}, "data/group_by: is not a regular expression"),
        ({"group_by": "x"}, "data/group_by: groups by path, but the pictures of digits are not files"),
        ({"resolution": 100, "store": {"short_side": 90}}, "data/store/short_side: must not be below data/resolution, which is 100"),
        ({"augment": {"random_resized_crop": {"scale": [0.5, 0.2]}}}, "data/augment/random_resized_crop/scale: must be"),
        ({"augment": {"random_resized_crop": {"scale": [0.0, 1.0]}}}, "data/augment/random_resized_crop/scale: must be"),
        ({"augment": {"random_resized_crop": {"scale": [0.1, 1.0], "ratio": [2, 1]}}}, "random_resized_crop/ratio: must be"),
        ({"augment": {"random_resized_crop": {"scale": [0.1, 1.0]}, "crop_padding": 2}}, "data/augment/crop_padding: must be 0 beside"),
        ({"augment": {"random_resized_crop": {"scal": [0.1, 1.0]}}}, "data/augment/random_resized_crop/scal: unknown key; did you mean 'scale'?"),
        ({"store": {"shortside": 3}}, "data/store/shortside: unknown key; did you mean 'short_side'?"),
        ({"on_error": "ignore"}, "data/on_error: must be 'stop' or 'skip'"),
    ],
)
def test_mistakes_in_the_data_block(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError) as e:
        recipe.parse({"data": change})
    assert message in str(e.value)


def test_data_sets_on_the_command_line(tmp_path: Path) -> None:
    listed = autokd("datasets", cwd=tmp_path).stdout
    assert all(name in listed for name in sources.SOURCES) and "folder:PATH" in listed
    tree(tmp_path / "pets", {"cat": 6, "dog": 6}, (30, 40))
    (tmp_path / "pets" / "cat" / "bad.png").write_text("x")
    failed = autokd("datasets", "folder:pets", cwd=tmp_path, code=2)
    assert "bad.png: cannot be read as a picture" in failed.stderr
    about = json.loads(autokd("datasets", "folder:pets", "--skip", "--verify", "--json", cwd=tmp_path).stdout)
    assert about["train"] == 12 and about["skipped"] == 1 and about["stored"] == "30×40, RGB" and about["verified"] is True
    assert "did you mean 'cifar100'" in autokd("datasets", "cifar1000", cwd=tmp_path, code=2).stderr


PETS = """\
data:    {name: "folder:pets", resolution: 16, validation: 0.25, test: 0.25}
teacher: {model: cnn-2x8, train: {epochs: 1, batch_size: 8}}
student: {model: cnn-1x4}
distill: {preset: kd}
train:   {epochs: 1, batch_size: 8}
"""
SPACE = "base: base.yaml\nsearch: {trials: 2, asha: {grace_epochs: 2}, finalists: {seeds: 2}}\nvary: {distill/temperature/tau: {uniform: [1, 8]}}\n"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder to work in, with a recipe and a space; what they name lies in ../sets."""
    tree(tmp_path / "sets" / "pets", {"cat": 16, "dog": 16})
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "base.yaml").write_text(PETS)
    (tmp_path / "work" / "space.yaml").write_text(SPACE)
    return tmp_path / "work"


def test_every_command_that_needs_data_takes_a_data_dir(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOKD_CACHE", str(pets / "cache"))
    monkeypatch.chdir(pets)

    def run(*args: str) -> Any:
        monkeypatch.setenv("AUTOKD_DATA", "")
        forget()
        return CliRunner().invoke(app, [*args])

    how = ["--space", "space.yaml", "--name", "one", "--jobs", "1", "--data-dir", "../sets", "--json"]
    found = json.loads(autokd("search", *how, cwd=pets).stdout)  # Ray's workers stand in folders of their own
    assert found["states"] == {"complete": 2}
    for command in (["datasets", "folder:pets"], ["train", "base.yaml", "--quiet"], ["reproduce", found["recipe"], "--quiet"], ["export", "one", "--no-onnx"]):
        without = run(*command)
        assert isinstance(without.exception, UserError) and "there is no folder" in str(without.exception), command
        assert "this is a file" in str(run(*command, "--data-dir", "base.yaml").exception)
        assert run(*command, "--data-dir", "../sets").exit_code == 0, command


def test_a_search_tells_of_broken_pictures_before_it_begins(pets: Path) -> None:
    broken = sorted((pets.parent / "sets" / "pets" / "dog").iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:60])
    done = autokd("search", "--space", "space.yaml", "--data-dir", "../sets", cwd=pets, code=2)
    assert f"{broken}: cannot be read as a picture" in done.stderr
    assert not (pets / "mlruns" / "studies").exists()


@pytest.mark.slow
def test_workers_of_a_cluster_see_the_data_dir(pets: Path) -> None:
    """They inherit nothing of the driver's environment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("AUTOKD_")} | {"RAY_AUTH_MODE": "disabled"}
    with tempfile.TemporaryDirectory(prefix="akd-", ignore_cleanup_errors=True) as scratch:  # short: Ray's sockets lie below it
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}", "--num-cpus=1"]
        ray = subprocess.Popen([*start, "--include-dashboard=false", f"--temp-dir={scratch}"], env=plain, stdout=subprocess.DEVNULL)
        try:
            while ray.poll() is None and not answers(port):
                time.sleep(0.2)
            how = ["--name", "one", "--jobs", "1", "--data-dir", "../sets", "--ray-address", f"127.0.0.1:{port}", "--json"]
            found = json.loads(autokd("search", "--space", "space.yaml", *how, cwd=pets, RAY_AUTH_MODE="disabled").stdout)
        finally:
            for process in [*psutil.Process(ray.pid).children(recursive=True), ray]:
                process.kill()
            ray.wait(30)
    assert found["states"] == {"complete": 2}


def answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


# --- real data ---------------------------------------------------------------------------------------------------------------------


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path


def trained(own: dict[str, Any], resolution: int, epochs: int, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> tuple[distill.Run, dict[str, float]]:
    monkeypatch.setenv("AUTOKD_DATA", str(data_dir))
    made = recipe.parse({
        "data": own | {"resolution": resolution}, "student": {"model": "cnn-2x16", "resolution": resolution}, "distill": {"preset": "kd"},
        "teacher": {"model": "cnn-3x16", "train": {"epochs": 2, "batch_size": 20, "lr": 0.05}}, "train": {"epochs": epochs, "batch_size": 20, "lr": 0.05},
    })  # fmt: skip
    return distill.train(made, Store(None))


def searched(name: str, data: str, resolution: int, where: Path) -> None:
    """A small search for a student that sees half the resolution, on the files in ``where``: all of it runs, to an answer on test."""
    work = where / "work"
    work.mkdir()
    (work / "base.yaml").write_text(
        f"data: {{name: {name!r}, resolution: {resolution}, {data}}}\n"
        "teacher: {model: cnn-2x8, train: {epochs: 1, batch_size: 50}}\n"
        f"student: {{model: cnn-2x8, resolution: {resolution // 2}}}\n"
        "distill: {preset: kd}\ntrain: {epochs: 2, batch_size: 50}\n"
    )
    (work / "space.yaml").write_text(SPACE)
    out = json.loads(autokd("search", "--space", "space.yaml", "--name", "real", "--jobs", "1", "--data-dir", "..", "--json", cwd=work).stdout)
    table = ledger.read(work / "mlruns" / "studies" / "real")[1]
    assert out["states"] == {"complete": 2} and Path(out["recipe"]).is_file() and out["tests_read"] == 1
    assert 0 <= out["winner"]["test_mean"] <= 1 and {t.state for t in table.trials.values()} == {"complete"}


@realdata
def test_fashion_mnist_trains_and_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (shared("FashionMNIST") / "raw").glob("*.gz"):
        shutil.copy(file, raw)
    run, last = trained({"name": "fashion-mnist", "limit": 1500, "validation": 0.05}, 28, 2, monkeypatch, tmp_path)
    assert run.data.summary["test"] == 10_000 and run.data.summary["validation"] == 3000 and run.data.channels == 1
    with gzip.open(raw / "t10k-images-idx3-ubyte.gz") as f:
        assert np.array_equal(run.data.read_test().pictures.numpy().reshape(-1), np.frombuffer(f.read()[16:], np.uint8))
    assert run.data.classes[0] == "T-shirt/top" and last["val/accuracy"] > 0.3
    searched("fashion-mnist", "limit: 500, validation: 0.02", 28, tmp_path)


@realdata
def test_cifar100_trains_and_searches_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(shared("cifar100-small.tar")) as t:
        t.extractall(tmp_path, filter="data")
    own = {"name": "folder:cifar100-small", "limit": 1000, "validation": 0.1, "augment": {"crop_padding": 4, "flip": True}}
    run, last = trained(own, 32, 2, monkeypatch, tmp_path)
    assert len(run.data.classes) == 100 and run.data.summary["test"] == 1000 and run.data.train.pictures.shape == (1000, 3, 32, 32)
    assert last["train/loss"] < 5 and 0 <= last["val/accuracy"] <= 1
    searched("folder:cifar100-small", "limit: 500, validation: 0.1, augment: {crop_padding: 4, flip: true}", 32, tmp_path)
