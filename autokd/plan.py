"""What a search will do and cost, before it does it. Light but for the probe, which trains two epochs of the base."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from autokd import asha
from autokd import recipe as recipes
from autokd.recipe import Recipe
from autokd.settings import LATENCY
from autokd.space import Space
from autokd.tree import corners, names_branch

CONTROLS = 2
SAMPLE = 512  # training pictures of a probe
T = TypeVar("T")


@dataclass
class Plan:
    """Counts are exact where the space says so, and expectations where ASHA decides."""

    trials: int
    baselines: list[str]
    branches: dict[str, list[str]]  # branch → the parameters that live in it
    rungs: list[int]
    search_epochs: int
    final_epochs: int
    teachers: dict[str, int]  # network → how many of it are trained (assistants too)
    tables: int
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None
    disk_mb: float | None = None


def plan(space: Space, trials: int | None = None) -> Plan:
    """The plan of a search of so many trials."""
    search, base = space.search, space.base
    wanted = trials or search.trials
    length = base.train.epochs
    rungs = asha.rungs(search.asha, length)
    baselines = [name for name, _ in space.starting_points()][:wanted]
    starts = len(baselines)
    stretches = [b - a for a, b in zip(rungs, [*rungs, length][1:], strict=True)]
    expected = rungs[0] + sum(s / search.asha.reduction ** (i + 1) for i, s in enumerate(stretches)) if rungs else length
    exempt = starts + ((wanted - starts) / search.asha.exempt if search.asha.exempt and rungs else 0)
    search_epochs = round(exempt * length + max(wanted - exempt, 0) * expected)
    groups = len(space.per.options) if space.per else 1
    finals = (search.finalists.top + CONTROLS) * groups * search.finalists.seeds * length
    asked = teachers(space)
    out = Plan(wanted, baselines, branches(space), rungs, search_epochs, finals, {}, 0)
    for (_, weights), m in asked.items():
        if weights == "train":
            out.teachers[m.student.model] = out.teachers.get(m.student.model, 0) + 1
    out.tables = len(asked) * length
    theirs = ("data/", "view/", "teacher/train", "ladder_train")
    free = [n.path for n in space.leaves() if n.path.startswith(theirs) and getattr(n, "kind", "") != "choice"]
    if free:
        out.notes.append(f"{free[0]} is continuous and in the teachers' fingerprint: every trial trains teachers of its own")
    if search.sampler == "tpe":
        out.notes.append("tpe models each branch's parameters together, from about 10 finished trials on; until then it draws at random")
    costly = [c for c in search.limits if c.metric == LATENCY]
    out.notes += [f"{c.metric} is known only after a trial" for c in costly]
    return out


def branches(space: Space) -> dict[str, list[str]]:
    """The parameters that live in each combination of branches."""
    out: dict[str, list[str]] = {}
    for choose in corners(space.root, space.base.to_dict(), most_pairs=0):
        point = space.point(choose)
        out.setdefault(point.branch or "(no branches)", [k for k in point.varied if not names_branch(k)])
    return out


def teachers(space: Space) -> dict[tuple[str, str], Recipe]:
    """``(fingerprint, weights)`` → recipe of every network that some trial asks, over the space's structural choices. Weights: train, or given."""
    out: dict[tuple[str, str], Recipe] = {}
    for choose in corners(space.root, space.base.to_dict()):
        made, _ = recipes.check(space.point(choose).data)
        if made:
            out |= {(m.fingerprint(), "train" if m.needs_teacher else made.teacher.weights): m for m in made.members()}
    return out


def needs(space: Space) -> tuple[set[str], set[str]]:
    """The networks that some trial builds, and the files that some trial reads."""
    networks: set[str] = set()
    files: set[str] = set()
    for choose in corners(space.root, space.base.to_dict(), most_pairs=0):
        made, _ = recipes.check(space.point(choose).data)
        if made:
            networks |= {made.student.model} | {m.student.model for m in made.members()}
            files |= {file for path, file in recipes.files(made).items() if path == "teacher/weights" and made.needs_teacher}
    return networks, files


def probe(space: Space, out: Plan, jobs: int) -> Plan:
    """Measure epochs of the base on some of its pictures, with and without their tables, and predict time and disk from them."""
    import torch

    from autokd import cache, data, distill
    from autokd.store import Store

    store = Store(None, "cuda" if torch.cuda.is_available() else "cpu")
    whole = data.load(space.base.data, store.device)
    n, classes = len(whole.train), len(whole.classes)
    out.notes += [note] if (note := data.too_small(space.base.data)) else []
    few = min(n, max(SAMPLE, 4 * classes, 4 * space.base.train.batch_size))
    short = space.base.with_({"train/epochs": 2, "teacher/train/epochs": 1, "ladder_train/epochs": 1})
    if few < n:
        short = short.with_({"data/limit": few, "data/labelled": None})
    teaching, run = _timed(lambda: distill.Run(short, store))
    run.epoch()
    cold, _ = _timed(run.epoch)
    again = distill.Run(short, store)
    again.epoch()
    warm, _ = _timed(again.epoch)
    measuring, _ = _timed(lambda: again.logits(again.validation))
    epoch = max(warm - measuring, 0.0) * n / few + measuring  # validation is whole in the probe too
    table = max(cold - warm, 0.0) * n / few / max(len(run.members), 1)
    trained = sum(out.teachers.values()) * teaching * n / few * space.base.teacher.train.epochs
    out.seconds = ((out.search_epochs + out.final_epochs) * epoch + out.tables * table) / jobs + trained + out.trials * 0.3
    out.disk_mb = out.tables * n * classes * (2 if space.base.teacher.table == "fp16" else 4) / 1e6
    room = cache.budget(cache.default_cache(), 0) / 1e6
    if out.disk_mb > room:
        out.notes.append(f"tables may take {room:,.0f} MB (AUTOKD_CACHE_SIZE): what is beyond is computed again by each trial")
    return out


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    began = time.monotonic()
    done = work()
    return time.monotonic() - began, done


def text(space: Space, p: Plan) -> str:
    lines = [f"trials        {p.trials}, the first {len(p.baselines)} are baselines: {', '.join(p.baselines) or 'none'}"]
    lines.append(f"rungs         {', '.join(map(str, p.rungs)) or 'none'} of {space.base.train.epochs} epochs")
    lines.append(f"epochs        about {p.search_epochs} to search, up to {p.final_epochs} to confirm the finalists beside their controls")
    networks = ", ".join(f"{n} × {model}" for model, n in p.teachers.items())
    lines.append(f"teachers      {f'{networks}; each is trained once' if networks else 'none to train'}")
    lines.append(f"tables        up to {p.tables}, one an epoch and network" + (f", {p.disk_mb:.1f} MB" if p.disk_mb is not None else ""))
    if p.seconds is not None:
        lines.append(f"time          about {_duration(p.seconds)}, from a probe of two epochs")
    lines.append("branches")
    lines += [f"  {branch}: {', '.join(params) or 'nothing free'}" for branch, params in p.branches.items()]
    lines += [f"note: {note}" for note in p.notes]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def as_json(p: Plan) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(p)
