"""Published sets that lie in their own files: torchvision's, DTD, ImageNet."""

from __future__ import annotations

import pickle
import shutil
import struct
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autokd import data
from autokd.data import sources
from autokd.data.sources import download
from autokd.errors import UserError
from autokd.recipe import DataSettings, data_names
from tests.helpers.pictures import forget, tree


def idx(array: np.ndarray) -> bytes:
    return (
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )


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
            (base / name).write_bytes(
                pickle.dumps(
                    {"data": rows, key: [int(v) % classes for v in range(i * each, (i + 1) * each)]}
                )
            )
    (base / cls.meta["filename"]).write_bytes(
        pickle.dumps({cls.meta["key"]: [f"class {c}" for c in range(classes)]})
    )
    return pictures[0].transpose(0, 2, 3, 1), pictures[1].transpose(0, 2, 3, 1)


def place_svhn(root: Path) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import savemat

    pictures = [made_up(n, 32, 32, 3) for n in (60, 20)]
    for part, own in zip(("train", "test"), pictures, strict=True):
        savemat(
            root / f"{part}_32x32.mat",
            {"X": own.transpose(1, 2, 3, 0), "y": ((np.arange(len(own)) + 9) % 10 + 1)[:, None]},
        )
    return pictures[0], pictures[1]


def place_stl(root: Path) -> tuple[np.ndarray, np.ndarray]:
    base = root / "stl10_binary"
    base.mkdir(parents=True)
    pictures = [made_up(n, 96, 96, 3) for n in (30, 20)]
    for part, own in zip(("train", "test"), pictures, strict=True):
        (base / f"{part}_X.bin").write_bytes(own.transpose(0, 3, 2, 1).tobytes())
        (base / f"{part}_y.bin").write_bytes(
            (np.arange(len(own)) % 10 + 1).astype(np.uint8).tobytes()
        )
    (base / "class_names.txt").write_text("\n".join(f"class {c}" for c in range(10)))
    return pictures[0], pictures[1]


@pytest.mark.parametrize(
    "name", ["mnist", "kmnist", "fashion-mnist", "cifar10", "cifar100", "svhn", "stl10"]
)
def test_torchvisions_sets_are_read_from_its_own_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files in the sets' own formats with made-up pictures, so that only their checksums have to be
    believed.
    """
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
    own = DataSettings(name=name, resolution=28, store={"short_side": 96})
    pack = data.pack(own, data_dir=root)
    assert pack.parts == {"train": len(train), "test": len(test)}
    assert pack.channels == train.shape[3]
    assert pack.side == train.shape[1]
    assert len(pack.classes) == (100 if name == "cifar100" else 10)
    assert pack.labels.tolist() == [
        i % len(pack.classes) for n in (len(train), len(test)) for i in range(n)
    ]
    assert np.array_equal(pack.flat.reshape(-1, *train.shape[1:]), np.concatenate([train, test]))
    forget()
    shutil.rmtree(root)
    monkeypatch.setattr(
        sources, "contents", lambda *a: pytest.fail("a packed set needs its files no more")
    )
    assert data.pack(own).fingerprint == pack.fingerprint


def test_a_torchvision_set_without_files_or_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*a: Any, **k: Any) -> Any:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    for name in ("cifar100", "kmnist", "dtd"):
        with pytest.raises(
            UserError,
            match=(
                f"{name} is not in .*files, and downloading it failed: .*--data-dir or AUTOKD_DATA"
            ),
        ):
            data.pack(DataSettings(name=name, resolution=32), data_dir=tmp_path / "files")
    with pytest.raises(
        UserError, match="imagenet cannot be downloaded without an account.*ILSVRC2012_img_val.tar"
    ):
        data.pack(DataSettings(name="imagenet", resolution=32), data_dir=tmp_path / "files")
    monkeypatch.setattr(download, "WAITS", (0.0, 0.0))
    with pytest.raises(
        UserError,
        match="Name or service not known. Where there is no network, bring it as CINIC-10.tar.gz",
    ):
        data.pack(DataSettings(name="cinic10", resolution=32), data_dir=tmp_path / "files")


def test_dtd_has_its_official_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        data_names.SOURCES,
        "dtd",
        data_names.Source(
            "", files=True, counts=(("train", 8), ("validation", 4), ("test", 4)), classes=2
        ),
    )
    base = tmp_path / "dtd" / "dtd"
    (base / "labels").mkdir(parents=True)
    names = tree(base / "images", {"banded": 8, "dotted": 8}) and [
        f"{c}/{i:03}.png" for c in ("banded", "dotted") for i in range(8)
    ]
    for file, own in (("train", names[::2]), ("val", names[1::4]), ("test", names[3::4])):
        (base / "labels" / f"{file}1.txt").write_text("\n".join(own) + "\n")
    d = data.load(DataSettings(name="dtd", resolution=16), data_dir=tmp_path)
    assert (len(d.train), len(d.validation), len(d.read_test())) == (8, 4, 4)
    assert d.classes == ["banded", "dotted"]


def test_imagenet_is_read_as_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (
        tree(tmp_path / "imagenet" / "train", {"n01": 6, "n02": 6}),
        tree(tmp_path / "imagenet" / "val", {"n01": 2, "n02": 2}, seed=30),
    )
    own = DataSettings(name="imagenet", resolution=16)
    with pytest.raises(
        UserError,
        match=(
            r"this is not imagenet: it has 2 classes and 12 train \+ 4 test"
            r" pictures.*folder:.*imagenet"
        ),
    ):
        data.pack(own, data_dir=tmp_path)
    monkeypatch.setitem(
        data_names.SOURCES,
        "imagenet",
        data_names.Source("", files=True, counts=(("train", 12), ("test", 4)), classes=2),
    )
    assert data.pack(own, data_dir=tmp_path).parts == {"train": 12, "test": 4}
