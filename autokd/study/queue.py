"""A study's decisions: what runs next, what goes on, what is confirmed. No Ray, no torch: the
simulator drives the same object.

Everything here follows from the ledger. A decision is an event; after a crash the events are
replayed, each suggestion is asked of a freshly seeded sampler again and must come out the same, and
the study goes on as if nothing had happened.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from autokd.errors import UserError
from autokd.recipe import parse
from autokd.space import Space
from autokd.study import asha, finals, ledger, limits, objectives, racing, ranking, verdict
from autokd.study.jobs import DONE, TEST, Job
from autokd.study.ledger import ENDED, Event, Ledger, Trial
from autokd.study.outcomes import Outcomes
from autokd.study.samplers.adapter import Adapter
from autokd.study.suggestions import Costs, Suggestions
from autokd.study.teaching import Teachers
from autokd.study.tuning import Tuning

MOST_DEATHS = 3  # of workers under one job, before it counts as failed
MOST_REFUSED = 1000  # suggestions in a row
Clock = Callable[[], float]


class Study:
    """The queue. ``jobs``: how many run side by side; ``teach``: whether teachers are jobs of their
    own, before the trials that need them, so that no worker waits for another's training.
    ``rebuild``: whether what came of each picture is made again where a run has not kept it.
    """

    def __init__(
        self,
        space: Space,
        book: Ledger,
        *,
        seed: int = 0,
        jobs: int = 1,
        trials: int | None = None,
        costs: Costs | None = None,
        clock: Clock = time.monotonic,
        teach: bool = False,
        rebuild: bool = False,
    ):
        self.space = space
        self.book = book
        self.jobs = jobs
        self.clock = clock
        self.teach = teach
        self.rebuild = rebuild
        self.search = space.search
        self.trials_wanted = trials or self.search.trials
        # of the first objective: pruning and ranks look at it
        self.metric = self.search.objectives[0].metric
        self.sign = self.search.objectives[0].sign
        self.suggestions = Suggestions(space, seed, jobs, costs)
        self.per = self.suggestions.per
        self.tuning = Tuning(space, seed, jobs)
        self.running: set[int] = set()  # numbers of jobs
        self.teachers = Teachers(book)
        self._latest = TEST  # the latest number of a job that is no trial
        self._deaths = Counter[str]()  # workers that died under a key
        self._preloaded = 1  # workers that have been given something
        # as if there had been one driver without a break
        self.began = clock() - ledger.spent(book.events)
        self._replay()

    @property
    def trials(self) -> dict[int, Trial]:
        return self.book.table.trials

    @property
    def teaching_jobs(self) -> dict[int, tuple[str, str]]:
        """The running jobs that teach: number → key and network."""
        return self.teachers.jobs

    # ------------------------------------------------------------ what runs next

    def next_job(self) -> Job | object | None:
        """A job; None when there is none for now; DONE when the study is over."""
        if len(self.running) >= self.jobs:
            return None
        table = self.book.table
        if table.finalists is None:
            job = self._continued() or self._searched() or self._tuned() or self._preload()
            if job or self.running:
                return job
            self._finish_search()
        if table.seeds_due:
            own = table.finalists or []
            self._add_seeds({e["trial"]: table.seeds_due for e in own})
        job = self._continued()
        if job or self.running:
            return job
        if job := self._rebuild():
            return job
        if table.test_due and self._more_seeds():
            return self._continued()
        return (table.test_due and self._test()) or DONE

    def _more_seeds(self) -> bool:
        """Plan more seeds for the winners whose intervals are too wide. Whether any are."""
        table = self.book.table
        if self.search.finalists.until is None:
            return False
        found = verdict.results(table, self.metric, self.sign, self.book.path)
        more: dict[int, int] = {}
        for best in verdict.winners(found):
            if str(best.group) in table.enough:
                continue
            number, reason = finals.more_seeds(best, self.search)
            if number:
                more[best.trial] = number
            else:
                self.book.append("enough", group=best.group, reason=reason)
        if more:
            self._add_seeds(more)
        return bool(more)

    def _add_seeds(self, more: dict[int, int]) -> None:
        """``more``: finalist → how many."""
        groups, planned = finals.extended(
            self.trials, self.search, self.book.table.finalists or [], more
        )
        self.book.append("seeds", durable=True, groups=groups, finals=planned)

    def _rebuild(self) -> Job | None:
        """What came of each picture, of runs of the finals that have not kept it: those of an
        older study, or whose file is gone. Asked for once; what cannot be had is done without.
        """
        if not self.rebuild:
            return None
        self.rebuild = False
        numbers = {
            n
            for entry in self.book.table.finalists or []
            for runs in entry["runs"].values()
            for n in runs.values()
        }
        kept = Outcomes(self.book.path)
        lacking = [
            n
            for n in sorted(numbers)
            if self.trials[n].state == "complete" and kept.of(self.trials[n], "validation") is None
        ]
        if not lacking:
            return None
        students = {str(n): self.trials[n].folder.as_posix() for n in lacking}
        return Job(self._other(), 1, "outcomes", {}, students=students)

    def _test(self) -> Job | None:
        """Each group's winner and its controls read the test pictures; None without a winner."""
        found = verdict.winners(verdict.results(self.book.table, self.metric, self.sign))
        numbers = {n for best in found for runs in best.runs.values() for n in runs.values()}
        if not numbers:
            return None
        self.running.add(TEST)
        students = {str(n): self.trials[n].folder.as_posix() for n in sorted(numbers)}
        return Job(TEST, 1, "test", {}, students=students)

    def _begin(self, trial: Trial) -> Job | None:
        """The trial's job, or first that of a teacher it needs. None where another worker is at
        that, or there will be no such teacher.
        """
        missing = self.teachers.missing(trial) if self.teach else None
        if missing is None:
            return self._start(trial)
        member, key, gone = missing
        if gone is None:
            return None if self.teachers.taken(key) else self._teacher(trial, member, key)
        job = self._start(trial)
        reason = f"its teacher {gone['model']}: {gone['reason']}"
        self.finish(trial.number, job.attempt, gone["state"], reason=reason)
        return None

    def _teacher(self, trial: Trial, member: int, key: str) -> Job:
        number = self._other()
        self.teachers.begun(number, trial, member, key)
        return Job(number, 1, "teacher", trial.recipe, member=member)

    def _preload(self) -> Job | None:
        """While a teacher is trained, the other workers start, import and load the data: that takes
        longer than many a trial.
        """
        waiting = next((t for t in self.trials.values() if t.state == "waiting"), None)
        if not self.teaching_jobs or waiting is None or self._preloaded >= self.jobs:
            return None
        self._preloaded += 1
        return Job(self._other(), 1, "preload", waiting.recipe)

    def _other(self) -> int:
        """The number of a job that is no trial; it runs from now on."""
        self._latest -= 1
        self.running.add(self._latest)
        return self._latest

    def _start(self, trial: Trial) -> Job:
        attempt = trial.attempt + 1
        self.running.add(trial.number)
        judged = self._rungs(trial) if trial.judged else []
        if trial.role == racing.REPEAT and (end := self._ends_at(trial)) < trial.length:
            judged = [end]
        self.book.append(
            "started", trial=trial.number, attempt=attempt, epoch=trial.checkpoint_epoch
        )
        how = self.search.asha
        return Job(
            trial.number,
            attempt,
            trial.role,
            trial.recipe,
            trial.checkpoint,
            judged,
            average=how.average_epochs if judged and how.judge == "average" else None,
        )

    def _continued(self) -> Job | None:
        """What was suggested and not started, or interrupted by a crash."""
        for trial in self.trials.values():
            cut = trial.state == "running" and trial.number not in self.running
            if (trial.state == "waiting" or cut) and (job := self._begin(trial)):
                return job
        return None

    def _searched(self) -> Job | None:
        """What the main search does next: None for good once its controls are tuned."""
        since = self.book.table.since
        if any(t.tuning and t.number >= since for t in self.trials.values()):
            return None
        if job := None if self._stopped() else self._promoted() or self._new():
            return job
        return self._seen_through() or self._raced()

    def _promoted(self) -> Job | None:
        """The paused trial of the highest rung that now is among its best."""
        if self.search.asha.form != "promotion":
            return None
        trials = [*self.trials.values()]
        trial = asha.promotable(trials, self.search.asha, self.metric, self.sign)
        if trial is None:
            return None
        self.book.append("promoted", trial=trial.number, rung=trial.epochs)
        return self._start(trial)

    def _new(self) -> Job | None:
        wanted = self.trials_wanted - self.tuning.of(self.trials_wanted)
        return self._begun(
            lambda: (
                None if sum(t.searching for t in self.trials.values()) >= wanted else self._suggest
            )
        )

    def _begun(self, due: Callable[[], Callable[[], Trial | None] | None]) -> Job | None:
        """A new trial. ``due``: what suggests it; None where none is to be begun."""
        refused = 0
        while refused < MOST_REFUSED:
            trials = self.trials.values()
            begun = sum(t.state == "waiting" or t.number in self.running for t in trials)
            suggest = due() if begun < self.jobs else None
            if suggest is None:
                return None
            trial = suggest()
            if trial is None:
                refused += 1
            elif job := self._begin(trial):
                return job
        reason = self.book.events[-1]["reason"]
        raise UserError(
            f"the space excludes what the sampler proposed {MOST_REFUSED:,} times in a row; is"
            f" anything left of it? The last one by {reason}"
        )

    def _seen_through(self) -> Job | None:
        """The best of a group that still lacks finalists, once nothing new is begun any more:
        however few the trials, or the epochs, a search has an answer.
        """
        if self._searching():
            return None
        trial = asha.lacking(self.trials.values(), self.search, self.metric, self.sign)
        if trial is None:
            return None
        reason = "its group lacks finalists"
        self.book.append("promoted", trial=trial.number, rung=trial.epochs, reason=reason)
        return self._start(trial)

    def _tuned(self) -> Job | None:
        """What tunes the controls, once nothing else runs or is begun any more."""
        if not self.tuning.share:
            return None
        others = (t.state for t in self.trials.values() if not t.tuning)
        if not {"waiting", "running"}.isdisjoint(others) or self._tuning_stopped():
            return None

        def due() -> Callable[[], Trial | None] | None:
            found = self.tuning.due(self.trials, self.trials_wanted)
            return found and (lambda: self._suggest_control(*found))

        return self._promoted() or self._begun(due)

    def _raced(self) -> Job | None:
        """A further seed of a contender, once nothing new is begun any more."""
        if not self.search.racing.runs or self._searching():
            return None
        source = racing.contender(self.trials, self.search)
        if source is None:
            return None
        number = len(self.trials)
        self.book.append(
            "suggested",
            trial=number,
            role=racing.REPEAT,
            recipe=racing.another_seed(source, self.trials),
            group=source.group,
            parent=source.number,
            reason="another seed of a contender",
        )
        return self._begin(self.trials[number])

    def _ends_at(self, repeat: Trial) -> int:
        return asha.tells(self.search.asha, repeat.length)

    def _searching(self) -> bool:
        """Whether trials are running that are no further seeds."""
        return any(n >= 0 and self.trials[n].role != racing.REPEAT for n in self.running)

    def _stopped(self) -> str:
        """Why nothing more is begun, if so. The reason becomes an event, so that a resumed study
        stops as this one did.
        """
        table = self.book.table
        if not table.stopping:
            spent = self.clock() - self.began
            share, ahead = self.tuning.share, self._finals_seconds()
            if reason := limits.reached(table, self.search, spent, ahead, share):
                self.book.append("stopping", reason=reason)
        return table.stopping

    def _tuning_stopped(self) -> str:
        """The same of the controls' own search."""
        table = self.book.table
        if not table.tuning_stopped:
            spent = self.clock() - self.began
            share, ahead = self.tuning.share, self._finals_seconds()
            if reason := limits.tuning_reached(table, self.search, spent, ahead, share):
                self.book.append("stopping", reason=reason, tuning=True)
        return table.tuning_stopped

    def _finals_seconds(self) -> float:
        """What the finals are expected to take, at the pace of the epochs until now."""
        if not self.search.time:
            return 0.0
        paces = [e["seconds"] for e in self.book.events if e["event"] == "epoch" and e["seconds"]]
        pace = statistics.fmean(paces) if paces else 0.0
        length = self.space.base.train.epochs
        return math.ceil(finals.most_runs(self.space) / self.jobs) * length * pace

    def _suggest(self) -> Trial | None:
        """The next suggestion as a trial. None where the space excludes it."""
        number = len(self.trials)
        name, point, asked = self.suggestions.ask()
        if reason := self.suggestions.excluded(point):
            self.book.append("refused", params=point.params, reason=reason)
            self.suggestions.sampler.refuse(asked)
            return None
        self.book.append(
            "suggested",
            trial=number,
            role="baseline" if name else "trial",
            name=name,
            recipe=parse(point.data).to_dict(),
            params=point.params,
            varied=point.varied,
            branch=point.branch,
            exempt=(bool(name) and self.search.asha.exempt_baselines)
            or self.suggestions.exempt(number),
            group=self.suggestions.group(point),
        )
        self.suggestions.sampler.asked[number] = asked
        return self.trials[number]

    def _suggest_control(self, source: Trial, control: str) -> Trial | None:
        """The next trial that tunes this control of a trial. None where the space excludes it."""
        number = len(self.trials)
        point, question, asked = self.tuning.ask(source, control)
        sampler = self.tuning.sampler(control, question)
        whose: dict[str, Any] = {"control": control, "parent": source.number}
        if reason := self.tuning.excluded(source, control, point):
            self.book.append("refused", params=point.params, reason=reason, **whose)
            sampler.refuse(asked)
            return None
        self.book.append(
            "suggested",
            trial=number,
            role=ledger.TUNING,
            recipe=parse(point.data).to_dict(),
            params=point.params,
            varied=point.varied,
            branch=point.branch,
            group=source.group,
            question=question,
            **whose,
        )
        sampler.asked[number] = asked
        return self.trials[number]

    # ------------------------------------------------------------ what the workers say

    def report(
        self,
        number: int,
        attempt: int,
        epoch: int,
        metrics: dict[str, float],
        checkpoint: str | None = None,
        seconds: float | None = None,
    ) -> bool:
        """An epoch is done. Returns whether the trial goes on; one whose metrics cannot be worked
        with ends as ``failed``.
        """
        trial = self.trials[number]
        if attempt != trial.attempt:
            return False  # a worker of a driver that is gone
        if reason := objectives.unusable(metrics, self.search):
            self.finish(number, attempt, "failed", reason=f"epoch {epoch}: {reason}")
            return False
        done: dict[str, Any] = {
            "epoch": epoch,
            "metrics": metrics,
            "checkpoint": checkpoint,
            "seconds": seconds,
        }
        self.book.append("epoch", trial=number, attempt=attempt, **done)
        return self._judge(trial)

    def _judge(self, trial: Trial) -> bool:
        """Whether a trial at a rung goes on; if not, it is paused or pruned now."""
        form, rung = self.search.asha.form, trial.epochs
        if trial.role == racing.REPEAT and self._ends_at(trial) <= rung < trial.length:
            self.running.discard(trial.number)
            self.book.append("pruned", trial=trial.number, rung=rung, attempt=trial.attempt)
            return False
        if not trial.judged or rung in trial.rungs or rung not in self._rungs(trial):
            return True
        if self._passes(trial, rung):
            self.book.append("promoted", trial=trial.number, rung=rung)
            return True
        self.running.discard(trial.number)
        kind = "paused" if form == "promotion" else "pruned"
        self.book.append(kind, trial=trial.number, rung=rung, attempt=trial.attempt)
        self._tell(trial)
        return False

    def _rungs(self, trial: Trial) -> list[int]:
        return asha.rungs(self.search.asha, trial.length, self.book.table.grace)

    def _raise_grace(self) -> None:
        """Leave out the lowest rung where it says little of how trials end."""
        grace, trials = self.book.table.grace, self.trials.values()
        for raised in asha.raised(trials, self.metric, self.search.asha, grace):
            self.book.append("grace", **raised)

    def _passes(self, trial: Trial, rung: int) -> bool:
        trials, how = self.trials.values(), self.search.asha
        return trial.exempt or asha.good_enough(trial, rung, trials, how, self.metric, self.sign)

    def finish(
        self,
        number: int,
        attempt: int,
        state: str,
        *,
        reason: str = "",
        student: str = "",
        facts: dict[str, Any] | None = None,
    ) -> None:
        """A trial has ended: ``finished``, ``diverged``, ``oom`` or ``failed``."""
        trial = self.trials[number]
        if attempt != trial.attempt or trial.state in ENDED:
            return
        self.running.discard(number)
        extra: dict[str, Any] = {"reason": reason}
        if state == "finished":
            extra = {"student": student, "facts": facts or {}}
        self.book.append(state, durable=True, trial=number, attempt=attempt, **extra)
        self._tell(trial)
        if trial.searching and trial.exempt:
            self._raise_grace()

    def lost(self, number: int, reason: str) -> None:
        """A worker died under its job: it is done again, unless that has happened too often."""
        self.running.discard(number)
        self.book.append("lost", trial=number, reason=reason)
        key = self.teaching_jobs[number][0] if number in self.teaching_jobs else str(number)
        self._deaths[key] += 1
        deaths = max(self._deaths[key], self.trials[number].deaths if number >= 0 else 0)
        reason = f"{MOST_DEATHS} workers died: {reason}"
        if number == TEST and deaths >= MOST_DEATHS:
            raise UserError(f"the test pictures could not be read: {reason}")
        if number in self.teaching_jobs and deaths >= MOST_DEATHS:
            self.taught(number, "failed", reason=reason)
        elif number >= 0 and deaths >= MOST_DEATHS:
            self.finish(number, self.trials[number].attempt, "failed", reason=reason)
        self.teaching_jobs.pop(number, None)

    def taught(self, number: int, state: str, **found: Any) -> None:
        """A teacher is there, or will not be: ``taught``, ``diverged``, ``oom`` or ``failed``.
        Raises :class:`UserError` where it was given and cannot be used.
        """
        self.running.discard(number)
        if number in self.teaching_jobs:  # else its worker was given up
            self.teachers.ended(number, state, found)

    def learned(self, number: int, steps: list[dict[str, Any]]) -> None:
        """How far a teacher's training is: model, epoch, of, part and metrics of each step."""
        if number in self.teaching_jobs:
            self.teachers.learned(number, steps)

    def preloaded(self, number: int) -> None:
        self.running.discard(number)

    def rebuilt(self, number: int, outcomes: dict[str, dict[str, str]]) -> None:
        """What came of each picture was made again from stored students."""
        self.running.discard(number)
        self.book.append("outcomes", durable=True, outcomes=outcomes)

    def tested(
        self,
        results: dict[str, dict[str, float]],
        outcomes: dict[str, dict[str, str]] | None = None,
    ) -> None:
        """The test pictures were read. ``results``: empty where there are none."""
        self.running.discard(TEST)
        self.book.append("test", durable=True, results=results, outcomes=outcomes or {})

    # ------------------------------------------------------------ values

    def value(self, trial: Trial) -> float | None:
        """The first objective: see :func:`objectives.value`."""
        return objectives.value(trial, self.search.objectives[0], self.trials)

    def front(self) -> list[Trial]:
        """The Pareto front: see :func:`ranking.front`."""
        return ranking.front(self.trials, self.search)

    def best(self, trials: Iterable[Trial]) -> list[Trial]:
        """Best first: see :func:`ranking.best`."""
        return ranking.best(trials, self.search, self.trials)

    def _tell(self, trial: Trial) -> None:
        if trial.judged:
            reached = objectives.values(trial, self.search, self.trials)
            self._sampler(trial).tell(trial, reached)

    def _sampler(self, trial: Trial) -> Adapter:
        """The one that suggested it."""
        if trial.tuning:
            return self.tuning.sampler(trial.control, trial.question)
        return self.suggestions.sampler

    # ------------------------------------------------------------ the end of the search

    def _finish_search(self) -> None:
        """Nothing is left to try: those still paused have lost; the finalists are frozen and their
        runs laid out.
        """
        for trial in list(self.trials.values()):
            if trial.state == "paused":
                rung, attempt = trial.epochs, trial.attempt
                self.book.append("pruned", trial=trial.number, rung=rung, attempt=attempt)
        groups, planned = finals.freeze(
            self.trials, self.search, lambda t: self.tuning.result(t, self.trials)
        )
        stopped = self.book.table.stopping
        self.book.append("searched", durable=True, groups=groups, stopped=stopped, finals=planned)

    # ------------------------------------------------------------ after a crash

    def _replay(self) -> None:
        """Bring the sampler to where the events say it is."""
        told = {"paused", "finished"} | ledger.BROKEN
        if self.search.asha.form == "stopping":
            told.add("pruned")
        events = self.book.events
        self.book.table = ledger.Table()
        for e in events:
            asked = None
            if e["event"] == "refused" or e.get("role") in {"trial", "baseline", ledger.TUNING}:
                asked = self._ask_again(e)
            self.book.table.apply(e)
            if e["event"] == "suggested" and asked is not None:
                trial = self.trials[e["trial"]]
                self._sampler(trial).asked[trial.number] = asked
            if e["event"] in told:
                self._tell(self.trials[e["trial"]])
        self._raise_grace()
        for trial in list(self.trials.values()):
            if trial.state == "running":
                self._judge(trial)  # it may have reported at a rung and not been judged any more

    def _ask_again(self, e: Event) -> Any:
        """Ask for what the ledger has, a trial or what was refused. Raises :class:`UserError` where
        another comes. Returns what Optuna is told of a trial by.
        """
        if control := e.get("control"):
            point, question, asked = self.tuning.ask(self.trials[e["parent"]], control)
            sampler = self.tuning.sampler(control, question)
        else:
            _, point, asked = self.suggestions.ask()
            sampler = self.suggestions.sampler
        if e["event"] == "refused":
            sampler.refuse(asked)
            return None
        if point.params != e["params"]:
            raise UserError(
                f"trial {e['trial']}: the sampler now suggests {point.params}, the ledger"
                f" says {e['params']}: another version of Optuna?"
            )
        return asked
