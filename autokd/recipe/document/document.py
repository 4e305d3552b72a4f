"""A document that has been read: plain data that remembers its lines. Light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autokd.recipe.document.paths import Keys, split
from autokd.recipe.document.problems import Problem


@dataclass
class Document:
    """A parsed file: plain ``data``, and for every path of keys the line it stands on, or the
    option that gave it instead of the file.
    """

    data: dict[str, Any]
    file: str = "<built in>"
    lines: dict[Keys, int] = field(default_factory=dict)
    options: dict[Keys, str] = field(default_factory=dict)

    def line(self, path: str | Keys) -> int:
        """The line of ``a/b/c``, or of the nearest parent that the file does have."""
        keys = split(path) if isinstance(path, str) else path
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return self.lines.get(keys, 1)

    def option(self, path: str | Keys) -> str:
        """The option that gave what stands at this path; ``""`` where the file did."""
        keys = split(path) if isinstance(path, str) else path
        for n in range(len(keys), 0, -1):
            if keys[:n] in self.options:
                return self.options[keys[:n]]
        return ""

    def problem(
        self, path: str, rule: str, value: Any = None, hint: str = "", at: Keys | None = None
    ) -> Problem:
        """The problem at a path, told with its line or option; ``at``: the keys where it stands,
        if they are not those of the path.
        """
        keys = at if at is not None else split(path)
        if option := self.option(keys):
            return Problem(option, 0, path, rule, value, hint)
        return Problem(self.file, self.line(keys), path, rule, value, hint)


def is_space(data: Mapping[str, Any]) -> bool:
    """Whether a document is a search space: by what only a search space has."""
    return not {"base", "vary", "search"}.isdisjoint(data)


def is_recipe(data: Mapping[str, Any]) -> bool:
    """Whether a document is a recipe: all that is no search space is meant as one."""
    return not is_space(data)
