"""A search from its first event to its answer: start, resume, run, close. Ray is in ``raytune``, decisions are in ``study``."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autokd import __version__, asha, export, ledger, plan, progress, tracking, verdict
from autokd import space as spaces
from autokd.cache import default_cache
from autokd.document import UserError, flatten, flow, write_atomically
from autokd.ledger import Ledger, root
from autokd.sources import EMBEDDED
from autokd.space import Space
from autokd.study import Study


def gpus() -> int:
    """How many NVIDIA GPUs this process may use, without loading CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    folder = Path("/proc/driver/nvidia/gpus")
    found = len(list(folder.iterdir())) if folder.is_dir() else 0
    return min(found, len([v for v in visible.split(",") if v.strip() not in {"", "-1"}])) if visible is not None else found


@dataclass(frozen=True)
class Room:
    """What there is for trials: on this machine, or on all nodes of a cluster."""

    cpus: float
    gpus: float
    largest: float  # GPUs of the node that has most

    def jobs(self, wanted: float | None) -> int:
        """Trials side by side: where there are GPUs one on each, or as many as share them; else one a CPU core."""
        if self.gpus and wanted != 0:
            share = wanted or 1.0
            return max(1, int(self.gpus) * int(1 / share + 1e-6) if share <= 1 else int(self.gpus / share))
        return max(1, int(self.cpus))

    def share(self, wanted: float | None, jobs: int) -> float:
        """GPUs of one trial; as none is spread over two, each takes its equal part of the jobs, rounded up."""
        if wanted is None:
            return 1 / math.ceil(jobs / self.gpus) if self.gpus else 0.0
        return wanted


def room(space: Space, address: str | None = None) -> Room:
    """Raises :class:`UserError` where the cluster cannot be reached, or a trial asks for more GPUs than there are."""
    if address:
        from autokd import raytune

        nodes = raytune.nodes(address)
        found = Room(sum(n.get("CPU", 0) for n in nodes), sum(n.get("GPU", 0) for n in nodes), max((n.get("GPU", 0) for n in nodes), default=0))
    else:
        found = Room(len(os.sched_getaffinity(0)), gpus(), gpus())
    wanted = space.search.resources.gpu or 0
    if wanted > found.largest:
        where = f"no node of the cluster at {address} has more than {found.largest:g}" if address else f"this machine has {found.largest:g}"
        raise UserError(f"search/resources/gpu: a trial asks for {wanted:g} GPUs, and {where}")
    return found


def checked(space: Space, *, address: str | None = None, uri: str | None = None, view: progress.View | None = None, **_: Any) -> Room:
    """What there is for trials. Raises :class:`UserError` for all that must be refused before a study is begun."""
    _writable(default_cache(), "the cache", "; set AUTOKD_CACHE to another folder")
    store = uri or tracking.default_uri(root())
    if store.startswith("sqlite:///"):
        _writable(Path(store.removeprefix("sqlite:///")).absolute().parent, "MLflow's store", "; choose another --tracking-uri")
    present(space, view)
    return room(space, address)


def present(space: Space, view: progress.View | None = None) -> None:
    """Packs the data where it is not yet. Raises :class:`UserError` where a network, a file or the data that some trial needs is not there."""
    networks, files = plan.needs(space)
    for file in sorted(files):
        if not Path(file).is_file():
            raise UserError(f"teacher/weights: {file}: there is no such file")
    for name in sorted(n for n in networks if ":" in n):
        from autokd.networks import library

        library.known(*name.split(":"))
    if space.base.data.name not in EMBEDDED:  # told here, and packed by processes: later, beside Ray's threads, none may be forked
        from autokd import data

        note = data.too_small(space.base.data)
        if note and view and not view.quiet:
            view.say(f"note: {note}")


def _writable(folder: Path, what: str, advice: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        raise UserError(f"{what} {folder}: cannot be written: {e.strerror}{advice}") from None


@dataclass
class Outcome:
    """What a finished search has to show."""

    name: str
    folder: Path
    table: ledger.Table
    results: list[verdict.Result]
    winner: verdict.Result | None
    recipe: Path | None
    metric: str
    rungs: list[tuple[int, float | None, int]] = field(default_factory=list)  # how well each rung foretold the end: epoch, rank correlation, n
    front: list[int] = field(default_factory=list)  # with several objectives: the trials on the Pareto front
    warnings: list[str] = field(default_factory=list)


def next_name(stem: str) -> str:
    """``dtd-1``, ``dtd-2``, …: the first that is free."""
    stem = "".join(c if ledger.NAME.fullmatch(c) else "-" for c in stem)[:90] or "search"
    n = 1
    while (ledger.studies(root()) / f"{stem}-{n}").exists():
        n += 1
    return f"{stem}-{n}"


def start(space: Space, *, name: str, seed: int = 0, jobs: int | None = None, trials: int | None = None, **how: Any) -> Outcome:
    """A new study. Raises :class:`UserError` where one of that name exists."""
    folder, exists = ledger.folder(root(), name), UserError(f"study {name!r} exists already: go on with it by --resume {name}, or choose another --name")
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
            "created", durable=True, name=name, seed=seed, jobs=jobs or found.jobs(space.search.resources.gpu), trials=trials or space.search.trials,
            frozen=space.frozen, version=__version__, versions=export.versions(), commit=export.commit(),
        )  # fmt: skip
        return _go(book, space, found, **how)


def resume(name: str, space: Space | None = None, **how: Any) -> Outcome:
    """Go on with a study that was stopped or killed. ``space``: what its user takes it to be; UserError where it is another."""
    with contextlib.closing(Ledger(ledger.existing(root(), name)).open()) as book:
        if book.table.closed:
            raise UserError(f"study {name!r} is finished; its recipe is {ledger.folder(root(), name) / 'recipe.yaml'}")
        if not book.table.created:
            raise UserError(f"study {name!r} stopped before it had begun; delete {book.path} and search again")
        frozen = spaces.thaw(book.table.created["frozen"])
        if space is not None and space.frozen != frozen.frozen:
            raise UserError(_changed(name, frozen.frozen, space.frozen))
        found = checked(frozen, **how)
        book.append("resumed")
        return _go(book, frozen, found, **how)


def _changed(name: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    """What differs between the space that a study froze and the one it is to be resumed with."""
    was, now = ({f"{part}: {path}": value for part in ("space", "base") for path, value in flatten(f[part]).items()} for f in (old, new))
    differ = [key for key in {**was, **now} if was.get(key) != now.get(key)]
    shown = [f"  {key}: {flow(was[key]) if key in was else 'absent'} then, {flow(now[key]) if key in now else 'absent'} now" for key in differ[:10]]
    advice = f"go on with what it froze by --resume {name} alone, or search the new space under another --name"
    return "\n".join([f"error: study {name!r} was begun with another space; {advice}", *shown, *(["  …"] if len(differ) > 10 else [])])


def extend(name: str, trials: int, **how: Any) -> Outcome:
    """Open a finished study again for ``trials`` more trials; its finals are held again, and runs that exist are reused."""
    with contextlib.closing(Ledger(ledger.existing(root(), name)).open()) as book:
        if not book.table.closed:
            raise UserError(f"study {name!r} is not finished: go on with it by --resume {name} first")
        space = spaces.thaw(book.table.created["frozen"])
        found = checked(space, **how)
        book.append("extended", durable=True, trials=sum(t.searching for t in book.table.trials.values()) + trials)
        return _go(book, space, found, **how)


def costs(data: dict[str, Any]) -> dict[str, float]:
    """Parameters and FLOPs of a recipe's student, before it is trained."""
    from autokd import models, recipe
    from autokd.data import load

    r = recipe.parse(data)
    d = load(r.data)
    network = models.build(r.student.model, classes=len(d.classes), channels=d.channels, resolution=r.resolution)
    measured = models.measure(network, d.channels, r.resolution)
    return {f"student/{k}": v for k, v in measured.items()}


def _go(
    book: Ledger, space: Space, found: Room, *, view: progress.View, uri: str | None = None, address: str | None = None, cache: Path | None = None
) -> Outcome:
    created = book.table.created
    study = Study(space, book, seed=created["seed"], jobs=created["jobs"], trials=created["trials"], costs=costs, teach=True)
    mlflow = tracking.Background(uri or tracking.default_uri(root()), root(), book)
    view.follow(study)
    warnings = []
    try:
        from autokd import raytune

        share = found.share(space.search.resources.gpu, created["jobs"])
        device = "cuda" if share else "cpu"
        raytune.run(study, options={"cache": str(cache or default_cache()), "device": device}, address=address, gpus=share)
        outcome = close(study)
    except OSError as e:  # a full disk, most of all
        what = f"{e.filename or book.path}: {e.strerror or e}"
        raise UserError(f"{what}; what was written is kept: mend it and go on with --resume {book.path.name}") from None
    finally:
        view.stop()
        if trouble := mlflow.close():
            warnings.append(f"MLflow is behind ({trouble}); `autokd sync` catches up")
            view.say(f"warning: {warnings[0]}")
    outcome.warnings = warnings
    return outcome


def close(study: Study) -> Outcome:
    """The answer: verdicts, and the winner's recipe; written once, then the study is closed."""
    table, metric, sign, folder = study.book.table, study.metric, study.sign, study.book.path
    found = verdict.results(table, metric, sign)
    winner = verdict.overall(found, sign)
    path, text = None, ""
    if winner is not None:
        text = export.recipe_text(folder.name, table, winner, metric)
        path = folder / "recipe.yaml"
        write_atomically(path, text)
        for result in verdict.winners(found):
            if result.group is not None:
                name = "".join(c if c.isalnum() else "-" for c in str(result.group))
                write_atomically(folder / "recipes" / f"{name}.yaml", export.recipe_text(folder.name, table, result, metric))
    if not table.closed:
        study.book.append("closed", durable=True, recipe=str(path) if path else None, recipe_text=text, results=[r.to_dict() for r in found])
    rungs = asha.correlations(table.trials.values(), metric, study.search.asha)
    front = [t.number for t in study.front()] if len(study.objectives) > 1 else []
    return Outcome(folder.name, folder, table, found, winner, path, metric, rungs, front)
