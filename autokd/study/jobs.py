"""What crosses the border between the driver's process and its workers: a job goes out, reports
come back. Both travel as JSON. Light.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autokd.study.ledger import attempt_folder

DONE = object()  # in place of a job: the study is over
TEST = -1  # the number of the job that reads the test pictures; below it: other jobs than trials


@dataclass(frozen=True)
class Job:
    """One stretch of one trial for a worker: from a checkpoint, or the start, to its end. Or a
    teacher's training, or the test.
    """

    trial: int  # below zero: no trial
    attempt: int
    role: str  # of the trial; or teacher, preload, outcomes, test
    recipe: dict[str, Any]
    checkpoint: str | None = None
    rungs: list[int] = field(default_factory=list)  # epochs at which a checkpoint must be written
    # epochs over which the weights are averaged that are measured beside the student's
    average: float | None = None
    # roles "test" and "outcomes": trial → folder of its student
    students: dict[str, str] = field(default_factory=dict)
    member: int = -1  # role "teacher": which of the recipe's members

    @property
    def folder(self) -> Path:
        """Where its files go, inside the study's folder."""
        return attempt_folder(self.trial, self.attempt)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Report:
    """What a worker says of a job after each epoch, or at its end. None: nothing to say of it."""

    role: str  # of the job
    trial: int
    attempt: int
    # running, finished, diverged, oom, failed, taught, preloaded, rebuilt or tested
    outcome: str
    seconds: float | None = None  # since the report before
    reason: str | None = None  # why it diverged, ran out of memory or failed
    # a trial's
    epoch: int | None = None  # how many are done
    metrics: dict[str, float] | None = None  # of the epoch; of a teacher: on validation
    checkpoint: str | None = None  # a file in the study's folder
    student: str | None = None  # its weights' hash
    facts: dict[str, Any] | None = None  # also a teacher's
    # a teacher's
    given: bool | None = None  # loaded, not trained
    assistant: bool | None = None
    resolution: int | None = None
    took: float | None = None  # seconds, without the worker's start
    learned: list[dict[str, Any]] | None = None  # while it is trained: how far, since the last
    # the test's: trial → metrics
    results: dict[str, dict[str, float]] | None = None
    # of pictures one by one: trial → part → hash of the file
    outcomes: dict[str, dict[str, str]] | None = None

    def to_json(self) -> str:
        return json.dumps({k: v for k, v in asdict(self).items() if v is not None})

    @classmethod
    def from_json(cls, text: str) -> Report:
        return cls(**json.loads(text))
