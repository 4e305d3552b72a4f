"""What a user is told when a request cannot be met. Light."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """The request cannot be met as it stands. The message is all that the user sees."""


def nearest(name: Any, known: Iterable[str]) -> str:
    """``did you mean 'kl'?``, or the whole list where nothing is near and the list is short."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.55)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known and len(known) <= 25 else ""
