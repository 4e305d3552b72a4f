"""How fast: an epoch of the step beside its roofline and beside other programs; tables; views. And
the tests that need a GPU.
"""

from __future__ import annotations

import copy
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autokd import recipe
from autokd.cache import default_cache
from autokd.data import Contents, Part
from autokd.data.pictures import Pictures
from autokd.data.views import Views
from autokd.networks import cost
from autokd.recipe import Augment, RandAugment, Recipe, ResizedCrop, data_names
from autokd.train import distill, prepare
from autokd.train.store import Store
from tests.benchmarks import peers as others
from tests.benchmarks.gpu.units import Found, Sizes, Unit

ROOT = Path(__file__).resolve().parents[3]
PICTURES, CLASSES = 50_000, 100
CROP = {"crop_padding": 4, "flip": True}


@data_names.register("cifar-shaped", "50,000 pictures of noise, 32×32, 100 classes")
def cifar_shaped(data_dir: Path) -> Contents:
    g = np.random.default_rng(0)
    pictures = g.integers(0, 256, (PICTURES, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(PICTURES, dtype=np.int64) % CLASSES
    return Contents([f"class {c}" for c in range(CLASSES)], {"train": Part(pictures, labels)})


def tests(sizes: Sizes) -> list[Unit]:
    def work() -> Found:
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-o", "addopts=", "tests"]
        command += ["--collect-only"] if sizes.device == "cpu" else []
        command += ["-p", "no:warnings", "-p", "no:cacheprovider"]
        made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        print(made.stdout[-4000:], made.stderr[-2000:], flush=True)
        found = {"summary": (made.stdout.strip().splitlines() or ["nothing"])[-1]}
        return found if made.returncode == 0 else found | {"failed": f"exit {made.returncode}"}

    return [Unit("tests -m gpu", 150, work)]


def kd(teacher: str, student: str, batch: int, precision: str, pictures: int) -> Recipe:
    train = {"epochs": 1, "batch_size": batch, "lr": 0.01, "precision": precision}
    return recipe.parse(
        {
            "data": {
                "name": "cifar-shaped",
                "resolution": 32,
                "limit": pictures if pictures < PICTURES else None,
                "validation": 0.0,
                "test": 0.0,
                "augment": CROP,
            },
            "teacher": {"model": teacher, "train": train | {"batch_size": min(512, pictures // 2)}},
            "student": {"model": student},
            "distill": {
                "temperature": {"tau": others.TAU},
                "losses": {"ce": {"weight": others.ALPHA}, "kl": {"weight": 1 - others.ALPHA}},
            },
            "train": train,
        }
    )


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def timed(work: Callable[[], object], device: str) -> float:
    synchronise(device)
    began = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - began


def epochs(sizes: Sizes) -> list[Unit]:
    cells = itertools.product(sizes.pairs, sizes.batches, ("bf16", "fp32"), ("KD", "student alone"))
    return [
        Unit("rate of matrix products", 5, partial(rate, sizes)),
        *(
            Unit(
                f"epoch: {pair[1]}, batch {batch}, {precision}, {setting}",
                30,
                partial(epoch, sizes, pair, batch, precision, setting),
            )
            for pair, batch, precision, setting in cells
        ),
    ]


def rate(sizes: Sizes) -> Found:
    out: Found = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        a = torch.randn(sizes.matrix, sizes.matrix, device=sizes.device).to(dtype)
        a @ a
        seconds = statistics.median(timed(lambda a=a: a @ a, sizes.device) for _ in range(5))
        out[f"{name}, TFLOP/s"] = 2 * sizes.matrix**3 / seconds / 1e12
    return out


def epoch(sizes: Sizes, pair: tuple[str, str], batch: int, precision: str, setting: str) -> Found:
    """Seconds of an epoch with warm tables; the share of them in which the host's thread worked;
    the floating-point operations of forward and backward passes a second; peak memory.
    """
    made = kd(*pair, batch, precision, sizes.pictures)
    if setting == "student alone":
        made = made.with_({"distill": {"preset": "student-alone"}})
    run = prepare.start(made, Store(default_cache(), sizes.device))

    def again() -> None:
        run.next_epoch = 0
        run.epoch()

    again()  # fills the table and warms the kernels up
    if sizes.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    busy = time.thread_time()
    seconds = [timed(again, sizes.device) for _ in range(sizes.rounds)]
    busy = time.thread_time() - busy
    flops = 3 * cost.measure(run.student, 3, 32)["flops"] * sizes.pictures
    middle = statistics.median(seconds)
    out = {"s an epoch": middle, "ms a step": 1e3 * middle * batch / sizes.pictures}
    out |= {"host at work": busy / sum(seconds), "TFLOP/s": flops / middle / 1e12}
    if sizes.device == "cuda":
        out["peak MB"] = torch.cuda.max_memory_allocated() / 2**20
    return out


def peers(sizes: Sizes) -> list[Unit]:
    return [
        Unit(f"beside others: {pair[1]}, batch 64", 60, partial(beside, sizes, pair))
        for pair in sizes.pairs
    ]


def beside(sizes: Sizes, pair: tuple[str, str]) -> Found:
    """Milliseconds a step of 64 of KD in AutoKD, plain PyTorch and torchdistill, in turn."""
    made = kd(*pair, min(64, sizes.peers // 2), "fp32", sizes.peers)
    run = prepare.start(made, Store(default_cache(), sizes.device))
    run.epoch()
    data = run.data.train
    shown = others.Pictures(torch.as_tensor(data.pictures[:]).cpu(), data.labels.cpu())
    networks = [
        copy.deepcopy(n.backbone).to(memory_format=torch.contiguous_format)
        for n in (run.members[-1].network, run.student)
    ]
    workers = 8 if sizes.device == "cuda" else 0
    size = made.train.batch_size
    sides: dict[str, Callable[[], float]] = {"AutoKD": lambda: ours(run, sizes.device)}
    plain = [copy.deepcopy(n) for n in networks]
    sides["plain PyTorch"] = others.plain_epoch(*plain, shown, workers, sizes.device, size)
    try:
        sides["torchdistill"] = others.torchdistill_epoch(
            *networks, shown, workers, sizes.device, size
        )
    except ImportError:
        pass
    torch.use_deterministic_algorithms(False)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(sizes.rounds):
        for name, one in sides.items():
            times[name].append(one())
    out: Found = {f"{name}, ms a step": statistics.median(t) for name, t in times.items()}
    for name in list(sides)[1:]:
        ratios = (a / b for a, b in zip(times[name], times["AutoKD"], strict=True))
        out[f"{name} / AutoKD"] = statistics.median(ratios)
    return out


def ours(run: distill.Run, device: str) -> float:
    def again() -> None:
        run.next_epoch = 0
        run.epoch()

    steps = -(-len(run.data.train) // run.recipe.train.batch_size)
    return 1e3 * timed(again, device) / steps


def tables(sizes: Sizes) -> list[Unit]:
    return [Unit(f"tables of {pair[0]}", 30, partial(table, sizes, pair)) for pair in sizes.pairs]


def table(sizes: Sizes, pair: tuple[str, str]) -> Found:
    made = kd(*pair, min(512, sizes.pictures // 2), "fp32", sizes.pictures)
    member = prepare.start(made, Store(None, sizes.device)).members[-1]

    def fill(epoch: int) -> object:
        return member.table(Views(member.data.train.pictures, made.data.augment, 0, epoch), None)

    fill(0)
    seconds = timed(lambda: fill(1), sizes.device)
    return {"pictures/s": sizes.pictures / seconds, "s a table": seconds}


def views(sizes: Sizes) -> list[Unit]:
    augmented: dict[str, tuple[int, dict[str, Any]]] = {
        "crop and flip, 32 px": (32, CROP),
        "RandAugment, 32 px": (32, CROP | {"randaugment": RandAugment(operations=2, magnitude=9)}),
        "random-resized-crop and flip, 224 px": (
            224,
            {"flip": True, "random_resized_crop": ResizedCrop(scale=[0.08, 1.0])},
        ),
    }

    return [
        Unit(f"views: {name}", 10, partial(view, sizes, *how)) for name, how in augmented.items()
    ]


def view(sizes: Sizes, size: int, augment: dict[str, Any]) -> Found:
    count = sizes.pictures if size == 32 else sizes.large
    side = size if size == 32 else 258
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    pictures = torch.from_numpy(pixels).to(sizes.device)
    shown = Views(pictures if size == 32 else Pictures.of(pictures), Augment(**augment), 0, 0)
    rows = np.arange(count)
    shown.render(rows, size)
    return {"pictures/s": count / timed(lambda: shown.render(rows, size), sizes.device)}
