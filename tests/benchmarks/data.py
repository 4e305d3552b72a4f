"""How fast pictures are packed and views rendered, as ratios to torchvision, side by side in one
process.

    python -m tests.benchmarks.data            # about two minutes, on idle cores

Views: CPU time of one thread for batches of 64 pictures in the memory format that networks take,
against torchvision's transforms on decoded PIL pictures and a stack; with and without
normalisation, which here is the network's. Packing: wall time of 5,000 PNGs from a folder to a pack
on disk, against one epoch of ImageFolder with ToTensor and a DataLoader over them, the best of 0, 1
and 2 workers; rounds alternate, and medians count.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from autokd import data
from autokd.data import dataset, packs
from autokd.data.pictures import Pictures
from autokd.data.views import Views
from autokd.networks import Network
from autokd.recipe import Augment, DataSettings, ResizedCrop
from autokd.train.determinism import memory_format

BATCH = 64
MEAN, STD = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]
ROWS: list[tuple[str, float, float, float]] = []


def natural(g: np.random.Generator, h: int, w: int) -> np.ndarray:
    """``[h, w, 3]`` uint8: soft shapes under a little noise, which PNG compresses about as it does
    photographs.
    """
    soft = np.asarray(
        Image.fromarray(g.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
            (w, h), Image.Resampling.BICUBIC
        ),
        dtype=np.int64,
    )
    return (soft + g.integers(-6, 7, (h, w, 3))).clip(0, 255).astype(np.uint8)


def ratio(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    clock: Callable[[], float],
    rounds: int = 9,
) -> tuple[float, float]:
    """Seconds of each, the median of alternating rounds."""
    times: tuple[list[float], list[float]] = ([], [])
    ours(), theirs()
    for _ in range(rounds):
        for work, into in ((ours, times[0]), (theirs, times[1])):
            began = clock()
            work()
            into.append(clock() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def views() -> None:
    g = np.random.default_rng(0)
    ending = [
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    rows = torch.arange(BATCH)

    def compare(
        what: str,
        pictures: torch.Tensor | Pictures,
        images: list[Image.Image],
        augment: Augment,
        crop: object,
        size: int,
        goal: float,
    ) -> None:
        mine = Views(pictures, augment, 0, 0)
        network = Network(torch.nn.Identity(), 3, torch.tensor(MEAN), torch.tensor(STD))
        bare = transforms.Compose([crop, *ending[:2]])
        whole = transforms.Compose([crop, *ending])

        def rendered() -> torch.Tensor:
            return mine.render(rows, size).contiguous(memory_format=memory_format(size))

        cases = (
            ("", rendered, bare),
            (" + normalise", lambda: network.normalise(rendered()), whole),
        )
        for more, ours, theirs in cases:

            def stacked(theirs: transforms.Compose = theirs) -> torch.Tensor:
                return torch.stack([theirs(image) for image in images])

            a, b = ratio(ours, stacked, time.process_time)
            name = f"{what} + flip{more}, {size} px, µs a picture"
            ROWS.append((name, a / BATCH * 1e6, b / BATCH * 1e6, goal))

    small = np.stack([natural(g, 32, 32) for _ in range(BATCH)])
    tensor = torch.from_numpy(small).permute(0, 3, 1, 2).contiguous()
    images = [Image.fromarray(p) for p in small]
    augment = Augment(crop_padding=4, flip=True)
    compare("crop", tensor, images, augment, transforms.RandomCrop(32, padding=4), 32, 1 / 5)
    shapes = [(258, 344), (344, 258), (258, 387), (258, 258)]
    large = [natural(g, *shapes[i % 4]) for i in range(BATCH)]
    starts = np.concatenate([[0], np.cumsum([p.size for p in large])[:-1]])
    packed = Pictures(
        np.concatenate([p.reshape(-1) for p in large]),
        starts,
        np.array([p.shape[:2] for p in large]),
        3,
        "cpu",
    )
    augment = Augment(flip=True, random_resized_crop=ResizedCrop(scale=[0.08, 1.0]))
    images = [Image.fromarray(p) for p in large]
    crop = transforms.RandomResizedCrop(224)
    compare("random-resized-crop", packed, images, augment, crop, 224, 1 / 2)


def packing(root: Path, side: int, count: int = 5000, rounds: int = 5) -> None:
    g = np.random.default_rng(1)
    for c in range(10):
        folder = root / str(side) / f"class{c}"
        folder.mkdir(parents=True)
        for i in range(count // 10):
            Image.fromarray(natural(g, side, side)).save(folder / f"{i:04}.png")
    spec = DataSettings(name=f"folder:{root / str(side)}", resolution=side)

    def fresh(keep: bool) -> float:
        packs._pack.cache_clear()
        dataset._latest.clear()
        for file in (root / "cache" / "data").glob("*") if not keep else ():
            file.unlink()
        began = time.perf_counter()
        data.load(spec) if keep else data.pack(spec)
        return time.perf_counter() - began

    def epoch(workers: int) -> float:
        began = time.perf_counter()
        folder = datasets.ImageFolder(str(root / str(side)), transforms.ToTensor())
        for _ in DataLoader(folder, 128, shuffle=True, num_workers=workers):
            pass
        return time.perf_counter() - began

    first = []
    second = []
    theirs = {w: [] for w in (0, 1, 2)}
    for _ in range(rounds):
        for workers, times in theirs.items():
            times.append(epoch(workers))
        first.append(fresh(keep=False))
        second.append(fresh(keep=True))
    medians = {w: statistics.median(times) for w, times in theirs.items()}
    workers, best = min(medians.items(), key=lambda pair: pair[1])
    name = f"pack {count:,} PNGs of {side} px (a loader's epoch: {workers} workers), s"
    ROWS.append((name, statistics.median(first), best, 1.0))
    name = f"start again on {count:,} PNGs of {side} px (to 0.5 s), s"
    ROWS.append((name, statistics.median(second), 0.5, 1.0))


def main() -> int:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    views()
    with tempfile.TemporaryDirectory() as name:
        os.environ["AUTOKD_CACHE"] = str(Path(name) / "cache")
        for side in (32, 96):
            packing(Path(name), side)
    print(f"{'what':72} {'ours':>9} {'theirs':>9} {'ratio':>6} {'goal':>6}")
    for what, ours, theirs, goal in ROWS:
        print(
            f"{what:72} {ours:9.3g} {theirs:9.3g} {ours / theirs:6.2f}"
            f" {goal:6.2f}{'' if ours / theirs <= goal else '  missed'}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
