"""From the base to the winner, change by change: the trials that were the best of their time, and
what each did otherwise than the one before.
"""

from __future__ import annotations

from collections.abc import Iterator

from autokd.recipe.document import canonical
from autokd.report.axes import Row
from autokd.report.parts import esc, note, number, table
from autokd.report.study_data import StudyData
from autokd.study import words
from autokd.study.choices import label, settings, short
from autokd.study.ledger import Trial


def to_the_winner(study: StudyData) -> str:
    """A row for each record on the way; nothing where the winner was the first."""
    steps = records(study)
    if len(steps) < 2:
        return ""
    rows = []
    before: Trial | None = None
    for t in steps:
        gain = "" if before is None else _gain(study, before, t)
        changed = _start(t) if before is None else "; ".join(_changes(before, t)) or "nothing"
        mark = " <em>winner</em>" if t in study.won else ""
        rows.append(
            [f"{t.number}{mark}", number(study.value(t)), gain, f"<small>{esc(changed)}</small>"]
        )
        before = t
    text = (
        "The search's records on its way to the winner, among trials that ran to their end, and"
        " what each changed against the record before it. One seed each: a step smaller than the"
        " spread over seeds under Result may be chance, and where several values change at once,"
        " the trials do not tell which of them did it."
    )
    return note(text) + table(["trial", study.metric, "gain", "what changed"], rows, "path")


def records(study: StudyData) -> list[Trial]:
    """The first trial that ran to its end, each one that beat all before it, and the winner last.
    Where the finals are held in groups: in the winner's.
    """
    if study.best is None:
        return []
    winner = study.table.trials[study.best.trial]
    end = study.value(winner)
    if end is None:
        return []
    rivals = study.rivals.get(canonical(winner.group), [])
    steps: list[Trial] = []
    for t in sorted(rivals, key=lambda t: t.number):
        v, last = study.value(t), study.value(steps[-1]) if steps else None
        if t is winner or v is None or study.sign * (end - v) <= 0:
            continue  # the winner ends the way, whatever came later
        if t.number < winner.number and (last is None or study.sign * (v - last) > 0):
            steps.append(t)
    return [*steps, winner]


def _gain(study: StudyData, before: Trial, t: Trial) -> str:
    scale, unit = words.scale(study.metric)
    was, now = study.value(before), study.value(t)
    assert was is not None and now is not None
    return f"{(now - was) * scale:+.1f}{unit}" if scale != 1 else f"{now - was:+.4f}"


def _start(t: Trial) -> str:
    what = f"{t.name}: " if t.name else ""
    return what + ", ".join(f"{label(k)} {short(v)}" for k, v in settings(t.varied).items())


def _changes(before: Trial, t: Trial) -> Iterator[str]:
    was: Row = settings(before.varied)
    now: Row = settings(t.varied)
    for path in dict.fromkeys([*was, *now]):
        if path not in now:
            yield f"no {label(path)}"
        elif path not in was:
            yield f"{label(path)} {short(now[path])}"
        elif canonical(was[path]) != canonical(now[path]):
            yield f"{label(path)} {short(was[path])} → {short(now[path])}"
