"""What is refused before a study exists: folders that cannot be written, networks, files and data
that are not there, more GPUs than there are.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd import recipe
from autokd.cache import default_cache
from autokd.engine.capacity import Capacity, capacity
from autokd.errors import UserError
from autokd.files import runs_root
from autokd.recipe import network_names
from autokd.recipe.data_names import EMBEDDED
from autokd.space import Space
from autokd.study import plan
from autokd.tracking.store import default_uri

if TYPE_CHECKING:
    from autokd.engine.search import View


def checked(
    space: Space,
    *,
    address: str | None = None,
    uri: str | None = None,
    view: View | None = None,
    **_: Any,
) -> Capacity:
    """What there is for trials. Raises :class:`UserError` for all that must be refused before a
    study is begun.
    """
    _writable(default_cache(), "the cache", "; set AUTOKD_CACHE to another folder")
    store = uri or default_uri(runs_root())
    if store.startswith("sqlite:///"):
        _writable(
            Path(store.removeprefix("sqlite:///")).absolute().parent,
            "MLflow's store",
            "; choose another --tracking-uri",
        )
    check_needs(space, view)
    return capacity(space, address)


def check_needs(space: Space, view: View | None = None) -> None:
    """Packs the data where it is not yet. Raises :class:`UserError` where a network, a file or the
    data that some trial needs is not there.
    """
    networks, files = plan.needs(space)
    for file in sorted(files):
        if not Path(file).exists():
            raise UserError(f"weights: {file}: there is no such file or folder")
    recipe.remember([*files, *recipe.files(space.base).values()])
    for card in (network_names.card(name) for name in sorted(networks)):
        if card.family in network_names.LIBRARIES:
            from autokd.networks import library

            library.known(card.family, card.keywords["name"])
    # told here, and packed by processes: later, beside Ray's threads, none may be forked
    if space.base.data.name not in EMBEDDED:
        from autokd import data

        for note in data.notes(space.base.data):
            if view and not view.quiet:
                view.say(f"note: {note}")


def _writable(folder: Path, what: str, advice: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise UserError(f"{what} {folder}: cannot be written: {e.strerror}{advice}") from None
