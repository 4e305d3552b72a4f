"""One step of a run, recomputed from the teachers' tables and the student's logits alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from autokd.data.views import Mix
from autokd.train import prepare
from tests.methods.cases import CASES, NOISY_LABELS
from tests.methods.conformance import registered
from tests.methods.reference import divergence, softmax
from tests.methods.runs import STORE, TWO, made, scratch_of, setting, trained
from tests.methods.words import assert_close, epoch_words

ONE_STEP = {"data/limit": 20, "train/epochs": 1}  # one batch of 20
KL_ALONE = {"kl": {"weight": 0.7}}
STEPS: dict[str, dict[str, Any]] = {
    "kd": {"distill/losses": KL_ALONE},
    "low resolution": {"distill/losses": KL_ALONE, "student/resolution": 4},
    "teacher sees the student's": {
        "distill/losses": KL_ALONE,
        "student/resolution": 4,
        "teacher/input": "student",
    },
    "takd": {"distill/losses": KL_ALONE, "distill/teaching": {"kind": "chain"}, "ladder": TWO},
    "dgkd": {"distill/losses": KL_ALONE, "distill/teaching": {"kind": "dense"}, "ladder": TWO},
    "ces-kd": {
        "distill/losses": KL_ALONE,
        "distill/teaching": {"kind": "curriculum", "warm": 0},
        "ladder": TWO,
    },
    "virtual": {"distill/losses": KL_ALONE, "distill/view": {"kind": "mixup"}},
    "blend": {"distill/losses": KL_ALONE, "distill/view": {"kind": "mixup", "teacher": "blend"}},
    "all at once": {
        "distill/losses": KL_ALONE,
        "distill/view": {"kind": "mixup", "teacher": "blend"},
        "distill/target": {"kind": "shift"},
        "distill/teaching": {"kind": "curriculum", "warm": 0},
        "ladder": TWO,
        "student/resolution": 4,
        "distill/temperature": {"kind": "constant", "tau": 2.0},
        **NOISY_LABELS,
        "teacher/train/epochs": 3,
        "data/limit": 60,
        "train/batch_size": 60,
    },
}


@pytest.mark.parametrize("changes", STEPS.values(), ids=STEPS.keys())
def test_one_step_recomputed(changes: dict[str, Any]) -> None:
    """The first loss of a run, from the teachers' tables and the student's logits alone, row by
    row.
    """
    recipe = made(ONE_STEP | changes)
    run = prepare.start(recipe, STORE)
    views, n = run._views(0), len(run.data.train)
    labels = run.data.train.labels.tolist()
    teaching, view = recipe.methods.teaching, recipe.methods.view
    own = {
        "uniforms": views.uniforms,
        "epoch": 0,
        "labels": run.data.train.labels,
        "members": len(run.members),
    }
    given = epoch_words() | own
    drawn = view(given)
    mix = Mix(drawn[0].numpy(), *drawn[1:]) if drawn else None
    parts = bool(mix and mix.teacher_sees == "parts")
    tables = [m.table(views, None if parts else mix).double().numpy() for m in run.members]
    given["first_logits"] = torch.stack([m.table(views, None) for m in run.members])
    who = teaching(given).tolist()
    tau = recipe.distill["temperature"]["tau"]
    run.student.train()
    z = run.student(views.render(torch.arange(n), recipe.resolution, mix)).detach().double().numpy()

    def answer(member: int, i: int) -> Any:
        row = tables[member][i].copy()
        top, y = int(row.argmax()), labels[i]
        if recipe.distill["target"]["kind"] == "shift" and top != y:
            row[top], row[y] = row[y], row[top]
        return np.array(softmax(row / tau))

    values = []
    for row in who:
        for i in range(n):
            p = answer(row[i], i)
            if parts and mix:
                w = float(mix.weight[i])
                p = w * p + (1 - w) * answer(row[i], int(mix.partner[i]))
            values.append(tau**2 * divergence(p, softmax(z[i] / tau)))
    assert prepare.start(recipe, STORE).epoch()["train/loss"] == pytest.approx(
        0.7 * np.mean(values), rel=1e-4
    )
    if "all at once" in STEPS and changes is STEPS["all at once"]:
        assert len(set(who[0])) == 3
        assert any(int(t[i].argmax()) != labels[i] for t in tables for i in range(n))


@pytest.mark.parametrize("kind", [kind for axis, kind in registered() if axis == "losses"])
def test_continuous_in_its_weight(kind: str) -> None:
    """The first step's loss and gradient are linear in each weight, down to and at 0."""
    context = CASES["losses", kind].context.get("", {})
    losses, students = {}, {}
    for weight in (0.0, 1e-3, 1.0):
        changes = (
            setting("losses", kind, "weight", weight, context)
            | ONE_STEP
            | {"data/augment/crop_padding": 0}
        )
        run, metrics = trained(changes)
        losses[weight] = metrics["train/loss"]
        trained_networks = [network for network in (run.student, scratch_of(run)) if network]
        students[weight] = torch.cat(
            [p.detach().flatten().double() for net in trained_networks for p in net.parameters()]
        )
    assert losses[1e-3] - losses[0.0] == pytest.approx(
        1e-3 * (losses[1.0] - losses[0.0]), rel=1e-2, abs=2e-6
    )
    moved = students[1.0] - students[0.0]
    assert_close(students[1e-3] - students[0.0], 1e-3 * moved, rtol=1e-2, atol=1e-6)
    assert moved.abs().max() > 1e-6


def test_a_lone_last_picture_is_in_no_batch() -> None:
    """41 pictures in batches of 20: one is left over, and what is decided by batch must not look
    for its batch.
    """
    for changes in (
        {"distill/preset": "function-matching"},
        {"distill/preset": "dgkd", "distill/teaching/stochastic": True, "ladder": TWO},
    ):
        assert math.isfinite(trained(changes | {"data/limit": 41})[1]["train/loss"])


def test_blend_stays_blend_beside_losses_that_run_the_teacher() -> None:
    block = {"losses": {"kl": {"weight": 1.0}}, "view": {"kind": "mixup", "teacher": "blend"}}
    beside = {**block, "losses": {"kl": {"weight": 1.0}, "attention": {"weight": 1e-12}}}
    assert (
        trained({"distill": beside} | ONE_STEP)[1]["train/kl"]
        == trained({"distill": block} | ONE_STEP)[1]["train/kl"]
    )
