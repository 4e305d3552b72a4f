"""Where the time went: students, finals, teachers and what is neither, read from the ledger's
times.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from autokd.report.charts import BLUE, COLOUR, GREEN, SKY, VERMILION
from autokd.report.parts import esc, note, table
from autokd.report.study_data import ROLES, StudyData
from autokd.study import ledger
from autokd.study.ledger import BROKEN, Event
from autokd.study.words import duration

FINALS = COLOUR | {"finalist": SKY}  # the search itself is blue
NAMES = ROLES | {"finalist": "all finalists"}  # of every group, not the winner alone
STOPS = {"paused", "pruned", "finished"} | BROKEN  # events


@dataclass
class Spent:
    """Seconds of workers."""

    # of epochs, by phase: search, or a role of the finals
    epochs: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    ahead: float = 0.0  # before the first epoch of a stretch, beyond an epoch's own time
    again: float = 0.0  # done, and done again after an interruption


def spent(study: StudyData) -> Spent:
    """Each epoch's time by phase: as the worker measured it (``seconds``), else from report to
    report.
    """
    out = Spent()
    for number, events, undone in _stretches(study.events):
        gaps = [ledger.gap(a, b) for a, b in pairwise(events)]
        told = [e.get("seconds") for e in events[1:]]
        own = [gap if s is None else s for s, gap in zip(told, gaps, strict=True)]
        if not own:
            continue
        if told[0] is None and len(own) > 1:  # its gap holds all that came before it
            own[0] = min(own[0], statistics.median(own[1:]))
        t, done = study.table.trials[number], len(own) - undone
        out.epochs["search" if t.searching else t.role] += sum(own[:done])
        out.again += sum(own[done:])
        out.ahead += max(0.0, gaps[0] - own[0])
    return out


def _stretches(events: list[Event]) -> Iterator[tuple[int, list[Event], int]]:
    """What a trial did without a break: its number, the start with the epochs, and how many of
    these are done again, past its checkpoint.
    """
    running: dict[int, list[Event]] = {}
    for e in events:
        n = e.get("trial", -1)
        if e["event"] == "started":
            if n in running:  # it was interrupted
                own = running.pop(n)
                yield n, own, sum(1 for x in own[1:] if x["epoch"] > e["epoch"])
            running[n] = [e]
        elif e["event"] == "epoch" and n in running:
            running[n].append(e)
        elif e["event"] in STOPS and n in running:
            yield n, running.pop(n), 0
    for n, own in running.items():
        yield n, own, 0


def time_spent(study: StudyData) -> str:
    """Teachers, students, finals, overhead."""
    if not study.events:
        return ""
    jobs = study.table.created.get("jobs") or 1
    wall = ledger.elapsed(study.events)
    rows = _rows(study, jobs * wall)
    whole = sum(seconds for _, seconds, _ in rows) or 1.0
    bar = "".join(
        f'<b style="width:{100 * seconds / whole:.2f}%;background:{colour}"></b>'
        for _, seconds, colour in rows
    )
    cells = [
        [
            f'<i class="key" style="background:{colour}"></i> {esc(name)}',
            duration(seconds),
            f"{seconds / whole:.0%}",
        ]
        for name, seconds, colour in rows
    ]
    text = (
        f"{jobs} {'worker' if jobs == 1 else 'workers'} × {duration(wall)}, from the first event to"
        " the last, pauses between sessions included."
    )
    text += _reused(study)
    peak = max((t.facts.get("peak_memory_mb", 0) for t in study.trials), default=0)
    text += f" The largest worker took {peak:.0f} MB." if peak else ""
    return (
        f'<div class="stack" aria-hidden="true">{bar}</div>'
        + table(["", "workers' time", "share"], cells, "time")
        + note(text)
    )


def _rows(study: StudyData, available: float) -> list[tuple[str, float, str]]:
    """Name, seconds and colour of each part."""
    s = spent(study)
    teachers = sum(e["seconds"] for e in study.table.teachers.values())
    rows = [("students of the search", s.epochs.get("search", 0.0), BLUE)]
    if ledger.TUNING in s.epochs:
        rows.append(("tuning the controls", s.epochs[ledger.TUNING], SKY))
    rows += [
        (f"finals: {NAMES[role]}", s.epochs[role], colour)
        for role, colour in FINALS.items()
        if role in s.epochs
    ]
    rows += [("done again after an interruption", s.again, "#000000")] if s.again else []
    rows += [("training, loading and measuring teachers", teachers, GREEN)] if teachers else []
    rows.append(("before a first epoch: start of workers, data, waiting", s.ahead, VERMILION))
    rows.append(
        (
            "workers idle, and the study's own time",
            max(0.0, available - sum(seconds for _, seconds, _ in rows)),
            "#c8c8c8",
        )
    )
    return rows


def _reused(study: StudyData) -> str:
    """What came from the cache."""
    facts = [t.facts for t in study.trials] + [
        e.get("facts", {}) for e in study.table.teachers.values()
    ]
    counts = Counter(
        {
            k: sum(f.get(k, 0) for f in facts)
            for k in ("tables made", "tables read", "networks trained", "networks read")
        }
    )
    asked = counts["tables made"] + counts["tables read"]
    networks = counts["networks trained"] + counts["networks read"]
    if not asked:
        return ""
    text = (
        f" Teachers' answers: {counts['tables read']} of {asked} epoch tables came from the cache"
        f" ({counts['tables read'] / asked:.0%});"
    )
    return (
        text
        + f" {counts['networks trained']} of {networks} networks were trained; counted by the runs"
        " that ended."
    )
