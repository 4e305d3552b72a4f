"""`autokd export` and `autokd predict`: what leaves a study, and its use."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from autokd.cli.options import DataDir, Json
from autokd.files import runs_root
from autokd.recipe import bounds


def export(
    name: Annotated[str, typer.Argument(help="A finished study.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to make (default: exports/NAME).")
    ] = None,
    data_dir: DataDir = None,
    onnx: Annotated[bool, typer.Option(help="Write student.onnx (needs the extra `onnx`).")] = True,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Scale the logits by a temperature fitted on validation."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a study's best student to a folder: recipe, weights, ONNX, labels, loader, model
    card.
    """
    from autokd.export import bundle

    folder = out or Path("exports") / name
    made = bundle.export(runs_root(), name, folder, onnx=onnx, calibrate=calibrate)
    if as_json:
        print(json.dumps(made))
        return
    if "onnx_difference" in made:
        print(
            f"ONNX and torch differ by at most {made['onnx_difference']:.1e} on validation"
            " pictures",
            file=sys.stderr,
        )
    print(made["out"])


def predict(
    export: Annotated[Path, typer.Argument(help="A folder that `autokd export` made.")],
    pictures: Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.")],
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, max=bounds.BATCH, help="Pictures at a time.")
    ] = 64,
    top: Annotated[
        int, typer.Option(metavar="N", min=1, max=bounds.CLASSES, help="How many labels a picture.")
    ] = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, a line a picture.")
    ] = False,
) -> None:
    """Name what pictures show, with probabilities. Unreadable pictures are told on stderr and
    skipped.
    """
    from autokd.export import predict

    any_read = False
    for row in predict.predict(export, pictures, batch=batch, top=top):
        any_read = True
        print(json.dumps(row) if as_json else predict.as_text(row))
    raise typer.Exit(0 if any_read else 1)
