"""What a run is handed: its data, and those who teach, each trained now where the cache has it not.

    data, members = prepare(recipe, store)
    run = Run(recipe, data, members, store)

A teacher's own training is a run like any other, prepared in the same way.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from autokd import networks
from autokd.data import Dataset, load
from autokd.recipe import Recipe, TeacherSettings
from autokd.recipe.document import canonical
from autokd.train.averaging import Averaging
from autokd.train.build import build_for
from autokd.train.distill import Diverged, Run
from autokd.train.probe import probed
from autokd.train.progress import Report, finish, silent
from autokd.train.store import Store
from autokd.train.teachers import Member

TEACHER = "teacher", "teacher/train"  # its role, and the block of its training


class Prepared(NamedTuple):
    """What a run needs beside its recipe. ``members``: smallest first, the last is the full
    teacher; empty where nothing asks a teacher.
    """

    data: Dataset
    members: list[Member]


def prepare(
    recipe: Recipe, store: Store, data: Dataset | None = None, *, report: Report = silent
) -> Prepared:
    """Data and teachers of a recipe. ``data``: where it is loaded already; ``report`` hears how far
    a teacher's training is.
    """
    data = data or load(recipe.data, store.device)
    largest_first = [
        member(own, recipe, data, store, report=report) for own in reversed(recipe.members())
    ]
    return Prepared(data, largest_first[::-1])


def member(
    own: Recipe, recipe: Recipe, data: Dataset, store: Store, *, report: Report = silent
) -> Member:
    """One of ``recipe.members()``, trained by its ``own`` recipe, or loaded where the recipe names
    weights. Raises :class:`UserError` for weights that do not fit; :class:`Diverged` says who did.
    """
    try:
        if own.given:
            network = _given(own, own.given, data, store)
        else:
            network = _trained(own, data, store, report)
    except Diverged as e:
        if e.of:  # who taught it
            raise
        role, block = ("assistant", "ladder_train") if own.needs_teacher else TEACHER
        raise Diverged(e.epoch, f"the {role} {own.student.model}", f"{block}/lr") from None
    return Member(network.to(store.device), own, recipe, data, store)


def start(
    recipe: Recipe,
    store: Store,
    data: Dataset | None = None,
    *,
    averaging: Averaging | None = None,
    report: Report = silent,
) -> Run:
    """A run before its first epoch, its teachers ready. ``averaging``: see :class:`Run`;
    ``report``: see :func:`prepare`.
    """
    data, members = prepare(recipe, store, data, report=report)
    return Run(recipe, data, members, store, averaging=averaging)


def train(recipe: Recipe, store: Store) -> tuple[Run, dict[str, float]]:
    """A whole run. Returns it with the metrics of its last epoch. Raises :class:`Diverged`."""
    run = start(recipe, store)
    last: dict[str, float] = {}
    while not run.done:
        last = run.epoch()
    return run, last


def _trained(own: Recipe, data: Dataset, store: Store, report: Report) -> networks.Network:
    """From the cache, else trained now, from the checkpoint of a training that was broken off."""

    def weights(partial: Path | None) -> dict[str, Tensor]:
        run = finish(lambda: start(own, store, data, report=report), partial, report)
        return networks.state(run.result)

    described = own.effective()
    content = {"recipe": described, "data": data.fingerprint}
    network = build_for(data, own.student, own.resolution, own.seed)
    # a file may be replaced, a library may publish other weights
    if not own.student.drawn:
        content["start"] = networks.weights_hash(network)
    if own.needs_teacher and not own.teacher.drawn:
        content["teachers"] = [m.hash for m in prepare(own, store, data).members]
    network.load_state_dict(store.network(content, weights, canonical(described)))
    return network


def _given(own: Recipe, teacher: TeacherSettings, data: Dataset, store: Store) -> networks.Network:
    """Used as it is, with the weights that ``teacher/weights`` names: a library's, or a file's; and
    with its own head, or one that is fitted.
    """
    build = partial(build_for, data, teacher, own.resolution, own.seed)
    if teacher.head == "own":
        return build(trained=False, side=teacher.side)
    network = build(side=teacher.side or networks.own_side(teacher.model))
    return probed(network, data, own.resolution, own.train, store, teacher.model)
