"""The study's truth: one JSON line an event (``event_file``), written by the driver alone; every
table is read from it. Light.

Events (``t``: seconds since 1970; ``up``: seconds since the driver opened the ledger, by a clock
that nobody sets; older ledgers have none):

===================  ==============================================================================
event                fields
===================  ==============================================================================
created              name, seed, jobs, frozen (space and base), versions
teacher              key (``Recipe.member_keys``), model, state (taught, diverged, oom, failed),
                     given, assistant, resolution, metrics, seconds, facts, reason
learned              key, model (of the network that is trained), epoch (how many are done), of,
                     part (of the epoch under way), metrics
suggested            trial, role, name, recipe, params, varied, branch, exempt, group, parent,
                     control (of a trial that tunes one: which), question (what its control has in
                     common with others)
started              trial, attempt, epoch (how many are done already)
epoch                trial, attempt, epoch (how many are done now), metrics, checkpoint (a file in
                     the study's folder, or nothing), seconds
paused, promoted,    trial, rung (epochs); promoted: reason, where it is not among the best there
pruned
finished             trial, attempt, student (weights' hash), facts
diverged, oom,       trial, attempt, reason
failed
lost                 trial (below zero: no trial), reason: a worker died; what it did is done again
refused              params, reason, control and parent as of a suggestion: one that ``forbid``
                     excludes; it never becomes a trial
grace                rung, correlation, n, epochs: that rung says little of how trials end; from now
                     on the first is at so many epochs
stopping             reason: a limit is reached, nothing more is begun; tuning: of the controls'
                     own search
extended             trials: how many there are to be in all, or seeds: how many more each finalist
                     gets; the study is open again
resumed              a driver goes on with the study
searched             the search phase is over; groups: the finalists, frozen, with their runs and
                     how their controls were tuned; finals: those runs
seeds                groups: the finalists with their runs; finals: the new ones among them: more
                     seeds, by `finalists/until` or an extension
enough               group, reason: why its winner gets no more seeds
outcomes             outcomes: trial → part → hash of the file with its pictures' outcomes, made
                     again from the stored students
test                 results: trial → test metrics; outcomes; every reading is one such event
closed               recipe, verdicts
===================  ==============================================================================
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from autokd.errors import UserError, nearest
from autokd.recipe import Recipe, parse
from autokd.study import event_file
from autokd.study.event_file import Chain, Damaged, Event, Line

NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
BROKEN = {"diverged", "oom", "failed"}  # states, and the events that lead to them
ENDED = {"complete", "pruned"} | BROKEN
# what the event says of a trial
SUGGESTED = (
    *("role", "recipe", "name", "params", "varied", "branch", "group", "exempt", "parent"),
    *("control", "question"),
)
TUNING = "tuning"  # role of a trial that tunes a control
EVENTS = "events.jsonl"  # in a study's folder


def studies(root: Path) -> Path:
    return root / "studies"


def folder(root: Path, name: str) -> Path:
    """A study's folder. Raises :class:`UserError` for an impossible name."""
    if not NAME.fullmatch(name) or name in {".", ".."}:
        raise UserError(f"{name!r} is no study name: up to 100 letters, digits, '.', '_' and '-'")
    return studies(root) / name


def existing(root: Path, name: str) -> Path:
    """The folder of a study that exists. Raises :class:`UserError` with the nearest name."""
    path = folder(root, name)
    if not _has_ledger(path):
        told = f"there is no study {name!r} under {studies(root)}; {nearest(name, names(root))}"
        raise UserError(told.rstrip("; "))
    return path


def names(root: Path) -> list[str]:
    """The studies under ``root``. Raises :class:`UserError` where they cannot be listed."""
    where = studies(root)
    try:
        return sorted(p.name for p in where.iterdir() if _has_ledger(p))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as e:
        raise UserError(f"{where}: cannot be read: {e.strerror}") from None


def _has_ledger(path: Path) -> bool:
    """Whether a folder is a study's; one that cannot be looked into is listed, and told when it is
    read.
    """
    try:
        return (path / EVENTS).exists()
    except OSError:
        return True


def attempt_folder(trial: int, attempt: int) -> Path:
    """Where an attempt's files lie, inside the study's folder."""
    return Path("trials") / str(trial) / str(attempt)


@dataclass
class Trial:
    """One row of the table: a suggestion, and all that became of it."""

    number: int
    role: str  # trial, baseline, repeat, tuning, finalist, or one of the controls
    recipe: dict[str, Any]
    name: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    varied: dict[str, Any] = field(default_factory=dict)
    branch: str = ""
    # the value of `finalists/per`, as Optuna stores it; None in a branch that has no such choice
    group: Any = None
    exempt: bool = False
    # of a finalist or control: the trial that it confirms; of one that tunes a control: the one
    # whose control it is
    parent: int | None = None
    control: str = ""  # of a trial that tunes a control: its role
    question: str = ""  # and what it shares with others that tune the same
    state: str = "waiting"  # waiting, running, paused, or one of ENDED
    attempt: int = 0
    deaths: int = 0  # of workers under it
    metrics: dict[int, dict[str, float]] = field(default_factory=dict)  # epochs done → metrics
    rungs: list[int] = field(default_factory=list)  # at which it was paused, promoted or pruned
    checkpoint: str | None = None
    checkpoint_epoch: int = 0
    student: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    # part (validation, test) → hash of the file that keeps what came of each picture
    outcomes: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    suggested: float = 0.0
    started: float = 0.0
    ended: float = 0.0

    @cached_property
    def parsed(self) -> Recipe:
        """Its recipe as an object."""
        return parse(self.recipe)

    @property
    def folder(self) -> Path:
        """Where the files of its latest attempt lie, inside the study's folder."""
        return attempt_folder(self.number, self.attempt)

    @property
    def length(self) -> int:
        """Epochs of a full run."""
        return self.recipe["train"]["epochs"]

    @property
    def full(self) -> bool:
        """Whether it ran to its end."""
        return self.state == "complete" or self.epochs >= self.length

    @property
    def epochs(self) -> int:
        return max(self.metrics, default=0)

    @property
    def last(self) -> dict[str, float]:
        return self.metrics[self.epochs] if self.metrics else {}

    @property
    def seed(self) -> int:
        return self.recipe["seed"]

    @property
    def searching(self) -> bool:
        return self.role in {"trial", "baseline"}

    @property
    def tuning(self) -> bool:
        return self.role == TUNING

    @property
    def judged(self) -> bool:
        """Whether it is ranked at rungs, with those of its ``rivals``."""
        return self.searching or self.tuning

    @property
    def rivals(self) -> tuple[str, Any]:
        """What those have in common that it is ranked with."""
        return (self.control, self.question) if self.tuning else ("", self.group)


@dataclass
class Table:
    """What the events add up to."""

    created: Event = field(default_factory=dict)
    trials: dict[int, Trial] = field(default_factory=dict)
    finished: list[int] = field(default_factory=list)  # trials, in the order in which they ended
    refused: int = 0
    # by key: teachers and assistants as they were trained or loaded, and measured
    teachers: dict[str, Event] = field(default_factory=dict)
    finalists: list[Event] | None = None
    seeds_due: int = 0  # how many more each finalist is to get, and has not been given
    enough: dict[str, str] = field(default_factory=dict)  # group → why it gets no more seeds
    tests: list[Event] = field(default_factory=list)
    test_due: bool = False  # finals are laid out and their winner has not been read on test
    grace: int = 0  # epochs before which no trial is judged any more
    stopping: str = ""  # why nothing more is begun before the finals
    tuning_stopped: str = ""  # why no more trials tune the controls
    # limits look at the trials from this number on: the first behind the latest extension
    since: int = 0
    closed: Event | None = None
    unsealed: int = 0  # lines that say nothing of what stood before them

    def read(self, file: Path, line: Line) -> None:
        """Apply a line of a file. Raises :class:`Damaged` where it is not what was written."""
        if line.trouble:
            raise Damaged(file, line.number, line.trouble)
        try:
            self.apply(line.event)
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            reason = f"an event {line.event['event']!r} that does not fit those before it"
            raise Damaged(file, line.number, f"{reason} ({type(e).__name__}: {e})") from None

    def apply(self, e: Event) -> None:
        kind = e["event"]
        if kind == "created":
            self.created = e
        elif kind == "suggested":
            given = {k: e[k] for k in SUGGESTED if k in e}
            self.trials[e["trial"]] = Trial(e["trial"], **given, suggested=e["t"])
        elif kind == "teacher":
            self.teachers[e["key"]] = e
        elif kind == "refused":
            self.refused += 1
        elif kind == "grace":
            self.grace = e["epochs"]
        elif kind == "stopping":
            if e.get("tuning"):
                self.tuning_stopped = e["reason"]
            else:
                self.stopping = e["reason"]
        elif kind in {"searched", "seeds"}:
            self._finals(e)
        elif kind == "enough":
            self.enough[str(e["group"])] = e["reason"]
        elif kind == "extended":
            self.enough = {}
            self.closed = None
            self.seeds_due = e.get("seeds", 0)
            if not self.seeds_due:
                self.finalists = None
                self.stopping = self.tuning_stopped = ""
                self.since = len(self.trials)
                self.created = self.created | {"trials": e["trials"]}
        elif kind == "test":
            self._outcomes(e)
            self.tests += [e] if e["results"] else []  # there may be no test pictures
            self.test_due = False
        elif kind == "outcomes":
            self._outcomes(e)
        elif kind == "closed":
            self.closed = e
        elif e.get("trial", -1) >= 0:
            self._trial(self.trials[e["trial"]], kind, e)
            if kind == "finished":
                self.finished.append(e["trial"])

    def _finals(self, e: Event) -> None:
        self.finalists = e["groups"]
        self.seeds_due = 0
        self.test_due = True
        for run in e["finals"]:
            self.trials[run["trial"]] = Trial(
                run["trial"],
                run["role"],
                run["recipe"],
                group=run["group"],
                parent=run["parent"],
                suggested=e["t"],
            )

    def _outcomes(self, e: Event) -> None:
        for number, parts in e.get("outcomes", {}).items():
            self.trials[int(number)].outcomes |= parts

    @staticmethod
    def _trial(trial: Trial, kind: str, e: Event) -> None:
        if kind == "started":
            trial.state = "running"
            trial.attempt = e["attempt"]
            trial.started = trial.started or e["t"]
            # What an interrupted attempt did past its last checkpoint is done again, to the same
            # numbers.
            trial.metrics = {n: m for n, m in trial.metrics.items() if n <= e["epoch"]}
        elif kind == "epoch":
            trial.metrics[e["epoch"]] = e["metrics"]
            if e.get("checkpoint"):
                trial.checkpoint = e["checkpoint"]
                trial.checkpoint_epoch = e["epoch"]
        elif kind in {"paused", "promoted"}:
            trial.rungs = sorted({*trial.rungs, e["rung"]})
            trial.state = "paused" if kind == "paused" else trial.state
        elif kind == "lost":
            trial.deaths += 1
        else:
            trial.state = "complete" if kind == "finished" else kind
            trial.student = e.get("student", "")
            trial.facts = e.get("facts", {})
            trial.outcomes = dict(trial.facts.get("outcomes", {}))
            trial.reason = e.get("reason", "")
            trial.ended = e["t"]


class Ledger:
    """The events of one study, open for writing by one driver at a time."""

    def __init__(self, path: Path):
        self.path = path
        self.file = path / EVENTS
        self.table = Table()
        self.events: list[Event] = []
        self.listeners: list[Callable[[Event], None]] = []
        self._out: IO[str] | None = None
        self._opened = time.monotonic()
        self._chain = Chain()
        self._lock = FileLock(path / "driver.lock")

    def open(self) -> Ledger:
        """Take the study for this driver, read what is there, and cut off a line that a crash left
        torn.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"study {self.path.name!r} is in use by another search; wait for it or stop it"
                " first"
            ) from None
        try:
            self._read()
        except BaseException:
            self._lock.release()
            raise
        self._out = self.file.open("a", encoding="utf-8")
        return self

    def _read(self) -> None:
        """What is there, without what a crash left of the last line."""
        if not self.file.exists():
            return
        whole = 0
        for line in event_file.lines(self.file, self._chain):
            self.table.read(self.file, line)
            self.events.append(line.event)
            whole = line.end
        with self.file.open("r+b") as f:
            f.truncate(whole)
            if whole and not _ends_a_line(f):
                f.write(b"\n")

    def append(self, event: str, *, durable: bool = False, **fields: Any) -> Event:
        assert self._out is not None, "the ledger is not open"
        up = time.monotonic() - self._opened
        e: Event = {"event": event, "t": round(time.time(), 3), "up": round(up, 3), **fields}
        line, head = self._chain.sealed(e)
        self._out.write(line)
        self._out.flush()
        self._chain.grow(head)
        if durable:
            os.fsync(self._out.fileno())
        self.events.append(e)
        self.table.apply(e)
        for listener in self.listeners:
            listener(e)
        return e

    def close(self) -> None:
        if self._out:
            # what could not be written was told when it was appended
            with contextlib.suppress(OSError):
                self._out.close()
            self._out = None
        self._lock.release()


def read(path: Path) -> tuple[list[Event], Table]:
    """The events and the table of a study, without taking its lock. Raises :class:`Damaged` for the
    first line that is not what was written, :class:`UserError` where nothing can be read.
    """
    chain, table, events = Chain(), Table(), []
    for line in event_file.lines(path / EVENTS, chain):
        table.read(path / EVENTS, line)
        events.append(line.event)
    table.unsealed = chain.unsealed
    return events, table


def gap(a: Event, b: Event) -> float:
    """Seconds from one event to a later one: under one driver by its ``up``, else by the clock, and
    never below 0, though that may have been set back.
    """
    if b["event"] not in {"resumed", "extended"} and "up" in a and "up" in b:
        return b["up"] - a["up"]
    return max(0.0, b["t"] - a["t"])


def elapsed(events: Sequence[Event]) -> float:
    """Seconds from the first event to the last."""
    return sum(itertools.starmap(gap, itertools.pairwise(events)))


def spent(events: Iterable[Event]) -> float:
    """Seconds that drivers have been at a study since it was begun or extended; the times between
    them do not count.
    """
    total, last = 0.0, None
    for e in events:
        if e["event"] in {"created", "extended"}:
            total = 0.0
        elif e["event"] != "resumed" and last is not None:
            total += gap(last, e)
        last = e
    return total


def _ends_a_line(f: IO[bytes]) -> bool:
    f.seek(-1, os.SEEK_END)
    return f.read(1) == b"\n"


def tabulate(events: Iterable[Event]) -> Table:
    table = Table()
    for e in events:
        table.apply(e)
    return table
