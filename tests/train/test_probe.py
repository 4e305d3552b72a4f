"""Linear probes on frozen embeddings: the solver, the strength, and networks without classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor

from autokd import recipe
from autokd.data.splits import stratified
from autokd.errors import UserError
from autokd.train import metrics, prepare, probe
from autokd.train.store import Store
from tests.helpers.commands import SHARED
from tests.helpers.runs import made, student
from tests.networks import hubs
from tests.train.stores import tables


def blobs(n: int = 300, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    centres = torch.randn(3, 12, generator=draw).double()
    return centres[labels] + noise * torch.randn(n, 12, generator=draw).double(), labels


@pytest.mark.parametrize("strength", [1.0, 1e-2])
def test_the_solution_is_scikit_learn_s(strength: float) -> None:
    x, labels = blobs()
    ((weight, bias),) = probe._solve(x, labels, 3, [strength])
    theirs = LogisticRegression(C=1 / (strength * len(x)), tol=1e-10, max_iter=10_000)
    theirs.fit(x.numpy(), labels.numpy())
    np.testing.assert_allclose(weight.numpy(), theirs.coef_, atol=2e-4)
    centred = bias - bias.mean()  # biases are free up to a constant
    np.testing.assert_allclose(centred, theirs.intercept_ - theirs.intercept_.mean(), atol=2e-4)


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_the_strength_is_the_one_under_which_held_out_pictures_are_likeliest(noise: float) -> None:
    x, labels = blobs(noise=noise)
    held = stratified(labels.numpy(), 60, 0, "probe/held")
    losses = {}
    for strength in probe.STRENGTHS:
        theirs = LogisticRegression(C=1 / (strength * (~held).sum()), tol=1e-8, max_iter=10_000)
        theirs.fit(x.numpy()[~held], labels.numpy()[~held])
        losses[strength] = log_loss(labels.numpy()[held], theirs.predict_proba(x.numpy()[held]))
    chosen = probe._strength(x, labels, 3)
    assert losses[chosen] == pytest.approx(min(losses.values()), abs=1e-4)


def test_the_fit_does_not_depend_on_the_embeddings_scale() -> None:
    x, labels = blobs()
    scale = torch.logspace(-3, 3, 12).double()
    one = probe.fit(x.float(), labels, 3)
    two = probe.fit((x * scale + 5).float(), labels, 3)
    logits = [x.float() @ one[0].T + one[1], (x * scale + 5).float() @ two[0].T + two[1]]
    torch.testing.assert_close(*(z.softmax(1) for z in logits), atol=2e-3, rtol=0)


def test_a_class_with_one_picture_holds_none_out() -> None:
    x, labels = blobs(31)
    labels[labels == 2] = torch.tensor([2] + [0] * (int((labels == 2).sum()) - 1))
    weight, bias = probe.fit(x.float(), labels, 3)
    assert torch.isfinite(weight).all() and torch.isfinite(bias).all()


VIT = ("teacher/model=timm:test_vit", "teacher/weights=pretrained", "teacher/train=null")


@pytest.fixture
def vit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny ViT without classes, as the hub's client has fetched it."""
    hubs.empty(tmp_path, monkeypatch)
    torch.manual_seed(0)
    hubs.publish(tmp_path, "test_vit", timm.create_model("test_vit", num_classes=0))
    about = timm.get_pretrained_cfg("test_vit")
    assert about is not None
    headless = dataclasses.replace(about, num_classes=0)
    for name in ("test_vit", "test_vit.r160_in1k"):
        monkeypatch.setitem(timm.models._registry._model_pretrained_cfgs, name, headless)


def test_a_network_without_classes_teaches_by_its_probe_alone(vit: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no head, .* fine-tune it .*`head: probe`"):
        prepare.start(made(*VIT, "teacher/side=32"), Store(None))
    r = made(*VIT, "teacher/head=probe", "teacher/side=32", "data/augment/flip=true")
    run = prepare.start(r, Store(tmp_path / "cache"))
    (teacher,) = run.members
    network = teacher.network
    assert network.side == 32 and len(network.mean) == 3
    seen = run.data.validation.pictures.float() / 255
    with torch.inference_mode():
        embedding = network.embedding(seen)
        linear = network.backbone.probe
        logits = embedding @ linear.weight.T + linear.bias
        torch.testing.assert_close(network(seen), logits)
        torch.testing.assert_close(network.features(seen).embedding, embedding)
    found = metrics.evaluate(teacher.validation(), run.data.validation.labels)["accuracy"]
    theirs = LogisticRegression(max_iter=2000)
    plain = probe.embeddings(
        network, run.data, torch.arange(len(run.data.train)), 8, "fp32", "cpu"
    ).numpy()
    theirs.fit(plain, run.data.train.labels.numpy())
    assert abs(found - theirs.score(embedding.numpy(), run.data.validation.labels)) < 0.15
    assert found > 0.3  # of ten classes, by random features
    run.epoch()
    view = run._views(0).render(torch.arange(20), 8, None)
    with torch.inference_mode():
        expected = network(view)
    found_table = teacher.table(run._views(0), None)[:20].float()
    torch.testing.assert_close(found_table, expected, atol=5e-3, rtol=2e-3)
    assert tables(tmp_path / "cache")


def test_its_own_size_is_what_its_weights_were_published_for(vit: None) -> None:
    r = made(*VIT, "teacher/head=probe", "data/limit=20")
    (teacher,) = prepare.start(r, Store(None)).members
    assert teacher.network.side == 160 and teacher.resolution == 8


@pytest.mark.parametrize("preset", ["kd", "rkd"])
def test_cold_warm_and_no_cache_give_the_same_student(
    vit: None, tmp_path: Path, preset: str
) -> None:
    sets = (*VIT, "teacher/head=probe", "teacher/side=32", f"distill={{preset: {preset}}}")
    r = made(*sets, "train/epochs=2")
    without = student(r)
    cold, warm = Store(tmp_path / "cache"), Store(tmp_path / "cache")
    assert student(r, cold) == without
    assert cold.counts["networks trained"] == 1
    assert student(r, warm) == without
    assert warm.counts["networks trained"] == 0 and warm.counts["tables made"] == 0


def test_what_a_probe_goes_with() -> None:
    for sets, rule in (
        (("teacher/train={epochs: 1}",), "teacher/train: must be left out beside head: probe"),
        (("teacher/train=null", "teacher/weights=random"), "teaches nothing"),
    ):
        with pytest.raises(UserError, match=rule):
            made(*VIT[:2], "teacher/head=probe", *sets)


@pytest.mark.long
@pytest.mark.realdata
@pytest.mark.skipif(
    not (SHARED / "FashionMNIST").exists(), reason="shared/data/FashionMNIST is absent"
)
def test_a_tiny_vit_without_classes_teaches_a_cnn_on_fashion_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its probe's logits alone: the student sees no label. Random features of 64 px reached
    0.573 when this was written, and the student 0.40.
    """
    hubs.empty(tmp_path, monkeypatch)
    monkeypatch.setenv("AUTOKD_DATA", str(SHARED))
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    vit = timm.create_model("test_vit", num_classes=0, img_size=64)
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    r = recipe.parse(
        {
            "data": {"name": "fashion-mnist", "resolution": 28, "limit": 600, "validation": 0.01},
            "teacher": {
                "model": "timm:test_vit",
                "weights": str(tmp_path / "vit.safetensors"),
                "head": "probe",
                "side": 64,
            },
            "student": {"model": "cnn-3x16"},
            "distill": {"losses": {"kl": {"weight": 1.0}}},
            "train": {"epochs": 6, "batch_size": 32, "lr": 0.1},
        }
    )
    run, last = prepare.train(r, Store(None))
    assert run.members[-1].measured()["accuracy"] > 0.5
    assert last["val/accuracy"] > 0.25  # of ten classes
