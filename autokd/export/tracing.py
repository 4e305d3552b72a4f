"""What writing a network out as Python and as ONNX have in common: pictures to trace it with, and
silence.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from autokd.export.loading import Metadata

if TYPE_CHECKING:
    from torch import Tensor


def two_pictures(pictures: Tensor, about: Metadata) -> Tensor:
    """``[2, C, r, r]`` to trace with, the first of ``pictures`` where there are as many: a batch of
    one would become a constant.
    """
    import torch

    if len(pictures) >= 2:
        return pictures[:2]
    return torch.full((2, about.channels, about.resolution, about.resolution), 0.5)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch's exporters warn of their own future and log to stderr; that is not the user's
    business.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
