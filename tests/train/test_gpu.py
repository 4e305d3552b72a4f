"""What a GPU must do: the numbers of a CPU within rounding, and its own bytes again, whatever is
cached or interrupted, with others on the same device.

``AUTOKD_GPU_TESTS_ON=cpu`` runs them on a CPU, so that the tests themselves are seen to run.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autokd import networks
from autokd.recipe import axes
from autokd.train import distill, prepare
from autokd.train.store import Store
from tests.helpers.runs import VARIANTS, made, student
from tests.methods.runs import made as changed

pytestmark = pytest.mark.gpu
DEVICE = os.environ.get("AUTOKD_GPU_TESTS_ON", "cuda")
NETWORKS = (
    *("cnn-3x16", "resnet20", "resnet8x4", "wrn-16-2", "vgg8", "mobilenetv2", "shufflenetv2"),
    *("plane-4", "torchvision:mobilenet_v3_small", "timm:vit_tiny_patch16_224"),
)


def small(name: str) -> dict[str, Any]:
    changes: dict[str, Any] = {"train/epochs": 1, "distill": {"preset": name}}
    return changes | ({"ladder": ["cnn-2x8"]} if name in ("takd", "dgkd", "ces-kd") else {})


def first_loss(run: distill.Run) -> float:
    found: list[float] = []
    step = run.step

    def watched(inputs: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        out = step(inputs)
        found.append(float(out[0].detach()))
        return out

    run.step = watched  # type: ignore[method-assign]
    run.epoch()
    return found[0]


@pytest.mark.parametrize("name", axes.presets())
def test_a_method_computes_what_it_does_on_a_cpu(name: str) -> None:
    """The loss of the first batch, of teachers with the same weights."""
    recipe = changed(small(name))
    here, there = (prepare.start(recipe, Store(None, device)) for device in ("cpu", DEVICE))
    for mine, theirs in zip(there.members, here.members, strict=True):
        mine.network.load_state_dict(theirs.network.state_dict())
    want, got = (first_loss(run) for run in (here, there))
    assert got == pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_computes_what_it_does_on_a_cpu(name: str) -> None:
    side = 224 if name.startswith("timm:") else 32
    network = networks.build(name, classes=10, resolution=side, seed=0).eval()
    pictures = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = network(pictures)
        got = network.to(DEVICE)(pictures.to(DEVICE)).cpu()
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3 * float(want.abs().max()))


@pytest.mark.parametrize("name", VARIANTS)
def test_cold_warm_and_no_cache_give_the_same_student(name: str, tmp_path: Path) -> None:
    r = made(*VARIANTS[name])
    without = student(r, Store(None, DEVICE))
    assert student(r, Store(tmp_path, DEVICE)) == without
    warm = Store(tmp_path, DEVICE)
    assert student(r, warm) == without
    assert warm.counts["networks trained"] == 0 and warm.counts["tables made"] == 0


@pytest.mark.parametrize("name", ["kd", "curriculum", "collaborative", "augmented"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_is_the_uninterrupted_one(name: str, precision: str, tmp_path: Path) -> None:
    r = made(*VARIANTS[name], f"train/precision={precision}")
    store = Store(tmp_path / "cache", DEVICE)
    whole, _ = prepare.train(r, store)
    half = prepare.start(r, store)
    half.epoch()
    half.save(tmp_path / "checkpoint.pt")
    resumed = prepare.start(r, store)
    resumed.restore(tmp_path / "checkpoint.pt")
    while not resumed.done:
        resumed.epoch()
    assert networks.weights_hash(resumed.student) == networks.weights_hash(whole.student)


def trained(name: str) -> str:
    return student(made(*VARIANTS[name]), Store(None, DEVICE))


def test_processes_that_share_a_device_train_the_same_students() -> None:
    names = ["kd", "mixup", "augmented", "kd"]
    alone = [trained(name) for name in names]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(trained, names, 1) == alone


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first batch of an epoch to its last step, waiting for the device is an error."""
    rendered = distill.rendered

    def watched(*args: Any) -> Iterator[dict[str, Any]]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield from rendered(*args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(distill, "rendered", watched)


@pytest.mark.skipif(DEVICE != "cuda", reason="no CUDA device to wait for")
@pytest.mark.parametrize("name", [*axes.presets(), "augmented"])
def test_no_step_waits_for_the_device(name: str, strict: None) -> None:
    recipe = made(*VARIANTS[name]) if name == "augmented" else changed(small(name))
    prepare.start(recipe, Store(None, DEVICE)).epoch()


@pytest.mark.skipif(DEVICE != "cuda", reason="no CUDA device to fill")
def test_a_device_that_is_full_ends_the_run_and_the_next_one_works() -> None:
    r = made(*VARIANTS["kd"])
    before = student(r, Store(None, DEVICE))
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            student(made("student/model=cnn-6x512", "data/resolution=32"), Store(None, DEVICE))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert student(r, Store(None, DEVICE)) == before
