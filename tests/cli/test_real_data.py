"""Real data sets, from their files to an answer; skipped where they are absent."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autokd import recipe
from autokd.study import ledger
from autokd.train import distill, prepare
from autokd.train.teachers import Store
from tests.helpers.commands import SHARED, autokd
from tests.helpers.pictures import PETS_SPACE

realdata = pytest.mark.realdata


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path


def trained(
    own: dict[str, Any],
    resolution: int,
    epochs: int,
    monkeypatch: pytest.MonkeyPatch,
    data_dir: Path,
) -> tuple[distill.Run, dict[str, float]]:
    monkeypatch.setenv("AUTOKD_DATA", str(data_dir))
    made = recipe.parse(
        {
            "data": own | {"resolution": resolution},
            "student": {"model": "cnn-2x16", "resolution": resolution},
            "distill": {"preset": "kd"},
            "teacher": {"model": "cnn-3x16", "train": {"epochs": 2, "batch_size": 20, "lr": 0.05}},
            "train": {"epochs": epochs, "batch_size": 20, "lr": 0.05},
        }
    )
    return prepare.train(made, Store(None))


def searched(name: str, data: str, resolution: int, where: Path) -> None:
    """A small search for a student that sees half the resolution, on the files in ``where``: all of
    it runs, to an answer on test.
    """
    work = where / "work"
    work.mkdir()
    (work / "base.yaml").write_text(
        f"data: {{name: {name!r}, resolution: {resolution}, {data}}}\n"
        "teacher: {model: cnn-2x8, train: {epochs: 1, batch_size: 50}}\n"
        f"student: {{model: cnn-2x8, resolution: {resolution // 2}}}\n"
        "distill: {preset: kd}\ntrain: {epochs: 2, batch_size: 50}\n"
    )
    (work / "space.yaml").write_text(PETS_SPACE)
    out = json.loads(
        autokd(
            *"search --space space.yaml --name real --jobs 1 --data-dir .. --json".split(), cwd=work
        ).stdout
    )
    table = ledger.read(work / "mlruns" / "studies" / "real")[1]
    assert out["states"] == {"complete": 2}
    assert Path(out["recipe"]).is_file()
    assert out["tests_read"] == 1
    assert 0 <= out["winner"]["test_mean"] <= 1
    assert {t.state for t in table.trials.values()} == {"complete"}


@pytest.mark.long
@realdata
def test_fashion_mnist_trains_and_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (shared("FashionMNIST") / "raw").glob("*.gz"):
        shutil.copy(file, raw)
    run, last = trained(
        {"name": "fashion-mnist", "limit": 1500, "validation": 0.05}, 28, 2, monkeypatch, tmp_path
    )
    assert run.data.summary["test"] == 10_000
    assert run.data.summary["validation"] == 3000
    assert run.data.channels == 1
    with gzip.open(raw / "t10k-images-idx3-ubyte.gz") as f:
        assert np.array_equal(
            run.data.read_test().pictures.numpy().reshape(-1),
            np.frombuffer(f.read()[16:], np.uint8),
        )
    assert run.data.classes[0] == "T-shirt/top" and last["val/accuracy"] > 0.3
    searched("fashion-mnist", "limit: 500, validation: 0.02", 28, tmp_path)


@realdata
def test_cifar100_trains_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(shared("cifar100-small.tar")) as t:
        t.extractall(tmp_path, filter="data")
    own = {
        "name": "folder:cifar100-small",
        "limit": 1000,
        "validation": 0.1,
        "augment": {"crop_padding": 4, "flip": True},
    }
    run, last = trained(own, 32, 2, monkeypatch, tmp_path)
    assert len(run.data.classes) == 100
    assert run.data.summary["test"] == 1000
    assert run.data.train.pictures.shape == (1000, 3, 32, 32)
    assert last["train/loss"] < 5 and 0 <= last["val/accuracy"] <= 1


@realdata
@pytest.mark.slow
def test_cifar100_is_searched_from_a_folder(tmp_path: Path) -> None:
    with tarfile.open(shared("cifar100-small.tar")) as t:
        t.extractall(tmp_path, filter="data")
    more = "limit: 500, validation: 0.1, augment: {crop_padding: 4, flip: true}"
    searched("folder:cifar100-small", more, 32, tmp_path)
