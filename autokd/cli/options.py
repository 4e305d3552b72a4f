"""Options that several commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from autokd.errors import UserError

Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a value, for example train/epochs=10. May be repeated.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


def _data_dir(given: Path | None) -> Path | None:
    """``--data-dir`` is ``AUTOKD_DATA`` for this process and all that it starts."""
    if given is not None:
        folder = given.expanduser().absolute()
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--data-dir {given}: this is a file; expected a folder")
        os.environ["AUTOKD_DATA"] = str(folder)
    return given


DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        callback=_data_dir,
        help=(
            "Where downloads go, and what is there already is found (default: AUTOKD_DATA, else the"
            " cache)."
        ),
    ),
]
