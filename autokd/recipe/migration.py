"""The format of recipes, and what becomes of those that were written in an older one. Light."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autokd import __version__
from autokd.recipe.validation import Finding

FORMAT = 1  # raised when an old recipe would no longer mean what it meant
# format n → what makes n + 1 of it, where that can be done
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def migrated(data: dict[str, Any]) -> tuple[dict[str, Any], Finding | None]:
    """The same choices in this version's format, or why they cannot be read."""
    version = data.get("version", FORMAT)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        rule, hint = "must be the number of a recipe format", f"this AutoKD writes {FORMAT}"
        return data, Finding("version", rule, version, hint)
    if version > FORMAT:
        rule = f"a newer format than AutoKD {__version__} reads, which is {FORMAT}"
        return data, Finding("version", rule, version, "update autokd to run it")
    while version < FORMAT:
        if version not in MIGRATIONS:
            rule = f"no longer read: in format {version} the same words meant another run"
            return data, Finding("version", rule, version, "use the AutoKD that wrote it")
        data = MIGRATIONS[version](data)
        version += 1
    return data | {"version": FORMAT}, None
