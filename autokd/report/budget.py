"""Where the search's epochs went: by branch, and by what the finals are held in."""

from __future__ import annotations

from collections import defaultdict

from autokd.report.parts import esc, note, number, table
from autokd.report.study_data import StudyData
from autokd.study.choices import branch
from autokd.study.ledger import Trial


def by_branch(study: StudyData) -> str:
    """A row a branch; nothing where there is but one."""
    branches: dict[str, list[Trial]] = defaultdict(list)
    for t in study.searched:
        if t.varied:
            branches[branch(t.varied)].append(t)
    if len(branches) < 2:
        return ""
    epochs = {name: sum(len(t.metrics) for t in own) for name, own in branches.items()}
    whole = sum(epochs.values()) or 1
    rows = []
    for name in sorted(branches, key=lambda n: -epochs[n]):
        own = branches[name]
        ended = [t for t in study.complete if t in own]
        best = study.value(ended[0]) if ended else None
        rows.append(
            [
                esc(name),
                str(len(own)),
                str(sum(t.state == "complete" for t in own)),
                str(epochs[name]),
                f"{epochs[name] / whole:.0%}",
                number(best),
            ]
        )
    head = ["branch", "trials", "ran to the end", "epochs", "share", f"best {study.metric}"]
    text = (
        "A branch that was given few epochs was judged on few: that it did not win says little"
        " about it. Best: at the end of training, one seed."
    )
    return note(text) + table(head, rows, "sortable")
