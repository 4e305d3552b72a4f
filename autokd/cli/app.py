"""The command line: its commands in the order of ``--help``, and how it ends.

Results go to stdout, progress and logs to stderr. Exit codes: 0 done; 1 the work ran and its answer
is no; 2 the request is wrong; 130 interrupted.

Each command is one thin function. What is heavy is imported inside it, so that look-ups answer at
once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from autokd import __version__
from autokd.cli import (
    auto,
    documents,
    export,
    helping,
    lookups,
    report,
    search,
    studies,
    tracking,
    train,
    verify,
)
from autokd.errors import UserError, printable
from autokd.recipe.document import DocumentError

app = typer.Typer(
    name="autokd",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Search for the best way to distil a big vision model into a small one.",
)
COMMANDS = (  # in the order of --help
    search.search,
    auto.auto,
    train.train,
    train.reproduce,
    export.export,
    export.predict,
    documents.diff,
    documents.validate,
    documents.show,
    lookups.spaces,
    lookups.methods,
    lookups.models,
    lookups.datasets,
    studies.studies,
    documents.schema,
    report.report,
    verify.verify,
    tracking.ui,
    tracking.sync,
    lookups.cache,
)
for command in COMMANDS:
    app.command(epilog=helping.epilog(command.__name__))(command)


def main() -> None:
    """The console script: turns what users can mend into one message and an exit code, and never
    shows them a traceback.
    """
    try:
        app()
    except UserError as e:
        for problem in e.lines if isinstance(e, DocumentError) else [str(e)]:
            lines = map(printable, problem.split("\n"))
            print("error: " + "\n".join(lines), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `autokd methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _version(value: bool) -> None:
    if value:
        print(f"autokd {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    # A search's workers stand in folders of their own.
    for name in ("AUTOKD_CACHE", "AUTOKD_DATA", "AUTOKD_RUNS"):
        if given := os.environ.get(name):
            os.environ[name] = str(Path(given).expanduser().absolute())
