"""The export folder of a study: the student as a stranger can use it, with everything that says
what it is.

    recipe.yaml            what to run for the same student, where it comes from, what it gave
    student.safetensors    the weights; in the file's own metadata: network, size, labels,
                           temperature
    student.onnx           pictures [B, C, r, r] in [0, 1] → logits [B, classes]; normalisation and
                           temperature inside
    labels.txt             one class a line, in the order of the logits
    load.py, network.py    the student in torch and safetensors alone; network.py is its
                           computation, written out by torch.export
    MODEL_CARD.md          data, results with intervals, calibration, limits
    SHA256SUMS             of all these; `predict` and `reproduce` look at it

The folder is made beside its place and renamed: it is there whole or not at all. Nothing in it is
pickled.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from autokd import recipe
from autokd.errors import UserError
from autokd.export import checksums, loading
from autokd.export.calibration import temperature_scaling
from autokd.export.card import card, label
from autokd.export.onnx import check_installed, write_onnx
from autokd.export.standalone import load_py, network_py
from autokd.export.student import ExportedStudent, load
from autokd.recipe import document
from autokd.study import ledger, recipe_yaml


def export(
    root: Path, name: str, out: Path, *, onnx: bool = True, calibrate: bool = False
) -> dict[str, Any]:
    """Write the winner of study ``name`` to folder ``out``. Returns what was made. Raises
    :class:`UserError`.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: exists already; choose another folder, or delete it first")
    if onnx:
        check_installed()
    student = load(ledger.existing(root, name))
    if calibrate:
        fitted = temperature_scaling(student.logits, student.labels)
        student.results["calibration"] = fitted
        student.metadata = replace(student.metadata, temperature=fitted["temperature"])
    made: dict[str, Any] = {
        "study": name,
        "out": str(out),
        "student_sha256": student.results["student_sha256"],
        "temperature": student.temperature,
    }
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".part-{out.name}-"))
    except OSError as e:
        raise UserError(f"--out {out}: cannot be written: {e.strerror}") from None
    try:
        write(student, part)
        if onnx:
            made["onnx_difference"] = write_onnx(student, part / "student.onnx")
        checksums.write(part)
        made["files"] = sorted(p.name for p in part.iterdir())
        for file in part.iterdir():
            file.chmod(0o644)
        part.chmod(0o755)
        os.replace(part, out)
    except OSError as e:
        raise UserError(f"--out {out}: cannot be written: {e.strerror}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return made


def write(student: ExportedStudent, folder: Path) -> None:
    """Everything but ONNX."""
    import safetensors.torch

    from autokd import networks

    about = student.metadata
    weights = safetensors.torch.save(
        networks.state(student.network), metadata={loading.KEY: about.to_json()}
    )
    (folder / "student.safetensors").write_bytes(weights)
    texts = {
        "labels.txt": "".join(f"{label(c)}\n" for c in about.classes),
        "recipe.yaml": recipe_text(student),
        "network.py": network_py(student.network, student.pictures, about),
        "load.py": load_py(student.study, about),
        "MODEL_CARD.md": card(student),
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")


def recipe_text(student: ExportedStudent) -> str:
    """The study's recipe for other people: of a file that it names only the name stays, to be laid
    beside it.
    """
    made, comments = student.recipe, list(student.heading)
    data = made.to_dict()
    for path, file in recipe.files(made).items():
        name = Path(file).name
        scheme = "folder:" if path.startswith("data/") else ""
        document.put(data, path, f"{scheme}{name}")
        comments.append(
            f"It needs a file of yours: lay {name} beside it, or say --set {path}={scheme}PATH"
        )
    provenance = {k: v for k, v in student.provenance.items() if k != "results_sha256"}
    return recipe_yaml.compose(comments, data, provenance, student.results)
