"""`autokd verify`: whether a study's results are what its ledger, files and MLflow say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from autokd.cli.options import Json
from autokd.errors import UserError, printable
from autokd.files import runs_root
from autokd.study import event_file, ledger
from autokd.study.ledger import Table


def verify(
    name: Annotated[str, typer.Argument(help="The study's name (see `autokd studies`).")],
    tracking_uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="The MLflow store (default: as `autokd search`)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a study's ledger line by line, its decisions, its students' hashes, recipe, page and
    MLflow runs.
    """
    folder = ledger.existing(runs_root(), name)
    try:
        with FileLock(folder / "driver.lock", timeout=0):
            table, wrong = found(folder, tracking_uri)
    except Timeout:
        raise UserError(f"study {name!r} is in use by a search; wait until it is over") from None
    except OSError as e:
        raise UserError(f"{e.filename or folder}: cannot be read: {e.strerror}") from None
    notes = [] if table is None else list(_notes(table))
    if as_json:
        print(json.dumps({"study": name, "wrong": wrong, "notes": notes}))
    else:
        print("\n".join(printable(line) for line in _shown(name, table, wrong, notes)))
    raise typer.Exit(1 if wrong else 0)


def found(folder: Path, uri: str | None = None) -> tuple[Table | None, list[str]]:
    """The study, None where its ledger is damaged; and all that is wrong with it, as sentences.
    ``uri``: of the MLflow store. Nobody may be working on it. Raises :class:`UserError`.
    """
    from autokd.study import invariants

    file = folder / ledger.EVENTS
    lines = event_file.lines(file)
    damaged = [
        event_file.Damaged(file, line.number, line.trouble) for line in lines if line.trouble
    ]
    if damaged:
        return None, [str(e) for e in damaged]
    events, table = ledger.read(folder)
    wrong = invariants.broken(folder, events)
    return table, [*wrong, *_students(folder, table), *_page(folder), *_mlflow(folder, table, uri)]


def _students(folder: Path, table: Table) -> Iterator[str]:
    from autokd.export.loading import load_student
    from autokd.networks import weights_hash

    for t in table.trials.values():
        file = folder / t.folder / "student.safetensors"
        if t.state != "complete" or not file.is_file():
            continue
        try:
            _, network = load_student(file)
        except ValueError as e:
            yield f"{file}: no student: {e}"
        else:
            if weights_hash(network) != t.student:
                yield f"{file}: these are not the weights that trial {t.number} ended with"


def _page(folder: Path) -> Iterator[str]:
    """The page, where one was written."""
    from autokd import report

    file = folder / "report.html"
    if file.is_file() and file.read_text(encoding="utf-8") != report.page(folder).html:
        yield f"{file} is not the page of this ledger: autokd report {folder.name}"


def _mlflow(folder: Path, table: Table, uri: str | None) -> Iterator[str]:
    """MLflow, where there is a store."""
    from autokd.space.settings import Search
    from autokd.tracking.store import default_uri

    uri = uri or default_uri(runs_root())
    file = Path(uri.removeprefix("sqlite:///"))
    if not table.created or (uri.startswith("sqlite:///") and not file.exists()):
        return
    from autokd.tracking.audit import differences

    search = Search.model_validate(table.created["frozen"].get("space", {}).get("search") or {})
    yield from differences(uri, folder.name, table, search.objectives[0].metric)


def _notes(table: Table) -> Iterator[str]:
    if table.unsealed:
        yield (
            f"{table.unsealed} lines of its ledger are unsealed: written by an older AutoKD, and a"
            " change of them would not show"
        )
    if not table.closed:
        yield "it is not finished, so there are no results to verify yet"


def _shown(name: str, table: Table | None, wrong: list[str], notes: list[str]) -> list[str]:
    complete = 0 if table is None else sum(t.state == "complete" for t in table.trials.values())
    head = f"study {name}: " + (
        f"{len(wrong)} things are wrong" if wrong else f"all is as it was, {complete} students too"
    )
    return [head, *(f"  {line}" for line in wrong), *(f"  note: {line}" for line in notes)]
