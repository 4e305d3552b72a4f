"""A teacher's training in a thread of its own, so that its worker can say how far it is."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from autokd.study.jobs import Report

if TYPE_CHECKING:
    from autokd.train.progress import Progress

SECONDS = 1.0  # between two reports: a small teacher's epochs are told together


class Teaching:
    """``work`` is given whom to tell how far it is, and gives the last report."""

    def __init__(self, work: Callable[[Callable[[Progress], None]], Report]):
        self._told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Callable[[Callable[[Progress], None]], Report]) -> None:
        try:
            self._told.put(work(self._told.put))
        except BaseException as e:  # it is raised where the report is asked for
            self._told.put(e)

    def next(self) -> Report | list[dict[str, Any]]:
        """Waits for what there is to tell: the last report, or how far it has come since. Raises
        what the work raised.
        """
        steps: list[dict[str, Any]] = []
        until = time.monotonic() + SECONDS
        while True:
            try:
                told = self._told.get(timeout=max(until - time.monotonic(), 0) if steps else None)
            except queue.Empty:
                return steps
            if isinstance(told, BaseException):
                raise told
            if isinstance(told, Report):
                return told if not steps else self._later(told, steps)
            steps.append(told._asdict())

    def _later(self, report: Report, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self._told.put(report)
        return steps
