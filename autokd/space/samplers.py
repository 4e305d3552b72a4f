"""The samplers that a search can use, and what each of them cannot do. Light.

A sampler is one file in ``autokd/study/samplers/``: a function that makes it, under the decorator
:func:`register`. The files are found by a scan, and nothing else needs to know of a new one.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autokd.recipe import plugins

FOLDER = "autokd.study.samplers"
ADAPTER = "adapter"  # stands in that folder, and is no sampler


@dataclass(frozen=True)
class Sampler:
    """A sampler's card. ``make``: ``(seed, jobs)`` → Optuna's sampler."""

    name: str
    make: Callable[[int, int], Any]
    no_choices: str  # why choices and branches cannot be modelled; "": they can
    learns_from_pruned: bool
    several_objectives: bool
    note: str  # what a plan says of it
    order: int  # among the names, where they are listed


SAMPLERS: dict[str, Sampler] = {}


def register(
    name: str,
    *,
    no_choices: str = "",
    learns_from_pruned: bool = True,
    several_objectives: bool = True,
    note: str = "",
    order: int = 100,
) -> Callable[[Callable[[int, int], Any]], Callable[[int, int], Any]]:
    """Register the decorated function, which makes Optuna's sampler, under a name."""

    def decorate(make: Callable[[int, int], Any]) -> Callable[[int, int], Any]:
        SAMPLERS[name] = Sampler(
            name, make, no_choices, learns_from_pruned, several_objectives, note, order
        )
        return make

    return decorate


def load() -> None:
    """Have all samplers registered: the built-in ones, then those of plugins. Optuna is loaded only
    when a sampler is made. Raises :class:`UserError` for a plugin that cannot be loaded.
    """
    _built_in()
    plugins.load()


@functools.cache
def _built_in() -> None:
    folder = importlib.import_module(FOLDER)
    for info in sorted(pkgutil.iter_modules(folder.__path__), key=lambda m: m.name):
        if info.name != ADAPTER:
            importlib.import_module(f"{FOLDER}.{info.name}")


def names() -> list[str]:
    load()
    return sorted(SAMPLERS, key=lambda name: (SAMPLERS[name].order, name))


def sampler(name: str) -> Sampler:
    load()
    return SAMPLERS[name]
