"""A search from its first event to its answer: start, resume, extend. Ray is in ``raytune``,
decisions are in ``study``.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Protocol

from autokd import __version__, environment
from autokd.cache import default_cache
from autokd.engine.capacity import Capacity
from autokd.engine.checks import checked
from autokd.engine.result import SearchResult, close
from autokd.errors import UserError
from autokd.files import runs_root
from autokd.recipe.document import flatten, flow
from autokd.space import Space, thaw
from autokd.study import ledger
from autokd.study.ledger import Ledger
from autokd.study.queue import Study
from autokd.tracking.follower import Follower
from autokd.tracking.store import default_uri

MOST_SHOWN = 10  # differences


class View(Protocol):
    """Who watches a search: told of its study, and what is worth a line."""

    quiet: bool

    def say(self, text: str) -> None: ...

    def follow(self, study: Study) -> None: ...

    def stop(self) -> None: ...


def next_name(stem: str) -> str:
    """``dtd-1``, ``dtd-2``, …: the first that is free."""
    stem = "".join(c if ledger.NAME.fullmatch(c) else "-" for c in stem)[:90] or "search"
    n = 1
    while (ledger.studies(runs_root()) / f"{stem}-{n}").exists():
        n += 1
    return f"{stem}-{n}"


def start(
    space: Space,
    *,
    name: str,
    seed: int = 0,
    jobs: int | None = None,
    trials: int | None = None,
    **how: Any,
) -> SearchResult:
    """A new study. Raises :class:`UserError` where one of that name exists."""
    folder = ledger.folder(runs_root(), name)
    exists = UserError(
        f"study {name!r} exists already: go on with it by --resume {name}, or choose another --name"
    )
    if (folder / "events.jsonl").exists():
        raise exists
    found = checked(space, **how)
    try:
        book = Ledger(folder).open()
    except OSError as e:
        raise UserError(f"{folder}: the study cannot be written: {e.strerror}") from None
    with contextlib.closing(book):
        if book.events:  # begun by another search while this one packed its data
            raise exists
        book.append(
            "created",
            durable=True,
            name=name,
            seed=seed,
            jobs=jobs or found.jobs(space.search.resources.gpu),
            trials=trials or space.search.trials,
            frozen=space.frozen,
            version=__version__,
            versions=environment.versions(),
            commit=environment.commit(),
        )
        return _go(book, space, found, **how)


def resume(name: str, space: Space | None = None, **how: Any) -> SearchResult:
    """Go on with a study that was stopped or killed. ``space``: what its user takes it to be;
    UserError where it is another.
    """
    with contextlib.closing(Ledger(ledger.existing(runs_root(), name)).open()) as book:
        if book.table.closed:
            raise UserError(
                f"study {name!r} is finished; its recipe is"
                f" {ledger.folder(runs_root(), name) / 'recipe.yaml'}"
            )
        if not book.table.created:
            raise UserError(
                f"study {name!r} stopped before it had begun; delete {book.path} and search again"
            )
        frozen = thaw(book.table.created["frozen"])
        if space is not None and _leaves(space.frozen) != _leaves(frozen.frozen):
            raise UserError(_changed(name, frozen.frozen, space.frozen))
        found = checked(frozen, **how)
        book.append("resumed")
        return _go(book, frozen, found, **how)


def _changed(name: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    """What differs between the space that a study froze and the one it is to be resumed with."""
    was, now = _leaves(old), _leaves(new)
    differ = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    shown = [
        f"  {key}: {flow(was[key]) if key in was else 'absent'} then,"
        f" {flow(now[key]) if key in now else 'absent'} now"
        for key in differ[:MOST_SHOWN]
    ]
    if len(differ) > MOST_SHOWN:
        shown.append("  …")
    advice = (
        f"go on with what it froze by --resume {name} alone, or search the new space under another"
        " --name"
    )
    told = f"error: study {name!r} was begun with another space; {advice}"
    return "\n".join([told, *shown])


def _leaves(frozen: dict[str, Any]) -> dict[str, Any]:
    parts = ("space", "base")
    return {f"{part}: {path}": v for part in parts for path, v in flatten(frozen[part]).items()}


def extend(name: str, trials: int = 0, seeds: int = 0, **how: Any) -> SearchResult:
    """Open a finished study again for ``trials`` more trials; its finals are held again, and runs
    that exist are reused. Or for ``seeds`` more of each finalist and its controls. Either way test
    is read again.
    """
    with contextlib.closing(Ledger(ledger.existing(runs_root(), name)).open()) as book:
        if not book.table.closed:
            raise UserError(
                f"study {name!r} is not finished: go on with it by --resume {name} first"
            )
        space = thaw(book.table.created["frozen"])
        found = checked(space, **how)
        done = sum(t.judged for t in book.table.trials.values())
        if seeds and not book.table.finalists:
            raise UserError(f"study {name!r} has no finalists that more seeds could tell of")
        asked = {"seeds": seeds} if seeds else {"trials": done + trials}
        book.append("extended", durable=True, **asked)
        return _go(book, space, found, **how)


def costs(data: dict[str, Any]) -> dict[str, float]:
    """Parameters and FLOPs of a recipe's student, before it is trained."""
    from autokd import networks, recipe
    from autokd.data import load

    made = recipe.parse(data)
    seen = load(made.data)
    network = networks.build(
        made.student.model,
        classes=len(seen.classes),
        channels=seen.channels,
        resolution=made.resolution,
    )
    measured = networks.measure(network, seen.channels, made.resolution)
    return {f"student/{k}": v for k, v in measured.items()}


def _go(
    book: Ledger,
    space: Space,
    found: Capacity,
    *,
    view: View,
    uri: str | None = None,
    address: str | None = None,
    cache: Path | None = None,
) -> SearchResult:
    created = book.table.created
    study = Study(
        space,
        book,
        seed=created["seed"],
        jobs=created["jobs"],
        trials=created["trials"],
        costs=costs,
        teach=True,
        rebuild=True,
    )
    mlflow = Follower(uri or default_uri(runs_root()), runs_root(), book)
    view.follow(study)
    warnings = []
    try:
        from autokd.engine import raytune  # loads Ray

        share = found.share(space.search.resources.gpu, created["jobs"])
        device = "cuda" if share else "cpu"
        raytune.run(
            study,
            options={"cache": str(cache or default_cache()), "device": device},
            address=address,
            gpus=share,
        )
        outcome = close(study)
    except OSError as e:  # a full disk, most of all
        what = f"{e.filename or book.path}: {e.strerror or e}"
        raise UserError(
            f"{what}; what was written is kept: mend it and go on with --resume {book.path.name}"
        ) from None
    finally:
        view.stop()
        if trouble := mlflow.close():
            warnings.append(f"MLflow is behind ({trouble}); `autokd sync` catches up")
            view.say(f"warning: {warnings[0]}")
    outcome.warnings = warnings
    return outcome
