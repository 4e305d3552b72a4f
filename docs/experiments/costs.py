"""What a recipe costs before it is run: arithmetic of its networks, and disk for the teachers'
tables.

    uv run python docs/experiments/costs.py pipelines/*.yaml

Forward passes by torch's own counter, a training step as three of them; tables are N × classes × 2
or 4 bytes an epoch. A scratch teacher counts with those who teach; a teacher that a loss runs on
each batch has no table. No data is read.
"""

from __future__ import annotations

import sys

from autokd import networks, recipe

SETS = {  # training pictures where nothing is held out for validation, classes, channels
    "digits": (1438, 10, 1),
    "cifar10": (50_000, 10, 3),
    "cifar100": (50_000, 100, 3),
    "svhn": (73_257, 10, 3),
    "fashion-mnist": (60_000, 10, 1),
    "cinic10": (90_000, 10, 3),
    "tiny-imagenet": (100_000, 200, 3),
    "imagenet": (1_281_167, 1000, 3),
}
OFFICIAL = {"cinic10"}  # have a validation part of their own


def main() -> None:
    for path in sys.argv[1:]:
        r = recipe.load(path)
        n, classes, channels = SETS[r.data.name]
        n = r.data.limit or round(n * (1 if r.data.name in OFFICIAL else 1 - r.data.validation))

        def forward(
            name: str, resolution: int, classes: int = classes, channels: int = channels
        ) -> int:
            return networks.measure(
                networks.build(name, classes=classes, channels=channels, resolution=resolution),
                channels,
                resolution,
            )["flops"]

        student = 3 * forward(r.student.model, r.resolution) * n * r.train.epochs
        members = r.members()
        trained = 0
        answers = 0
        for m in members:
            one = forward(m.student.model, m.resolution)
            given = m is members[-1] and r.teacher.weights != "train"
            trained += 0 if given else 3 * one * n * m.train.epochs
            answers += one * n * r.train.epochs
        logits = n * classes * r.train.epochs
        kept = len(members) - r.online
        disk = kept * logits * (2 if r.teacher.table == "fp16" else 4)
        teaching, settings = r.methods.teaching
        if teaching.flags.get("scratch"):
            name = settings["scratch"] or r.teacher.model
            trained += 3 * forward(name, r.teacher_resolution) * n * r.train.epochs
            disk += logits * 4
        learning = f"student {student / 1e15:.3g} PFLOP, those who teach {trained / 1e15:.3g}"
        print(f"{path}: {learning}, their answers {answers / 1e15:.3g}; tables {disk / 1e9:.3g} GB")


if __name__ == "__main__":
    main()
