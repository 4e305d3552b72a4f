"""One run: the same recipe gives the same bytes, whatever is cached, interrupted or set in the
environment.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from autokd import networks
from autokd.train import distill, prepare
from autokd.train.store import Store
from tests.helpers.commands import python
from tests.helpers.runs import VARIANTS, made, student


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


@pytest.mark.parametrize("name", ["kd", "curriculum", "collaborative", "mixup", "augmented"])
def test_a_resumed_run_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    r = made(*VARIANTS[name])
    store = Store(tmp_path / "cache")
    whole, metrics = prepare.train(r, store)
    half = prepare.start(r, store)
    half.epoch()
    half.epoch()
    half.save(tmp_path / "checkpoint.pt")
    resumed = prepare.start(r, store)
    resumed.restore(tmp_path / "checkpoint.pt")
    last = {}
    while not resumed.done:
        last = resumed.epoch()
    assert networks.weights_hash(resumed.student) == networks.weights_hash(whole.student)
    assert last == metrics
    with pytest.raises(ValueError, match="another recipe"):
        prepare.start(made("train/lr=0.01"), store).restore(tmp_path / "checkpoint.pt")


def test_seed_is_the_student_s_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = student(made(), store)
    two = student(made("seed=1"), store)
    assert one != two
    # another seed has the same teacher, and the same tables
    assert store.counts["networks trained"] == 1
    assert store.counts["tables made"] == 4 + 1  # one an epoch, and validation


@pytest.mark.parametrize("threads", ["1", "4"])
def test_the_environment_s_threads_change_nothing(threads: str, tmp_path: Path) -> None:
    program = """
        import torch
        from tests.helpers.runs import made, student
        print(student(made("train/epochs=2")), torch.get_num_threads())
    """
    done = python(program, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [student(made("train/epochs=2")), "1"]


def test_a_table_does_not_depend_on_the_student(tmp_path: Path) -> None:
    store = Store(tmp_path)
    student(made(), store)
    before = dict(store.counts)
    student(
        made(
            "train/batch_size=10",
            "student/resolution=4",
            "student/model=cnn-2x16",
            "train/lr=0.01",
            "train/threads=2",
        ),
        store,
    )
    assert store.counts["tables made"] == before["tables made"]


def test_a_run_that_is_not_finite_ends_in_that_epoch() -> None:
    run = prepare.start(made("train/lr=1e6"), Store(None))
    with pytest.raises(distill.Diverged) as e:
        for _ in range(4):
            run.epoch()
    assert e.value.epoch <= 1


def test_teachers_are_frozen_and_in_evaluation_mode(tmp_path: Path) -> None:
    run = prepare.start(made("distill={preset: at}"), Store(tmp_path))
    before = networks.weights_hash(run.members[-1].network)
    run.epoch()
    network = run.members[-1].network
    assert not network.training and networks.weights_hash(network) == before
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


def test_a_file_s_teacher_sees_pictures_as_it_was_trained_to(tmp_path: Path) -> None:
    trained = prepare.start(made(), Store(tmp_path)).members[-1].network
    # as other programs write it: without a normalisation
    save_file(networks.state(trained.backbone), tmp_path / "backbone.safetensors")
    save_file(networks.state(trained), tmp_path / "whole.safetensors")  # ours, with its own
    pictures = torch.rand(5, 1, 8, 8)

    def logits(file: str, *sets: str) -> torch.Tensor:
        r = made(f"teacher/weights={tmp_path / file}", "teacher/train=null", *sets)
        keys.append(r.member_keys())
        return prepare.start(r, Store(tmp_path)).members[-1].network(pictures)

    keys: list[list[str]] = []
    own = logits("backbone.safetensors")
    other = logits("backbone.safetensors", "teacher/mean=[0.1]", "teacher/std=[0.5]")
    whole = logits("whole.safetensors")
    assert torch.equal(own, trained(pictures))
    assert torch.equal(whole, own)
    assert not torch.allclose(own, other)
    assert torch.allclose(other, trained.backbone((pictures - 0.1) / 0.5)) and keys[0] != keys[1]
    # of no account for one that is trained here
    assert made("teacher/mean=[0.1]").fingerprint() == made().fingerprint()


def test_the_cache_s_files_say_what_they_are(tmp_path: Path) -> None:
    student(made(), Store(tmp_path))
    whats = set()
    for path in tmp_path.rglob("*.safetensors"):
        with safe_open(str(path), "pt") as f:
            whats.add(f.metadata()["what"])
    assert "cnn-3x16, epoch 0" in whats
    # a network's: the recipe that trains it
    assert "cnn-3x16" in {json.loads(w)["student"]["model"] for w in whats if w.startswith("{")}
