"""`autokd diff`, `validate`, `show` and `schema`: recipes and spaces as documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autokd import recipe
from autokd.api.documents import found
from autokd.cli.options import Json, Sets
from autokd.recipe.document import DocumentError, dump, flow, is_space, read

if TYPE_CHECKING:
    from autokd.space import Space


def diff(
    one: Annotated[Path, typer.Argument(help="A recipe.")],
    other: Annotated[Path, typer.Argument(help="Another recipe.")],
    as_json: Json = False,
) -> None:
    """Say in words what differs between two recipes."""
    from autokd.recipe import diff

    a, b = recipe.load(found(one)), recipe.load(found(other))
    print(json.dumps(diff.as_json(a, b)) if as_json else diff.as_text(a, b))


def validate(
    files: Annotated[list[Path], typer.Argument(help="Recipes and search spaces.")],
) -> None:
    """Check recipes and spaces; every problem with file, line and path."""
    from autokd import space

    problems = []
    for file in files:
        try:
            doc = read(found(file))
            kind = "search space" if is_space(doc.data) else "recipe"
            checked = space.load(doc).base if is_space(doc.data) else recipe.load(doc)
            print(f"{file}: ok ({kind})")
            for path, name in recipe.absent(checked).items():
                print(f"{file}: note: {path}: {name} is not there")
        except DocumentError as e:
            problems += e.problems
    if problems:
        raise DocumentError(problems)


def show(
    file: Annotated[Path, typer.Argument(help="A recipe or a search space.")],
    sets: Sets = None,
) -> None:
    """Print a document spelt out, with every default; of a space, its free parameters and
    baselines.
    """
    from autokd import space

    doc, changes = read(found(file)), tuple(sets or ())
    if is_space(doc.data):
        _show_space(space.load(doc, sets=changes))
        return
    made = recipe.load(doc, changes)
    print(f"# fingerprint {made.fingerprint()}")
    print(dump(made.to_dict()), end="")


def _show_space(space: Space) -> None:
    print(dump({"search": space.search.model_dump()}))
    print("free parameters")
    for node in space.leaves():
        kind = getattr(node, "kind", "one_of")
        print(f"  {node.name:44} {kind:12} {flow(node.options)}")
    print("baselines")
    for name, point in space.starting_points():
        print(f"  {name:16} {flow(point.varied)}")
    print("base recipe")
    print("".join(f"  {line}\n" for line in dump(space.base.to_dict()).splitlines()), end="")


def schema(what: Annotated[str, typer.Argument(help="recipe or space")] = "recipe") -> None:
    """Print the JSON schema of recipes or spaces, for editors that complete YAML."""
    from autokd.space import schemas

    print(json.dumps(schemas.schema(what), indent=2))
