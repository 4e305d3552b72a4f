"""The functions of ``import autokd``. What is heavy is loaded when one is called."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from autokd.api.documents import Given, found, seconds
from autokd.api.study import Study
from autokd.recipe import load as read_recipe
from autokd.recipe.document import Document

if TYPE_CHECKING:
    import pandas

    from autokd.export.module import Student
    from autokd.export.reproduce import Reproduction
    from autokd.space import Space


def search(
    space: Given | Space,
    *,
    base: Given | None = None,
    sets: tuple[str, ...] = (),
    trials: int | None = None,
    time: str | float | None = None,
    jobs: int | None = None,
    seed: int = 0,
    name: str | None = None,
    like: str | None = None,
    quiet: bool = False,
) -> Study:
    """Search a space for its best recipe, as ``autokd search`` does; its options are these.

    ``space``, ``base``: a path, a built-in name, a mapping or an object; ``sets``:
    ``PATH=VALUE``; ``time``: for all of it, seconds or ``30m``. Raises
    :class:`autokd.errors.UserError` with the message of the command line.

    >>> import autokd
    >>> autokd.search({"vary": {"student/resolution": {"choice": [4, 8]}}})
    Traceback (most recent call last):
    autokd.recipe.document.problems.DocumentError: ...base: must name a recipe file...
    """
    from autokd.api.progress import Lines
    from autokd.api.spaces import read_space

    loaded = read_space(space, base, sets=sets, time=time, like=like, trials=trials)
    from autokd.engine import search as engine

    stem = Path(space).stem if isinstance(space, str | Path) else "search"
    chosen = name or engine.next_name(stem)
    view = Lines(quiet=quiet)
    engine.start(loaded, name=chosen, seed=seed, jobs=jobs, trials=trials, view=view)
    return Study(chosen)


def auto(
    where: str | Path,
    *,
    budget: str | float = "1h",
    max_latency: str | float | None = None,
    max_params: str | float | None = None,
    max_size: str | float | None = None,
    resolution: int | None = None,
    teacher: str | None = None,
    unlabelled: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    name: str | None = None,
    quiet: bool = False,
) -> Study:
    """From a folder of class folders, or a data set's name, to a student in a budget, as
    ``autokd auto`` does; ``out`` (default: ``auto/NAME``) then holds ``student``, ``base.yaml``
    and ``space.yaml``. Numbers are milliseconds, parameters and bytes.

    >>> import autokd
    >>> autokd.auto("no-such-folder", max_params="many")
    Traceback (most recent call last):
    autokd.errors.UserError: --max-params many: must be a number above 0, such as 5ms, 1M or 4MB
    """
    began = monotonic()
    from autokd.api import planning
    from autokd.api.progress import Lines

    outcome, _ = planning.run(
        str(where),
        began=began,
        seconds=seconds(budget),
        out=Path(out) if out else None,
        resume=resume,
        view=Lines(quiet=quiet),
        name=name,
        max_latency=planning.bound("--max-latency", max_latency),
        max_params=planning.bound("--max-params", max_params),
        max_size=planning.bound("--max-size", max_size),
        resolution=resolution,
        teacher=teacher,
        unlabelled=str(unlabelled) if unlabelled else None,
    )
    return Study(outcome.name)


def resume(name: str, *, quiet: bool = False) -> Study:
    """Go on with a study that was stopped or killed. Raises :class:`autokd.errors.UserError`."""
    from autokd.api.progress import Lines
    from autokd.engine import search as engine

    engine.resume(name, None, view=Lines(quiet=quiet))
    return Study(name)


def train(
    recipe: Given,
    out: str | Path = "out",
    *,
    sets: tuple[str, ...] = (),
    test: bool = False,
    resume: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """One run into ``out``; returns what its ``metrics.json`` holds. ``recipe`` and errors: as
    those of :func:`search`.

    >>> import autokd
    >>> kd = {"data": {"name": "digits", "limit": 60}, "student": {"model": "cnn-1x4"}}
    >>> kd |= {"distill": {"preset": "student-alone"}, "train": {"epochs": 1, "batch_size": 20}}
    >>> autokd.train(kd, "one", quiet=True)["epochs"]
    1
    >>> autokd.load("one").classes[:3]
    ['0', '1', '2']
    """
    loaded = read_recipe(found(recipe), sets)
    from autokd.train import single

    return single.train(loaded, Path(out), test=test, quiet=quiet, resume=resume)


def reproduce(
    recipe: str | Path | Document,
    *,
    sets: tuple[str, ...] = (),
    from_scratch: bool = False,
    seeds: int = 0,
    quiet: bool = False,
) -> Reproduction:
    """Train an exported recipe again: ``verdict`` is bit-identical, within noise, different or not
    comparable, and ``reasons`` say why.
    """
    from autokd.export import reproduce

    how: dict[str, Any] = {"from_scratch": from_scratch, "seeds": seeds, "quiet": quiet}
    return reproduce.reproduce(found(recipe), sets, **how)


def load(folder: str | Path) -> Student:
    """The student of an export, or of one run's folder, as a ``torch.nn.Module`` with
    ``preprocess``, ``predict``, ``classes`` and ``resolution``.
    """
    from autokd.export.module import Student

    return Student(folder)


def studies() -> pandas.DataFrame:
    """What was searched here: a row a study, by name."""
    import pandas

    from autokd.api import listing

    rows, _ = listing.rows()
    return pandas.DataFrame(rows, columns=None if rows else ["study"]).set_index("study")
