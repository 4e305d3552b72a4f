"""The documents that a user names: a file, a built-in name, a run of MLflow, an object. Light."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autokd.errors import UserError
from autokd.files import built_in, kind_of
from autokd.recipe import Recipe
from autokd.recipe.document import Document, parse

Given = str | Path | Mapping[str, Any] | Recipe | Document


def found(given: Given) -> Path | Document:
    """The file that is named, the built-in document of that name, what MLflow holds under
    ``runs:/ID``, or the document that a mapping or a recipe is. Raises :class:`UserError`.
    """
    if isinstance(given, Document):
        return given
    if isinstance(given, Recipe):
        given = given.to_dict()
    if isinstance(given, Mapping):
        # files that it names are looked for from the current folder
        return parse(json.dumps(given), str(Path.cwd() / "<mapping>"))
    name = str(given)
    if not name.startswith(("runs:/", "mlflow:")):
        path = Path(given)
        return path if path.exists() else _built_in(path)
    from autokd.tracking.logged import LOGGED, logged

    run = LOGGED.fullmatch(name)
    return logged(name, run[1]) if run else Path(given)


def _built_in(path: Path) -> Path:
    """The built-in document that ``dtd`` or ``search_spaces/dtd.yaml`` names; else the path."""
    file = built_in().get(path.stem)
    names = {file.stem, f"{kind_of(file)}/{file.name}"} if file else set()
    return file if file and path.as_posix() in names else path


def seconds(text: str | float) -> float:
    """Of ``90s``, ``30m``, ``2h`` or a number. Raises :class:`UserError`."""
    from autokd.space import settings

    if not isinstance(text, str):
        return float(text)
    try:
        return settings.seconds(text)
    except ValueError as e:
        raise UserError(f"--time {text}: {e}") from None
