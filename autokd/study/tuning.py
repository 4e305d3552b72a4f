"""The controls' own search. Light but for the sampler.

A learning rate that was chosen for distillation is a poor one for the student alone, and a control
that runs at it is beaten by the rate. So where the space frees how the student is trained
(``space.training`` says what of it), a stated share of the trials (``search/controls/share``) tunes
the student alone and reference KD over just that: asked of a sampler of the search's kind, judged
at the same rungs, one search for each control that the finals will have. It begins when nothing
else is begun any more, since only then it is known whose controls they are: it starts from the
finalist's own training, the base's and the presets', goes on with points that cover the space
evenly (a control has few trials, of which a sampler's random start wastes most), and the finals
then hold the best of it beside the finalist over fresh seeds. Trials of the main search that are
such a control count as well.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from autokd.recipe import parse
from autokd.space import Space, training
from autokd.space.tree import Point
from autokd.study import finals, ranking
from autokd.study.controls import OWN, WEIGHTS, with_controls
from autokd.study.ledger import Trial
from autokd.study.samplers.adapter import Adapter
from autokd.study.spread import spread

Trials = Mapping[int, Trial]


class Control(NamedTuple):
    """A control of a trial, as it is tuned."""

    space: Space
    question: str
    itself: bool  # whether the trial is that control


class Tuning:
    """What tunes the controls of a study: from the ledger's trials and one seed alone."""

    def __init__(self, space: Space, seed: int, jobs: int):
        self.space = space
        self.seed = seed
        self.jobs = jobs
        self.share = training.share(space)
        self._samplers: dict[tuple[str, str], Adapter] = {}  # by control and question
        self._controls: dict[tuple[int, str], Control | None] = {}  # by trial and control

    def of(self, total: int) -> int:
        """How many of all trials tune controls."""
        return training.trials(self.share, total)

    def due(self, trials: Trials, total: int) -> tuple[Trial, str] | None:
        """Whose control, and which, gets the next trial: the one with the fewest by its weight, the
        student alone first. ``total``: trials of the study. None when all have theirs.
        """
        if not self.share:
            return None
        targets = self._targets(trials)
        begun = Counter((t.control, t.question) for t in trials.values() if t.tuning)
        wanted = self._wanted(trials, total, [WEIGHTS[control] for control, _ in targets])
        lacking = [key for key, n in zip(targets, wanted, strict=True) if begun[key] < n]
        if not lacking:
            return None
        key = min(lacking, key=lambda target: begun[target] / WEIGHTS[target[0]])
        return targets[key], key[0]

    def ask(self, source: Trial, control: str) -> tuple[Point, str, Any]:
        """The next point for that control of a trial, its question, and what Optuna is told of it
        by.
        """
        own = self._control(source, control)
        assert own is not None
        sampler = self.sampler(control, own.question)
        even = self.space.search.controls.start == "even"
        starts = itertools.chain(
            training.starting_points(own.space, self.space, source.params),
            spread(own.space, self.seed) if even else (),
        )
        fixed = next((start for start in starts if not sampler.has_asked(start)), {})
        point, asked = sampler.ask(own.space, fixed)
        return point, own.question, asked

    def sampler(self, control: str, question: str) -> Adapter:
        key = control, question
        if key not in self._samplers:
            self._samplers[key] = Adapter(self.space.search, self.seed, self.jobs)
        return self._samplers[key]

    def excluded(self, source: Trial, control: str, point: Point) -> str:
        """Why this point must not be trained, if so."""
        own = self._control(source, control)
        entry = own and own.space.forbidden(point)
        return f"forbid: {entry}" if entry else ""

    def result(self, source: Trial, trials: Trials) -> dict[str, Any] | None:
        """How the controls of a finalist were tuned: ``over`` which paths; of each control how many
        ``trials`` and which was ``chosen``; how many the main ``search`` had. None where its
        training was not free.
        """
        found = ((control, self._control(source, control)) for control in OWN)
        own = {control: of for control, of in found if of}
        if not own:
            return None
        over = training.paths(next(iter(own.values())).space)
        out: dict[str, Any] = {"over": over, "trials": {}, "chosen": {}}
        for control, of in own.items():
            tried = self._tried(control, of.question, trials) if self.share else []
            # by its last epoch alone: of these no further seeds were run
            if best := ranking.best(tried, self.space.search):
                out["trials"][control] = len(tried)
                out["chosen"][control] = best[0].number
        return out | {"search": sum(t.searching for t in trials.values())}

    # ------------------------------------------------------------ what is tuned

    def _targets(self, trials: Trials) -> dict[tuple[str, str], Trial]:
        """Control and question → the first of the trials that would be finalists now whose control
        that is.
        """
        out: dict[tuple[str, str], Trial] = {}
        for _, _, trial in finals.chosen(trials, self.space.search):
            for control in OWN:
                if own := self._control(trial, control):
                    out.setdefault((control, own.question), trial)
        return out

    def _wanted(self, trials: Trials, total: int, weights: list[int]) -> list[int]:
        """How many trials each gets, one at least. Where the main search ended early, all together
        no more than their share beside what it had.
        """
        searched = sum(t.searching for t in trials.values())
        every = self.of(total)
        if searched < total - every:
            every = round(self.share / (1 - self.share) * searched)
        whole = [every * weight // sum(weights) for weight in weights]
        rest = every - sum(whole)
        return [max(1, n + (i < rest)) for i, n in enumerate(whole)]

    def _tried(self, control: str, question: str, trials: Trials) -> list[Trial]:
        """All that tuned this control, those of the main search that are such a control themselves
        among them.
        """

        def tuned(t: Trial) -> bool:
            if t.tuning:
                return (t.control, t.question) == (control, question)
            own = self._control(t, control) if t.searching else None
            return own is not None and own.itself and own.question == question

        return [t for t in trials.values() if tuned(t)]

    def _control(self, trial: Trial, control: str) -> Control | None:
        """None where the trial's training was not free."""
        key = trial.number, control
        if key not in self._controls:
            recipe = with_controls(trial.recipe)[control]
            own = training.of_control(self.space, recipe, trial.params)
            itself = parse(recipe).fingerprint() == trial.parsed.fingerprint()
            question = training.question(own, trial.group) if own else ""
            self._controls[key] = Control(own, question, itself) if own else None
        return self._controls[key]
