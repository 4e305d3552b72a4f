"""What a student and its teacher said of each picture, for a study that nobody ran."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from autokd.study import ledger, outcomes, verdict
from autokd.study.ledger import Ledger

CLASSES = ["cat", "dog", "newt"]
#  true class, student's, teacher's
SAID = np.array(
    [(0, 0, 0)] * 5
    + [(0, 1, 0)] * 2
    + [(1, 1, 2)]
    + [(1, 2, 2)] * 3
    + [(2, 0, 1)]
    + [(2, 2, 2)] * 4
)


def told(folder: Path, classes: list[str] = CLASSES) -> Path:
    """The study in ``folder``, whose exported student has now such files for its test pictures."""
    _, table = ledger.read(folder)
    best = verdict.overall(verdict.results(table, "val/accuracy", 1), 1)
    assert best is not None
    label, predicted, teacher = SAID.T
    wrong = np.flatnonzero(label != predicted)
    columns = {
        "label": label,
        "predicted": predicted,
        "teacher": teacher,
        "correct": label == predicted,
        "confidence": np.linspace(0.9, 0.4, len(SAID)),
        "teacher_confidence": np.full(len(SAID), 0.75),
        "nll": np.ones(len(SAID)),
        "entropy": np.ones(len(SAID)),
        "case": np.arange(len(SAID)),
        "mistake": wrong,
        "picture": np.random.default_rng(0).integers(0, 256, (len(wrong), 8, 8, 3)),
        "classes": list(json.dumps(classes).encode()),
    }
    where = folder / table.trials[best.best_trial].folder
    where.mkdir(parents=True, exist_ok=True)
    kept = {str(best.best_trial): {"test": outcomes.write(where, "test", columns)}}
    book = Ledger(folder).open()
    book.append("outcomes", outcomes=kept)
    book.close()
    return folder
