"""The teachers that a study's trials wait for: each is trained or loaded once, as a job of its own,
so that no worker waits for another's training. Light.
"""

from __future__ import annotations

from typing import Any

from autokd.errors import UserError
from autokd.study.ledger import Event, Ledger, Trial


class Teachers:
    """Teachers and assistants by their keys (``Recipe.member_keys``)."""

    def __init__(self, book: Ledger):
        self.book = book
        self.jobs: dict[int, tuple[str, str]] = {}  # running: number of the job → key and network
        self.at: dict[str, str] = {}  # key → epochs of its training: ``3/40``
        self._needs: dict[int, list[str]] = {}  # trial → keys

    def missing(self, trial: Trial) -> tuple[int, str, Event | None] | None:
        """Member, key and event of the first of the trial's teachers that is not there; the event
        is that of one that will not be. The largest first: it teaches the smaller ones.
        """
        known = self.book.table.teachers
        for member, key in reversed([*enumerate(self._keys(trial))]):
            if key not in known:
                return member, key, None
            if known[key]["state"] != "taught":
                return member, key, known[key]
        return None

    def taken(self, key: str) -> bool:
        """Whether a worker is at it."""
        return any(key == k for k, _ in self.jobs.values())

    def begun(self, number: int, trial: Trial, member: int, key: str) -> None:
        """The job of that number teaches the member of this trial's recipe."""
        made = trial.parsed
        networks = [*(a.model for a in reversed(made.assistants)), made.teacher.model]
        self.jobs[number] = key, networks[member - len(self._keys(trial))]

    def learned(self, number: int, steps: list[dict[str, Any]]) -> None:
        """Write down how far it is."""
        key, _ = self.jobs[number]
        for step in steps:
            self.book.append("learned", key=key, **step)
            part = f", {step['part']:.0%} of the next" if step["part"] else ""
            self.at[key] = f"{step['epoch']}/{step['of']}{part}"

    def ended(self, number: int, state: str, found: dict[str, Any]) -> None:
        """Write down what became of it. Raises :class:`UserError` where it was given and cannot be
        used.
        """
        key, model = self.jobs.pop(number)
        self.at.pop(key, None)
        if state == "failed" and found.get("given"):
            raise UserError(f"teacher {model}: {found.get('reason')}")
        self.book.append("teacher", durable=True, key=key, model=model, state=state, **found)

    def _keys(self, trial: Trial) -> list[str]:
        if trial.number not in self._needs:
            self._needs[trial.number] = trial.parsed.member_keys()
        return self._needs[trial.number]
