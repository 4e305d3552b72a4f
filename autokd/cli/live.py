"""The live view of a search: a table on a terminal, plain lines elsewhere. Always on stderr. From
its first second on something is said at least every ten seconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live

from autokd.cli.board import board, left, phase, spent, status
from autokd.study import racing, undertrained, words
from autokd.study.controls import CONTROLS
from autokd.study.ledger import BROKEN, Event

if TYPE_CHECKING:
    from autokd.study.queue import Study

SILENCE = 10.0  # seconds, at most
PATIENCE = 60.0  # seconds without an epoch, until it is said what is waited for
COUNTED = {"tables made", "tables read", "networks trained", "networks read"}


class LiveView:
    """Follows a search from its first second, and its study from when there is one. ``quiet``: says
    nothing but warnings.
    """

    def __init__(self, *, quiet: bool = False):
        self.console = Console(stderr=True, highlight=False)
        self.quiet: bool = quiet
        self.live: Live | None = None
        self.study: Study | None = None
        self.began = time.monotonic()
        self.doing = ""  # before there is a study
        self.spoke = self.began  # when something was said last
        self.pace: tuple[float, int] | None = (
            # when this session's first epoch was reported, and the epochs by then: what follows
            # tells the rate
            None
        )
        self.news = self.began  # when this session began, or the last epoch was reported
        self.patience = PATIENCE
        self.over = threading.Event()
        self.minding: threading.Thread | None = None
        self.counts: Counter[str] = Counter()
        self.warned: set[str] = set()

    def say(self, text: str) -> None:
        self.spoke = time.monotonic()
        self.console.print(text, soft_wrap=True, markup=False)

    def stage(self, doing: str) -> None:
        """What is begun now, before there is a study."""
        self.doing = doing
        if self.quiet:
            return
        self.say(f"{doing} …")
        if self.minding is None:
            self.minding = threading.Thread(target=self._mind, daemon=True)
            self.minding.start()

    def follow(self, study: Study) -> None:
        self.study = study
        for facts in [t.facts for t in study.trials.values()] + [
            e.get("facts", {}) for e in study.book.table.teachers.values()
        ]:
            self._count(facts)
        if self.quiet:
            return
        study.book.listeners.append(self._heard)
        self.stage(
            f"study {study.book.path.name}: {study.trials_wanted} trials, {study.jobs} at a time;"
            " starting Ray"
        )
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.live = Live(
                get_renderable=self.render,
                console=self.console,
                refresh_per_second=4,
                transient=True,
            )
            self.live.start()

    def stop(self) -> None:
        self.over.set()
        if self.live:
            self.live.stop()
            self.live = None

    def _count(self, facts: dict[str, Any]) -> None:
        self.counts.update({k: v for k, v in facts.items() if k in COUNTED})

    def _warn(self) -> None:
        """What speaks against the best trial so far, and against its teachers: each is said once,
        of whichever trial it is.
        """
        assert self.study is not None
        table, said = self.study.book.table, {}
        for warning in words.weak_teachers(table):
            said[warning] = warning
        ended = [t for t in table.trials.values() if t.searching and t.state == "complete"]
        for best in self.study.best(ended)[:1]:
            for sign in undertrained.of_trial(table, best):
                said[sign.split()[0]] = f"trial {best.number}, the best so far, {sign}"
        for key, warning in said.items():
            if key not in self.warned:
                self.warned.add(key)
                self.say(f"[{self._clock()}] warning: {warning}")

    def _heard(self, e: Event) -> None:
        assert self.study is not None
        kind = e["event"]
        if kind in {"epoch", "learned"}:
            self.news, self.patience = time.monotonic(), PATIENCE
        if kind == "epoch" and self.pace is None:
            self.pace = (time.monotonic(), spent(list(self.study.trials.values())))
        trial = self.study.trials.get(e.get("trial", -1))
        if kind in {"finished", "teacher"}:
            self._count(e.get("facts", {}))
        if kind == "lost":
            self.say(
                f"[{self._clock()}] {'trial ' + str(e['trial']) if trial else 'a job'}:"
                f" {e['reason']}; what it did is done again"
            )
        if kind == "teacher":
            self.say(f"[{self._clock()}] {words.taught(e)}")
            self._warn()
        if kind == "finished" and trial and trial.last:
            self._warn()
        if self.live:
            return
        if trial and kind in {"finished", "paused"} | BROKEN:
            value = self.study.value(trial)
            shown = f"{self.study.metric} {value:.4f}" if value is not None else ""
            roles = CONTROLS | {racing.REPEAT: f"another seed of trial {trial.parent}:"}
            role = roles.get(trial.role, trial.role)
            role = f"tuning {CONTROLS[trial.control]}" if trial.tuning else role
            self.say(
                f"[{self._clock()}] {role} {trial.number}: {trial.state} after {trial.epochs}"
                f" epochs {shown} {e.get('reason', '')}".rstrip()
            )
        elif kind == "searched":
            self.say(
                f"[{self._clock()}] search over; confirming the finalists beside their controls,"
                f" {len(e['finals'])} runs"
            )
        elif kind == "seeds":
            self.say(f"[{self._clock()}] more seeds for the finalists: {len(e['finals'])} runs")
        elif kind == "test":
            self.say(f"[{self._clock()}] test pictures read")

    def _mind(self) -> None:
        while not self.over.wait(1.0):
            if told := self.due(time.monotonic()):
                self.say(f"[{self._clock()}] {told}")

    def due(self, now: float) -> str:
        """What is to be said at that time (monotonic seconds), as nothing has been for long; ``""``
        where nothing is.
        """
        if self.study is None:
            return f"still {self.doing}" if now - self.spoke >= SILENCE else ""
        if told := self.waiting(now):
            return told
        if self.live or now - self.spoke < SILENCE:
            return ""
        return status(self.study, self._teaching(), self._left())

    def waiting(self, now: float) -> str:
        """What the search waits for, where it has been without an epoch for long (each time twice
        as long); else "". ``now``: monotonic seconds. It is asked from a thread of its own.
        """
        assert self.study is not None
        silent = now - self.news
        if silent < self.patience:
            return ""
        self.patience *= 2
        numbers = sorted(n for n in self.study.running.copy() if n >= 0)
        if taught := self._teaching():
            what = f"teachers to be trained or loaded ({', '.join(taught)})"
        elif numbers:
            what = f"an epoch of {'trials' if len(numbers) > 1 else 'trial'}"
            what += f" {', '.join(map(str, numbers))}"
        elif self.study.running:
            what = "the test pictures to be read"
        else:
            what = "Ray to start its workers"
        load, cpus = os.getloadavg()[0], len(os.sched_getaffinity(0))
        busy = f"; {load:.0f} processes want this machine's {cpus} CPUs" if load > cpus + 1 else ""
        return f"no epoch for {silent:.0f} s: waiting for {what}{busy}"

    def _teaching(self) -> list[str]:
        """The teachers that are being trained or loaded, with their epochs where these are
        known: ``cnn-3x32, epoch 3/40``.
        """
        assert self.study is not None
        known = self.study.teachers.at
        return [
            f"{model}{', epoch ' + known[key] if key in known else ''}"
            for key, model in list(self.study.teaching_jobs.values())
        ]

    def _clock(self) -> str:
        return words.duration(time.monotonic() - self.began)

    def _left(self) -> str:
        assert self.study is not None
        return left(self.study, *self.pace, time.monotonic()) if self.pace else ""

    def facts(self) -> list[tuple[str, str]]:
        """Name and text of what stands above the table."""
        assert self.study is not None
        out = [("phase", f"{phase(self.study)}, {self._clock()} elapsed")]
        if teaching := self._teaching():
            out.append(("teachers", "training or loading " + "; ".join(teaching)))
        for e in list(self.study.book.table.teachers.values())[-1:]:
            if (reached := e.get("metrics", {}).get("val/accuracy")) is not None:
                out.append(("teacher", f"{e['model']}: val/accuracy {reached:.4f}"))
        asked = self.counts["tables made"] + self.counts["tables read"]
        if asked:
            share = f"{self.counts['tables read'] / asked:.0%} from the cache"
            trained = self.counts["networks trained"]
            out.append(("teacher tables", f"{share}, networks trained: {trained}"))
        return out

    def render(self) -> Group:
        assert self.study is not None
        return board(self.study, self.facts(), self._left())
