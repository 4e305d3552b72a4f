"""Small runs on digits, for what only a whole run can show."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from autokd import networks, recipe
from autokd.recipe import axes
from autokd.recipe.axes import Axis
from autokd.recipe.document import put
from autokd.train import distill, prepare
from autokd.train.teachers import Store
from tests.methods.cases import CASES
from tests.methods.conformance import registered

TEACHER_TRAIN = {"epochs": 12, "batch_size": 20, "lr": 0.05}
SMALL: dict[str, Any] = {
    "data": {"name": "digits", "resolution": 8, "limit": 40, "augment": {"crop_padding": 1}},
    "teacher": {"model": "cnn-3x8", "train": TEACHER_TRAIN},
    "ladder_train": TEACHER_TRAIN,
    "student": {"model": "cnn-2x8"},
    "train": {
        "epochs": 2,
        "batch_size": 20,
        "lr": 0.05,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "schedule": "constant",
    },
}
STORE = Store(None)  # in memory, shared, so that each teacher is trained once


def made(changes: Mapping[str, Any], base: Mapping[str, Any] = SMALL) -> recipe.Recipe:
    """``base`` with ``{"a/b": value}`` changed, checked."""
    data = copy.deepcopy(dict(base))
    for path, value in changes.items():
        put(data, path, copy.deepcopy(value))
    return recipe.parse(data)


def trained(
    changes: Mapping[str, Any], base: Mapping[str, Any] = SMALL
) -> tuple[distill.Run, dict[str, float]]:
    return prepare.train(made(changes, base), STORE)


def student_hash(changes: Mapping[str, Any], base: Mapping[str, Any] = SMALL) -> str:
    return networks.weights_hash(trained(changes, base)[0].student)


def student_weights(changes: Mapping[str, Any], base: Mapping[str, Any] = SMALL) -> Tensor:
    """All parameters of the trained student in one row."""
    return torch.cat(
        [p.detach().flatten().double() for p in trained(changes, base)[0].student.parameters()]
    )


def setting(
    axis: Axis, kind: str, name: str, value: Any, context: Mapping[str, Any]
) -> dict[str, Any]:
    """Recipe changes that put one hyperparameter of one method at one value."""
    if axis == "losses":
        changes = (
            {"distill/losses": {"ce": {}, "kl": {}} | {kind: {}}}
            | dict(context)
            | {f"distill/losses/{kind}/{name}": value}
        )
    else:
        changes = (
            {f"distill/{axis}": {"kind": kind}} | dict(context) | {f"distill/{axis}/{name}": value}
        )
    return changes


def hyperparameters() -> list[tuple[Axis, str, str]]:
    return [
        (axis, kind, name)
        for axis, kind in registered()
        for name in axes.method(axis, kind).defaults
    ]


def values_to_try(axis: Axis, kind: str, name: str) -> list[Any]:
    """Values of one hyperparameter that must all make a difference, the default first."""
    case, m = CASES[axis, kind], axes.method(axis, kind)
    default = m.defaults[name]
    schema = m.schema.model_json_schema()["properties"][name]
    if name in case.values:
        return [default, case.values[name]]
    if "enum" in schema:
        return [default, *(v for v in schema["enum"] if v != default)]
    if schema["type"] == "boolean":
        return [default, not default]
    assert schema["type"] in ("number", "integer"), (
        f"{axis}/{kind}/{name}: give a second value in CASES"
    )
    other = 2 * default or min(schema.get("maximum", 1.0), 1.0)
    return [default, type(default)(other)]


TWO = ["cnn-3x6", "cnn-2x8"]


def scratch_of(run: distill.Run) -> networks.Network | None:
    """The scratch teacher as the run left it: the one beside the student, or the trajectory's,
    trained as far where it came from tables.
    """
    if run.scratch or not run.trajectory:
        return run.scratch
    own = run.trajectory.run or run.trajectory.start()
    while own.next_epoch < run.next_epoch:
        own.epoch()
    return own.student


PRESETS = sorted(axes.presets())
