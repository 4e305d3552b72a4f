"""Temperature scaling of an exported student: one number, fitted on its validation pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from autokd.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

RANGE = (0.05, 20.0)  # in which the temperature is looked for


def temperature_scaling(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """Temperature scaling (Guo et al. 2017, arXiv 1706.04599) of ``logits`` [N, C] by likelihood of
    the ``labels`` [N].

    ``nll`` (nats) and ``ece``: [before, after]. The second is measured on pictures that the fit
    saw; ``ece_unseen`` is not: there each half is scaled by the temperature of the other. Raises
    :class:`UserError` where there are no pictures to fit on.
    """
    import torch

    from autokd.train import metrics

    logits = logits.double()
    if len(labels) < 2:
        raise UserError(
            "--calibrate: the recipe holds out no validation pictures (data/validation)"
        )
    temperature = fit(logits, labels)
    even = torch.arange(len(labels)) % 2 == 0
    crossed = logits.clone()
    for half in (even, ~even):
        crossed[half] = logits[half] / fit(logits[~half], labels[~half])
    before, after, unseen = (
        metrics.evaluate(z, labels) for z in (logits, logits / temperature, crossed)
    )
    return {
        "temperature": round(temperature, 6),
        "fitted_on": f"{len(labels)} validation pictures",
        "nll": [round(before["nll"], 6), round(after["nll"], 6)],
        "ece": [round(before["ece"], 6), round(after["ece"], 6)],
        "ece_unseen": round(unseen["ece"], 6),
    }


def fit(logits: Tensor, labels: Tensor) -> float:
    """The temperature in :data:`RANGE` under which ``softmax(z/T)`` [N, C] makes the labels [N]
    most likely.
    """
    from scipy.optimize import minimize_scalar
    from torch.nn import functional as F

    def nll(log_t: float) -> float:
        return F.cross_entropy(logits / math.exp(log_t), labels).item()

    bounds = (math.log(RANGE[0]), math.log(RANGE[1]))
    found = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x)
