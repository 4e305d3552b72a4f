"""Docstrings as they are shown to people: the lines of a paragraph joined. Light."""

from __future__ import annotations

import inspect


def paragraphs(docstring: str | None) -> list[str]:
    """Each paragraph on one line; the first is the summary, ``""`` where there is no docstring."""
    blocks = inspect.cleandoc(docstring or "").split("\n\n")
    return [" ".join(line.strip() for line in block.splitlines()) for block in blocks]
