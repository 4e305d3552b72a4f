"""What an exported student says about pictures in files. Nothing of the export folder is executed: the weights name the network.

A file is decoded and made smaller as when the training pictures were packed (``packing.decode``), cut to its central square, and
scaled to what the student sees as validation pictures are; a student of grey pictures gets the luminance.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd import sources, zoo
from autokd.document import UserError

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_SIDE = 4096  # of what a student may see


class Student:
    """The student of an export folder. Raises :class:`UserError` where the folder is not one."""

    def __init__(self, folder: Path):
        import torch
        from safetensors import SafetensorError, safe_open

        from autokd import models

        file = folder / "student.safetensors"
        if not file.is_file():
            raise UserError(f"{folder} is no export folder: it has no student.safetensors; `autokd export NAME` makes one")
        try:
            with safe_open(str(file), "pt") as f:
                about = json.loads((f.metadata() or {})["autokd"])
            self.classes = [str(c) for c in about["classes"]]
            self.channels, self.resolution = int(about["channels"]), int(about["resolution"])
            self.temperature = float(about.get("temperature", 1.0))
            self.short_side = max(self.resolution, int(about.get("short_side", self.resolution)))
            if trouble := zoo.problem(str(about["model"])):
                raise ValueError(trouble)
            if self.channels not in {1, 3} or not models.LEAST_PX <= self.resolution <= LARGEST_SIDE or not len(self.classes) >= 2:
                raise ValueError(f"{self.channels} channels, {self.resolution} px, {len(self.classes)} classes")
            if not (math.isfinite(self.temperature) and self.temperature > 0):
                raise ValueError(f"temperature {self.temperature}")
            self.network = models.build(about["model"], classes=len(self.classes), channels=self.channels, resolution=self.resolution)
            models.load_weights(self.network, file)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as e:
            what = f"its metadata lacks {e}" if isinstance(e, KeyError) else str(e)
            raise UserError(f"{file}: not an exported student: {what}") from None
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network.to(self.device).eval()

    def __call__(self, pictures: Sequence[Tensor]) -> Tensor:
        """``[B, classes]`` float64 probabilities on the CPU for pictures ``[C, r, r]`` in [0, 1]."""
        import torch

        with torch.inference_mode():
            logits = self.network(torch.stack(list(pictures)).to(self.device))
        return (logits.double().cpu() / self.temperature).softmax(1)

    def read(self, file: Path) -> Tensor:
        """``[C, r, r]`` float32 in [0, 1]. Raises whatever a decoder raises for what is not a picture."""
        import numpy as np
        import torch

        from autokd import packing
        from autokd.views import resize

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of doubtful metadata and of size; what is beyond Pillow's limit is an error
            picture, _ = packing.decode(str(file), self.short_side)
        if self.channels == 1:
            picture = picture.convert("L")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = np.array(picture.crop((left, top, left + side, top + side))).reshape(side, side, -1)
        return resize(torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255, self.resolution)[0]


def pictures(where: Path) -> list[Path]:
    """The file, or the picture files of a folder and its subfolders in the order of their names. Raises :class:`UserError`."""
    if where.is_dir():
        return sorted(p for p in where.rglob("*") if p.suffix.lower() in sources.EXTENSIONS and not p.name.startswith(".") and (p.is_file() or p.is_symlink()))
    if not where.exists():
        raise UserError(f"{where}: there is no such picture or folder")
    return [where]


def predict(export: Path, where: Path, *, batch: int = 64, top: int = 5) -> Iterator[dict[str, Any]]:
    """A row a readable picture: file, label, probability, and the ``top`` labels. The others are told on stderr and left out.

    Raises :class:`UserError` where the export folder or the pictures' place is wrong.
    """
    student, files = Student(export), pictures(where)
    waiting: list[tuple[Path, Tensor]] = []
    bad = 0
    for file in files:
        try:
            waiting.append((file, student.read(file)))
        except Exception as e:  # decoders answer a broken file with any error
            bad += 1
            print(f"unreadable: {file}: {(str(e) or type(e).__name__).splitlines()[0]}", file=sys.stderr)
        if len(waiting) == batch:
            yield from _rows(student, waiting, top)
            waiting = []
    if waiting:
        yield from _rows(student, waiting, top)
    if bad:
        print(f"{bad} of {len(files)} pictures could not be read", file=sys.stderr)
    elif not files:
        print(f"error: {where}: no pictures here ({', '.join(sorted(sources.EXTENSIONS))})", file=sys.stderr)


def _rows(student: Student, waiting: list[tuple[Path, Tensor]], top: int) -> Iterator[dict[str, Any]]:
    probs = student([tensor for _, tensor in waiting])
    for (file, _), row in zip(waiting, probs, strict=True):
        order = row.argsort(descending=True, stable=True)[:top].tolist()
        best = [{"label": student.classes[i], "probability": round(row[i].item(), 6)} for i in order]
        yield {"file": str(file), **best[0], "top": best}


def as_text(row: dict[str, Any]) -> str:
    """One line: the file, and its labels with their probabilities, the likeliest first."""
    return f"{row['file']}  " + "  ".join(f"{t['label']} {t['probability']:.3f}" for t in row["top"])
