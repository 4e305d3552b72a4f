"""Arrays of the host's brought to a device without waiting for what the device is doing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def upload(array: np.ndarray, device: torch.device) -> Tensor:
    """The same numbers on ``device``: on a CPU the same memory, else a copy that is queued behind
    what the device has to do.
    """
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)
