"""`autokd auto`: from a folder of pictures to a student, in a budget."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from autokd.api.documents import seconds
from autokd.api.planning import bound
from autokd.cli.options import DataDir, Json, Quiet
from autokd.errors import UserError


def auto(
    where: Annotated[
        str | None,
        typer.Argument(metavar="FOLDER_OR_NAME", help="Class folders, or a data set's name."),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT", help="timm:NAME, MODEL=FILE, or an export's folder (default: trained)."
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(metavar="TIME", help="For all of it: 10m, 1h (at least 1m).")
    ] = "1h",
    max_latency: Annotated[
        str | None, typer.Option(metavar="MS", help="Of one picture on this device: 5ms.")
    ] = None,
    max_params: Annotated[str | None, typer.Option(metavar="N", help="300k, 1M.")] = None,
    max_size: Annotated[str | None, typer.Option(metavar="BYTES", help="800KB, 4MB.")] = None,
    resolution: Annotated[
        int | None, typer.Option(metavar="PX", min=6, max=512, help="What the student sees.")
    ] = None,
    unlabelled: Annotated[
        Path | None, typer.Option(metavar="DIR", help="More pictures, without labels.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to fill (default: auto/NAME).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in --out inside what is left of the budget.")
    ] = False,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The study's name.")] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """From a folder of pictures to a distilled student: looks, measures, plans, searches, exports;
    all within a budget.
    """
    from autokd.api import planning

    if where is None and not (resume and out):
        raise UserError("give a folder of class folders, or a data set's name (`autokd datasets`)")
    if resume and out is None:
        out = planning.folder(str(where))
    began = time.monotonic()
    bounds = {
        "max_latency": bound("--max-latency", max_latency),
        "max_params": bound("--max-params", max_params),
        "max_size": bound("--max-size", max_size),
    }
    whole = seconds(budget)
    from autokd.cli import summary
    from autokd.cli.live import LiveView

    view = LiveView(quiet=quiet)
    try:
        outcome, made = planning.run(
            where,
            began=began,
            seconds=whole,
            out=out,
            resume=resume,
            view=view,
            name=name,
            resolution=resolution,
            teacher=teacher,
            unlabelled=str(unlabelled) if unlabelled else None,
            **bounds,
        )
    except KeyboardInterrupt:
        again = shlex.join(["autokd", "auto", "--resume", "--out", str(out or "DIR")])
        print(f"interrupted; go on with: {again}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        view.stop()
    if as_json:
        import json

        print(json.dumps(summary.as_json(outcome) | {"out": str(made)}))
    else:
        print(summary.as_text(outcome, shutil.get_terminal_size().columns))
        for warning in outcome.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        for command in planning.next_commands(outcome, made):
            print(command)
    raise typer.Exit(0 if outcome.recipe else 1)
