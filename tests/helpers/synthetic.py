"""Studies that nobody ran: a ledger written by hand, so that what reads ledgers is tested without
Ray and torch.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from autokd import space as spaces
from autokd.recipe import parse
from autokd.space.tree import OneOf
from autokd.study import verdict
from autokd.study.ledger import Ledger, Trial

BASE = {
    "data": {"name": "digits", "resolution": 8, "limit": 200},
    "teacher": {"model": "cnn-3x32"},
    "student": {"model": "cnn-2x8", "resolution": 8},
    "distill": {
        "teaching": {"kind": "chain"},
        "view": {"kind": "plain"},
        "target": {"kind": "teacher"},
        "temperature": {"kind": "constant", "tau": 4.0},
        "losses": {"ce": {"weight": 0.1}, "kl": {"weight": 0.9}},
    },
    "train": {"epochs": 27, "batch_size": 10, "lr": 0.05},
}
VARY = {
    "distill/temperature": {
        "one_of": [
            {"kind": "constant", "tau": {"uniform": [1, 16]}},
            {
                "kind": "flsw",
                "tau": {"uniform": [4, 16]},
                "beta": {"log_uniform": [1, 80]},
                "gamma": {"uniform": [0.25, 2]},
            },
            {"kind": "cwsm", "tau": {"uniform": [4, 16]}, "beta": {"log_uniform": [0.5, 16]}},
        ]
    },
    "distill/losses/kl/weight": {"uniform": [0.1, 1.0]},
    "ladder": {"choice": [[], ["cnn-3x16"], ["cnn-3x16", "cnn-3x8"]]},
    "student/resolution": {"choice": [4, 6, 8]},
}
START = 1_790_000_000.0  # of the clock


class Story:
    """Writes a study's events, two workers taking turns, on a clock of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        epochs: int = 27,
        seed: int = 0,
        title: str = "",
        name: str = "",
        broken: bool = True,
        finals: int = 5,
        prune: bool = True,
        per: bool = True,
        word: str = "",
        vary: dict[str, Any] | None = None,
    ):
        self.draw = random.Random(seed)
        self.word = word
        self.per = per
        title, name = title or word, name or word
        self.epochs = epochs
        self.name = name
        self.finals = finals
        self.broken = broken
        self.prune = prune
        search = {
            "trials": 40,
            "objective": {"maximize": "val/accuracy"},
            "asha": {"grace_epochs": 9, "reduction": 3},
        }
        search["finalists"] = {"top": 1, "seeds": finals} | (
            {"per": "student/resolution"} if per else {}
        )
        space: dict[str, Any] = {"search": search, "vary": vary or VARY} | (
            {"title": title} if title else {}
        )
        base = BASE | {"train": BASE["train"] | {"epochs": epochs}}  # type: ignore[operator]
        frozen = {"space": space, "base": base}
        self.space = spaces.thaw(frozen)
        self.book = Ledger(folder).open()
        self.now, self.reasons = (
            START,
            (
                [word]
                if word
                else [
                    "out of memory: host; use a smaller batch or network",
                    "the loss was not finite in epoch 3",
                ]
            ),
        )
        self.add(
            "created",
            name=folder.name,
            seed=seed,
            jobs=2,
            trials=40,
            frozen=frozen,
            version="0.1.0",
            versions={"autokd": "0.1.0", "torch": "2.15.0"},
        )

    def add(self, event: str, seconds: float = 0.02, **fields: Any) -> None:
        self.now += seconds
        self.book.append(event, t=round(self.now, 3), up=round(self.now - START, 3), **fields)

    def search(self, trials: int) -> None:
        """Three quarters are pruned at the rung; one in twelve breaks off."""
        for number in range(trials):
            chosen = self.space.point(self._choose)
            recipe = parse(chosen.data).to_dict()
            name = (self.name or "base") if number == 0 else ""
            if self.word:  # where a user's own text may stand
                recipe["teacher"]["weights"] = chosen.varied["teacher/weights"] = chosen.params[
                    "teacher/weights"
                ] = f"{number % 3} {self.word}"
            self.add(
                "suggested",
                trial=number,
                role="baseline" if name else "trial",
                name=name,
                recipe=recipe,
                params=chosen.params,
                varied=chosen.varied,
                branch=chosen.branch,
                exempt=bool(name) or number % 4 == 0,
                group=self._group(recipe),
            )
            lucky = number % 4 == 0 or not self.prune
            unlucky = self.broken and number % 12 == 7
            self.add("started", trial=number, attempt=1, epoch=0)
            quality = self._quality(recipe)
            if unlucky:
                self._epochs(number, 1, 0, 3, quality)
                self.add(
                    ["diverged", "oom", "failed"][number % 3],
                    trial=number,
                    attempt=1,
                    reason=self.reasons[number % len(self.reasons)],
                )
                continue
            self._epochs(number, 1, 0, min(9, self.epochs), quality)
            if self.epochs > 9:
                self.add("paused", trial=number, rung=9, attempt=1)
                if not lucky:
                    continue
                self.add("promoted", trial=number, rung=9)
                self.add("started", trial=number, attempt=2, epoch=9)
                self._epochs(number, 2, 9, self.epochs, quality)
            self._finish(number, 2)

    def confirm(self) -> None:
        """The rest is pruned, and the best of each group runs beside its controls."""
        from autokd.study.controls import with_controls

        table = self.book.table
        for t in [t for t in table.trials.values() if t.state == "paused"]:
            self.add("pruned", trial=t.number, rung=9, attempt=1)
        groups, planned = [], []  # type: list[dict], list[dict]
        for group in sorted({t.group for t in table.trials.values()}, key=str):
            able = [t for t in table.trials.values() if t.group == group and t.state == "complete"]
            if not able:
                continue
            source = max(able, key=lambda t: t.last["val/accuracy"])
            runs: dict[str, dict[str, int]] = {}
            for role, recipe in with_controls(source.recipe).items():
                for i in range(self.finals):
                    number = len(table.trials) + len(planned)
                    planned.append(
                        {
                            "key": "",
                            "trial": number,
                            "role": role,
                            "recipe": recipe | {"seed": i + 1},
                            "group": group,
                            "parent": source.number,
                        }
                    )
                    runs.setdefault(role, {})[str(i + 1)] = number
            groups.append({"group": group, "trial": source.number, "place": 0, "runs": runs})
        self.add("searched", groups=groups, stopped="", finals=planned)
        for plan in planned:
            number = plan["trial"]
            quality = (
                self._quality(table.trials[plan["parent"]].recipe)
                - {"finalist": 0.0, "control-kd": 0.004, "control-ce": 0.03}[plan["role"]]
            )
            self.add("started", trial=number, attempt=1, epoch=0)
            self._epochs(number, 1, 0, self.epochs, quality)
            self._finish(number, 1)

    def close(self, test: bool = True) -> None:
        from autokd.study import recipe_yaml

        table = self.book.table
        best = verdict.overall(verdict.results(table, "val/accuracy", 1), 1)
        if best and test:
            trials = [table.trials[n] for runs in best.runs.values() for n in runs.values()]
            self.add(
                "test",
                results={
                    str(t.number): {
                        "test/accuracy": round(
                            t.last["val/accuracy"] - 0.01 + self.draw.gauss(0, 0.004), 5
                        )
                    }
                    for t in trials
                },
            )
        found = verdict.results(table, "val/accuracy", 1)
        best = verdict.overall(found, 1)
        text = (
            recipe_yaml.recipe_text(self.book.path.name, table, best, "val/accuracy")
            if best
            else ""
        )
        self.add(
            "closed",
            recipe="recipe.yaml" if best else None,
            recipe_text=text,
            results=[r.to_dict() for r in found],
        )

    def _group(self, recipe: dict[str, Any]) -> Any:
        return (
            f"{recipe['student']['resolution']} {self.word}".strip()
            if self.word
            else recipe["student"]["resolution"]
            if self.per
            else None
        )

    def _choose(self, node: Any) -> Any:
        if isinstance(node, OneOf):
            return self.draw.choice(node.labels)
        if node.kind == "choice":
            return self.draw.choice(node.options)
        low, high = node.options
        return (
            math.exp(self.draw.uniform(math.log(low), math.log(high)))
            if node.kind == "log_uniform"
            else self.draw.uniform(low, high)
        )

    def _quality(self, recipe: dict[str, Any]) -> float:
        distill = recipe["distill"]
        tau = distill["temperature"].get("tau", 4.0)
        weight = distill["losses"].get("kl", {}).get("weight", 0.0)
        bonus = {"flsw": 0.02, "cwsm": 0.01}.get(distill["temperature"]["kind"], 0.0)
        return (
            0.80
            + 0.02 * (recipe["student"]["resolution"] - 4)
            + 0.05 * weight
            - 0.002 * abs(tau - 8)
            + bonus
        )

    def _epochs(self, number: int, attempt: int, first: int, last: int, quality: float) -> None:
        for epoch in range(first + 1, last + 1):
            accuracy = min(
                0.999,
                max(
                    0.05,
                    quality * (1 - math.exp(-4 * epoch / self.epochs)) + self.draw.gauss(0, 0.012),
                ),
            )
            metrics = {
                "train/tau": 8.0,
                "train/tau/min": 4.0,
                "train/tau/max": 12.0,
                "train/tau/clamped": 0.0,
            }
            metrics |= {
                "train/ce": 2.3 - accuracy,
                "train/kl": 3.0 - accuracy,
                "train/loss": 2.9 - accuracy,
                "val/accuracy": accuracy,
            }
            metrics |= {
                "val/nll": 2.3 * (1 - accuracy),
                "val/ece": 0.2 * (1 - accuracy),
                "val/entropy": 1 - accuracy,
                "val/agreement": accuracy,
            }
            self.add(
                "epoch",
                0.9 if epoch == 1 else 0.05,
                trial=number,
                attempt=attempt,
                epoch=epoch,
                metrics={k: round(v, 6) for k, v in metrics.items()},
            )

    def _finish(self, number: int, attempt: int) -> None:
        t: Trial = self.book.table.trials[number]
        resolution = t.recipe["student"]["resolution"]
        alone = t.role == "control-ce"
        facts: dict[str, Any] = {
            "student/params": 770,
            "student/flops": 1300 * resolution**2,
            "student/latency_ms": round(0.1 + number % 7 / 50, 4),
            "seconds": 2.5,
            "peak_memory_mb": 940.5,
            "pid": 7,
        }
        facts |= {
            "host": "host",
            "data": "f9072a5616d3724c",
            "device": "cpu",
            "teachers": {} if alone else {"cnn-3x32": "40ec46965c4a54e1"},
        }
        facts |= {"tables made": int(number < 9), "tables read": 0 if alone else 26}
        facts |= {"networks trained": int(number == 0), "networks read": int(not alone)}
        bins = [(i + 0.5) / 15 for i in range(15)]
        sure = 0.06 if alone else 0.02
        facts["reliability"] = {
            "confidence": bins,
            "accuracy": [max(0.0, b - sure * (i > 3)) for i, b in enumerate(bins)],
            "count": [0, 0, 2, *range(4, 16)],
        }
        if t.role == "finalist":
            about = {
                "model": "cnn-2x8",
                "resolution": resolution,
                "channels": 1,
                "classes": [str(i) for i in range(10)],
            }
            path = self.book.path / "trials" / str(number) / str(attempt) / "student.safetensors"
            path.parent.mkdir(parents=True)
            path.write_bytes(
                save({"nothing": np.zeros(1, np.float32)}, metadata={"autokd": json.dumps(about)})
            )
        self.add("finished", trial=number, attempt=attempt, student=f"{number:064x}", facts=facts)


def study(folder: Path, trials: int = 48, **how: Any) -> Path:
    """A finished study."""
    story = Story(folder, **how)
    story.search(trials)
    story.confirm()
    story.close()
    story.book.close()
    return folder
