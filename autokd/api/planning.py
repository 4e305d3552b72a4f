"""``autokd auto``'s request, in words that people use. Light."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.errors import UserError

if TYPE_CHECKING:
    from autokd.engine.result import SearchResult
    from autokd.engine.search import View

UNITS = {"": 1.0, "ms": 1.0, "s": 1e3, "k": 1e3, "m": 1e6, "kb": 1e3, "mb": 1e6, "gb": 1e9}
LEAST = 60.0  # seconds


def bound(option: str, text: str | float | None) -> float | None:
    """A number with a unit.

    >>> bound("--max-params", "1.5M"), bound("--max-latency", "5ms"), bound("--max-size", None)
    (1500000.0, 5.0, None)
    """
    if text is None or isinstance(text, int | float):
        return text
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    try:
        value = float(number) * UNITS[text[len(number) :].lower()]
    except (KeyError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{option} {text}: must be a number above 0, such as 5ms, 1M or 4MB")
    return value


def folder(where: str) -> Path:
    """Where what comes of it goes, unless told otherwise."""
    return Path("auto") / (Path(where).name or "pictures")


def run(
    where: str | None,
    *,
    began: float,
    seconds: float,
    out: Path | None,
    resume: bool,
    view: View,
    max_latency: float | None = None,
    max_params: float | None = None,
    max_size: float | None = None,
    **options: Any,
) -> tuple[SearchResult, Path]:
    """The answer, and the folder that holds it. Raises :class:`UserError`."""
    made = out or folder(str(where))
    if seconds < LEAST:
        raise UserError(f"--budget: {seconds:g} s are too few: at least {LEAST:g} s")
    if resume:
        from autokd.planner import auto

        return auto.resume(made, view), made
    assert where is not None
    from autokd.planner.look import look

    found = look(where)  # before what a search needs is loaded: a bad folder is told soon
    from autokd.planner import auto
    from autokd.planner.candidates import Bounds

    told = (lambda text: None) if view.quiet else view.say
    bounds = Bounds(max_latency, max_params, max_size)
    how: dict[str, Any] = {"seconds": seconds, "began": began, "bounds": bounds, "view": view}
    return auto.begin(found, made, told=told, **how, **options), made


def next_commands(outcome: SearchResult, out: Path) -> list[str]:
    """What comes next, each to be typed as it stands."""
    told = [f"autokd report {shlex.quote(outcome.name)}"]
    if outcome.recipe:
        told.insert(0, f"autokd predict {shlex.quote(str(out / 'student'))} PICTURES")
    return [*told, f"autokd search --space {shlex.quote(str(out / 'space.yaml'))}"]
