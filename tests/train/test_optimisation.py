"""The optimizer, its rates, clipping and the moving average, step by step against torch's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from autokd import networks, recipe
from autokd.recipe import TrainSettings
from autokd.train.averaging import MovingAverage
from autokd.train.optimisation import learning_rate, optimizer


def small() -> nn.Module:
    torch.manual_seed(0)
    # a bias here would have no gradient but rounding errors, which Adam makes steps of full size
    conv = nn.Conv2d(1, 4, 3, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def step(network: nn.Module, opt: torch.optim.Optimizer, i: int) -> None:
    torch.manual_seed(i)
    network(torch.randn(8, 1, 4, 4)).square().mean().backward()
    opt.step()
    opt.zero_grad()


def settings(**changes: Any) -> TrainSettings:
    return TrainSettings.model_validate(changes)


def test_the_average_is_torch_s_averaged_model() -> None:
    network = small()
    opt = torch.optim.SGD(network.parameters(), lr=0.1)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    ours = MovingAverage(network, 0.9)
    for i in range(5):
        step(network, opt, i)
        theirs.update_parameters(network)
        ours.update()
        expected = dict(theirs.module.named_parameters()) | dict(theirs.module.named_buffers())
        found = dict(ours.network.named_parameters()) | dict(ours.network.named_buffers())
        for name, value in expected.items():
            if value.is_floating_point():
                assert torch.equal(value, found[name]), name
    assert not torch.equal(network[0].weight, ours.network[0].weight)


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.3])
def test_one_cycle_is_torch_s_step_by_step(warmup: float) -> None:
    train, steps = settings(schedule="onecycle", warmup=warmup, lr=0.4), 50
    opt = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        opt, max_lr=0.4, total_steps=steps, pct_start=warmup, cycle_momentum=False
    )
    for i in range(steps):
        assert learning_rate(train, i, steps) == pytest.approx(opt.param_groups[0]["lr"], rel=1e-9)
        opt.step()
        if i < steps - 1:
            theirs.step()


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_a_warm_up_rises_in_equal_steps_from_the_first_on(schedule: str) -> None:
    train = settings(schedule=schedule, warmup=0.2, lr=0.3)
    rates = [learning_rate(train, i, 20) for i in range(5)]
    assert rates == pytest.approx([0.06, 0.12, 0.18, 0.24, 0.3])


def test_nesterov_betas_and_decay_reach_the_optimizer() -> None:
    network = small()
    parameters = list(network.parameters())
    sgd = optimizer(settings(nesterov=True, momentum=0.8), [network])
    assert sgd.defaults["nesterov"] and sgd.defaults["momentum"] == 0.8
    adamw = optimizer(settings(optimizer="adamw", betas=[0.8, 0.95]), [network])
    assert adamw.defaults["betas"] == (0.8, 0.95)
    apart = optimizer(settings(decay_norms=False, weight_decay=0.1), [network])
    decays = {id(p): g["weight_decay"] for g in apart.param_groups for p in g["params"]}
    assert len(decays) == len(parameters)
    for name, p in network.named_parameters():
        assert decays[id(p)] == (0.1 if p.ndim > 1 else 0.0), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet8", {"stem": 0, "stages.0": 1, "stages.1": 2, "stages.2": 3, "classifier": 4}),
        (
            "torchvision:resnet18",
            {"model.conv1": 0, "model.layer1.0": 1, "model.layer4.1": 8, "model.fc": 9},
        ),
        ("torchvision:mobilenet_v2", {"model.features.0": 0, "model.classifier": 19}),
    ],
)
def test_rates_fall_with_the_distance_from_the_classifier(
    name: str, expected: dict[str, int]
) -> None:
    network = networks.build(name, classes=10, resolution=32, seed=0)
    opt = optimizer(settings(layer_decay=0.5), [network, nn.Linear(3, 3)])
    scales = {id(p): g["scale"] for g in opt.param_groups for p in g["params"]}
    deepest = max(expected.values())
    for start, depth in expected.items():
        own = [p for n, p in network.named_parameters() if n.startswith(f"backbone.{start}.")]
        assert own and {scales[id(p)] for p in own} == {0.5 ** (deepest - depth)}, start
    assert len(scales) == len(list(network.parameters())) + 2


def test_rates_by_layer_are_timm_s() -> None:
    from timm.optim import param_groups_layer_decay

    network = networks.build("timm:vit_tiny_patch16_224", classes=10, resolution=224, seed=0)
    model = network.backbone.model
    theirs = {
        id(p): (g["lr_scale"], g["weight_decay"])
        for g in param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.75)
        for p in g["params"]
    }
    opt = optimizer(settings(layer_decay=0.75, weight_decay=0.05, decay_norms=False), [network])
    ours = {id(p): (g["scale"], g["weight_decay"]) for g in opt.param_groups for p in g["params"]}
    assert ours == theirs


@pytest.mark.parametrize(
    "changes", [{"nesterov": True}, {"optimizer": "adamw", "betas": [0.8, 0.95]}]
)
def test_a_step_is_the_unfused_step_of_torch(changes: dict[str, Any]) -> None:
    ours, theirs = small(), small()
    train = settings(lr=0.05, weight_decay=0.01, **changes)
    mine = optimizer(train, [ours])
    if train.optimizer == "sgd":
        reference: torch.optim.Optimizer = torch.optim.SGD(
            theirs.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01
        )
    else:
        reference = torch.optim.AdamW(
            theirs.parameters(), lr=0.05, betas=(0.8, 0.95), weight_decay=0.01
        )
    for i in range(4):
        step(ours, mine, i)
        step(theirs, reference, i)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_what_came_later_leaves_older_fingerprints_alone() -> None:
    plain = recipe.parse({})
    assert "ema" not in plain.effective()["train"]
    assert "ema" not in plain.effective()["teacher"]["train"]
    for path, value in {
        "ema": 0.99,
        "clip_norm": 1.0,
        "nesterov": True,
        "layer_decay": 0.8,
    }.items():
        assert plain.with_({f"train/{path}": value}).fingerprint() != plain.fingerprint()
    adamw = plain.with_({"train/optimizer": "adamw"})
    assert adamw.with_({"train/nesterov": True}).fingerprint() == adamw.fingerprint()
    assert adamw.with_({"train/betas": [0.8, 0.9]}).fingerprint() != adamw.fingerprint()


def test_a_copy_of_the_average_goes_on_where_it_was() -> None:
    network = small()
    opt = torch.optim.SGD(network.parameters(), lr=0.1)
    one = MovingAverage(network, 0.5)
    for i in range(3):
        step(network, opt, i)
        one.update()
    state = copy.deepcopy(one.state_dict())
    other = MovingAverage(network, 0.5)
    other.load_state_dict(state)
    step(network, opt, 3)
    one.update()
    other.update()
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)
