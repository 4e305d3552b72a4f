"""What a user brings: methods, networks, data sets and samplers, in files or installed packages.

Every ``.py`` file in the folders that ``AUTOKD_PLUGINS`` names is run once, when the first name is
looked up, and so is every module that an installed package names as an entry point of a group of
:data:`GROUPS`; what they register may then be said in documents like what is built in. Nothing is
ever imported because a document says so. ``AUTOKD_METHODS`` is the variable's older name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.errors import UserError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

VARIABLES = ("AUTOKD_PLUGINS", "AUTOKD_METHODS")
GROUPS = ("autokd.methods", "autokd.networks", "autokd.datasets")  # any may register anything
_loaded: set[str] = set()
_done = False  # names are looked up by the ten thousand; the folders are looked into once


def files() -> Iterator[Path]:
    """The files in all folders, sorted within each."""
    for variable in VARIABLES:
        for folder in filter(None, os.environ.get(variable, "").split(os.pathsep)):
            yield from sorted(Path(folder).absolute().glob("[a-z]*.py"))


def entry_points() -> list[EntryPoint]:
    """Those of installed packages, in the order of their names."""
    if not _any_installed():
        return []
    from importlib import metadata  # 30 ms, and few have any

    found = (point for group in GROUPS for point in metadata.entry_points(group=group))
    return sorted(found, key=lambda point: (point.group, point.name, point.value))


def _any_installed() -> bool:
    """Whether any installed package may have an entry point of ours."""
    for top in sys.path:
        try:
            packages = [e.path for e in os.scandir(top or ".") if e.name.endswith("-info")]
        except OSError:
            continue
        for package in packages:
            try:
                with open(f"{package}/entry_points.txt", "rb") as f:
                    if b"[autokd." in f.read():
                        return True
            except OSError:
                continue
    return False


def hashes(registered: Iterable[Callable[..., Any] | None]) -> dict[str, str]:
    """Name → SHA-256 (hex) of each file of the user's own that one of these was registered by:
    of a folder's file its name, of an installed package's its module.
    """
    in_folders = {str(file): file.name for file in files()}
    packages = _packages()
    found: dict[str, Path] = {}
    for f in registered:
        code = getattr(f, "__code__", None)
        if code is None:
            continue
        if name := in_folders.get(code.co_filename):
            found[name] = Path(code.co_filename)
        elif f.__module__.partition(".")[0] in packages:
            found[f.__module__] = Path(code.co_filename)
    return {n: hashlib.sha256(found[n].read_bytes()).hexdigest() for n in sorted(found)}


def missing(names: Iterable[str]) -> list[str]:
    """Of names as :func:`hashes` gives them those that are in no folder and no package here."""
    in_folders = {file.name for file in files()}
    packages = _packages()
    return sorted(
        name for name in names if name not in in_folders and name.partition(".")[0] not in packages
    )


def _packages() -> set[str]:
    return {point.module.partition(".")[0] for point in entry_points()}


def load() -> None:
    """Run the files and modules, once in a process. Raises :class:`UserError` for one that cannot
    be run.
    """
    global _done
    if _done:
        return
    for file in files():
        if str(file) in _loaded:
            continue
        _loaded.add(str(file))  # first: a file may itself ask for names
        spec = importlib.util.spec_from_file_location(f"autokd_plugin_{file.stem}", file)
        assert spec is not None and spec.loader is not None
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        except Exception as e:
            raise _unloadable(str(file), e) from e
    for point in entry_points():
        what = f"{point.value} (entry point {point.name} of {point.group})"
        if what in _loaded:
            continue
        _loaded.add(what)
        try:
            point.load()
        except Exception as e:
            raise _unloadable(what, e) from e
    _done = True


def _unloadable(what: str, e: Exception) -> UserError:
    return UserError(f"{what}: this plugin cannot be loaded: {type(e).__name__}: {e}")
