"""A space as a search is begun with it. Light."""

from __future__ import annotations

from autokd.api.documents import Given, found, seconds
from autokd.errors import UserError
from autokd.files import runs_root
from autokd.space import Space, load


def read_space(
    space: Given | Space,
    base: Given | None = None,
    *,
    sets: tuple[str, ...] = (),
    time: str | float | None = None,
    like: str | None = None,
    trials: int | None = None,
) -> Space:
    """The space with what was said beside it. Raises :class:`UserError`."""
    if time is not None:
        sets += (f"search/time={seconds(time)}",)
    if isinstance(space, Space):
        if base is not None or sets:
            raise UserError("base, sets and time go with a document, not with a space that is read")
        made = space
    else:
        made = load(found(space), found(base) if base is not None else None, sets)
    return _like(made, like, trials) if like else made


def _like(space: Space, study: str, trials: int | None) -> Space:
    """The space with the best of an earlier study, which must know the objective."""
    from autokd.space import thaw
    from autokd.study import ledger, warm

    table = ledger.read(ledger.existing(runs_root(), study))[1]
    frozen = table.created.get("frozen")
    theirs = thaw(frozen).search if frozen else space.search
    points = warm.best(table, theirs, trials or space.search.trials)
    if not points:
        raise UserError(f"--like {study}: no trial of that study ran to its end")
    made = space.warmed(study, points)
    if not made.warm_points():
        raise UserError(f"--like {study}: nothing that it found best lies in this space")
    return made
