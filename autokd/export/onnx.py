"""The student as ``student.onnx``, checked against torch on real pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autokd.errors import UserError
from autokd.export import tracing
from autokd.export.student import CHECKED, ExportedStudent

# ONNX and torch, as the largest difference of logits, in units of the largest logit where that is
# above 1
AGREE = 1e-4


def check_installed() -> None:
    """Raises :class:`UserError` where a package is missing that ONNX needs."""
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"student.onnx needs {', '.join(missing)}: pip install 'autokd[onnx]'; or do without"
            " it: --no-onnx"
        )


def write_onnx(student: ExportedStudent, path: Path) -> float:
    """Write and check ``student.onnx``. Returns the largest difference of a logit to torch's, over
    real pictures.

    Raises :class:`UserError` where the two disagree.
    """
    about = student.metadata
    program = _program(student)
    taken = f"[B, {about.channels}, {about.resolution}, {about.resolution}]"
    program.model.metadata_props.update(
        {
            "labels": json.dumps(about.classes),
            "input": f"float32 {taken} in [0, 1], RGB or grey",
            "student": about.model,
            "temperature": repr(about.temperature),
            "student_sha256": student.results["student_sha256"],
        }
    )
    program.save(str(path), external_data=False)
    return _difference(student, path)


def _program(student: ExportedStudent) -> Any:
    """As torch writes it out: pictures → logits, divided by the temperature, of any batch."""
    import torch

    temperature = student.temperature

    class Deployed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = student.network

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            logits = self.network(pictures)
            return logits / temperature if temperature != 1.0 else logits

    with tracing.quiet():
        program = torch.onnx.export(
            Deployed().eval(),
            (tracing.two_pictures(student.pictures, student.metadata),),
            dynamo=True,
            verbose=False,
            optimize=True,
            input_names=["pictures"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None
    return program


def _difference(student: ExportedStudent, path: Path) -> float:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for count in (1, CHECKED):  # the batch is free
        pictures = student.pictures[:count]
        if not len(pictures):
            continue
        theirs = session.run(["logits"], {"pictures": pictures.numpy()})[0]
        ours = (student.logits[:count] / student.temperature).numpy()
        difference = float(np.abs(theirs - ours).max()) / max(1.0, float(np.abs(ours).max()))
        if difference > AGREE:
            raise UserError(
                f"student.onnx differs from torch by {difference:.1e} on validation pictures (at"
                f" most {AGREE:.0e}); do without it: --no-onnx"
            )
        worst = max(worst, difference)
    return worst
