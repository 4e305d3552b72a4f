"""Between Ray's trials, which are stretches of ours, and the study: jobs out, reports in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autokd.engine import worker
from autokd.engine.session import RayDied
from autokd.errors import UserError
from autokd.files import write_atomically
from autokd.recipe.document import dump
from autokd.study.jobs import DONE, Job, Report
from autokd.study.ledger import ENDED, Trial
from autokd.study.objectives import not_finite
from autokd.study.queue import Study

REMEMBERED = 64  # reports: Ray tells some of them twice


class Bridge:
    """A study as Ray's searcher and scheduler see it."""

    def __init__(self, study: Study, options: dict[str, Any]):
        self.study = study
        self.options = options
        self.folder = study.book.path
        self.jobs: dict[str, Job] = {}  # by Ray's names
        self.error: BaseException | None = None
        self.busy = False
        self.seen: set[str] = set()

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """A signal waits until the study has said what it did: else the sampler might have drawn
        what no event tells of.
        """
        self.busy = True
        try:
            yield
        except Exception as e:  # Ray would log it and go on
            self.error = self.error or e
        finally:
            self.busy = False
        if isinstance(self.error, KeyboardInterrupt | RayDied):
            raise KeyboardInterrupt

    def __reduce__(self) -> tuple[Any, ...]:
        # Ray pickles its searcher for a restore of its own, which never happens here
        return dict, ()

    def next(self, ray_id: str) -> Any:
        """The next job as a worker's configuration; None when there is none for now, or DONE."""
        if self.error is None:
            with self.undisturbed():
                job = self.study.next_job()
                if not isinstance(job, Job):
                    return job
                self.jobs[ray_id] = job
                if job.trial >= 0:
                    write_recipe(self.folder, self.study.trials[job.trial])
                return worker.config(self.folder, job, self.options)
        return DONE

    def reported(self, text: str) -> bool:
        """Tell the study, once. Returns whether the trial goes on: none does once there is an
        error, or it would be told hours later.
        """
        if text in self.seen or self.error is not None:
            return self.error is None
        self.seen = {text} | (self.seen if len(self.seen) < REMEMBERED else set())
        report = Report.from_json(text)
        with self.undisturbed():
            if report.role == "preload":
                self.study.preloaded(report.trial)  # whatever came of it: a trial will tell
            elif report.role == "teacher" and report.outcome == "running":
                self.study.learned(report.trial, report.learned or [])
                return True
            elif report.role == "teacher":
                self._teacher(report)
            elif report.role == "outcomes":
                self.study.rebuilt(report.trial, report.outcomes or {})
            elif report.role == "test":
                reason = report.reason or not_finite(_flat(report.results or {}))
                if report.results is None or reason:
                    raise UserError(f"the test pictures could not be read: {reason}")
                self.study.tested(report.results, report.outcomes or {})
            else:
                return self._trial(report)
        return False

    def _teacher(self, report: Report) -> None:
        found = {
            "metrics": report.metrics,
            "resolution": report.resolution,
            "assistant": report.assistant,
            "facts": report.facts,
            "given": report.given,
            "reason": report.reason,
        }
        known = {k: v for k, v in found.items() if v is not None}
        seconds = report.seconds if report.took is None else report.took
        outcome = report.outcome
        if wrong := not_finite(report.metrics or {}):
            outcome = "failed"
            known |= {"metrics": {}, "reason": f"on validation {wrong}"}
        self.study.taught(report.trial, outcome, seconds=seconds, **known)

    def _trial(self, report: Report) -> bool:
        number, attempt = report.trial, report.attempt
        if report.metrics is not None:
            assert report.epoch is not None
            goes_on = self.study.report(
                number,
                attempt,
                report.epoch,
                report.metrics,
                report.checkpoint,
                report.seconds,
            )
            if report.checkpoint or not goes_on:
                self.tidy(number)
            if not goes_on or report.outcome == "running":
                return goes_on
        self.study.finish(
            number,
            attempt,
            report.outcome,
            reason=report.reason or "",
            student=report.student or "",
            facts=report.facts,
        )
        self.tidy(number)
        return False

    def tidy(self, number: int) -> None:
        """Remove a trial's checkpoints but the one that the ledger names, and that too when the
        trial is over.
        """
        trial = self.study.trials[number]
        keep = None if trial.state in ENDED else trial.checkpoint
        for file in (self.folder / trial.folder.parent).glob("*/checkpoint*.pt"):
            if str(file.relative_to(self.folder)) != keep:
                file.unlink(missing_ok=True)

    def ended(self, ray_id: str, error: bool) -> None:
        """Ray's trial is over; ``error``: its worker died."""
        job = self.jobs.pop(ray_id, None)
        if job is None or job.trial not in self.study.running:
            return
        if error:
            with self.undisturbed():
                self.study.lost(job.trial, "the worker process died")


def _flat(results: dict[str, dict[str, float]]) -> dict[str, float]:
    """Trial → metrics as ``trial 3: test/accuracy`` → value."""
    return {f"trial {n}: {k}": v for n, own in results.items() for k, v in own.items()}


def write_recipe(folder: Path, trial: Trial) -> None:
    """Into the folder of the trial's attempt, beside what its worker will write."""
    write_atomically(folder / trial.folder / "recipe.yaml", dump(trial.recipe))
