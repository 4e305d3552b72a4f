"""`autokd train` and `autokd reproduce`: single runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autokd.api.documents import found
from autokd.cli.options import DataDir, Json, Quiet, Sets
from autokd.recipe import bounds

if TYPE_CHECKING:
    from autokd.data import Dataset


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe: hand-written, exported, or a trial's.")],
    sets: Sets = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="The folder for student.safetensors, metrics.json and recipe.yaml."
        ),
    ] = Path("out"),
    data_dir: DataDir = None,
    test: Annotated[
        bool, typer.Option("--test", help="Read the test pictures when the run is over.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out that was broken off.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one student from a recipe."""
    from autokd.recipe import load

    loaded = load(found(recipe), tuple(sets or ()))
    from autokd.study import undertrained, weak
    from autokd.train import single  # after the recipe is checked: it loads torch

    def told(teacher: str, metrics: dict[str, float], data: Dataset) -> None:
        if why := weak.sign(metrics, len(data.classes), len(data.validation)):
            print(f"warning: the teacher {teacher} {why}", file=sys.stderr)

    result = single.train(loaded, out, test=test, quiet=quiet, resume=resume, told=told)
    for sign in undertrained.signs(result["curve"], **result["beside"]):
        print(f"note: the student {sign}", file=sys.stderr)
    if as_json:
        print(json.dumps(result))
        return
    for metric, value in result["metrics"].items():
        print(f"{metric:24} {value:.6g}")
    print(f"{'student':24} {result['student_sha256'][:16]}")
    print(out / "student.safetensors")


def reproduce(
    recipe: Annotated[
        Path, typer.Argument(help="An exported recipe, with results; a file, or runs:/ID.")
    ],
    sets: Sets = None,
    data_dir: DataDir = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Train the teachers again too.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            max=bounds.SEEDS,
            help="Train so many fresh seeds too, for an interval of this machine.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train an exported recipe again: bit-identical, within noise, or different, and why."""
    from autokd.export import reproduce
    from autokd.export.wording import as_text

    outcome = reproduce.reproduce(
        found(recipe), tuple(sets or ()), from_scratch=from_scratch, seeds=seeds or 0, quiet=quiet
    )
    print(json.dumps(outcome.to_dict()) if as_json else as_text(outcome))
    raise typer.Exit(0 if outcome.good else 1)
