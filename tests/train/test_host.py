"""Inside of an epoch nothing asks the device for a number: on a GPU that would have the host wait
for all that is queued, and the device for the host.

There is no GPU here, so a mode stands in for one: what reads a tensor's numbers is refused, while
the forms that GPUs take are put in the place of those for CPUs. The same on a GPU, by
``torch.cuda.set_sync_debug_mode``, is in ``test_gpu.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from autokd.data.augmentation import geometry
from autokd.data.views import Views
from autokd.recipe import axes
from autokd.train import distill, prepare
from tests.methods.runs import SMALL, STORE, made

ASKS = {
    *("item", "tolist", "numpy", "cpu", "nonzero", "unique", "__bool__", "__int__", "__float__"),
    *("__index__", "__array__", "masked_select", "equal", "allclose", "is_nonzero"),
}


class Refused(AssertionError):
    pass


class Device(TorchFunctionMode):
    """Refuses what would wait for a GPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in ASKS:
            raise Refused(f"{name} asks the device")
        if name == "__getitem__" and any(
            isinstance(i, torch.Tensor) and i.dtype == torch.bool
            for i in (args[1] if isinstance(args[1], tuple) else (args[1],))
        ):
            raise Refused("a mask as index asks the device how much it selects")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first batch of an epoch to its last step."""
    rendered = distill.rendered

    def watched(*args: Any) -> Iterator[dict[str, Any]]:
        with Device():
            yield from rendered(*args)

    def windowed(views: Views, index: Any) -> Any:
        return views._windowed(torch.from_numpy(index))

    monkeypatch.setattr(distill, "rendered", watched)
    monkeypatch.setattr(Views, "_pasted", windowed)
    monkeypatch.setattr(geometry, "copied", geometry.gathered)


AUGMENTED = {
    "data/augment/flip": True,
    "data/augment/color_jitter": {"brightness": 0.4, "contrast": 0.4},
    "data/augment/randaugment": {"operations": 2, "magnitude": 9},
    "data/augment/erasing": {"probability": 0.5},
}
CHANGES: dict[str, dict[str, Any]] = {
    **{name: {"distill": {"preset": name}} for name in axes.presets()},
    "augmented": AUGMENTED,
    "augmented mixup": {**AUGMENTED, "distill/view": {"kind": "mixup"}},
    "cutmix, parts": {"distill/view": {"kind": "cutmix", "teacher": "blend"}},
    "clipped": {"train/clip_norm": 1.0, "train/ema": 0.9},
    "adamw": {"train/optimizer": "adamw", "train/schedule": "onecycle"},
    "smooth": {"distill/target": {"kind": "smooth"}},
    "labelled": {"data/labelled": 20},
}


@pytest.mark.parametrize("name", CHANGES)
def test_no_step_asks_the_device(name: str, device: None) -> None:
    changes: dict[str, Any] = {"train/epochs": 1, **CHANGES[name]}
    if name in ("takd", "dgkd", "ces-kd"):
        changes["ladder"] = ["cnn-2x8"]
    run = prepare.start(made(changes, SMALL), STORE)
    run.epoch()


def test_the_mode_sees_what_asks(device: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepare.start(made({"train/epochs": 1}, SMALL), STORE)
    step = distill.Run.step
    monkeypatch.setattr(
        distill.Run,
        "step",
        lambda self, inputs: [step(self, inputs), inputs["labels"].max().item()][0],
    )
    with pytest.raises(Refused, match="item"):
        run.epoch()
