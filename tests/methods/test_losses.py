"""The methods: formulas against numbers derived without our code, properties, and equalities of
whole runs.

The references below are NumPy and plain Python in float64, written from METHODS' formulas row by
row; no torch function and none of ours takes part in them. What all methods have in common is
checked by ``conformance``.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from autokd import networks
from autokd.recipe import axes
from tests.methods.reference import (
    CLASSES,
    ROWS,
    Z_S,
    Z_T,
    Y,
    loss,
    softmax,
    tensor,
    words,
)


def test_by_hand() -> None:
    """p = (½, ½), q = (¼, ¾): ½ ln 2 + ½ ln ⅔. And for three classes, DKD's two parts."""
    log = {
        k: torch.tensor([v], dtype=torch.float64).log()
        for k, v in {"p": [0.5, 0.5], "q": [0.25, 0.75]}.items()
    }
    assert loss(
        "kl", {"student_logits": log["q"], "log_probs": log["p"], "tau": 1.0}
    ) == pytest.approx(0.14384103622589045)
    log = {
        k: torch.tensor([v], dtype=torch.float64).log()
        for k, v in {"p": [0.5, 0.25, 0.25], "q": [0.25, 0.25, 0.5]}.items()
    }
    given = words(
        1.0,
        student_logits=log["q"],
        log_probs=log["p"],
        labels=torch.tensor([0]),
        partner_labels=torch.tensor([0]),
    )
    given["mix_weight"] = torch.ones(1, dtype=torch.float64)
    # ½ ln 2 + ½ ln ⅔ and ½ ln 3/2 + ½ ln ¾
    target, others = (0.14384103622589045, 0.05889151782819174)
    assert loss("dkd", given, warmup=0.0) == pytest.approx(target + 8 * others)
    assert loss("dkd", given | {"epoch": 4}, alpha=2.0, beta=3.0, warmup=20.0) == pytest.approx(
        (2 * target + 3 * others) / 4
    )


def test_ce_of_faint_labels_is_bounded() -> None:
    """One label that stands for a hundredth of a picture does not speak for the batch."""
    given = words(
        labels=torch.tensor([3] + [-1] * 5),
        partner_labels=torch.full((6,), -1),
        mix_weight=tensor(np.full(6, 0.01)),
    )
    assert loss("ce", given) == pytest.approx(-0.01 * math.log(softmax(Z_S[0])[3]))


def test_lskd_leaves_the_scale_free() -> None:
    assert loss("lskd", words(student_logits=5 * tensor(Z_T) + 3)) == pytest.approx(0, abs=1e-10)


def test_rkd_forgets_size_and_turn() -> None:
    given = words()
    turn = np.linalg.qr(np.sin(np.arange(25.0)).reshape(5, 5))[0]
    given["student_embedding"] = 7 * given["teacher_embedding"] @ torch.tensor(turn) + 2
    assert loss("rkd_distance", given) == pytest.approx(0, abs=1e-12)
    assert loss("rkd_angle", given) == pytest.approx(0, abs=1e-12)


def test_attention_takes_three_stages_at_most() -> None:
    given = words()
    given["student_stages"] = given["teacher_stages"][:1] + tuple(
        s + 1 for s in given["teacher_stages"][1:]
    )
    apart = loss("attention", given)
    given["student_stages"] = (given["teacher_stages"][0] + 9, *given["student_stages"][1:])
    assert loss("attention", given) == apart > 0


def test_fitnets_regressor_fits_any_two_networks() -> None:
    for student, teacher in (
        ("cnn-1x3", "cnn-5x6"),
        ("cnn-3x8", "resnet8"),
        ("wrn-16-1", "mobilenetv2"),
    ):
        nets = [
            networks.build(name, classes=10, channels=1, resolution=8, seed=0)
            for name in (student, teacher)
        ]
        before = [networks.weights_hash(net) for net in nets]
        module = axes.method("losses", "fitnets").flags["build_modules"](*nets, (1, 4, 8))
        assert [networks.weights_hash(net) for net in nets] == before, (
            "the dry run must leave batch statistics alone"
        )
        assert all(net.training for net in nets)
        stages = [
            net.features(torch.rand(3, 1, size, size)).stages
            for net, size in zip(nets, (4, 8), strict=True)
        ]
        given = {"student_stages": stages[0], "teacher_stages": stages[1], "modules": module}
        assert math.isfinite(loss("fitnets", given))


def test_fitnets_regressor_is_that_of_the_benchmarks() -> None:
    """Convolution, BatchNorm over batch and places, ReLU: as mdistiller's ConvReg."""
    nets = [
        networks.build(name, classes=10, channels=1, resolution=8, seed=0)
        for name in ("cnn-3x8", "cnn-3x16")
    ]
    module = axes.method("losses", "fitnets").flags["build_modules"](*nets, (1, 8, 8))
    maps = torch.randn(6, 8, 4, 4)
    weight, bias = (p.detach().numpy() for p in module[0].parameters())
    linear = np.einsum("oc,bchw->bohw", weight[:, :, 0, 0], maps.numpy())
    linear += bias[None, :, None, None]
    mean = linear.mean((0, 2, 3), keepdims=True)
    deviation = np.sqrt(linear.var((0, 2, 3), keepdims=True) + 1e-5)
    expected = np.maximum((linear - mean) / deviation, 0)
    np.testing.assert_allclose(module(maps).detach().numpy(), expected, atol=1e-5)


def test_hot_limit_is_centred_logit_matching() -> None:
    """τ² KL → ‖centred difference‖² / 2C; DKD's second part the same over the classes that are not
    the true one.
    """
    tau = 1e4
    difference = [(t - t.mean()) - (s - s.mean()) for t, s in zip(Z_T, Z_S, strict=True)]
    assert loss("kl", words(tau)) == pytest.approx(
        np.mean([d @ d for d in difference]) / (2 * CLASSES), rel=1e-3
    )
    without = [np.delete(Z_T[i] - Z_S[i], Y[i]) for i in range(ROWS) if Y[i] >= 0]
    plain = words(tau, partner_labels=tensor(Y), mix_weight=torch.ones(ROWS, dtype=torch.float64))
    limit = np.mean([((d - d.mean()) ** 2).sum() for d in without]) / (2 * (CLASSES - 1))
    assert loss("dkd", plain, alpha=0.0, beta=1.0, warmup=0.0) == pytest.approx(limit, rel=1e-3)
