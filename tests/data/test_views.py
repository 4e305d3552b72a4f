"""Views: pure functions of seed, epoch, picture and purpose; the same on every path that renders
them.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from autokd import data, rng
from autokd.data import views as views_module
from autokd.data.gathers import crop_all
from autokd.data.views import Mix, Pictures, Views, resize
from autokd.recipe import Augment, ColorJitter, Erasing, RandAugment, ResizedCrop
from tests.helpers.runs import made


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


CROP = ResizedCrop(scale=[0.08, 1.0])
AUGMENTS = {
    "none": Augment(),
    "flip": Augment(flip=True),
    "crop": Augment(crop_padding=2),
    "crop and flip": Augment(crop_padding=4, flip=True),
    "resized crop": Augment(flip=True, random_resized_crop=CROP),
}
EVERYTHING = {
    "color_jitter": ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    "erasing": Erasing(probability=0.5),
}
AUGMENTED = {
    "crop and operations": Augment(
        crop_padding=2, flip=True, randaugment=RandAugment(operations=2), **EVERYTHING
    ),
    "resized crop and an operation": Augment(
        random_resized_crop=CROP, trivial_augment=True, **EVERYTHING
    ),
}


def squares(n: int = 40, channels: int = 3, side: int = 12) -> Tensor:
    return torch.randint(
        0,
        256,
        (n, channels, side, side),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(3),
    )


def ragged(
    n: int = 30, channels: int = 3, short: int = 20, device: str = "cpu", seed: int = 5
) -> Pictures:
    """Smooth pictures of many shapes, as a pack holds them."""
    g = np.random.default_rng(seed)
    sizes = np.stack([g.integers(short - 4, short + 1, n), g.integers(short - 4, 2 * short, n)], 1)
    sizes[::2] = sizes[::2, ::-1]
    flat = []
    for h, w in sizes:
        y, x = np.mgrid[:h, :w]
        waves = [
            127 + 120 * np.sin(g.uniform(0.2, 0.9) * x + g.uniform(0.2, 0.9) * y + c)
            for c in range(channels)
        ]
        flat.append(np.stack(waves, 2).astype(np.uint8).reshape(-1))
    starts = np.concatenate([[0], np.cumsum([f.size for f in flat])[:-1]])
    whole = np.concatenate(flat)
    return Pictures(
        whole if device == "cpu" else torch.from_numpy(whole).to(device),
        starts,
        sizes,
        channels,
        device,
    )


@pytest.mark.parametrize("kind", ["equal", "ragged"])
@pytest.mark.parametrize("name", [*AUGMENTS, *AUGMENTED])
def test_a_view_does_not_depend_on_who_else_is_rendered(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = squares() if kind == "equal" else ragged()
    augment = (AUGMENTS | AUGMENTED)[name]
    views = Views(pictures, augment, seed=1, epoch=2)
    rows = torch.arange(len(pictures))
    whole = views.render(rows, 10)
    assert whole.shape == (len(pictures), 3, 10, 10)
    assert whole.dtype == torch.float32
    assert 0 <= whole.min()
    assert whole.max() <= 1
    shuffled = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    for size, piece in ((7, 1 << 16), (1, 1 << 16), (30, 600)):
        monkeypatch.setitem(views_module.PIECE, "cpu", piece)
        again = torch.cat(
            [Views(pictures, augment, 1, 2).render(chunk, 10) for chunk in shuffled.split(size)]
        )
        assert torch.equal(again, whole[shuffled])
    if name != "none":
        assert not torch.equal(Views(pictures, augment, 1, 3).render(rows, 10), whole)
        assert not torch.equal(Views(pictures, augment, 2, 2).render(rows, 10), whole)


@pytest.mark.parametrize("name", [*AUGMENTS, *AUGMENTED])
def test_mixing_moves_no_crop(name: str) -> None:
    pictures = squares()
    rows, partner = torch.arange(40), torch.arange(40).flip(0)
    weight = torch.linspace(0, 1, 40)
    views = Views(pictures, (AUGMENTS | AUGMENTED)[name], 0, 0)
    own = views.render(rows, 12)
    w = weight[:, None, None, None]
    assert torch.allclose(
        views.render(rows, 12, Mix(partner, weight, "mixed")),
        w * own + (1 - w) * own[partner],
        atol=1e-6,
    )


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding", [1, 4, 20])
def test_padded_crops_are_windows_of_the_padded_picture(padding: int, flip: bool) -> None:
    pictures = squares(60)
    views = Views(pictures, Augment(crop_padding=padding, flip=flip), 7, 1)
    shown = views.render(torch.arange(60), 12)
    # what a GPU does, and a CPU
    assert torch.equal(views._windowed(torch.arange(60)), views._pasted(torch.arange(60)))
    padded = F.pad(pictures, (padding,) * 4)
    offsets = (rng.uniforms(7, "crop", 1, 60, 2) * (2 * padding + 1)).astype(int)
    flips = rng.uniforms(7, "flip", 1, 60)[:, 0] < 0.5
    for i, (y, x) in enumerate(offsets):
        window = padded[i, :, y : y + 12, x : x + 12]
        window = window.flip(2) if flip and flips[i] else window
        assert torch.equal(shown[i], window.float() / 255)


@pytest.mark.parametrize("name", AUGMENTS)
@pytest.mark.parametrize("resolution", [12, 8])
def test_equal_squares_look_the_same_from_a_pack(name: str, resolution: int) -> None:
    pictures = squares()
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    hwc = np.ascontiguousarray(pictures.permute(0, 2, 3, 1).numpy()).reshape(-1)
    packed = Pictures(hwc, np.arange(40) * 432, np.tile([12, 12], (40, 1)), 3, "cpu")
    assert torch.equal(packed[rows], pictures[rows])
    assert torch.equal(packed.float(), pictures.float())
    assert packed.shape == pictures.shape
    tensor, stored = (
        Views(p, AUGMENTS[name], 3, 0).render(rows, resolution) for p in (pictures, packed)
    )
    # Resizing rounds to whole levels, and works on two layouts: one level apart at most.
    assert (
        torch.equal(tensor, stored)
        if name != "resized crop"
        else (tensor - stored).abs().max() <= 1.01 / 255
    )


def test_without_augmentation_a_picture_of_any_aspect_shows_its_central_square() -> None:
    pictures = ragged()
    whole = pictures[torch.arange(30)]
    assert whole.shape == (30, 3, 20, 20) and whole.dtype == torch.uint8
    for i, (h, w) in enumerate(pictures.sizes):
        if min(h, w) == 20:
            stored = torch.from_numpy(pictures.stored(i).copy()).permute(2, 0, 1)
            top, left = (h - 20) // 2, (w - 20) // 2
            assert torch.equal(whole[i], stored[:, top : top + 20, left : left + 20])
    assert torch.equal(
        Views(pictures, Augment(), 0, 0).render(torch.arange(30), 10),
        resize(whole.float() / 255, 10),
    )


def test_padded_crops_of_a_long_picture_reach_its_ends() -> None:
    pixels = np.zeros((10, 40, 1), np.uint8)
    pixels[:, :, 0] = np.arange(40)
    pictures = Pictures(
        np.tile(pixels.reshape(-1), 400),
        np.arange(400) * 400,
        np.tile([10, 40], (400, 1)),
        1,
        "cpu",
    )
    views = Views(pictures, Augment(crop_padding=1), 0, 0)
    assert set(views.boxes[:, 1]) == set(range(-1, 32)) and set(views.boxes[:, 0]) == {-1, 0, 1}
    assert (views.boxes[:, 2:] == 10).all()  # type: ignore[index]
    shown = (views.render(torch.arange(400), 10) * 255).round()
    row = int(np.flatnonzero(views.boxes[:, 1] == 31)[0])  # type: ignore[index]
    assert shown[row, 0, 5].tolist() == [31.0, *range(32, 40), 0.0]


def test_resized_crops_are_torchvisions() -> None:
    """Boxes have the distribution of torchvision's, and a box is rendered as Pillow does."""
    from PIL import Image
    from torchvision.transforms import RandomResizedCrop
    from torchvision.transforms import functional as T

    n = 3000
    h = 40
    w = 60
    pictures = Pictures(
        np.zeros(h * w, np.uint8), np.zeros(n, np.int64), np.tile([h, w], (n, 1)), 1, "cpu"
    )
    boxes = Views(pictures, Augment(random_resized_crop=CROP), 0, 0).boxes
    assert boxes is not None
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 0] + boxes[:, 2] <= h).all()
    assert (boxes[:, 1] + boxes[:, 3] <= w).all()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = np.array(
            [
                RandomResizedCrop.get_params(torch.zeros(1, h, w), [0.08, 1.0], [0.75, 1.3333])
                for _ in range(n)
            ]
        )
    for figure in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2], lambda b: b[:, 0]):
        ours, others = figure(boxes), figure(theirs)
        spread = np.hypot(ours.std(), others.std()) / n**0.5
        assert abs(ours.mean() - others.mean()) < 4 * spread
        assert np.abs(
            np.quantile(ours, [0.1, 0.5, 0.9]) - np.quantile(others, [0.1, 0.5, 0.9])
        ).max() < 0.1 * np.ptp(others)

    smooth = ragged()
    views = Views(smooth, Augment(random_resized_crop=CROP), 4, 1)
    shown = (views.render(torch.arange(30), 16) * 255).round()
    for i, (top, left, height, width) in enumerate(views.boxes.tolist()):
        image = T.resized_crop(
            Image.fromarray(smooth.stored(i)), top, left, height, width, [16, 16]
        )
        assert (T.pil_to_tensor(image).float() - shown[i]).abs().max() <= 1


def test_a_picture_too_long_for_any_box_shows_its_middle() -> None:
    pictures = Pictures(
        np.zeros(10 * 200, np.uint8), np.zeros(1, np.int64), np.array([[10, 200]]), 1, "cpu"
    )
    views = Views(pictures, Augment(random_resized_crop=ResizedCrop(scale=[0.9, 1.0])), 0, 0)
    assert views.boxes.tolist() == [[0, 93, 10, 13]]  # type: ignore[union-attr]


@pytest.mark.parametrize("planar", [False, True])
def test_gathers_cut_what_the_loop_cuts(planar: bool) -> None:
    """The pass for GPUs, run on the CPU: within a level of the loop, and free of the batch."""
    pictures = Pictures.of(squares(30, side=20)) if planar else ragged()
    g = np.random.default_rng(0)
    boxes = np.stack(
        [
            g.integers(-3, 9, 30),
            g.integers(-3, 9, 30),
            g.integers(4, 16, 30),
            g.integers(4, 16, 30),
        ],
        1,
    )
    boxes[:5] = [0, 0, 11, 11]
    flips = g.random(30) < 0.5
    for size in (11, 5, 24):
        loop = pictures.crop(torch.arange(30), boxes, flips, size)
        flat = torch.from_numpy(np.asarray(pictures.flat))
        args = (pictures.starts, pictures.sizes, boxes, flips)
        gathers = crop_all(flat, *args, 3, size, planar)
        assert gathers.dtype == torch.uint8 and (gathers.int() - loop.int()).abs().max() <= 2
        assert (gathers.int() - loop.int()).abs().float().mean() < 0.3
        few = [3, 11, 20]
        assert torch.equal(crop_all(flat, *(a[few] for a in args), 3, size, planar), gathers[few])
    assert torch.equal(gathers[:0], pictures.crop(torch.arange(0), boxes, flips, 24))
    # copied, not resized
    assert torch.equal(
        crop_all(flat, *(a[:5] for a in args), 3, 11, planar),
        pictures.crop(torch.arange(5), boxes, flips, 11),
    )


def test_every_role_renders_the_same_view() -> None:
    """What a student sees small is what the teacher sees large."""
    pictures = ragged(short=64)
    views = Views(pictures, AUGMENTS["resized crop"], 0, 0)
    small = views.render(torch.arange(30), 16)
    large = views.render(torch.arange(30), 64)
    assert (resize(large, 16) - small).abs().mean() < 0.02


@pytest.mark.gpu
@pytest.mark.parametrize("name", AUGMENTS)
@pytest.mark.parametrize("kind", ["equal", "ragged", "mapped"])
def test_a_gpu_shows_the_same_views(name: str, kind: str) -> None:
    torch.use_deterministic_algorithms(True)
    rows = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    if kind == "equal":
        here, there = squares(30), squares(30).cuda()
    else:
        here, there = ragged(), ragged(device="cuda")
        if kind == "mapped":
            there = Pictures(here.flat, here.starts, here.sizes, 3, "cuda")
    cpu, gpu = (Views(p, AUGMENTS[name], 0, 1) for p in (here, there))
    for size in (12, 9):
        want, got = cpu.render(rows, size), gpu.render(rows, size)
        assert got.device.type == "cuda"
        assert (got.cpu() - want).abs().max() < (
            2.1 / 255 if name == "resized crop" or kind != "equal" else 1e-5
        )
        assert torch.equal(gpu.render(rows[:7], size), got[:7])
