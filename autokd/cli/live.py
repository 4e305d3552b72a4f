"""The live view of a search: a table on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from autokd.study import asha, finals, racing, undertrained, words
from autokd.study.choices import choices
from autokd.study.controls import CONTROLS
from autokd.study.ledger import BROKEN, ENDED, Event, Trial

if TYPE_CHECKING:
    from autokd.study.queue import Study

PATIENCE = 60.0  # seconds without an epoch, until it is said what is waited for
ORDER = ("waiting", "running", "paused", "complete", "pruned", "diverged", "oom", "failed")
COLOURS = {
    "waiting": "dim",
    "running": "cyan",
    "complete": "green",
    "pruned": "yellow",
    "paused": "blue",
    "diverged": "red",
    "oom": "red",
    "failed": "red",
}


class LiveView:
    """Follows a study. ``quiet``: says nothing but warnings."""

    def __init__(self, *, quiet: bool = False):
        self.console = Console(stderr=True, highlight=False)
        self.quiet: bool = quiet
        self.live: Live | None = None
        self.study: Study | None = None
        self.began = time.monotonic()
        self.pace: tuple[float, int] | None = (
            # when this session's first epoch was reported, and the epochs by then: what follows
            # tells the rate
            None
        )
        self.news = self.began  # when this session began, or the last epoch was reported
        self.patience = PATIENCE
        self.over = threading.Event()
        self.counts: Counter[str] = Counter()
        self.warned: set[str] = set()

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False)

    def follow(self, study: Study) -> None:
        self.study = study
        for facts in [t.facts for t in study.trials.values()] + [
            e.get("facts", {}) for e in study.book.table.teachers.values()
        ]:
            self._count(facts)
        if self.quiet:
            return
        study.book.listeners.append(self._heard)
        self.say(
            f"study {study.book.path.name}: {study.trials_wanted} trials, {study.jobs} at a time;"
            " starting Ray …"
        )
        threading.Thread(target=self._mind, daemon=True).start()
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
        self.counts.update(
            {
                k: v
                for k, v in facts.items()
                if k in {"tables made", "tables read", "networks trained", "networks read"}
            }
        )

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
        if kind == "epoch":
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
        while not self.over.wait(PATIENCE / 12):
            if told := self.waiting(time.monotonic()):
                self.say(f"[{self._clock()}] {told}")

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
        teaching = [model for _, model in list(self.study.teaching_jobs.values())]
        if teaching:
            what = f"teachers to be trained or loaded ({', '.join(teaching)})"
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

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        return f"{minutes:02d}:{seconds:02d}"

    def render(self) -> Grid:
        """The table. It is drawn from a thread of its own: what the study may change meanwhile is
        copied before it is gone through.
        """
        assert self.study is not None
        study = self.study
        trials = list(self.study.trials.values())
        searching = [t for t in trials if t.searching]
        states = Counter(t.state for t in trials)
        grid = Grid.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        best = study.best(searching)[:1]
        if not (study.teaching_jobs or any(t.attempt for t in trials)):
            phase = "starting workers"
        else:
            phase = "searching" if study.book.table.finalists is None else "confirming"
            if phase == "searching" and racing.repeats(study.trials):
                phase = "further seeds of the most promising"
            if phase != "confirming" and any(t.tuning and t.state not in ENDED for t in trials):
                phase = "tuning the controls"
        left = self._left(trials)
        grid.add_row(
            "phase", f"{phase}, {self._clock()} elapsed" + (f", about {left} to go" if left else "")
        )
        if best:
            grid.add_row(
                "best so far",
                f"trial {best[0].number}: {study.metric} {best[0].last.get(study.metric, 0):.4f} at"
                f" epoch {best[0].epochs}",
            )
            grid.add_row("", choices(best[0]))
        text = Text()
        for state in ORDER:
            if states[state]:
                text.append(f"{states[state]} {state}  ", style=COLOURS[state])
        if text:
            grid.add_row("trials", text)
        if study.teaching_jobs:
            grid.add_row(
                "teachers",
                "training or loading "
                + ", ".join(model for _, model in list(study.teaching_jobs.values())),
            )
        grid.add_row("epochs", f"{spent(trials)} of about {self._planned(trials)}")
        asked = self.counts["tables made"] + self.counts["tables read"]
        if asked:
            grid.add_row(
                "teacher tables",
                f"{self.counts['tables read'] / asked:.0%} from the cache, networks trained:"
                f" {self.counts['networks trained']}",
            )
        return grid

    def _planned(self, trials: list[Trial]) -> int:
        """Epochs of the whole study: while it searches, from what its trials take; then the finals
        are laid out, and it is known.
        """
        assert self.study is not None
        study = self.study
        if study.book.table.finalists is not None:
            return sum(
                t.epochs if t.judged or t.state in ENDED else t.recipe["train"]["epochs"]
                for t in trials
            )
        length = study.space.base.train.epochs
        rungs = asha.rungs(study.search.asha, length)
        expected = (
            length if not rungs else rungs[0] + (length - rungs[0]) / study.search.asha.reduction
        )
        runs = finals.most_runs(study.space)
        raced = study.search.racing.runs * asha.tells(study.search.asha, length)
        return round(expected * study.trials_wanted + raced + runs * length)

    def _left(self, trials: list[Trial]) -> str:
        """At the rate of this session's own epochs: neither the start nor what an earlier session
        did counts. ``""``: not known yet.
        """
        if self.pace is None:
            return ""
        since, before = self.pace
        todo = self._planned(trials) - spent(trials)
        done = spent(trials) - before
        if done < 10 or todo <= 0:
            return ""
        seconds = (time.monotonic() - since) * todo / done
        return f"{int(seconds // 60)} min" if seconds >= 60 else f"{int(seconds)} s"


def spent(trials: list[Trial]) -> int:
    return sum(t.epochs for t in trials)
