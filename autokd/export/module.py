"""An exported student as a module, with what turns a file into what it sees."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from autokd.errors import UserError
from autokd.export.predict import Predictor


class Student(nn.Module):
    """Pictures ``[B, C, r, r]`` float32 in [0, 1] → logits ``[B, classes]``, divided by the
    temperature; normalisation is inside. ``classes``: in the order of the logits; ``resolution``:
    r, in px; ``channels``: C, 1 is grey and 3 RGB.

    ``folder``: an export, or one run's ``--out``. Raises :class:`UserError` for another.
    """

    def __init__(self, folder: str | Path):
        super().__init__()
        self._predictor = Predictor(Path(folder))
        about = self._predictor.metadata
        self.network = self._predictor.network
        self.classes = list(about.classes)
        self.resolution, self.channels = about.resolution, about.channels
        self.temperature = about.temperature

    def forward(self, pictures: Tensor) -> Tensor:
        return self.network(pictures) / self.temperature

    def preprocess(self, file: str | Path) -> Tensor:
        """``[C, r, r]`` of a picture's file. Raises :class:`UserError` where it is none."""
        try:
            return self._predictor.read(Path(file))
        except Exception as e:  # decoders answer a broken file with any error
            raise UserError(f"{file}: cannot be read: {str(e) or type(e).__name__}") from None

    def predict(self, files: Iterable[str | Path]) -> list[str]:
        """The likeliest class of each picture."""
        device = next(self.parameters()).device
        pictures = torch.stack([self.preprocess(file) for file in files]).to(device)
        with torch.inference_mode():
            return [self.classes[i] for i in self(pictures).argmax(1).tolist()]
