"""Whether a teacher can teach at all: known before anything is trained. Light."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autokd.study.undertrained import LINEAR

ACCURACY = "val/accuracy"
# among a teacher's metrics where it is far higher: if each of its classes stood for whichever it
# fits best
RELABELLED = "val/relabelled_accuracy"
ERRORS = 3  # standard errors of chance within which an accuracy is at chance
ORDER = (
    "its classes are in another order than the data's, and teacher/labels: FILE, which names them,"
    " puts that right"
)


def sign(metrics: Mapping[str, float], classes: int, pictures: int) -> str | None:
    """Why it cannot teach, as a clause; None where nothing speaks against it. ``pictures``: how
    many it was measured on.
    """
    accuracy = metrics.get(ACCURACY)
    if accuracy is None or not pictures:
        return None
    chance = 1 / classes
    error = ERRORS * math.sqrt(chance * (1 - chance) / pictures)
    shown = f"{accuracy:.4f} on validation"
    if (other := metrics.get(RELABELLED)) is not None:
        return f"is right on {shown}, and would be on {other:.4f} with other labels: {ORDER}"
    if accuracy < chance - error:
        return f"is far below chance ({shown}, of {classes} classes): perhaps {ORDER}"
    if accuracy <= chance + error:
        return f"answers at chance ({shown}, of {classes} classes): there is nothing to learn"
    linear = metrics.get(LINEAR)
    if linear is not None and accuracy <= linear:
        return f"is no better ({shown}) than a linear model on the pixels ({linear:.4f})"
    return None
