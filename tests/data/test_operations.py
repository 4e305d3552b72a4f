"""The operations of augmentation, against torchvision's functions on the same uint8 tensors."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, autoaugment
from torchvision.transforms import functional as T

from autokd.data.augmentation import geometry, policies
from autokd.data.augmentation.operations import NAMES, OPERATIONS, Step, done

THEIRS = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "saturation": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}


def samples(side: int, channels: int = 3) -> Tensor:
    """``[6, S, S, C]``: noise, few levels, faint, a ramp, one colour, and black but for a pixel."""
    g = np.random.default_rng(side)
    noise = g.integers(0, 256, (side, side, channels))
    y, x = np.mgrid[:side, :side]
    ramp = (x + 2 * y)[..., None] * np.array([1, 2, 3])[:channels] * 255 // (9 * side)
    dot = np.zeros_like(noise)
    dot[side // 2, side // 3] = 200
    made = [noise, noise // 40 * 40, noise // 8 + 100, ramp, np.full_like(noise, 77), dot]
    return torch.from_numpy(np.stack(made).astype(np.uint8))


def theirs(name: str, pictures: Tensor, magnitude: float) -> Tensor:
    """``[B, S, S, C]``: as torchvision's RandAugment does it, picture by picture."""
    nearest = InterpolationMode.NEAREST
    done = [
        autoaugment._apply_op(p, THEIRS[name], magnitude, nearest, None)
        for p in pictures.permute(0, 3, 1, 2)
    ]
    return torch.stack(done).permute(0, 2, 3, 1)


def sources(name: str, strength: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of a moved picture comes from: x and y, to far more than a pixel."""
    y, x = np.mgrid[:side, :side].astype(float)
    middle = (side - 1) / 2
    if name == "shear_x":
        return x + strength * (y + 0.5), y
    if name == "shear_y":
        return x, y + strength * (x + 0.5)
    cos, sin = math.cos(math.radians(strength)), math.sin(math.radians(strength))
    return (
        cos * (x - middle) - sin * (y - middle) + middle,
        sin * (x - middle) + cos * (y - middle) + middle,
    )


def halfway(name: str, strength: float, side: int) -> np.ndarray:
    """``[S, S]`` bool: the source lies between two pixels."""
    return np.logical_or.reduce([np.abs(v % 1 - 0.5) < 1e-3 for v in sources(name, strength, side)])


@pytest.mark.parametrize("policy", ["randaugment", "trivial_augment"])
@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize(("side", "channels"), [(8, 3), (33, 3), (32, 1), (224, 3), (331, 1)])
def test_operations_at_every_magnitude_are_torchvisions(
    name: str, policy: str, side: int, channels: int
) -> None:
    """Equal, of what torchvision's own tables of magnitudes name; but for the nearest of two pixels
    equally near, where its float32 decides.
    """
    if policy == "randaugment":
        ours = policies.randaugment()
        space = autoaugment.RandAugment()._augmentation_space(31, (side, side))
    else:
        ours = policies.trivial_augment(side)
        space = autoaugment.TrivialAugmentWide()._augmentation_space(31)
    assert list(ours) == list(THEIRS) and set(space) == set(THEIRS.values())
    magnitudes, signed = space[THEIRS[name]]
    assert ours[name].signed == signed
    pictures = samples(side, channels)
    bins = range(31) if side < 100 else (0, 9, 20, 30)
    for k in bins if magnitudes.ndim else [0]:
        for sign in (1, -1) if signed else (1,):
            magnitude = sign * float(magnitudes[k] if magnitudes.ndim else 0.0)
            strength = ours[name].around + sign * ours[name].values[k]
            made = OPERATIONS[name](pictures, np.full(6, strength))
            want = theirs(name, pictures, magnitude)
            if name in ("shear_x", "shear_y", "rotate"):
                sure = torch.from_numpy(~halfway(name, strength, side))
                assert sure.float().mean() > 0.7
                made, want = made[:, sure], want[:, sure]
            assert torch.equal(made, want), (k, sign)


@pytest.mark.parametrize("turn", [-0.5, -0.3, -0.05, 0.0, 0.01, 0.1, 0.5])
def test_hue_is_torchvisions(turn: float) -> None:
    """Within a level, and mostly the same: torchvision rounds its divisions by 255."""
    pictures = samples(64)
    want = T.adjust_hue(pictures.permute(0, 3, 1, 2), turn).permute(0, 2, 3, 1)
    apart = (OPERATIONS["hue"](pictures, np.full(6, turn)).int() - want.int()).abs()
    assert apart.max() <= 1 and (apart > 0).float().mean() < 1e-3
    if turn in (0.0, 0.5):
        assert apart.max() == 0


@pytest.mark.parametrize("name", ["hue", "saturation"])
def test_a_grey_picture_has_no_colours_to_change(name: str) -> None:
    pictures = samples(8, 1)
    assert torch.equal(OPERATIONS[name](pictures, np.full(6, 0.3)), pictures)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [7, 20])
def test_a_picture_s_bytes_do_not_depend_on_its_batch(name: str, side: int) -> None:
    pictures = torch.cat([samples(side), samples(side).flip(1)])
    before = pictures.clone()
    strengths = np.linspace(0.1, 0.5, 12) if name != "posterize" else np.arange(12) % 5 + 4.0
    whole = OPERATIONS[name](pictures, strengths)
    assert torch.equal(pictures, before)
    for i in range(12):
        alone = OPERATIONS[name](pictures[i : i + 1], strengths[i : i + 1])
        assert torch.equal(alone, whole[i : i + 1])


def test_a_small_picture_is_not_sharpened() -> None:
    pictures = samples(2)
    assert torch.equal(OPERATIONS["sharpness"](pictures, np.full(6, 1.9)), pictures)


def test_steps_follow_each_other_and_leave_pictures_in_their_places() -> None:
    g = np.random.default_rng(0)
    pictures = torch.cat([samples(9) for _ in range(5)])
    kinds, rows = g.integers(0, len(NAMES), (3, 40)), g.permutation(40)[:30]
    strengths = np.where(kinds == NAMES.index("posterize"), 5.0, g.uniform(0.1, 0.5, (3, 40)))
    made = done(pictures, [Step(*step) for step in zip(kinds, strengths, strict=True)], rows)
    for i, row in enumerate(rows):
        want = pictures[i : i + 1]
        for step in range(3):
            operation = OPERATIONS[NAMES[kinds[step, row]]]
            want = operation(want, strengths[step, row : row + 1])
        assert torch.equal(made[i : i + 1], want)


@pytest.mark.parametrize("columns", [False, True])
def test_both_forms_of_moving_lines_agree(columns: bool) -> None:
    """The slices for CPUs and the gather for GPUs, both on the CPU."""
    pictures = samples(20)
    shifts = np.random.default_rng(1).integers(-25, 26, (6, 20)).astype(np.int32)
    shifts[0] = 3
    shifts[1] = np.arange(20) // 4 - 2
    one = geometry.copied(pictures, shifts, columns=columns)
    assert torch.equal(one, geometry.gathered(pictures, shifts, columns=columns))


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_computes_the_same(name: str) -> None:
    torch.use_deterministic_algorithms(True)
    pictures = samples(32)
    strengths = np.linspace(0.1, 0.5, 6) if name != "posterize" else np.arange(6) % 5 + 4.0
    operation: Callable[[Tensor, np.ndarray], Tensor] = OPERATIONS[name]
    there = operation(pictures.cuda(), strengths).cpu()
    assert (there.int() - operation(pictures, strengths).int()).abs().max() <= (name == "hue")
