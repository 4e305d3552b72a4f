"""A student whose head is a linear probe: fitted on its embeddings, never by a loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from autokd import networks, recipe
from autokd.errors import UserError
from autokd.train import prepare, probe
from autokd.train.store import Store

BASE = {
    "data": {"name": "digits", "limit": 150, "labelled": 60},
    "teacher": {"model": "cnn-3x16", "train": {"epochs": 3, "batch_size": 20}},
    "student": {"model": "cnn-2x8", "head": "probe"},
    "distill": {"losses": {"cosine": {"weight": 1.0}}},
    "train": {"epochs": 3, "batch_size": 30, "lr": 0.05},
}


def made(**changes: object) -> recipe.Recipe:
    return recipe.parse(BASE).with_({k.replace("__", "/"): v for k, v in changes.items()})


def test_its_head_is_the_probe_of_its_embeddings_and_no_loss_changes_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    run, last = prepare.train(made(), store)
    first = networks.build(
        "cnn-2x8",
        classes=10,
        channels=1,
        resolution=8,
        seed=run.recipe.seed,
        mean=run.data.mean,
        std=run.data.std,
    )
    own, drawn = (probe.linear_head(n)[0] for n in (run.student, first))
    assert torch.equal(own, drawn), "no loss reads the logits, so the trained head is the drawn one"
    body = {k: v for k, v in run.student.state_dict().items() if "classifier" not in k}
    with_head = run.result.state_dict()
    assert all(torch.equal(v, with_head[k]) for k, v in body.items())
    known = run.data.train.labels >= 0
    rows = known.nonzero()[:, 0]
    seen = probe.embeddings(run.result, run.data, rows, 8, "fp32", "cpu")
    theirs = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(
        seen, run.data.train.labels[known]
    )
    held = run.result.embedding(run.data.validation.pictures.float() / 255).detach()
    best = theirs.score(held, run.data.validation.labels)
    assert last["val/accuracy"] == pytest.approx(best, abs=0.08) and last["val/accuracy"] > 0.5


@pytest.mark.parametrize("ema", [None, 0.9])
def test_cold_warm_no_cache_and_resumed_are_the_same(ema: float | None, tmp_path: Path) -> None:
    r = made(train__ema=ema)
    store = Store(tmp_path / "cache")
    hashes = {networks.weights_hash(prepare.train(r, s)[0].result) for s in (store, Store(None))}
    run = prepare.start(r, Store(tmp_path / "cache"))
    run.epoch()
    run.save(tmp_path / "checkpoint.pt")
    again = prepare.start(r, store)
    again.restore(tmp_path / "checkpoint.pt")
    while not again.done:
        again.epoch()
    hashes.add(networks.weights_hash(again.result))
    again.save_student(tmp_path / "student.safetensors")
    plain = networks.build("cnn-2x8", classes=10, channels=1, resolution=8)
    networks.load_weights(plain, tmp_path / "student.safetensors")
    assert {*hashes, networks.weights_hash(plain)} == hashes and len(hashes) == 1


def test_a_head_that_nothing_trains_is_refused() -> None:
    with pytest.raises(UserError, match="student/head: must be probe: no loss reads"):
        made(student__head="own")
    alone = made(distill={"preset": "student-alone"})
    assert alone.fingerprint() != alone.with_({"student/head": "own"}).fingerprint()


def test_a_network_without_a_linear_last_layer_is_refused() -> None:
    r = made(student__model="torchvision:squeezenet1_1", data__resolution=32)
    with pytest.raises(UserError, match="student/head: probe needs a network whose last layer"):
        prepare.start(r, Store(None))
