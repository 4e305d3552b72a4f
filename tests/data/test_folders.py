"""Folders of pictures as users have them: layouts, kinds of files, sizes."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autokd import data
from autokd.data.views import Pictures
from autokd.errors import UserError
from autokd.recipe import DataSettings
from tests.helpers.pictures import forget, packed, picture, spec, stored, tree


def test_a_resolution_that_no_picture_has_is_told(tmp_path: Path) -> None:
    root = tree(tmp_path / "own", {"a": 3, "b": 3}, size=(20, 30))
    assert data.notes(spec(root)) == []
    assert data.notes(DataSettings(name=f"folder:{root}", resolution=20)) == []
    picture(7, 24, 40).save(root / "a" / "x.png")
    forget()
    assert data.notes(DataSettings(name=f"folder:{root}", resolution=32)) == [
        "data/resolution is 32, and no picture's short side has more than 24 px: all are enlarged"
    ]


def test_a_lone_val_is_test_unless_it_is_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "own"
    tree(root / "train", {"a": 20, "b": 20}), tree(root / "Valid", {"a": 3, "b": 4}, seed=50)
    cut = data.load(spec(root, validation=0.25))
    assert (len(cut.train), len(cut.validation), len(cut.read_test())) == (30, 10, 7)
    [note] = data.notes(spec(root))
    assert "the pictures of Valid/ are the test pictures" in note and note == cut.summary["note"]
    own = data.load(spec(root, validation="folder", test=0.2))
    assert (len(own.train), len(own.validation), len(own.read_test())) == (32, 7, 8)
    assert own.validation.labels.tolist() == cut.read_test().labels.tolist() == [0] * 3 + [1] * 4
    assert data.notes(spec(root, validation="folder")) == [] and "note" not in own.summary
    tree(root / "test", {"a": 2, "b": 2}, seed=80), forget()
    whole = data.load(spec(root, validation="folder"))
    assert (len(whole.train), len(whole.validation), len(whole.read_test())) == (40, 7, 4)
    flat = tree(tmp_path / "flat", {"a": 9, "b": 9})
    with pytest.raises(UserError, match="data/validation: folder: the data has no val/"):
        data.load(spec(flat, validation="folder"))


def test_folders_of_every_layout(tmp_path: Path) -> None:
    flat = tree(tmp_path / "flat", {"b": 10, "a": 12})
    assert packed(flat).classes == ["a", "b"] and packed(flat).parts == {"train": 22}
    split = tmp_path / "split"
    tree(split / "train", {"a": 8, "b": 8}), tree(split / "val", {"a": 2, "b": 3}, seed=50)
    p = packed(split)
    # a lone val/ is the test part
    assert p.parts == {"train": 16, "test": 5}
    assert p.rows("test").tolist() == [16, 17, 18, 19, 20]
    tree(split / "Test", {"a": 4, "b": 4}, seed=70)
    assert packed(split).parts == {"train": 16, "validation": 5, "test": 8}
    d = data.load(spec(split))
    # official parts are used as they are
    assert (len(d.train), len(d.validation), len(d.read_test())) == (16, 5, 8)
    assert len(data.load(spec(split, validation=0.0)).validation) == 0
    toys = tree(tmp_path / "toys", {"train": 9, "plane": 9})
    assert packed(toys).classes == ["plane", "train"]  # a class that is called train
    (
        (flat / ".hidden").mkdir(),
        (flat / "a" / "._000.png").write_bytes(b"x"),
        (flat / "a" / "notes.txt").write_text("x"),
    )
    (flat / "a" / "deeper").mkdir(), picture(5).save(flat / "a" / "deeper" / "x.JPG")
    os.symlink(flat / "a", flat / "a" / "deeper" / "loop")
    assert packed(flat).parts == {"train": 23} and "a/deeper/x.JPG" in packed(flat).paths()
    tree(split / "Test", {"c": 2})
    with pytest.raises(UserError, match="Test/c: .*no class of this name"):
        packed(split)


def test_relative_folders_are_found_from_here_and_from_the_data_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_folder_counts_once_whatever_links_lead_to_it(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", {"a": 8, "b": 8})
    tree(tmp_path / "more", {"x": 3})
    for name in ("one", "two"):
        (root / "a" / name).symlink_to(tmp_path / "more")
        (root / "b" / name).symlink_to(root)
    pack = packed(root)
    assert [p for p in pack.paths() if "one" in p or "two" in p][:3] == [
        f"a/one/x/{i:03}.png" for i in range(3)
    ]
    assert not [p for p in pack.paths() if p.startswith("a/two")]


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
    Image.fromarray((np.arange(400, dtype=np.uint16) % 256).reshape(20, 20)).save(
        odd / "shallow.tif"
    )
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
    for name, size in (
        ("wide", (50, 200)),
        ("tall", (300, 60)),
        ("small", (10, 12)),
        ("photo", (400, 500)),
    ):
        (root / name).mkdir(parents=True)
        for i in range(5):
            smooth = picture(i, 4, 4).resize(size[::-1], Image.Resampling.BICUBIC)
            smooth.save(
                root / name / f"{i}.{'jpg' if name == 'photo' else 'png'}",
                **({"quality": 95} if name == "photo" else {}),
            )
    pack = packed(root, store={"short_side": 40})
    sizes = {
        path.split("/")[0]: size
        for path, size in zip(pack.paths(), pack.sizes.tolist(), strict=True)
    }
    assert sizes == {"wide": [40, 160], "tall": [200, 40], "small": [10, 12], "photo": [40, 50]}
    for row, path in enumerate(pack.paths()):
        with Image.open(root / path) as image:
            h, w = sizes[path.split("/")[0]]
            want = np.asarray(
                image.convert("RGB").resize((w, h), Image.Resampling.BILINEAR)
            ).astype(int)
        assert np.abs(stored(pack, row) - want).max() <= (0 if path.endswith("png") else 4)
    assert packed(root).sizes.max() > 200  # by default 64, the floor
    assert spec("digits").short_side == 64
    assert DataSettings(resolution=224).short_side == 258
    assert DataSettings(resolution=224, store={"short_side": 300}).short_side == 300
    d = data.load(spec(root, store={"short_side": 40}, test=0.3, validation=0.3))
    assert isinstance(d.train.pictures, Pictures)
    assert d.train.pictures.shape[1:] == (3, 40, 40)
    assert d.summary["stored"] == "short side up to 40"


def test_folders_that_hold_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match="empty: it is empty; expected one folder of pictures for each class"
    ):
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
