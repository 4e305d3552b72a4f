"""What the exported student said of each picture, read from the file beside it. Light: NumPy when
called.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autokd.report.study_data import ROLES, StudyData
from autokd.study.outcomes import PARTS, Outcomes

if TYPE_CHECKING:
    import numpy as np

    Column = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Predictions:
    """Columns of ``[N]`` over the pictures of ``part``, ``test`` where it was read: classes by
    their numbers. ``teacher`` and ``teacher_confidence`` are None where none taught. ``counts``
    ``[C, C]``: pictures by true class (row) and predicted class.
    """

    part: str
    student: str  # which of the confirmed runs said it
    classes: list[str]
    label: Column
    predicted: Column
    confidence: Column
    teacher: Column | None
    teacher_confidence: Column | None
    mistake: Column  # [K] rows
    picture: Column  # [K, H, W, C] uint8

    @property
    def counts(self) -> Column:
        import numpy as np

        n = len(self.classes)
        return np.bincount(self.label * n + self.predicted, minlength=n * n).reshape(n, n)


def predictions(study: StudyData) -> Predictions | None:
    """None where nothing was confirmed, or the study is from before such files told classes."""
    if study.best is None:
        return None
    trial = study.table.trials[study.best.best_trial]
    kept = Outcomes(study.folder)
    for part in reversed(PARTS):
        found = kept.of(trial, part)
        if found is None or "predicted" not in found or not len(found["label"]):
            continue
        return Predictions(
            part,
            f"{ROLES[study.best.handed]}, trial {study.best.trial}, seed {trial.seed}",
            json.loads(bytes(found["classes"])),
            *(found[k] for k in ("label", "predicted", "confidence")),
            *(found.get(k) for k in ("teacher", "teacher_confidence")),
            *(found[k] for k in ("mistake", "picture")),
        )
    return None
