"""What a table of teacher logits depends on, and how often who is asked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from autokd import networks
from autokd.data.views import Mix, Views
from autokd.train import batches, distill, prepare, teachers
from autokd.train.store import Store
from tests.helpers.runs import made, student
from tests.train.stores import tables


@pytest.mark.parametrize(
    "setting", ["train/batch_size=10", "train/threads=2", "student/resolution=4"]
)
def test_a_table_s_bytes_do_not_depend_on_the_student_s(setting: str, tmp_path: Path) -> None:
    for root, sets in (("one", ()), ("two", (setting,))):
        student(made("data/augment/crop_padding=1", *sets), Store(tmp_path / root))
    one, two = (tables(tmp_path / root) for root in ("one", "two"))
    assert [p.relative_to(tmp_path / "one") for p in one] == [
        p.relative_to(tmp_path / "two") for p in two
    ]
    assert len(one) == 5
    for a, b in zip(one, two, strict=True):
        assert torch.equal(
            load_file(a)["logits"].view(torch.int16), load_file(b)["logits"].view(torch.int16)
        )


def passes(r: distill.Recipe) -> dict[str, int]:
    """Pictures that went through each teacher in one epoch, in epochs' worth of training pictures
    (validation left out).
    """
    run = prepare.start(r, Store(None))
    for member in run.members:
        member.validation()
    seen = dict.fromkeys((m.name for m in run.members), 0)
    for member in run.members:
        features = member.network.features

        def counted(
            pictures: torch.Tensor, name: str = member.name, features: Callable[..., Any] = features
        ) -> Any:
            seen[name] += len(pictures)
            return features(pictures)

        def forward(pictures: torch.Tensor, counted: Callable[..., Any] = counted) -> torch.Tensor:
            return counted(pictures).logits

        member.network.features = counted
        member.network.forward = forward
    run.epoch()
    return seen


RKD = "losses: {ce: {}, kl: {}, rkd_distance: {weight: 25.0}}"
BOTH = "losses: {ce: {}, kl: {}, attention: {weight: 10.0}}"


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (
            (f"distill={{{BOTH}}}",),
            {"cnn-3x16": 100},
        ),  # features and logits: one pass, of the very batches
        (
            ("distill={preset: kd}",),
            {"cnn-3x16": teachers.BATCH},
        ),  # logits alone: one table, of padded batches
        (
            (f"distill={{{BOTH}, teaching: {{kind: dense}}}}", "ladder=[cnn-3x8]"),
            {"cnn-3x8": teachers.BATCH, "cnn-3x16": 100},
        ),
        ((f"distill={{{BOTH}, view: {{kind: mixup}}}}",), {"cnn-3x16": 100}),
        # embeddings and logits: one table
        (("distill={preset: rkd}",), {"cnn-3x16": teachers.BATCH}),
        (("distill={preset: rkd}", "teacher/embedding=online"), {"cnn-3x16": 100}),
        # of mixed pictures; and the logits of their parts
        ((f"distill={{{RKD}, view: {{kind: mixup, teacher: blend}}}}",), {"cnn-3x16": 512}),
    ],
)
def test_a_teacher_is_run_once_where_features_and_logits_are_needed(
    sets: tuple[str, ...], expected: dict[str, int]
) -> None:
    assert passes(made(*sets)) == expected


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("train/precision=bf16",),
        ("train/optimizer=adamw", "train/lr=0.002"),
        ("distill/view={kind: mixup}",),
        ("train/batch_size=33",),
    ],
)
def test_a_tabled_scratch_teacher_teaches_as_one_trained_beside_the_student(
    more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    r = made("distill={preset: ctkd}", *more)
    tabled, metrics = prepare.train(r, Store(None))
    assert tabled.trajectory and not tabled.scratch
    # A loss of no weight that reads the scratch teacher's maps makes no difference but that the run
    # trains it beside the student.
    monkeypatch.setattr(type(r), "reads", property(lambda r: {"scratch_stages"}))
    beside, others = prepare.train(r, Store(None))
    assert beside.scratch and not beside.trajectory
    assert networks.weights_hash(tabled.student) == networks.weights_hash(beside.student)
    assert "val/scratch_accuracy" in metrics
    assert metrics == others


@pytest.mark.parametrize(
    ("sets", "table"),
    [
        (("distill={preset: ctkd}",), True),
        (("distill={preset: ctkd-scratch}",), False),
        (("distill={preset: ctkd-scratch}", "distill/losses/scratch_attention/weight=0"), True),
        (
            (
                "distill={preset: ctkd}",
                "distill/teaching/share_stem=true",
                "student/model=cnn-2x16",
            ),
            False,
        ),
    ],
)
def test_only_a_scratch_teacher_that_the_student_cannot_reach_is_tabled(
    sets: tuple[str, ...], table: bool
) -> None:
    assert bool(prepare.start(made(*sets), Store(None)).trajectory) == table


def test_a_trajectory_is_trained_once_for_all_students_and_again_for_another_order(
    tmp_path: Path,
) -> None:
    s = Store(tmp_path)
    student(made("distill={preset: ctkd}"), s)
    run, _ = prepare.train(
        made(
            "distill={preset: ctkd}",
            "distill/losses/scratch_l2/weight=0.1",
            "student/model=cnn-2x16",
        ),
        s,
    )
    assert run.trajectory and run.trajectory.run is None  # nothing of it was trained again
    other, _ = prepare.train(made("distill={preset: ctkd}", "train/batch_size=10"), s)
    assert other.trajectory and other.trajectory.run is not None


def test_what_augments_views_is_part_of_a_table_s_address() -> None:
    """What was not there before is not in the address while it is off."""
    plain = made("data/augment/flip=true")
    before = {
        "crop_padding": 0,
        "flip": True,
        "random_resized_crop": {"scale": None, "ratio": [0.75, 1.3333]},
    }
    assert teachers.augmentation(plain) == before
    erased = made("data/augment/flip=true", "data/augment/erasing/probability=0.5")
    assert teachers.augmentation(erased) == before | {"erasing": {"probability": 0.5}}
    trivial = made("data/augment/flip=true", "data/augment/trivial_augment=true")
    more = {"trivial_augment": True, "side": 8}  # of which its 32 pixels are a share
    assert teachers.augmentation(trivial) == before | more


def test_tables_of_other_boxes_are_other_tables(tmp_path: Path) -> None:
    run = prepare.start(made(), Store(tmp_path))
    member, views = run.members[-1], Views(run.data.train.pictures, run.recipe.data.augment, 0, 0)
    n = len(run.data.train)
    partner, weight = np.arange(n)[::-1], torch.full((n,), 0.75)
    found = []
    for corner in (0.0, 0.5):
        boxes = torch.tensor([[corner, corner, corner + 0.5, corner + 0.5]]).repeat(n, 1)
        found.append(member.table(views, Mix(partner, weight, "mixed", boxes), {}))
    found.append(member.table(views, Mix(partner, weight, "mixed"), {}))
    assert len(tables(tmp_path)) == 3
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(found, 2))


def test_views_of_another_epoch_are_another_table(tmp_path: Path) -> None:
    run = prepare.start(made("data/augment/flip=true"), Store(tmp_path))
    member = run.members[-1]
    pictures = run.data.train.pictures
    one, two = (member.table(Views(pictures, run.recipe.data.augment, 0, e), None) for e in (0, 1))
    assert one.dtype == torch.float16 and not torch.equal(one, two)
    # of one view setting
    assert len(tables(tmp_path)) == 2
    assert len({p.parent for p in tables(tmp_path)}) == 1


@pytest.mark.parametrize("view", ["plain", "mixup", "mixup, teacher: blend"])
def test_a_table_of_embeddings_is_what_the_teacher_says_of_these_views(
    view: str, tmp_path: Path
) -> None:
    sets = (
        "data/augment/flip=true",
        "teacher/table=fp32",
        f"distill={{{RKD}, view: {{kind: {view}}}}}",
    )
    tabled = prepare.start(made(*sets), Store(tmp_path))
    online = prepare.start(made(*sets, "teacher/embedding=online"), Store(None))
    one, two = tabled._plan(1, lambda *_: None), online._plan(1, lambda *_: None)  # type: ignore[arg-type]
    assert two.embeddings is None and one.embeddings is not None
    for mine, theirs in zip(rendered(one, tabled), rendered(two, online), strict=True):
        told, asked = tabled._ask_teachers(one, mine), online._ask_teachers(two, theirs)
        torch.testing.assert_close(told["teacher_embedding"], asked["teacher_embedding"])
        for own, other in zip(told["answers"], asked["answers"], strict=True):
            for a, b in zip(own, other, strict=True):
                torch.testing.assert_close(a.logits, b.logits, atol=1e-4, rtol=1e-4)


def rendered(plan: batches.Plan, run: distill.Run) -> Any:
    sees = run.recipe.teacher_resolution
    return batches.rendered(plan, run.data.train.labels, run.recipe.resolution, sees)
