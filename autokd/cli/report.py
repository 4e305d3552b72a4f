"""`autokd report`: a study's page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autokd.errors import UserError
from autokd.files import runs_root


def report(
    name: Annotated[str, typer.Argument(help="The study's name (see `autokd studies`).")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where to write it (default: report.html in the study's folder)."
        ),
    ] = None,
) -> None:
    """Write a study's answer, tables and charts as one HTML file that needs no network; prints its
    path.
    """
    from autokd.study import ledger

    folder = ledger.existing(runs_root(), name)
    from autokd.report import write  # after the study is found: it loads the charts

    try:
        print(write(folder, out))
    except OSError as e:
        raise UserError(f"--out {out or folder}: cannot be written: {e.strerror}") from None
