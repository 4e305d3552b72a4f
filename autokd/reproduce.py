"""`autokd reproduce`: train an exported recipe again and say whether it gives what it says, and if not, what could explain that.

    bit-identical    the student's weights have the recorded SHA-256
    within noise     other weights, but a metric inside the 95 % prediction interval of runs that differ in their seed alone
    different        outside of it, or the recipe is not the one whose results these are
    not comparable   data, a teacher's file or the recorded results are not what they were; nothing was trained

The prediction interval of n seeds is ``m ± t(n − 1)·sd·√(1 + 1/n)``: where one more seed would fall. Test data is not read.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autokd import document, export, recipe, sources
from autokd.document import Document, UserError, flatten, flow
from autokd.recipe import Recipe

if TYPE_CHECKING:
    from autokd.data import Data
    from autokd.packing import Pack
    from autokd.store import Store

# What changes rounding, or is the chance that the interval is about; any other change makes another recipe.
CHANCE = {f"{block}{key}" for block in ("train/", "teacher/train/", "ladder_train/") for key in ("threads", "precision", "deterministic")} | {"seed"}
WHY = {
    "threads": "sums are added up in another order",
    "precision": "numbers are rounded otherwise",
    "deterministic": "kernels may add in any order",
    "seed": "other first weights and another order of batches",
}


@dataclass
class Outcome:
    """What came of it. ``reasons``: what could explain a difference, the weightiest first."""

    recipe: str
    verdict: Literal["bit-identical", "within noise", "different", "not comparable"] = "not comparable"
    reasons: list[str] = field(default_factory=list)
    metric: str = ""
    recorded: dict[str, float] = field(default_factory=dict)
    here: dict[str, float] = field(default_factory=dict)
    student_recorded: str = ""
    student_here: str = ""
    interval: list[float] | None = None
    interval_of: str = ""
    fresh: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.verdict in {"bit-identical", "within noise"}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Claim:
    """An exported recipe: what is to be run, and what was said to come of it."""

    file: str
    made: Recipe
    provenance: dict[str, Any]
    results: dict[str, Any]
    changed: dict[str, str]  # recipe path → what was recorded and what is here: --set, or an edited file
    edited: list[str]  # what was edited that nothing should be: the results


def read(path: str | Path, sets: tuple[str, ...] = ()) -> Claim:
    """Raises :class:`UserError` for what is no exported recipe."""
    doc = document.read(path)
    made = recipe.load(path, sets)
    results, provenance = doc.data.get("results"), doc.data.get("provenance")
    if not isinstance(results, dict) or not isinstance(provenance, dict):
        raise UserError(f"{path} has no results to compare with: it was not exported by a search; `autokd train {path}` runs it")
    _complete(doc, results, provenance)
    exported, changed = _exported(recipe.load(path, tuple(s for s in sets if s.partition("=")[0] in recipe.files(made))), provenance)
    old, new = flatten(exported.essence()), flatten(made.essence())
    changed |= {p: f"{flow(old.get(p))} recorded, {flow(new.get(p))} here" for p in {**old, **new} if old.get(p) != new.get(p)}
    edited = []
    try:
        if provenance.get("results_sha256") != export.checksum(results):
            edited.append("results: were edited after the export (provenance/results_sha256 does not fit them)")
    except ValueError:
        edited.append("results: were edited after the export, and are no plain values any more")
    return Claim(str(path), made, provenance, results, changed, edited)


def _exported(written: Recipe, provenance: dict[str, Any]) -> tuple[Recipe, dict[str, str]]:
    """The recipe as it was exported, as far as its provenance still tells, and whether the file was edited beyond that."""
    seeds = provenance.get("seeds")
    recorded = {f"train/{key}": provenance.get(key) for key in ("threads", "precision", "deterministic")}
    recorded["seed"] = seeds.get("exported") if isinstance(seeds, dict) else None
    try:
        before = written.with_({p: v for p, v in recorded.items() if v is not None})
    except UserError:
        before = written
    if provenance.get("fingerprint") == export.identity(before):
        return before, {}
    return written, {"the recipe": "was edited after it was exported: provenance/fingerprint does not fit it"}


def _complete(doc: Document, results: dict[str, Any], provenance: dict[str, Any]) -> None:
    """What is compared must be there, and be what it should. Raises :class:`DocumentError`."""
    problems = []
    for key, kind in (("student_sha256", str), ("metric", str), ("validation", dict), ("per_seed", list), ("seeds", list)):
        if not isinstance(results.get(key), kind):
            problems.append(doc.problem(f"results/{key}", "is needed to compare with, and missing or of another type", results.get(key)))
    if not problems:
        figures = [("validation", v) for v in results["validation"].values()] + [("per_seed", v) for v in results["per_seed"]]
        problems += [doc.problem(f"results/{key}", "must hold numbers", v) for key, v in figures if isinstance(v, bool) or not isinstance(v, int | float)]
        problems += [doc.problem("results/seeds", "must hold whole numbers", v) for v in results["seeds"] if isinstance(v, bool) or not isinstance(v, int)]
        if results["metric"] not in results["validation"]:
            problems.append(doc.problem("results/metric", "is not among results/validation", results["metric"]))
    for key in ("teachers", "versions"):
        if not isinstance(provenance.get(key, {}), dict):
            problems.append(doc.problem(f"provenance/{key}", "must be a mapping", provenance[key]))
    if problems:
        raise document.DocumentError(problems)


def reproduce(path: str | Path, sets: tuple[str, ...] = (), *, from_scratch: bool = False, seeds: int = 0, quiet: bool = False) -> Outcome:
    """Check, train, compare. ``from_scratch``: the teachers too. ``seeds``: so many fresh ones, for an interval of this machine.

    Raises :class:`UserError` where the request is wrong.
    """
    began = time.monotonic()
    claim = read(path, sets)
    metric = claim.results["metric"]
    out = Outcome(str(path), metric=metric, recorded=dict(claim.results["validation"]), student_recorded=claim.results["student_sha256"])
    out.reasons = list(claim.edited)
    if out.reasons:
        return out
    data, device = _data(claim, out)
    if data is None or out.reasons:
        return out
    with _store(device, from_scratch) as store:
        if _teacher_replaced(claim, data, store, out):
            return out
        teachers = _train(claim.made, store, data, out, quiet)
        out.reasons = _explanations(claim, device, teachers)
        if out.student_here == out.student_recorded:
            out.verdict = "bit-identical"
        values, out.interval_of = list(claim.results["per_seed"]), f"{len(claim.results['per_seed'])} recorded seeds"
        tested = out.here.get(metric)
        if seeds and tested is not None:
            first = max([claim.made.seed, *claim.results["seeds"]]) + 1
            values = [_fresh(claim.made.with_({"seed": first + i}), store, data, metric, quiet) for i in range(seeds)]
            low, high = export.mean_interval(values) or (None, None)
            out.fresh = {"seeds": list(range(first, first + seeds)), "per_seed": values, "mean": sum(values) / seeds, "interval": [low, high]}
            out.interval_of, tested = f"{seeds} fresh seeds", claim.results["validation"][metric]
    found = export.prediction_interval(values)
    if found:
        # Accuracies are whole pictures, and may well be equal over the seeds: one picture is never more than noise.
        grain = 1 / len(data.validation) if len(data.validation) and metric.endswith(("accuracy", "agreement")) else 0.0
        out.interval = [found[0] - grain, found[1] + grain]
    out.seconds = round(time.monotonic() - began, 1)
    if out.verdict == "bit-identical":
        return out
    another = claim.changed.keys() - CHANCE
    inside = out.interval is not None and tested is not None and out.interval[0] <= tested <= out.interval[1]
    out.verdict = "within noise" if inside and not another else "different"
    if out.interval is None:
        out.reasons.append("no interval is known (fewer than two seeds are recorded): --seeds 5 makes one")
    return out


def _data(claim: Claim, out: Outcome) -> tuple[Data | None, str]:
    """The data, every byte of it hashed again, on the device that the results are from where there is one."""
    import torch

    from autokd import data as datasets

    device = "cuda" if str(claim.provenance.get("device")).startswith("cuda") and torch.cuda.is_available() else "cpu"
    spec = claim.made.data
    pack = datasets.pack(spec)
    try:
        datasets.verify(spec)
    except UserError as e:
        out.reasons.append(f"data: {e}")
        return None, device
    if spec.name.startswith(sources.FOLDER) and (now := _repacked(spec, pack)) != pack.fingerprint:
        where = pack.manifest and pack.manifest.name
        out.reasons.append(
            f"data: pictures of {spec.name} have changed, though size and date are those of the files that were packed: fingerprint "
            f"{pack.fingerprint} then, {now} now; remove {where} from the cache to use them as they are"
        )
        return None, device
    data = datasets.load(spec, device)
    recorded = claim.provenance.get("data_fingerprint")
    if recorded != data.fingerprint and not any(p.startswith("data/") for p in claim.changed):
        out.reasons.append(f"data: {spec.name!r} has changed: fingerprint {recorded} recorded, {data.fingerprint} here")
    return data, device


def _repacked(spec: recipe.Data, pack: Pack) -> str:
    """The fingerprint of a folder's pictures as the files are now: a pack trusts a file whose size and date are as they were."""
    from autokd import data as datasets
    from autokd import packing

    assert pack.manifest is not None
    folder = datasets.folder()
    contents = sources.contents(f"{sources.FOLDER}{sources.resolve(spec.name, folder)}", folder)
    with tempfile.TemporaryDirectory(dir=pack.manifest.parent, prefix=".again-") as scratch:
        manifest = Path(scratch) / pack.manifest.name
        packing.write(contents, manifest, spec.name, short_side=spec.short_side, skip=spec.on_error == "skip", large=True)
        fresh = packing.read(manifest)
        return fresh.fingerprint if fresh else "of no whole pack"


@contextlib.contextmanager
def _store(device: str, from_scratch: bool) -> Iterator[Store]:
    from autokd.cache import default_cache
    from autokd.store import Store

    if not from_scratch:
        yield Store(default_cache(), device)
        return
    with tempfile.TemporaryDirectory(prefix="autokd-") as scratch:
        yield Store(Path(scratch), device)


def _teacher_replaced(claim: Claim, data: Data, store: Store, out: Outcome) -> bool:
    """Whether a teacher that was not trained here but read has other weights than the recorded one."""
    from autokd.teachers import Member

    made = claim.made
    if made.teacher.weights == "train" or not made.needs_teacher:
        return False
    try:
        here = Member(made.members()[-1], made, data, store).hash[:16]
    except ValueError as e:
        raise UserError(f"teacher/weights: {e}") from None
    recorded = claim.provenance.get("teachers", {}).get(made.teacher.model)
    claim.changed.pop("teacher/weights", None)  # where the file lies does not matter, only what is in it
    if here != recorded:
        out.reasons.append(f"teacher/weights: {made.teacher.weights} was replaced: weights' hash {recorded} recorded, {here} here")
    return here != recorded


def _train(made: Recipe, store: Store, data: Data, out: Outcome, quiet: bool) -> dict[str, str]:
    """Train the student. Returns the hashes of those who taught it."""
    from autokd import distill, models

    run = distill.Run(made, store, data=data)
    try:
        out.here = {name: round(value, 6) for name, value in _epochs(run, quiet).items() if name in out.recorded}
        out.student_here = models.weights_hash(run.student)
    except distill.Diverged as e:
        out.student_here = f"diverged: {e}"
    return {m.name: m.hash[:16] for m in run.members}


def _fresh(made: Recipe, store: Store, data: Data, metric: str, quiet: bool) -> float:
    from autokd import distill

    try:
        return _epochs(distill.Run(made, store, data=data), quiet)[metric]
    except distill.Diverged as e:
        raise UserError(f"--seeds: the run with seed {made.seed} diverged ({e}), so there is no interval") from None


def _epochs(run: Any, quiet: bool) -> dict[str, float]:
    last: dict[str, float] = {}
    began = time.monotonic()
    while not run.done:
        last = run.epoch()
    if not quiet:
        shown = " ".join(f"{k} {v:.4f}" for k, v in last.items() if k.startswith("val/"))
        print(f"[{time.monotonic() - began:6.1f} s] seed {run.recipe.seed}: {run.next_epoch} epochs, {shown}", file=sys.stderr)
    return last


def _explanations(claim: Claim, device: str, teachers: dict[str, str]) -> list[str]:
    """What is not as it was recorded: the recipe, the teachers, the machine, the packages."""
    origin = claim.provenance
    out = []
    for path, what in claim.changed.items():
        why = WHY.get(path.rsplit("/", 1)[-1]) if path in CHANCE else None
        out.append(f"{path}: {what}" + (f" ({why})" if why else ""))
    recorded = origin.get("teachers", {})
    for name in {**recorded, **teachers}:
        if recorded.get(name) != teachers.get(name):
            out.append(f"teacher {name}: weights' hash {recorded.get(name)} recorded, {teachers.get(name)} here")
    here = {"hardware": export.hardware(device), "device": device}
    out += [f"{key}: {origin.get(key)} recorded, {value} here" for key, value in here.items() if origin.get(key) != value]
    mine = export.versions()
    theirs = {**origin.get("versions", {}), **({"commit": origin["commit"]} if "commit" in origin else {})}
    for name in {**theirs, **mine}:
        if theirs.get(name) != mine.get(name) and (name != "commit" or (name in theirs and name in mine)):
            out.append(f"{name}: {theirs.get(name)} recorded, {mine.get(name)} here")
    return out


def as_text(o: Outcome) -> str:
    """What is printed: the verdict first."""
    lines = [f"{o.verdict}: {_why(o)}"]
    if o.verdict == "not comparable":
        return "\n".join(lines + [f"  {r}" for r in o.reasons] + ["Nothing was trained."])
    lines.append(f"  student  {o.student_recorded[:16]} recorded, {o.student_here[:16] if len(o.student_here) == 64 else o.student_here} here")
    for name, value in o.recorded.items():
        if name in o.here:
            lines.append(f"  {name:16} {value:.6f} recorded, {o.here[name]:.6f} here" + (f" ({o.here[name] - value:+.6f})" if o.here[name] != value else ""))
    if o.fresh:
        low, high = o.fresh["interval"]
        shown = "" if low is None else f", 95 % interval of the mean [{low:.4f}, {high:.4f}]"
        lines.append(f"  fresh seeds {o.fresh['seeds']}: {o.metric} {o.fresh['mean']:.4f}{shown}")
    if o.reasons:
        lines.append("Not as recorded, though it made no difference:" if o.verdict == "bit-identical" else "Not as recorded, which could explain it:")
        lines += [f"  {r}" for r in o.reasons]
    elif o.verdict != "bit-identical":
        lines.append("Nothing that is recorded differs here: packages, machine, threads and precision are the same.")
    return "\n".join(lines)


def _why(o: Outcome) -> str:
    if o.verdict == "not comparable":
        return "what the results stand on is not what it was"
    if o.verdict == "bit-identical":
        return "the student's weights are the recorded ones, so every figure is"
    whose = "the recorded value" if o.fresh else "the value here"
    if o.interval is None:
        return "other weights, and no interval to judge them by"
    where = f"the 95 % prediction interval [{o.interval[0]:.4f}, {o.interval[1]:.4f}] of {o.metric} over {o.interval_of}"
    value = o.recorded.get(o.metric) if o.fresh else o.here.get(o.metric)
    if value is None:
        return f"the run did not end; {where}"
    inside = o.interval[0] <= value <= o.interval[1]
    if o.verdict == "different" and inside:
        return f"the recipe is not the one whose results these are, though {whose}, {value:.4f}, lies inside {where}"
    return f"{whose}, {value:.4f}, lies {'inside' if inside else 'outside'} {where}"
