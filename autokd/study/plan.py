"""What a search will do, before it does it. Light; :mod:`autokd.engine.probe` measures what it will
cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from autokd.recipe import Recipe, check, files, reads
from autokd.recipe.network_settings import TRAIN
from autokd.space import Space, samplers, training
from autokd.space.settings import LATENCY
from autokd.space.tree import corners
from autokd.study import asha, finals
from autokd.study.choices import branch, settings, tells_branch
from autokd.study.controls import WEIGHTS
from autokd.study.forecast import reach

FEW = 3  # trials of reference KD: fewer are its finalist's training and the base's


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
    tuned: list[str] = field(default_factory=list)  # paths over which the controls are tuned
    tuning: int = 0  # how many of the trials do that
    embedded: int = 0  # of further tables, which hold embeddings beside the logits
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None  # of wall time, expected; and between what it should lie
    low: float | None = None
    high: float | None = None
    # kind of student → seconds of an epoch of it, as they were measured
    measured: dict[str, float] = field(default_factory=dict)
    disk_mb: float | None = None


def plan(space: Space, trials: int | None = None) -> Plan:
    """The plan of a search of so many trials."""
    search, base = space.search, space.base
    wanted = trials or search.trials
    length = base.train.epochs
    tuned = training.paths(space)
    tuning = training.trials(training.share(space), wanted)
    searched = wanted - tuning
    rungs = asha.rungs(search.asha, length)
    baselines = [name for name, _ in space.starting_points()][:searched]
    starts = len(baselines)
    exempt = starts if search.asha.exempt_baselines else 0
    share = 1 / search.asha.exempt if search.asha.exempt else 0.0
    groups = len(space.per.options) if space.per else 1
    promoted = share + (1 - share) / search.asha.reduction ** len(rungs)
    ends = exempt + (wanted - exempt) * promoted
    seen_through = max(min(groups * search.finalists.top, wanted) - ends, 0)
    search_epochs = round(exempt * length + max(wanted - exempt, 0) * reach(space, wanted))
    search_epochs += round(seen_through * (length - rungs[0])) if rungs else 0
    search_epochs += search.racing.runs * asha.tells(search.asha, length)
    final_epochs = finals.most_runs(space) * length
    asked = teachers(space)
    out = Plan(wanted, baselines, branches(space), rungs, search_epochs, final_epochs, {}, 0)
    out.tuned, out.tuning = tuned, tuning
    if tuned and search.finalists.seeds:
        out.notes += _of_tuning(space, tuning)
    for (_, weights), m in asked.items():
        if weights == TRAIN:
            out.teachers[m.student.model] = out.teachers.get(m.student.model, 0) + 1
    out.tables = len(asked) * length
    out.embedded = len(embedded(space)) * length
    theirs = ("data/", "view/", "teacher/train", "ladder_train")
    free = [
        n.path
        for n in space.leaves()
        if n.path.startswith(theirs) and getattr(n, "kind", "") != "choice"
    ]
    if free:
        out.notes.append(
            f"{free[0]} is continuous and in the teachers' fingerprint: every trial trains teachers"
            " of its own"
        )
    if note := samplers.sampler(search.sampler).note:
        out.notes.append(note)
    costly = [c for c in search.limits if c.metric == LATENCY]
    out.notes += [f"{c.metric} is known only after a trial" for c in costly]
    return out


def _of_tuning(space: Space, tuning: int) -> list[str]:
    """Where the controls have too few trials for an equal chance."""
    over = ", ".join(training.paths(space))
    if not tuning:
        return [
            f"{over} is varied, and the controls run at their finalist's values: what the answer"
            " says of the distillation is then also said of these (search/controls/share)"
        ]
    groups = len(space.per.options) if space.per else 1
    least = FEW * groups * sum(WEIGHTS.values())
    if tuning >= least:
        return []
    return [
        f"{tuning} trials are few to tune the controls: {least} (more search/trials, or a larger"
        " search/controls/share) would give them a better chance"
    ]


def branches(space: Space) -> dict[str, list[str]]:
    """The parameters that live in each combination of branches."""
    out: dict[str, list[str]] = {}
    for choose in corners(space.root, space.written(space.base), most_pairs=0):
        point = space.point(choose)
        of = branch(point.varied) or "(no branches)"
        out.setdefault(of, [k for k in settings(point.varied) if not tells_branch(k)])
    return out


def teachers(space: Space) -> dict[tuple[str, str], Recipe]:
    """``(fingerprint, weights)`` → recipe of every network that some trial asks, over the space's
    structural choices. Weights: train, or given.
    """
    out: dict[tuple[str, str], Recipe] = {}
    for choose in corners(space.root, space.written(space.base)):
        made, _ = check(space.point(choose).data)
        if made:
            out |= {
                (m.fingerprint(), m.given.weights if m.given else TRAIN): m for m in made.members()
            }
    return out


def embedded(space: Space) -> set[str]:
    """The full teachers whose embeddings are tables in some trial."""
    out = set()
    for choose in corners(space.root, space.written(space.base), most_pairs=0):
        made, _ = check(space.point(choose).data)
        if made and made.tables_embeddings:
            out.add(made.member_keys()[-1])
    return out


def needs(space: Space) -> tuple[set[str], set[str]]:
    """The networks that some trial builds, and the files that some trial reads."""
    networks: set[str] = set()
    weights: set[str] = set()
    for choose in corners(space.root, space.written(space.base), most_pairs=0):
        made, _ = check(space.point(choose).data)
        if made:
            networks |= {made.student.model} | {m.student.model for m in made.members()}
            weights |= {
                file
                for path, file in files(made).items()
                if not path.startswith("data/") and reads(made, path)
            }
    return networks, weights


def text(space: Space, p: Plan) -> str:
    lines = [
        f"trials        {p.trials}, the first {len(p.baselines)} are baselines:"
        f" {', '.join(p.baselines) or 'none'}"
    ]
    if p.tuning:
        lines.append(
            f"controls      {p.tuning} of the trials tune the student alone and reference KD over"
            f" {', '.join(p.tuned)}"
        )
    lines.append(
        f"rungs         {', '.join(map(str, p.rungs)) or 'none'} of {space.base.train.epochs}"
        " epochs"
    )
    lines.append(
        f"epochs        about {p.search_epochs} to search, up to {p.final_epochs} to confirm the"
        " finalists beside their controls"
    )
    networks = ", ".join(f"{n} × {model}" for model, n in p.teachers.items())
    lines.append(
        f"teachers      {f'{networks}; each is trained once' if networks else 'none to train'}"
    )
    lines.append(
        f"tables        up to {p.tables}, one an epoch and network"
        + (f", {p.disk_mb:.1f} MB" if p.disk_mb is not None else "")
    )
    if p.seconds is not None and p.low is not None and p.high is not None:
        lines.append(
            f"time          about {_duration(p.seconds)}, between {_duration(p.low)} and"
            f" {_duration(p.high)}, from measured epochs of"
        )
        lines += [f"  {kind}: {seconds:.3g} s" for kind, seconds in p.measured.items()]
    lines.append("branches")
    lines += [
        f"  {branch}: {', '.join(params) or 'nothing free'}"
        for branch, params in p.branches.items()
    ]
    lines += [f"note: {note}" for note in p.notes]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def as_json(p: Plan) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(p)
