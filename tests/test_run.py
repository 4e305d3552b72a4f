"""One run: the same recipe gives the same bytes, whatever is cached, interrupted or set in the environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from autokd import data, distill, models, recipe, rng
from autokd.document import UserError
from autokd.recipe import Recipe
from autokd.store import Store
from autokd.views import Views
from tests.conftest import RECIPE


def made(*sets: str) -> Recipe:
    from autokd.document import parse

    doc = parse(RECIPE)
    recipe.override(doc, sets)
    return recipe.parse(doc.data, doc)


def student(r: Recipe, store: Store | None = None) -> str:
    run, _ = distill.train(r, store or Store(None))
    return models.weights_hash(run.student)


VARIANTS = {
    "kd": (),
    "dtd": ("distill={preset: dtd}",),
    "cwsm": ("distill={preset: dtd-cwsm}",),
    "ladder": ("distill={preset: takd}", "ladder=[cnn-3x8, cnn-2x8]"),
    "dense": ("distill={preset: dgkd, teaching: {stochastic: true}}", "ladder=[cnn-3x8]"),
    "curriculum": ("distill={preset: ces-kd}", "ladder=[cnn-3x8]"),
    "mixup": ("distill={preset: stkd}",),
    "blend": ("distill={preset: stkd, view: {teacher: blend}, target: {kind: shift}}",),
    "crop": ("data/augment/crop_padding=1", "data/augment/flip=true"),
    "noisy": ("data/label_noise=0.3", "distill={preset: ka}"),
    "few labels": ("data/labelled=40",),
    "attention": ("distill={preset: at}",),
    "collaborative": ("distill={preset: ctkd}",),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_cold_warm_and_no_cache_give_the_same_student(name: str, tmp_path: Path) -> None:
    r = made(*VARIANTS[name])
    without = student(r)
    cold, warm = Store(tmp_path), Store(tmp_path)
    assert student(r, cold) == without
    assert cold.counts["networks trained"] == len(r.members())
    assert student(r, warm) == without
    assert warm.counts["networks trained"] == 0 and warm.counts["tables made"] == 0


def test_a_damaged_or_truncated_table_is_made_again(tmp_path: Path) -> None:
    r = made()
    first = student(r, Store(tmp_path))
    tables = sorted((tmp_path / "tables").rglob("*.safetensors"))
    assert len(tables) >= 4
    raw = bytearray(tables[0].read_bytes())
    raw[-3] ^= 1
    tables[0].write_bytes(raw)
    tables[1].write_bytes(tables[1].read_bytes()[:-20])
    tables[2].write_bytes(b"")
    again = Store(tmp_path)
    assert student(r, again) == first
    assert again.counts["tables made"] == 3
    assert not list(tmp_path.rglob(".part-*"))


@pytest.mark.parametrize("name", ["kd", "curriculum", "collaborative", "mixup"])
def test_a_resumed_run_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    r = made(*VARIANTS[name])
    store = Store(tmp_path / "cache")
    whole, metrics = distill.train(r, store)
    half = distill.Run(r, store)
    half.epoch()
    half.epoch()
    half.save(tmp_path / "checkpoint.pt")
    resumed = distill.Run(r, store)
    resumed.restore(tmp_path / "checkpoint.pt")
    last = {}
    while not resumed.done:
        last = resumed.epoch()
    assert models.weights_hash(resumed.student) == models.weights_hash(whole.student)
    assert last == metrics
    with pytest.raises(ValueError, match="another recipe"):
        distill.Run(made("train/lr=0.01"), store).restore(tmp_path / "checkpoint.pt")


def test_seed_is_the_student_s_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, two = student(made(), store), student(made("seed=1"), store)
    assert one != two
    assert store.counts["networks trained"] == 1  # another seed has the same teacher, and the same tables
    assert store.counts["tables made"] == 4 + 1  # one an epoch, and validation


@pytest.mark.parametrize("threads", ["1", "4"])
def test_the_environment_s_threads_change_nothing(threads: str, tmp_path: Path) -> None:
    program = "from tests.test_run import made, student\nimport torch\nprint(student(made('train/epochs=2')), torch.get_num_threads())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parent.parent,
        env={"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [student(made("train/epochs=2")), "1"]


def test_a_table_does_not_depend_on_the_student(tmp_path: Path) -> None:
    store = Store(tmp_path)
    student(made(), store)
    before = dict(store.counts)
    student(made("train/batch_size=10", "student/resolution=4", "student/model=cnn-2x16", "train/lr=0.01", "train/threads=2"), store)
    assert store.counts["tables made"] == before["tables made"]


def test_a_run_that_is_not_finite_ends_in_that_epoch() -> None:
    run = distill.Run(made("train/lr=1e6"), Store(None))
    with pytest.raises(distill.Diverged) as e:
        for _ in range(4):
            run.epoch()
    assert e.value.epoch <= 1


def test_views_are_a_pure_function_of_seed_epoch_and_picture() -> None:
    r = made("data/augment/crop_padding=1", "data/augment/flip=true")
    pictures = data.load(r.data).train.pictures
    views = Views(pictures, r.data.augment, 0, 3)
    rows = torch.tensor([5, 17, 60])
    one = views.render(rows, 8)
    assert torch.equal(one[1:2], views.render(torch.tensor([17]), 8))
    assert torch.equal(one, Views(pictures, r.data.augment, 0, 3).render(rows, 8))
    assert not torch.equal(one, Views(pictures, r.data.augment, 0, 4).render(rows, 8))
    assert not torch.equal(one, Views(pictures, r.data.augment, 1, 3).render(rows, 8))
    # every view is one of the 9 crops, as it is or flipped, of the padded picture
    padded = torch.nn.functional.pad(pictures, (1,) * 4).float() / 255
    for row, view in zip(rows, one, strict=True):
        crops = [padded[row, :, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
        assert any(torch.equal(view, c) or torch.equal(view, c.flip(2)) for c in crops)


def test_draws_differ_by_purpose_and_do_not_depend_on_how_many_there_are() -> None:
    assert (rng.uniforms(0, "crop", 0, 10) == rng.uniforms(0, "crop", 0, 20)[:10]).all()
    assert (rng.uniforms(0, "crop", 0, 10) != rng.uniforms(0, "flip", 0, 10)).all()
    assert sorted(rng.permutation(0, "order", 0, 50)) == list(range(50))


def test_the_split_is_stratified_disjoint_and_fixed() -> None:
    spec = made("data/limit=null").data
    d = data.load(spec)
    test = d.read_test()
    assert len(d.train) + len(d.validation) + len(test) == 1797
    for part in (d.train, d.validation, test):
        counts = torch.bincount(part.labels).float()
        assert counts.min() / counts.max() > 0.85
    fewer = data.load(made("data/limit=100").data)
    assert torch.equal(fewer.validation.pictures, d.validation.pictures)  # a limit takes from the training pictures alone
    assert fewer.fingerprint != d.fingerprint and torch.bincount(fewer.train.labels).tolist() == [10] * 10
    labelled = data.load(made("data/labelled=30").data)
    assert (labelled.train.labels >= 0).sum() == 30
    noisy = data.load(made("data/limit=null", "data/label_noise=0.4").data)
    assert 0.36 < (noisy.train.labels != d.train.labels).float().mean() < 0.44
    with pytest.raises(UserError, match="data/limit"):
        data.load(made("data/limit=5000").data)


def test_teachers_are_frozen_and_in_evaluation_mode(tmp_path: Path) -> None:
    run = distill.Run(made("distill={preset: at}"), Store(tmp_path))
    before = models.weights_hash(run.members[-1].network)
    run.epoch()
    network = run.members[-1].network
    assert not network.training and models.weights_hash(network) == before
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


def test_a_file_s_teacher_sees_pictures_as_it_was_trained_to(tmp_path: Path) -> None:
    trained = distill.Run(made(), Store(tmp_path)).members[-1].network
    save_file(models.state(trained.backbone), tmp_path / "backbone.safetensors")  # as other programs write it: without a normalisation
    save_file(models.state(trained), tmp_path / "whole.safetensors")  # ours, with its own
    pictures = torch.rand(5, 1, 8, 8)

    def logits(file: str, *sets: str) -> torch.Tensor:
        r = made(f"teacher/weights={tmp_path / file}", *sets)
        keys.append(r.member_keys())
        return distill.Run(r, Store(tmp_path)).members[-1].network(pictures)

    keys: list[list[str]] = []
    own, other, whole = logits("backbone.safetensors"), logits("backbone.safetensors", "teacher/mean=[0.1]", "teacher/std=[0.5]"), logits("whole.safetensors")
    assert torch.equal(own, trained(pictures)) and torch.equal(whole, own) and not torch.allclose(own, other)
    assert torch.allclose(other, trained.backbone((pictures - 0.1) / 0.5)) and keys[0] != keys[1]
    assert made("teacher/mean=[0.1]").fingerprint() == made().fingerprint()  # of no account for one that is trained here


def test_the_cache_s_files_say_what_they_are(tmp_path: Path) -> None:
    student(made(), Store(tmp_path))
    whats = set()
    for path in tmp_path.rglob("*.safetensors"):
        with safe_open(str(path), "pt") as f:
            whats.add(f.metadata()["what"])
    assert "cnn-3x16, epoch 0" in whats
    assert "cnn-3x16" in {json.loads(w)["student"]["model"] for w in whats if w.startswith("{")}  # a network's: the recipe that trains it
