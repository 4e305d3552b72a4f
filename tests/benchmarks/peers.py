"""AutoKD's step beside the same distillation in torchdistill and in plain PyTorch, in one process,
as ratios of milliseconds a step.

    uv run --with torchdistill python -m tests.benchmarks.peers \\
        [--pairs resnet56:resnet20 resnet32x4:resnet8x4] [--threads 2]

KD of CIFAR-shaped pictures (random crop, flip), batches of 64, the same networks and the same
threads on all sides. torchdistill is the release on the package index, with its own training box,
loss and DataLoader; its teacher forwards every batch, as in plain PyTorch's loop. AutoKD reads the
teacher's table, which was filled before (what that costs: `step.py`). Sides alternate epoch by
epoch; medians of the rounds' ratios. The first step of an epoch is left out on the peers' side: it
waits for the loader's processes to start.
"""

from __future__ import annotations

import argparse
import copy
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

from autokd import recipe
from autokd.train import distill, prepare
from autokd.train.store import Store

TAU = 4.0
ALPHA = 0.1
LR = 0.01
BATCH = 64


class Pictures(Dataset):
    """CIFAR as torchvision gives it: a PIL picture, the usual transforms, a label."""

    def __init__(self, pictures: torch.Tensor, labels: torch.Tensor):
        self.pictures = [transforms.functional.to_pil_image(p) for p in pictures]
        self.labels = labels.tolist()
        usual = [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
        self.transform = transforms.Compose([*usual, transforms.Normalize((0.5,) * 3, (0.25,) * 3)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures[i]), self.labels[i]


def torchdistill_epoch(
    teacher: nn.Module,
    student: nn.Module,
    data: Dataset,
    workers: int,
    device: str = "cpu",
    batch: int = BATCH,
) -> Callable[[], float]:
    from torchdistill.core.distillation import DistillationBox

    logging.disable(logging.INFO)
    own = {
        "student_module_path": ".",
        "student_module_io": "output",
        "teacher_module_path": ".",
        "teacher_module_io": "output",
    }
    loss = {
        "key": "KDLoss",
        "kwargs": own | {"temperature": TAU, "alpha": ALPHA, "reduction": "batchmean"},
    }
    box = DistillationBox(
        teacher,
        student,
        {"train": data},
        {
            "num_epochs": 1,
            "train_data_loader": {
                "dataset_id": "train",
                "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
                "kwargs": {"batch_size": batch, "num_workers": workers, "pin_memory": True},
            },
            "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
            "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
            "optimizer": {
                "key": "SGD",
                "kwargs": {"lr": LR, "momentum": 0.9, "weight_decay": 5e-4},
            },
            "criterion": {
                "key": "WeightedSumLoss",
                "kwargs": {
                    "sub_terms": {
                        "kd": {"criterion": loss, "criterion_wrapper": None, "weight": 1.0}
                    }
                },
            },
        },
        torch.device(device),
        None,
        False,
        1,
    )

    def epoch() -> float:  # the loop of its examples, without the log lines
        box.pre_epoch_process(epoch=0)
        clock = Clock()
        for pictures, labels, more in box.train_data_loader:
            pictures, labels = pictures.to(device), labels.to(device)
            loss = box.forward_process(pictures, labels, more)
            box.post_forward_process(loss=loss)
            loss.item()
            clock.step()
        return clock.milliseconds()

    return epoch


def plain_epoch(
    teacher: nn.Module,
    student: nn.Module,
    data: Dataset,
    workers: int,
    device: str = "cpu",
    batch: int = BATCH,
) -> Callable[[], float]:
    loader = DataLoader(data, batch, shuffle=True, num_workers=workers, pin_memory=device != "cpu")
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4)
    teacher.eval()

    def epoch() -> float:
        student.train()
        clock = Clock()
        for pictures, labels in loader:
            pictures, labels = pictures.to(device), labels.to(device)
            with torch.no_grad():
                soft = (teacher(pictures) / TAU).softmax(1)
            logits = student(pictures)
            loss = ALPHA * F.cross_entropy(logits, labels) + (1 - ALPHA) * TAU**2 * F.kl_div(
                (logits / TAU).log_softmax(1), soft, reduction="batchmean"
            )
            descend(optimizer, loss)
            clock.step()
        return clock.milliseconds()

    return epoch


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """As plain scripts do, with the loss read for a log."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    loss.item()


def student_epoch(
    student: nn.Module, pictures: torch.Tensor, labels: torch.Tensor
) -> Callable[[], float]:
    """The bare minimum, for what AutoKD itself adds: the student alone on ready-made batches in
    plain PyTorch, channels last.
    """
    student = student.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4)
    batches = list(
        zip(
            (pictures.float() / 255).to(memory_format=torch.channels_last).split(64),
            labels.split(64),
            strict=True,
        )
    )

    def epoch() -> float:
        student.train()
        clock = Clock()
        for x, y in batches:
            descend(optimizer, F.cross_entropy(student(x), y))
            clock.step()
        return clock.milliseconds()

    return epoch


class Clock:
    """Milliseconds a step, from the end of the first."""

    now = staticmethod(time.perf_counter)

    def __init__(self) -> None:
        self.ends: list[float] = []

    def step(self) -> None:
        self.ends.append(self.now())

    def milliseconds(self) -> float:
        return 1000 * (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def ours(run: distill.Run) -> Callable[[], float]:
    steps = len(run.data.train) // 64

    def epoch() -> float:
        run.next_epoch = 0  # the same epoch again, whose table is there
        began = Clock.now()
        run.epoch()
        return 1000 * (Clock.now() - began) / steps

    return epoch


def sides(
    pair: str, threads: int, pictures: int, workers: int
) -> Iterator[tuple[str, Callable[[], float]]]:
    teacher, student = pair.split(":")
    data = {
        "name": "fake",
        "resolution": 32,
        "limit": pictures,
        "validation": 0.0,
        "augment": {"crop_padding": 4, "flip": True},
    }
    store, run = Store(None), None
    for precision in ("fp32", "bf16"):
        train = {
            "epochs": 1,
            "batch_size": 64,
            "lr": LR,
            "threads": threads,
            "precision": precision,
        }
        kd: dict[str, Any] = {
            "temperature": {"tau": TAU},
            "losses": {"ce": {"weight": ALPHA}, "kl": {"weight": 1 - ALPHA}},
        }
        base = {
            "data": data,
            "teacher": {"model": teacher, "train": train},
            "student": {"model": student},
            "train": train,
        }
        run = prepare.start(recipe.parse(base | {"distill": kd}), store)
        run.epoch()  # fills the table
        yield f"AutoKD, {precision}", ours(run)
        alone = prepare.start(recipe.parse(base | {"distill": {"preset": "student-alone"}}), store)
        yield f"AutoKD, student alone, {precision}", ours(alone)
    assert run
    shown = Pictures(run.data.train.pictures, run.data.train.labels)
    # Fresh copies of the same networks in torch's own memory format; the normalisation is the
    # transforms' there.
    networks = [
        copy.deepcopy(n.backbone).to(memory_format=torch.contiguous_format)
        for n in (run.members[-1].network, run.student)
    ]
    yield (
        "plain PyTorch, DataLoader",
        plain_epoch(*(copy.deepcopy(n) for n in networks), shown, workers),
    )
    ready = run.data.train.pictures, run.data.train.labels
    yield (
        "plain PyTorch, student alone, ready batches, channels last",
        student_epoch(copy.deepcopy(networks[1]), *ready),
    )
    yield "torchdistill", torchdistill_epoch(*networks, shown, workers)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", nargs="*", default=["resnet56:resnet20", "resnet32x4:resnet8x4"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="loader processes of the peers")
    parser.add_argument("--pictures", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: this process's own time, with --workers 0, for a busy machine",
    )
    args = parser.parse_args()
    if args.clock == "cpu":
        Clock.now = staticmethod(time.process_time)
        args.workers = 0
    print("| pair | side | ms a step | / AutoKD fp32 | / AutoKD bf16 |\n|---|---|---|---|---|")
    for pair in args.pairs:
        epochs = dict(sides(pair, args.threads, args.pictures, args.workers))
        torch.use_deterministic_algorithms(False)
        times: dict[str, list[float]] = {name: [] for name in epochs}
        for _ in range(args.rounds + 1):
            for name, epoch in epochs.items():
                torch.set_num_threads(args.threads)
                times[name].append(epoch())
        for name, found in times.items():
            ratios = [
                statistics.median(
                    a / b for a, b in zip(found[1:], times[f"AutoKD, {precision}"][1:], strict=True)
                )
                for precision in ("fp32", "bf16")
            ]
            print(
                f"| {pair.replace(':', ' → ')} | {name} | {statistics.median(found[1:]):.1f} |"
                f" {ratios[0]:.2f} | {ratios[1]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
