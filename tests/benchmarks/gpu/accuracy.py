"""How good: bf16 beside fp32, and the reference rows of CIFAR-100."""

from __future__ import annotations

from typing import Any

from autokd import recipe
from autokd.cache import default_cache
from autokd.study.statistics import mean_and_sd, paired
from autokd.train import prepare
from autokd.train.store import Store
from tests.benchmarks.gpu.searching import small
from tests.benchmarks.gpu.units import Found, Sizes, Unit


def precisions(sizes: Sizes) -> list[Unit]:
    def work() -> Found:
        store = Store(default_cache(), sizes.device)
        found: dict[str, list[float]] = {}
        for precision in ("fp32", "bf16"):
            found[precision] = []
            for seed in range(sizes.seeds):
                document = small(sizes) | {"seed": seed}
                document["student"] = {"model": "resnet8"}
                made = recipe.parse(document).with_({"train/precision": precision})
                run, last = prepare.train(made, store)
                found[precision].append(100 * last["val/accuracy"])
        d = paired("", found["bf16"], found["fp32"])
        out: Found = {k: "{:.2f} ± {:.2f}".format(*mean_and_sd(v)) for k, v in found.items()}
        return out | {"bf16 − fp32, points": f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]"}

    return [Unit("bf16 beside fp32", 150, work)]


def cifar100(sizes: Sizes) -> list[Unit]:
    """The protocol of the reference tables with its milestones brought forward, on test, the last
    epoch. Data: ``cifar100`` below the data folder, as pictures.
    """
    pairs = (("resnet56", "resnet20"), ("resnet32x4", "resnet8x4"))

    def unit(teacher: str, student: str, setting: str) -> Unit:
        def work() -> Found:
            epochs = sizes.cifar_epochs
            train: dict[str, Any] = {
                "preset": "crd-cifar",
                "epochs": epochs,
                "milestones": [max(1, round(epochs * m / 240)) for m in (150, 180, 210)],
            }
            data: dict[str, Any] = {
                "name": "folder:cifar100",
                "resolution": 32,
                "validation": 0.0,
                "augment": {"preset": "crd-cifar"},
            }
            network = (teacher, student)
            if sizes.device == "cpu":
                data |= {"name": "digits", "resolution": 8, "limit": 60, "augment": {}}
                train = {"epochs": 1, "batch_size": 20}
                network = ("cnn-3x8", "cnn-2x8")
            made = recipe.parse(
                {
                    "data": data,
                    "teacher": {"model": network[0], "train": train},
                    "student": {"model": network[1]},
                    "distill": {"preset": setting},
                    "train": train,
                }
            )
            run, _ = prepare.train(made, Store(default_cache(), sizes.device))
            return {"epochs": epochs} | run.test()

        return Unit(f"CIFAR-100: {teacher} → {student}, {setting}", 200, work)

    return [unit(*pair, setting) for pair in pairs for setting in ("kd", "student-alone")]
