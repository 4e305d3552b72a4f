"""How a search tells of itself to a caller: a line where there is news. Light."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from autokd.study.ledger import Event

if TYPE_CHECKING:
    from autokd.study.queue import Study as Queue

NEWS = {"finished", "pruned", "diverged", "oom", "failed", "taught", "searched", "test", "closed"}


class Lines:
    """On stderr, which a notebook shows below its cell. ``quiet``: warnings alone."""

    def __init__(self, *, quiet: bool = False):
        self.quiet = quiet

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Nothing is left open."""

    def follow(self, study: Queue) -> None:
        if self.quiet:
            return
        self.say(f"study {study.book.path.name}: {study.jobs} trials at a time; starting Ray")

        def heard(event: Event) -> None:
            if event["event"] in NEWS:
                self.say(_news(study, event))

        study.book.listeners.append(heard)


def _news(study: Queue, event: Event) -> str:
    """One line: what happened, to which trial, and what the best is by now."""
    what, number = event["event"], event.get("trial")
    if number is None:
        return {"searched": "the search is over; the finals run", "test": "test was read"}.get(
            what, "a teacher is there" if what == "taught" else "the study is closed"
        )
    trial = study.trials[number]
    line = f"trial {number} ({trial.role}) {what} after {trial.epochs} epochs"
    value = study.value(trial)
    return line if value is None else f"{line}: {study.metric} {value:.4f}"
