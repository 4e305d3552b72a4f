"""Files of a user's own that add methods, networks, data sets and samplers.

Every ``.py`` file in the folders that ``AUTOKD_PLUGINS`` names is run once, when the first name is
looked up; what it registers may then be said in documents like what is built in. Nothing is ever
imported because a document says so. ``AUTOKD_METHODS`` is the variable's older name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from autokd.errors import UserError

VARIABLES = ("AUTOKD_PLUGINS", "AUTOKD_METHODS")
_loaded: set[Path] = set()
_done = False  # names are looked up by the ten thousand; the folders are looked into once


def files() -> Iterator[Path]:
    """The files in all folders, sorted within each."""
    for variable in VARIABLES:
        for folder in filter(None, os.environ.get(variable, "").split(os.pathsep)):
            yield from sorted(Path(folder).absolute().glob("[a-z]*.py"))


def hashes(registered: Iterable[Callable[..., Any] | None]) -> dict[str, str]:
    """Name → SHA-256 (hex) of each file of the user's own that one of these was registered by."""
    own = {str(file): file for file in files()}
    code = (getattr(f, "__code__", None) for f in registered)
    found = {own[c.co_filename] for c in code if c is not None and c.co_filename in own}
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(found)}


def load() -> None:
    """Run the files, once in a process. Raises :class:`UserError` for one that cannot be run."""
    global _done
    if _done:
        return
    for file in files():
        if file in _loaded:
            continue
        _loaded.add(file)  # first: a file may itself ask for names
        spec = importlib.util.spec_from_file_location(f"autokd_plugin_{file.stem}", file)
        assert spec is not None and spec.loader is not None
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Exception as e:
            reason = f"{type(e).__name__}: {e}"
            raise UserError(f"{file}: this plugin cannot be loaded: {reason}") from e
    _done = True
