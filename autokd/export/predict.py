"""What an exported student says about pictures in files.

A file is decoded and made smaller as when the training pictures were packed (``decoding.decode``),
cut to its central square, and scaled to what the student sees as validation pictures are; a student
of grey pictures gets the luminance.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.data import sources
from autokd.errors import UserError, printable
from autokd.export import checksums
from autokd.export.loading import load_student

if TYPE_CHECKING:
    from torch import Tensor


class Predictor:
    """The student of an export folder, on the GPU where there is one. Raises :class:`UserError`
    where the folder is not one.
    """

    def __init__(self, folder: Path):
        import torch

        file = folder / checksums.STUDENT
        if not file.is_file():
            raise UserError(
                f"{folder} is no export folder: it has no student.safetensors; `autokd export NAME`"
                " makes one"
            )
        checksums.check(folder, needed=checksums.STUDENT)
        try:
            self.metadata, network = load_student(file)
        except ValueError as e:
            raise UserError(f"{file}: not an exported student: {e}") from None
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = network.to(self.device)

    def __call__(self, pictures: Sequence[Tensor]) -> Tensor:
        """``[B, classes]`` float64 probabilities on the CPU for pictures ``[C, r, r]`` in [0,
        1].
        """
        import torch

        with torch.inference_mode():
            logits = self.network(torch.stack(list(pictures)).to(self.device))
        return (logits.double().cpu() / self.metadata.temperature).softmax(1)

    def read(self, file: Path) -> Tensor:
        """``[C, r, r]`` float32 in [0, 1]. Raises whatever a decoder raises for what is not a
        picture.
        """
        import numpy as np
        import torch

        from autokd.data import decoding
        from autokd.data.views import resize

        about = self.metadata
        with warnings.catch_warnings():
            # of doubtful metadata and of size; what is beyond Pillow's limit is an error
            warnings.simplefilter("ignore")
            picture, _ = decoding.decode(str(file), max(about.resolution, about.short_side))
        if about.channels == 1:
            picture = picture.convert("L")
        side = max(round(min(picture.size) * about.crop_share), 1)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = np.array(picture.crop((left, top, left + side, top + side)))
        tensor = torch.from_numpy(square.reshape(side, side, -1)).permute(2, 0, 1)
        return resize(tensor[None].float() / 255, about.resolution)[0]


def picture_files(where: Path) -> list[Path]:
    """The file, or the picture files of a folder and its subfolders in the order of their names.
    Raises :class:`UserError`.
    """
    if where.is_dir():
        return sorted(
            p
            for p in where.rglob("*")
            if p.suffix.lower() in sources.EXTENSIONS
            and not p.name.startswith(".")
            and (p.is_file() or p.is_symlink())
        )
    if not where.exists():
        raise UserError(f"{where}: there is no such picture or folder")
    return [where]


def predict(
    export: Path, where: Path, *, batch: int = 64, top: int = 5
) -> Iterator[dict[str, Any]]:
    """A row a readable picture: file, label, probability, and the ``top`` labels. The others are
    told on stderr and left out.

    Raises :class:`UserError` where the export folder or the pictures' place is wrong.
    """
    predictor, files = Predictor(export), picture_files(where)
    waiting: list[tuple[Path, Tensor]] = []
    bad = 0
    for file in files:
        try:
            waiting.append((file, predictor.read(file)))
        except Exception as e:  # decoders answer a broken file with any error
            bad += 1
            reason = (str(e) or type(e).__name__).splitlines()[0]
            print(printable(f"unreadable: {file}: {reason}"), file=sys.stderr)
        if len(waiting) == batch:
            yield from _rows(predictor, waiting, top)
            waiting = []
    if waiting:
        yield from _rows(predictor, waiting, top)
    if bad:
        print(f"{bad} of {len(files)} pictures could not be read", file=sys.stderr)
    elif not files:
        known = ", ".join(sorted(sources.EXTENSIONS))
        print(printable(f"error: {where}: no pictures here ({known})"), file=sys.stderr)


def _rows(
    predictor: Predictor, waiting: list[tuple[Path, Tensor]], top: int
) -> Iterator[dict[str, Any]]:
    classes = predictor.metadata.classes
    probabilities = predictor([tensor for _, tensor in waiting])
    for (file, _), row in zip(waiting, probabilities, strict=True):
        order = row.argsort(descending=True, stable=True)[:top].tolist()
        best = [{"label": classes[i], "probability": round(row[i].item(), 6)} for i in order]
        yield {"file": str(file), **best[0], "top": best}


def as_text(row: dict[str, Any]) -> str:
    """One line: the file, and its labels with their probabilities, the likeliest first."""
    shown = "  ".join(f"{t['label']} {t['probability']:.3f}" for t in row["top"])
    return printable(f"{row['file']}  {shown}")
