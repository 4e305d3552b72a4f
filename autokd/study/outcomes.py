"""What came of each picture: a small file beside a student, for validation and for test. Light.

A file holds columns of ``[N]``, in the split's order: ``correct``, ``nll`` and ``entropy`` (nats),
``confidence``, and ``case`` (a picture's group where `data/group_by` makes groups, else the
picture). Its hash stands in the ledger, so that what was changed or cut short is not believed.

For the report there are also ``label``, ``predicted`` and, where the run had a teacher,
``teacher`` (all three a class) and ``teacher_confidence``; ``mistake`` ``[K]``, the rows of a few
pictures that were wrong, and ``picture`` ``[K, H, W, C]`` uint8, small; and the ``classes``, a JSON
list in UTF-8. Files of older studies lack these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.files import write_atomically
from autokd.study.ledger import Trial

if TYPE_CHECKING:
    import numpy as np

    Columns = dict[str, np.ndarray[Any, Any]]

PARTS = ("validation", "test")


def file(part: str) -> str:
    """Its name, in the folder of the trial's attempt."""
    return f"outcomes-{part}.safetensors"


def write(folder: Path, part: str, columns: Mapping[str, Any]) -> str:
    """The columns as a file in ``folder``. Returns its SHA-256."""
    import numpy as np
    from safetensors.numpy import save

    whole = dict.fromkeys(("case", "label", "predicted", "teacher", "mistake"), np.int64)
    kinds = whole | dict.fromkeys(("correct", "picture", "classes"), np.uint8)
    raw = save({k: np.asarray(v).astype(kinds.get(k, np.float32)) for k, v in columns.items()})
    write_atomically(folder / file(part), raw)
    return hashlib.sha256(raw).hexdigest()


class Outcomes:
    """The files of a study in ``folder``; each is read once."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self._read: dict[tuple[int, str], Columns | None] = {}

    def of(self, trial: Trial, part: str) -> Columns | None:
        """The columns; None where there is no such file, or not the one that the ledger knows."""
        key = trial.number, part
        if key not in self._read:
            self._read[key] = self._load(trial, part)
        return self._read[key]

    def _load(self, trial: Trial, part: str) -> Columns | None:
        expected = trial.outcomes.get(part)
        if self.folder is None or expected is None:
            return None
        from safetensors.numpy import load

        try:
            raw = (self.folder / trial.folder / file(part)).read_bytes()
        except OSError:
            return None
        return load(raw) if hashlib.sha256(raw).hexdigest() == expected else None
