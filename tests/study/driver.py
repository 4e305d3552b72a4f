"""Drives a study with a fake objective: no Ray, no torch, virtual workers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from autokd import space
from autokd.space import Space
from autokd.study.ledger import Ledger
from autokd.study.queue import DONE, TEST, Job, Study

Curve = Callable[[dict, int], float]


def curve(recipe: dict, epoch: int) -> float:
    """An accuracy that rises with epochs; best at tau 6, at 8 px, and a little different for every
    seed.
    """
    tau = recipe["distill"]["temperature"]["tau"]
    resolution = recipe["student"]["resolution"] or 8
    end = (
        0.9
        - 0.01 * abs(math.log(tau / 6))
        - 0.02 * (8 - resolution)
        + 0.002 * ((recipe["seed"] * 7919) % 5)
    )
    return end - 0.3 * math.exp(-epoch)


def crossing(recipe: dict, epoch: int) -> float:
    """What leads after one epoch ends last; from the third on, the order is the final one."""
    end = 0.01 * abs(math.log(recipe["distill"]["temperature"]["tau"] / 3))
    return 0.5 + (end if epoch == 1 else -end) + 0.001 * epoch


def drive(
    study: Study,
    *,
    most: int = 10_000,
    f: Curve = curve,
    outcome: Callable[[Job], str] = lambda job: "finished",
    heard: Callable[[Job], None] = lambda job: None,
) -> int:
    """Run the study with as many virtual workers as it has jobs, an epoch each in turn. Returns how
    many epochs were run.
    """
    workers: list[tuple[Job, int]] = []
    spent = 0
    for _ in range(most):
        while isinstance(job := study.next_job(), Job):
            heard(job)
            workers.append((job, study.trials[job.trial].checkpoint_epoch if job.trial >= 0 else 0))
        if not workers:
            assert job is DONE
            return spent
        job, epoch = workers.pop(0)
        if job.trial == TEST:
            study.tested(
                {n: {"test/accuracy": f(study.trials[int(n)].recipe, 10)} for n in job.students}
            )
            continue
        end = outcome(job)
        if job.role == "preload":
            study.preloaded(job.trial)
            continue
        if job.role == "teacher":
            study.taught(
                job.trial,
                "taught" if end == "finished" else end,
                reason="as asked",
                metrics={"val/accuracy": 0.9},
                seconds=1.0,
                resolution=8,
            )
            continue
        if end != "finished":
            study.finish(job.trial, job.attempt, end, reason="as asked")
            continue
        epoch, spent = epoch + 1, spent + 1
        checkpoint = f"{job.trial}/{epoch}" if epoch in job.rungs else None
        goes_on = study.report(
            job.trial,
            job.attempt,
            epoch,
            {"val/accuracy": f(job.recipe, epoch), "val/nll": 1.0},
            checkpoint,
        )
        if goes_on and epoch < job.recipe["train"]["epochs"]:
            workers.append((job, epoch))
        elif goes_on:
            study.finish(
                job.trial, job.attempt, "finished", student=f"student of {job.recipe}", facts={}
            )
    return spent


def loaded(space_file: Path, *sets: str) -> Space:
    return space.load(
        space_file, sets=("train/epochs=9", "search/trials=30", "search/asha/reduction=3", *sets)
    )


def new(tmp_path: Path, s: Space, name: str = "a", **how) -> Study:
    book = Ledger(tmp_path / name).open()
    book.append(
        "created",
        name=name,
        seed=0,
        jobs=how.get("jobs", 1),
        trials=s.search.trials,
        frozen=s.frozen,
    )
    return Study(s, book, **how)


def rows(study: Study) -> list:
    return [
        (t.number, t.role, t.params, t.state, t.rungs, t.metrics, t.student)
        for t in study.trials.values()
    ]
