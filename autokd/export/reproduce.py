"""`autokd reproduce`: train an exported recipe again and say whether it gives what it says, and if
not, what could explain that.

    bit-identical     the student's weights have the recorded SHA-256
    within noise      other weights, but a metric inside the 95 % prediction interval of runs that
                      differ in their seed alone
    different         outside of it, or the recipe is not the one whose results these are
    not comparable    data, a teacher's file or the recorded results are not what they were; nothing
                      was trained

The prediction interval of n seeds is ``m ± t(n − 1)·sd·√(1 + 1/n)``: where one more seed would
fall. Test data is not read.
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

from autokd import recipe
from autokd.errors import UserError
from autokd.export import checksums
from autokd.export.claim import Claim, read
from autokd.export.explanations import CHANCE, explanations
from autokd.recipe import Recipe
from autokd.recipe.document import Document
from autokd.study.statistics import mean_interval, prediction_interval

if TYPE_CHECKING:
    from autokd.data import Dataset
    from autokd.data.packfile import Pack
    from autokd.train.store import Store


@dataclass
class Reproduction:
    """What came of it. ``reasons``: what could explain a difference, the weightiest first."""

    recipe: str
    verdict: Literal["bit-identical", "within noise", "different", "not comparable"] = (
        "not comparable"
    )
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
    def tested(self) -> float | None:
        """The value that the interval judges: where that is of fresh seeds the recorded one, else
        the one here; None where the run did not end.
        """
        return (self.recorded if self.fresh else self.here).get(self.metric)

    @property
    def inside(self) -> bool:
        """Whether it lies in the interval."""
        if self.interval is None or self.tested is None:
            return False
        return self.interval[0] <= self.tested <= self.interval[1]

    @property
    def good(self) -> bool:
        return self.verdict in {"bit-identical", "within noise"}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def reproduce(
    path: str | Path | Document,
    sets: tuple[str, ...] = (),
    *,
    from_scratch: bool = False,
    seeds: int = 0,
    quiet: bool = False,
) -> Reproduction:
    """Check, train, compare. ``from_scratch``: the teachers too. ``seeds``: so many fresh ones, for
    an interval of this machine.

    Raises :class:`UserError` where the request is wrong.
    """
    began = time.monotonic()
    claim = read(path, sets)
    if not isinstance(path, Document):
        checksums.check(Path(path).parent)
    metric = claim.results["metric"]
    out = Reproduction(
        str(path),
        metric=metric,
        recorded=dict(claim.results["validation"]),
        student_recorded=claim.results["student_sha256"],
    )
    out.reasons = list(claim.edited)
    if out.reasons:
        return out
    data, device = _data(claim, out)
    if data is None or out.reasons:
        return out
    with _store(device, from_scratch) as store:
        if _teacher_replaced(claim, data, store, out):
            return out
        teachers, start = _train(claim.made, store, data, out, quiet)
        out.reasons = explanations(claim, device, teachers, start)
        values = list(claim.results["per_seed"])
        out.interval_of = f"{len(values)} recorded seeds"
        if seeds and metric in out.here:
            out.fresh = _fresh_seeds(claim, store, data, seeds, quiet)
            values = out.fresh["per_seed"]
            out.interval_of = f"{seeds} fresh seeds"
    out.interval = _interval(values, metric, len(data.validation))
    out.seconds = round(time.monotonic() - began, 1)
    _judge(claim, out)
    return out


def _interval(values: list[float], metric: str, pictures: int) -> list[float] | None:
    """Where one more seed would fall. Accuracies are whole pictures, and may well be equal over the
    seeds: one picture is never more than noise.
    """
    found = prediction_interval(values)
    if found is None:
        return None
    whole = pictures and metric.endswith(("accuracy", "agreement"))
    grain = 1 / pictures if whole else 0.0
    return [found[0] - grain, found[1] + grain]


def _judge(claim: Claim, out: Reproduction) -> None:
    if out.student_here == out.student_recorded:
        out.verdict = "bit-identical"
        return
    another = claim.changed.keys() - CHANCE
    out.verdict = "within noise" if out.inside and not another else "different"
    if out.interval is None:
        out.reasons.append(
            "no interval is known (fewer than two seeds are recorded): --seeds 5 makes one"
        )


def _data(claim: Claim, out: Reproduction) -> tuple[Dataset | None, str]:
    """The data, every byte of it hashed again, on the device that the results are from where there
    is one.
    """
    import torch

    from autokd import data

    gpu = str(claim.provenance.get("device")).startswith("cuda") and torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    spec = claim.made.data
    pack = data.pack(spec)
    try:
        data.verify(spec)
    except UserError as e:
        out.reasons.append(f"data: {e}")
        return None, device
    in_folders = any(path.startswith("data/") for path in recipe.files(claim.made))
    if in_folders and (now := _repacked(spec, pack)) != pack.fingerprint:
        where = pack.manifest and pack.manifest.name
        out.reasons.append(
            f"data: pictures of {spec.name} have changed, though size and date are those of the"
            f" files that were packed: fingerprint {pack.fingerprint} then, {now} now; remove"
            f" {where} from the cache to use them as they are"
        )
        return None, device
    dataset = data.load(spec, device)
    recorded = claim.provenance.get("data_fingerprint")
    if recorded != dataset.fingerprint and not any(p.startswith("data/") for p in claim.changed):
        out.reasons.append(
            f"data: {spec.name!r} has changed: fingerprint {recorded} recorded,"
            f" {dataset.fingerprint} here"
        )
    return dataset, device


def _repacked(spec: recipe.DataSettings, pack: Pack) -> str:
    """The fingerprint of a folder's pictures as the files are now: a pack trusts a file whose size
    and date are as they were.
    """
    from autokd.data import packfile, packing, packs

    assert pack.manifest is not None
    with tempfile.TemporaryDirectory(dir=pack.manifest.parent, prefix=".again-") as scratch:
        manifest = Path(scratch) / pack.manifest.name
        packing.write(
            packs.contents(spec),
            manifest,
            spec.name,
            short_side=spec.short_side,
            skip=spec.on_error == "skip",
            large=True,
        )
        fresh = packfile.read(manifest)
        return fresh.fingerprint if fresh else "of no whole pack"


@contextlib.contextmanager
def _store(device: str, from_scratch: bool) -> Iterator[Store]:
    from autokd.cache import default_cache
    from autokd.train.store import Store

    if not from_scratch:
        yield Store(default_cache(), device)
        return
    with tempfile.TemporaryDirectory(prefix="autokd-") as scratch:
        yield Store(Path(scratch), device)


def _teacher_replaced(claim: Claim, data: Dataset, store: Store, out: Reproduction) -> bool:
    """Whether a teacher that was not trained here but read has other weights than the recorded
    one.
    """
    from autokd.train import prepare

    made = claim.made
    if made.teacher.train or made.teacher.head == "probe" or not made.needs_teacher:
        return False
    try:
        here = prepare.member(made.members()[-1], made, data, store).hash[:16]
    except ValueError as e:
        raise UserError(f"teacher/weights: {e}") from None
    recorded = claim.provenance.get("teachers", {}).get(made.teacher.model)
    # where the file lies does not matter, only what is in it
    claim.changed.pop("teacher/weights", None)
    if here != recorded:
        out.reasons.append(
            f"teacher/weights: {made.teacher.weights} was replaced: weights' hash {recorded}"
            f" recorded, {here} here"
        )
    return here != recorded


def _train(
    made: Recipe, store: Store, data: Dataset, out: Reproduction, quiet: bool
) -> tuple[dict[str, str], str]:
    """Train the student. Returns the hashes of those who taught it, and of the weights that it
    started with.
    """
    from autokd import networks
    from autokd.train import prepare
    from autokd.train.distill import Diverged

    run = prepare.start(made, store, data)
    try:
        out.here = {
            name: round(value, 6)
            for name, value in _epochs(run, quiet).items()
            if name in out.recorded
        }
        out.student_here = networks.weights_hash(run.result)
    except Diverged as e:
        out.student_here = f"diverged: {e}"
    return {m.name: m.hash[:16] for m in run.members}, run.start[:16]


def _fresh_seeds(
    claim: Claim, store: Store, data: Dataset, count: int, quiet: bool
) -> dict[str, Any]:
    """Runs with ``count`` seeds that nobody has used, their metric, its mean and the mean's
    interval.
    """
    metric = claim.results["metric"]
    first = max([claim.made.seed, *claim.results["seeds"]]) + 1
    values = [
        _fresh(claim.made.with_({"seed": first + i}), store, data, metric, quiet)
        for i in range(count)
    ]
    low, high = mean_interval(values) or (None, None)
    return {
        "seeds": list(range(first, first + count)),
        "per_seed": values,
        "mean": sum(values) / count,
        "interval": [low, high],
    }


def _fresh(made: Recipe, store: Store, data: Dataset, metric: str, quiet: bool) -> float:
    from autokd.train import prepare
    from autokd.train.distill import Diverged

    try:
        return _epochs(prepare.start(made, store, data), quiet)[metric]
    except Diverged as e:
        raise UserError(
            f"--seeds: the run with seed {made.seed} diverged ({e}), so there is no interval"
        ) from None


def _epochs(run: Any, quiet: bool) -> dict[str, float]:
    last: dict[str, float] = {}
    began = time.monotonic()
    while not run.done:
        last = run.epoch()
    if not quiet:
        shown = " ".join(f"{k} {v:.4f}" for k, v in last.items() if k.startswith("val/"))
        print(
            f"[{time.monotonic() - began:6.1f} s] seed {run.recipe.seed}: {run.next_epoch} epochs,"
            f" {shown}",
            file=sys.stderr,
        )
    return last
