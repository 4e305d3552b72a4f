"""A training that says how far it is, and that goes on where it was broken off."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from autokd.train.distill import Run

SAVE_SECONDS = 30.0  # between two checkpoints, so that a crash costs at most this much
SAY_SECONDS = 10.0  # of an epoch, after which it is said which part of it is done


class Progress(NamedTuple):
    """How far a network's training is. ``metrics``: of the epoch that just ended, if one did."""

    model: str
    epoch: int  # how many are done
    of: int
    part: float  # of the epoch that is under way
    metrics: dict[str, float]


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """A report that nobody hears."""


def finish(
    begin: Callable[[], Run],
    checkpoint: Path | None,
    report: Report,
    begun: Callable[[Run], None] = lambda run: None,
) -> Run:
    """The run that ``begin`` gives, to its end: from the checkpoint where a training of the same
    recipe left one. ``begun`` is given it before it goes on. Raises :class:`Diverged`.
    """
    run = begin()
    if checkpoint and checkpoint.exists():
        try:
            run.restore(checkpoint)
        # cut short by a power failure, or of another version: the same numbers come from the start
        except Exception:
            run = begin()
    begun(run)
    model, of = run.recipe.student.model, run.recipe.train.epochs
    said = saved = time.monotonic()

    def tick(part: float) -> None:
        nonlocal said
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            report(Progress(model, run.next_epoch, of, part, {}))

    run.tick = tick
    while not run.done:
        metrics = run.epoch()
        said = time.monotonic()
        report(Progress(model, run.next_epoch, of, 0.0, metrics))
        if checkpoint and not run.done and time.monotonic() - saved >= SAVE_SECONDS:
            with contextlib.suppress(OSError):  # a full disk: a crash costs more then
                run.save(checkpoint)
            saved = time.monotonic()
    return run
