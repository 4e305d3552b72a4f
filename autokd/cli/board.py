"""What is drawn of a search while it runs: its phase, a bar, its best trials. From a thread of its
own: what the study may change meanwhile is copied before it is gone through.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from autokd.study import asha, finals, racing, words
from autokd.study.choices import choices
from autokd.study.ledger import ENDED, Trial

if TYPE_CHECKING:
    from autokd.study.queue import Study

TOP = 5  # trials in the table
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


def board(study: Study, facts: list[tuple[str, str]], left: str) -> Group:
    """``facts``: name and text of each line above the table; ``left``: the time to go."""
    trials = list(study.trials.values())
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in facts:
        grid.add_row(name, text)
    states = Counter(t.state for t in trials)
    counts = Text()
    for state in ORDER:
        if states[state]:
            counts.append(f"{states[state]} {state}  ", style=COLOURS[state])
    if counts:
        grid.add_row("trials", counts)
    done, whole = spent(trials), planned(study, trials)
    bar = Grid.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=max(whole, 1), completed=min(done, whole), width=40),
        f"{done} of about {whole} epochs{f', about {left} to go' if left else ''}",
    )
    grid.add_row("epochs", bar)
    return Group(grid, *([best] if (best := _best(study, trials)) else []))


def _best(study: Study, trials: list[Trial]) -> Grid | None:
    """The best trials so far, one seed each."""
    first = study.best([t for t in trials if t.searching])[:TOP]
    if not first:
        return None
    table = Grid(box=None, padding=(0, 2), title_justify="left")
    for head in ("trial", study.metric, "epochs", "state", "choices"):
        table.add_column(head, style="" if head == "choices" else "bold", overflow="fold")
    for t in first:
        value = t.last.get(study.metric)
        table.add_row(
            str(t.number),
            "" if value is None else f"{value:.4f}",
            f"{t.epochs}/{t.length}",
            Text(t.state, style=COLOURS.get(t.state, "")),
            Text(choices(t), style="dim"),
        )
    return table


def phase(study: Study) -> str:
    """What the study is at, in a word or two."""
    trials = list(study.trials.values())
    if not (study.teaching_jobs or any(t.attempt for t in trials)):
        return "starting workers"
    if study.book.table.finalists is not None:
        return "confirming"
    if any(t.tuning and t.state not in ENDED for t in trials):
        return "tuning the controls"
    again = racing.repeats(study.trials)
    return "further seeds of the most promising" if again else "searching"


def status(study: Study, teaching: list[str], left: str) -> str:
    """Where the study stands, in one line."""
    trials = list(study.trials.values())
    parts = [phase(study)]
    if teaching:
        parts.append(f"teachers: {', '.join(teaching)}")
    begun = sum(1 for t in trials if t.searching and t.attempt)
    if begun:
        parts.append(f"{begun} of {study.trials_wanted} trials begun")
        parts.append(f"{spent(trials)} of about {planned(study, trials)} epochs")
    if best := study.best([t for t in trials if t.searching])[:1]:
        value = best[0].last.get(study.metric, 0.0)
        parts.append(f"best {study.metric} {value:.4f} (trial {best[0].number})")
    return "; ".join(parts) + (f"; about {left} to go" if left else "")


def spent(trials: list[Trial]) -> int:
    return sum(t.epochs for t in trials)


def planned(study: Study, trials: list[Trial]) -> int:
    """Epochs of the whole study: while it searches, from what its trials take; then the finals are
    laid out, and it is known.
    """
    if study.book.table.finalists is not None:
        return sum(
            t.epochs if t.judged or t.state in ENDED else t.recipe["train"]["epochs"]
            for t in trials
        )
    length = study.space.base.train.epochs
    rungs = asha.rungs(study.search.asha, length)
    expected = length if not rungs else rungs[0] + (length - rungs[0]) / study.search.asha.reduction
    runs = finals.most_runs(study.space)
    raced = study.search.racing.runs * asha.tells(study.search.asha, length)
    return round(expected * study.trials_wanted + raced + runs * length)


def left(study: Study, since: float, before: int, now: float) -> str:
    """Time to go at the rate of this session's own epochs, of which there were ``before`` at the
    time ``since``. ``""``: not known yet.
    """
    trials = list(study.trials.values())
    todo, done = planned(study, trials) - spent(trials), spent(trials) - before
    return words.duration((now - since) * todo / done) if done >= 10 and todo > 0 else ""
