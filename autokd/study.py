"""A study's decisions: what runs next, what goes on, what is confirmed. No Ray, no torch: the simulator drives the same object.

Everything here follows from the ledger. A decision is an event; after a crash the events are replayed, each suggestion is asked
of a freshly seeded sampler again and must come out the same, and the study goes on as if nothing had happened.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autokd import asha, ledger, rng, verdict
from autokd.document import UserError
from autokd.ledger import ENDED, Ledger, Trial
from autokd.recipe import parse
from autokd.settings import LATENCY, Objective
from autokd.space import Space
from autokd.tree import Free, OneOf, Point

optuna.logging.set_verbosity(optuna.logging.WARNING)
MOST_DEATHS = 3  # of workers under one job, before it counts as failed
WORST = {"val/accuracy": 0.0, "val/ece": 1.0}  # of a run that diverged; other metrics: the worst value seen


@dataclass(frozen=True)
class Job:
    """One stretch of one trial for a worker: from a checkpoint, or the start, to its end. Or a teacher's training, or the test."""

    trial: int  # below zero: no trial
    attempt: int
    role: str
    recipe: dict[str, Any]
    checkpoint: str | None = None
    rungs: list[int] = field(default_factory=list)  # epochs at which a checkpoint must be written
    students: dict[str, str] = field(default_factory=dict)  # role "test": trial → folder of its student
    member: int = -1  # role "teacher": which of the recipe's members


Costs = Callable[[dict[str, Any]], dict[str, float]]  # a recipe's data → student/params and student/flops, known before training
Clock = Callable[[], float]
DONE = object()
TEST = -1  # the number of the job that reads the test pictures; those below it are other jobs than trials


class Study:
    """The state machine. ``jobs``: how many run side by side; ``teach``: whether teachers are jobs of their own, before the trials that
    need them, so that no worker waits for another's training."""

    def __init__(
        self, space: Space, book: Ledger, *, seed: int = 0, jobs: int = 1, trials: int | None = None, costs: Costs | None = None,
        clock: Clock = time.time, teach: bool = False,
    ):  # fmt: skip
        self.space, self.book, self.seed, self.jobs, self.costs, self.clock = space, book, seed, jobs, costs, clock
        self.search = space.search
        self.trials_wanted = trials or self.search.trials
        self.objectives = self.search.objectives
        self.metric, self.sign = self.objectives[0].metric, self.objectives[0].sign  # of the first: pruning and ranks look at it
        self.baselines = space.starting_points()
        self.per = space.per
        directions = ["maximize" if o.sign > 0 else "minimize" for o in self.objectives]
        self.optuna = optuna.create_study(sampler=sampler(self.search.sampler, seed, jobs), directions=directions)
        self.asked: dict[int, optuna.Trial] = {}
        self.extra = 0  # records in Optuna's study beyond one an ask
        self.running: set[int] = set()  # numbers of jobs
        self.teach = teach
        self.lessons: dict[int, tuple[str, str]] = {}  # running jobs that teach: number → key and network
        self._latest, self._deaths = TEST, Counter[str]()  # the latest number of a job that is no trial; workers that died under a key
        self._woken = 1  # workers that have been given something
        self._needs: dict[int, list[str]] = {}  # trial → keys of its teachers
        self._distributions: dict[int, dict[str, BaseDistribution]] = {}  # of the trials that Optuna was told of
        self.began = clock() - ledger.spent(book.events)  # as if there had been one driver without a break
        self._replay()

    @property
    def trials(self) -> dict[int, Trial]:
        return self.book.table.trials

    # ------------------------------------------------------------ what runs next

    def next_job(self) -> Job | object | None:
        """A job; None when there is none for now; DONE when the study is over."""
        if len(self.running) >= self.jobs:
            return None
        if self.book.table.finalists is None:
            job = self._continued() or self._promoted() or self._new() or self._awake()
            if job or self.running:
                return job
            self._finish_search()
        job = self._continued()
        if job or self.running:
            return job
        best = verdict.overall(verdict.results(self.book.table, self.metric, self.sign), self.sign)
        if best is not None and self.book.table.test_due:
            self.running.add(TEST)
            numbers = [n for runs in best.runs.values() for n in runs.values()]
            return Job(TEST, 1, "test", {}, students={str(n): f"trials/{n}/{self.trials[n].attempt}" for n in sorted(set(numbers))})
        return DONE

    def _begin(self, trial: Trial) -> Job | None:
        """The trial's job, or first that of a teacher it needs. None where another worker is at that, or there will be no such teacher."""
        if trial.number not in self._needs:
            self._needs[trial.number] = parse(trial.recipe).member_keys() if self.teach else []
        keys = self._needs[trial.number]
        for member, key in reversed([*enumerate(keys)]):  # the largest first: it teaches the smaller ones
            known = self.book.table.teachers.get(key)
            if known is None:
                return None if any(key == k for k, _ in self.lessons.values()) else self._teacher(trial, member, key)
            if known["state"] != "taught":
                job = self._start(trial)
                self.finish(trial.number, job.attempt, known["state"], reason=f"its teacher {known['model']}: {known['reason']}")
                return None
        return self._start(trial)

    def _teacher(self, trial: Trial, member: int, key: str) -> Job:
        self._latest -= 1
        full = trial.recipe["teacher"]["model"]
        names = [*reversed(trial.recipe["ladder"]), full]
        self.lessons[self._latest] = key, names[member - len(self._needs[trial.number])]
        self.running.add(self._latest)
        return Job(self._latest, 1, "teacher", trial.recipe, member=member)

    def _awake(self) -> Job | None:
        """While a teacher is trained, the other workers start, import and load the data: that takes longer than many a trial."""
        waiting = next((t for t in self.trials.values() if t.state == "waiting"), None)
        if not self.lessons or waiting is None or self._woken >= self.jobs:
            return None
        self._woken += 1
        self._latest -= 1
        self.running.add(self._latest)
        return Job(self._latest, 1, "wake", waiting.recipe)

    def _start(self, trial: Trial) -> Job:
        attempt = trial.attempt + 1
        self.running.add(trial.number)
        judged = self._rungs(trial) if trial.searching else []
        self.book.append("started", trial=trial.number, attempt=attempt, epoch=trial.checkpoint_epoch)
        return Job(trial.number, attempt, trial.role, trial.recipe, trial.checkpoint, judged)

    def _continued(self) -> Job | None:
        """What was suggested and not started, or interrupted by a crash."""
        for trial in self.trials.values():
            if trial.state == "waiting" or (trial.state == "running" and trial.number not in self.running):
                if job := self._begin(trial):
                    return job
        return None

    def _promoted(self) -> Job | None:
        """The paused trial of the highest rung that now is among its best."""
        if self.search.asha.form != "promotion" or self._stopped():
            return None
        paused = [t for t in self.trials.values() if t.state == "paused"]
        best: dict[Any, set[int]] = {}  # by what is ranked together: sorted once, not once for each that waits
        for trial in sorted(paused, key=lambda t: (-t.epochs, asha.rank(t, t.epochs, self.metric, self.sign))):
            key = trial.epochs, trial.group, trial.branch
            if key not in best:
                best[key] = asha.best(trial, trial.epochs, self.trials.values(), self.search.asha, self.metric, self.sign)
            if trial.number in best[key]:
                self.book.append("promoted", trial=trial.number, rung=trial.epochs)
                return self._start(trial)
        return None

    def _new(self) -> Job | None:
        if self._stopped():
            return None
        refused = 0
        while refused < 1000:
            begun = sum(t.state == "waiting" or t.number in self.running for t in self.trials.values())
            if begun >= self.jobs or sum(t.searching for t in self.trials.values()) >= self.trials_wanted:
                return None
            trial = self._suggest()
            if trial is None:
                refused += 1
            elif job := self._begin(trial):
                return job
        reason = self.book.events[-1]["reason"]
        raise UserError(f"the space excludes what the sampler proposed 1,000 times in a row; is anything left of it? The last one by {reason}")

    def _stopped(self) -> str:
        """Why nothing more is begun, if so. The reason becomes an event, so that a resumed study stops as this one did."""
        table = self.book.table
        if not table.stopping and (reason := self._exhausted()):
            self.book.append("stopping", reason=reason)
        return table.stopping

    def _exhausted(self) -> str:
        """The limit that is reached, if any. After an extension each counts anew: who asks for more trials knows what the study has reached."""
        s = self.search
        if s.time and self.clock() - self.began > s.time:
            return f"{s.time:g} seconds are over"
        searched, since = [t for t in self.trials.values() if t.searching], self.book.table.since
        if s.epochs and sum(t.epochs for t in searched if t.number >= since) >= s.epochs:
            return f"{s.epochs} epochs are spent"
        done = sorted((t for t in searched if t.state == "complete"), key=lambda t: t.ended)
        values = [(self.sign * v, t.number >= since) for t in done if (v := self.value(t)) is not None]
        if s.target is not None and any(new and v >= self.sign * s.target for v, new in values):
            return f"the target {s.target:g} is reached"
        if s.plateau:
            best, vain = -math.inf, 0
            for v, new in values:
                best, vain = (v, 0) if v - best > s.plateau.margin else (best, vain + new)
            if vain >= s.plateau.trials:
                return f"{vain} finished trials in a row brought nothing"
        return ""

    def _excluded(self, point: Point) -> str:
        """Why this point must not be trained, if so: ``forbid``, or a cost that is known beforehand and over its limit."""
        if entry := self.space.forbidden(point):
            return f"forbid: {entry}"
        known = self.costs(point.data) if self.costs and self.search.limits else {}
        broken = [c for c in self.search.limits if c.metric in known and not c.holds(known[c.metric])]
        return f"constraint: {broken[0].metric} is {known[broken[0].metric]:g}" if broken else ""

    def _suggest(self) -> Trial | None:
        """Ask Optuna for a trial, or take the next baseline. None where the space excludes it."""
        number = len(self.trials)
        name, point, asked = self._ask()
        if reason := self._excluded(point):
            self.book.append("refused", params=point.params, reason=reason)
            self._refuse(asked)
            return None
        role = "baseline" if name else "trial"
        every = self.search.asha.exempt
        lucky = bool(every and rng.uniforms(self.seed, "exempt", number, 1)[0, 0] < 1 / every)
        self.book.append(
            "suggested", trial=number, role=role, name=name, recipe=parse(point.data).to_dict(), params=point.params, varied=point.varied,
            branch=point.branch, exempt=role == "baseline" or lucky, group=point.params.get(self.per.name) if self.per else None,
        )  # fmt: skip
        self.asked[number] = asked
        return self.trials[number]

    def _refuse(self, asked: optuna.Trial) -> None:
        """Pruned before its first epoch, which TPE ranks last. Of a failed trial it learns nothing, and what it has not seen it likes best."""
        self.optuna.tell(asked, state=optuna.trial.TrialState.PRUNED)

    def _ask(self) -> tuple[str, Point, optuna.Trial]:
        name, fixed, index = "", {}, len(self.optuna.get_trials(deepcopy=False)) - self.extra
        if index < len(self.baselines):
            name, point = self.baselines[index]
            fixed = point.params
        elif self.per is not None:
            fixed = {self.per.name: self.per.encoded[index % len(self.per.options)]}  # an equal share for each value
        if fixed:
            self.optuna.enqueue_trial(fixed)
        asked = self.optuna.ask()
        return name, self.space.point(lambda node: suggest(asked, node)), asked

    # ------------------------------------------------------------ what the workers say

    def report(self, number: int, attempt: int, epoch: int, metrics: dict[str, float], checkpoint: str | None = None, seconds: float | None = None) -> bool:
        """An epoch is done. Returns whether the trial goes on."""
        trial = self.trials[number]
        if attempt != trial.attempt:
            return False  # a worker of a driver that is gone
        self.book.append("epoch", trial=number, attempt=attempt, epoch=epoch, metrics=metrics, checkpoint=checkpoint, seconds=seconds)
        return self._judge(trial)

    def _judge(self, trial: Trial) -> bool:
        """Whether a trial at a rung goes on; if not, it is paused or pruned now."""
        form, rung = self.search.asha.form, trial.epochs
        if not trial.searching or rung in trial.rungs or rung not in self._rungs(trial):
            return True
        if self._passes(trial, rung):
            self.book.append("promoted", trial=trial.number, rung=rung)
            return True
        self.running.discard(trial.number)
        self.book.append("paused" if form == "promotion" else "pruned", trial=trial.number, rung=rung, attempt=trial.attempt)
        self._tell(trial)
        return False

    def _rungs(self, trial: Trial) -> list[int]:
        return asha.rungs(self.search.asha, trial.recipe["train"]["epochs"], self.book.table.grace)

    def _raise_grace(self) -> None:
        """Leave out the lowest rung where it says little of how trials end."""
        below = self.search.asha.raise_grace_below
        if below is None:
            return
        for rung, r, n in asha.correlations(self.trials.values(), self.metric, self.search.asha):
            if rung < self.book.table.grace:
                continue
            if r is None or r >= below:
                return
            self.book.append("grace", rung=rung, correlation=round(r, 4), n=n, epochs=rung * self.search.asha.reduction)

    def _passes(self, trial: Trial, rung: int) -> bool:
        if trial.exempt:
            return True
        return asha.good_enough(trial, rung, self.trials.values(), self.search.asha, self.metric, self.sign)

    def finish(self, number: int, attempt: int, state: str, *, reason: str = "", student: str = "", facts: dict[str, Any] | None = None) -> None:
        """A trial has ended: ``finished``, ``diverged``, ``oom`` or ``failed``."""
        trial = self.trials[number]
        if attempt != trial.attempt or trial.state in ENDED:
            return
        self.running.discard(number)
        extra = {"student": student, "facts": facts or {}} if state == "finished" else {"reason": reason}
        self.book.append(state, durable=True, trial=number, attempt=attempt, **extra)
        self._tell(trial)
        if trial.searching and trial.exempt:
            self._raise_grace()

    def lost(self, number: int, reason: str) -> None:
        """A worker died under its job: it is done again, unless that has happened too often."""
        self.running.discard(number)
        self.book.append("lost", trial=number, reason=reason)
        key = self.lessons[number][0] if number in self.lessons else str(number)
        self._deaths[key] += 1
        deaths, reason = max(self._deaths[key], self.trials[number].deaths if number >= 0 else 0), f"{MOST_DEATHS} workers died: {reason}"
        if number == TEST and deaths >= MOST_DEATHS:
            raise UserError(f"the test pictures could not be read: {reason}")
        if number in self.lessons and deaths >= MOST_DEATHS:
            self.taught(number, "failed", reason=reason)
        elif number >= 0 and deaths >= MOST_DEATHS:
            self.finish(number, self.trials[number].attempt, "failed", reason=reason)
        self.lessons.pop(number, None)

    def taught(self, number: int, state: str, **found: Any) -> None:
        """A teacher is there, or will not be: ``taught``, ``diverged``, ``oom`` or ``failed``. Raises :class:`UserError` where it was given and
        cannot be used."""
        self.running.discard(number)
        if number not in self.lessons:
            return  # its worker was given up
        key, model = self.lessons.pop(number)
        if state == "failed" and found.get("given"):
            raise UserError(f"teacher {model}: {found.get('reason')}")
        self.book.append("teacher", durable=True, key=key, model=model, state=state, **found)

    def woken(self, number: int) -> None:
        self.running.discard(number)

    def tested(self, results: dict[str, dict[str, float]]) -> None:
        self.running.discard(TEST)
        self.book.append("test", durable=True, results=results)

    # ------------------------------------------------------------ values

    def value(self, trial: Trial) -> float | None:
        """The first objective, of its last epoch; for a run that was not finite, something worse than any other."""
        return self._value(trial, self.objectives[0])

    def values(self, trial: Trial) -> list[float] | None:
        """All objectives, or None where one is not known."""
        found = [v for o in self.objectives if (v := self._value(trial, o)) is not None]
        return found if len(found) == len(self.objectives) else None

    def _value(self, trial: Trial, objective: Objective) -> float | None:
        name, sign = objective.metric, objective.sign
        if trial.state in {"diverged", "oom"}:
            if name in WORST:
                return WORST[name]
            seen = [m[name] for t in self.trials.values() for m in (*t.metrics.values(), t.facts) if name in m]
            worst = (min if sign > 0 else max)(seen, default=0.0)
            return worst - sign * (1.0 + abs(worst))
        return trial.last.get(name, trial.facts.get(name))

    def front(self) -> list[Trial]:
        """The complete trials that no other is better than in every objective; best first by the first one."""
        done = [(t, v) for t in self.trials.values() if t.searching and t.state == "complete" and self.feasible(t) and (v := self.values(t))]
        signs = [o.sign for o in self.objectives]

        def beaten(v: list[float]) -> bool:
            return any(all(s * a >= s * b for s, a, b in zip(signs, w, v, strict=True)) and w != v for _, w in done)

        return self.best(t for t, v in done if not beaten(v))

    def feasible(self, trial: Trial) -> bool:
        """Whether it keeps the constraints. What would have been excluded beforehand does; latency must have been measured, at a trial's end."""
        return all(c.holds(trial.facts[c.metric]) if c.metric in trial.facts else c.metric != LATENCY for c in self.search.limits)

    def _tell(self, trial: Trial) -> None:
        """Tell Optuna the truth: complete, or pruned with its intermediate values.

        A paused trial is told as pruned, or the sampler would not learn from it; if it is promoted later, what it then reaches
        is one more trial of the same parameters.
        """
        if not trial.searching:
            return
        state = {"complete": "COMPLETE", "diverged": "COMPLETE", "oom": "COMPLETE", "failed": "FAIL"}.get(trial.state, "PRUNED")
        one = len(self.objectives) == 1  # of a trial that was pruned Optuna can rank what it reported by one objective only
        values = {e: m[self.metric] for e, m in trial.metrics.items() if one and self.metric in m}
        reached = self.values(trial)
        if state == "COMPLETE" and reached is None:
            state = "FAIL"
        kind = optuna.trial.TrialState[state]
        asked = self.asked.pop(trial.number, None)
        if asked is not None:
            for epoch, v in values.items():
                asked.report(v, epoch)
            self.optuna.tell(asked, reached if state == "COMPLETE" else None, state=kind)
            self._distributions[trial.number] = dict(self.optuna.get_trials(deepcopy=False)[asked.number].distributions)
        else:
            more = optuna.trial.create_trial(
                params=trial.params, distributions=self._distributions[trial.number], intermediate_values=values, state=kind,
                values=reached if state == "COMPLETE" else None,
            )  # fmt: skip
            self.optuna.add_trial(more)
            self.extra += 1

    # ------------------------------------------------------------ finals

    def best(self, trials: Iterable[Trial]) -> list[Trial]:
        """Best first: those that went further, then the better objective, then the lower validation loss."""
        able = [t for t in trials if t.metrics and t.state not in ledger.BROKEN and self.feasible(t)]
        full = {t.number: t.epochs >= t.recipe["train"]["epochs"] for t in able}
        return sorted(able, key=lambda t: (not full[t.number], 0 if full[t.number] else -t.epochs, asha.rank(t, t.epochs, self.metric, self.sign)))

    def _finish_search(self) -> None:
        """Nothing is left to try: those still paused have lost; the finalists are frozen and their runs laid out."""
        for trial in list(self.trials.values()):
            if trial.state == "paused":
                self.book.append("pruned", trial=trial.number, rung=trial.epochs, attempt=trial.attempt)
        searched = [t for t in self.trials.values() if t.searching]
        groups: list[dict[str, Any]] = []
        planned: list[dict[str, Any]] = []
        for group in sorted({t.group for t in searched}, key=lambda g: (str(type(g)), g)):
            chosen = self.best(t for t in searched if t.group == group)
            if len(self.objectives) > 1:
                on_front = {t.number for t in self.front()}
                chosen = [t for t in chosen if t.number in on_front] or chosen
            for place, trial in enumerate(chosen[: self.search.finalists.top]):
                groups.append({"group": group, "trial": trial.number, "place": place, "runs": self._finals(trial, planned)})
        self.book.append("searched", durable=True, groups=groups, stopped=self.book.table.stopping, finals=planned)

    def _finals(self, source: Trial, planned: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
        """Role → seed → trial of this finalist and its controls; what another finalist has planned already is shared."""
        runs: dict[str, dict[str, int]] = {}
        known = {parse(t.recipe).fingerprint(): t.number for t in self.trials.values() if not t.searching and t.state == "complete"}
        known |= {p["key"]: p["trial"] for p in planned}
        for role, recipe in with_controls(source.recipe).items():
            for i in range(self.search.finalists.seeds):
                own = recipe | {"seed": source.recipe["seed"] + 1 + i}
                key = parse(own).fingerprint()
                if key not in known:
                    known[key] = len(self.trials) + len(planned)
                    planned.append({"key": key, "trial": known[key], "role": role, "recipe": own, "group": source.group, "parent": source.number})
                runs.setdefault(role, {})[str(own["seed"])] = known[key]
        return runs

    # ------------------------------------------------------------ after a crash

    def _replay(self) -> None:
        """Bring the sampler to where the events say it is."""
        events, self.book.table = self.book.events, ledger.Table()
        for e in events:
            kind = e["event"]
            if kind == "suggested" and e["role"] in {"trial", "baseline"}:
                _, point, asked = self._ask()
                if point.params != e["params"]:
                    raise UserError(f"trial {e['trial']}: the sampler now suggests {point.params}, the ledger says {e['params']}: another version of Optuna?")
                self.asked[e["trial"]] = asked
            elif kind == "refused":
                self._refuse(self._ask()[2])
            self.book.table.apply(e)
            told = {"paused", "finished"} | ledger.BROKEN | ({"pruned"} if self.search.asha.form == "stopping" else set())
            if kind in told:
                self._tell(self.trials[e["trial"]])
        self._raise_grace()
        for trial in list(self.trials.values()):
            if trial.state == "running":
                self._judge(trial)  # it may have reported at a rung and not been judged any more


def with_controls(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A finalist beside its own controls: the same data, networks, resolutions and training; only the distillation is gone."""
    alone = parse(recipe | {"distill": {"preset": "student-alone"}, "ladder": []}).to_dict()
    plain = parse(recipe | {"distill": {"preset": "kd"}, "ladder": []}).to_dict()
    return {"finalist": recipe, "control-ce": alone, "control-kd": plain}


def distribution(leaf: Free) -> BaseDistribution:
    if isinstance(leaf, OneOf):
        return CategoricalDistribution(leaf.labels)
    if leaf.kind == "choice":
        return CategoricalDistribution(leaf.encoded)
    low, high = leaf.options
    if leaf.kind == "int_uniform":
        return IntDistribution(low, high)
    return FloatDistribution(low, high, log=leaf.kind == "log_uniform")


def suggest(trial: optuna.Trial, node: Free) -> Any:
    """One value from Optuna, under the name that carries its branch."""
    d = distribution(node)
    if isinstance(d, CategoricalDistribution):
        value = trial.suggest_categorical(node.name, d.choices)
        return value if isinstance(node, OneOf) else node.options[node.encoded.index(value)]
    if isinstance(d, IntDistribution):
        return trial.suggest_int(node.name, d.low, d.high)
    assert isinstance(d, FloatDistribution)
    return trial.suggest_float(node.name, d.low, d.high, log=d.log)


def sampler(name: str, seed: int, jobs: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler of that name, seeded once."""
    s = optuna.samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several are marked experimental
        if name == "random":
            return s.RandomSampler(seed=seed)
        if name == "qmc":
            return s.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
        if name == "cmaes":
            return s.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        if name == "gp":
            return s.GPSampler(seed=seed, deterministic_objective=False)
        if name == "nsga2":
            return s.NSGAIISampler(seed=seed)
        return s.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=jobs > 1)
