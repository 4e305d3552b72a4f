"""``autokd auto`` from its first look to its export: plans, then runs the ordinary search."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from autokd.engine import search as engine
from autokd.engine.result import SearchResult, close
from autokd.engine.search import View
from autokd.errors import UserError
from autokd.export import bundle, checksums
from autokd.files import runs_root, write_atomically
from autokd.planner import candidates, plan
from autokd.planner.candidates import Bounds
from autokd.planner.look import Look
from autokd.report import write as write_page
from autokd.space import load, thaw
from autokd.study import ledger
from autokd.study.ledger import Event, Ledger
from autokd.study.queue import Study

NOTE, STUDENT = "auto.json", "student"


class Keeping:
    """A view that keeps the best student so far in a folder: from the first trial that is complete
    on there is one that `autokd predict` takes.
    """

    def __init__(self, view: View, out: Path):
        self.view, self.out, self.quiet = view, out, view.quiet
        self.best: float | None = None

    def say(self, text: str) -> None:
        self.view.say(text)

    def stop(self) -> None:
        self.view.stop()

    def follow(self, study: Study) -> None:
        def heard(event: Event) -> None:
            if event["event"] == "finished":
                self._kept(study, event["trial"])

        for trial in [t for t in study.trials.values() if t.state == "complete"]:
            self._kept(study, trial.number)
        study.book.listeners.append(heard)
        self.view.follow(study)

    def _kept(self, study: Study, number: int) -> None:
        trial = study.trials[number]
        value = study.value(trial) if trial.searching else None
        if value is None or (self.best is not None and study.sign * (value - self.best) <= 0):
            return
        source = study.book.path / trial.folder / checksums.STUDENT
        if source.is_file():
            first, self.best = self.best is None, value
            write_atomically(self.out / STUDENT / checksums.STUDENT, source.read_bytes())
            if first and not self.quiet:
                self.say(f"a first student is in {self.out / STUDENT}; it is kept up to date")


def begin(
    found: Look,
    out: Path,
    *,
    seconds: float,
    began: float,
    bounds: Bounds,
    view: View,
    name: str | None = None,
    resolution: int | None = None,
    teacher: str | None = None,
    unlabelled: str | None = None,
    told: Callable[[str], None] = lambda text: None,
) -> SearchResult:
    """``began``: by ``time.monotonic()``; the budget counts from there. ``told``: the plan, in
    lines. Raises :class:`UserError`.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out {out}: exists already; --resume goes on with it, or choose another")
    given = _given(teacher)
    told(_seen(found))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    largest = plan.side(found, resolution)
    size = plan.batch(plan.trained(found))
    sides = [largest] if resolution else plan.resolutions(largest)
    everything = candidates.measured(found.channels, len(found.classes), sides, size, device)
    able = candidates.allowed(everything, bounds)
    jobs = torch.cuda.device_count() if device == "cuda" else len(os.sched_getaffinity(0))
    made = plan.plan(
        found,
        able,
        everything,
        seconds=seconds - (time.monotonic() - began),
        jobs=jobs,
        bounds=bounds,
        given=given,
        unlabelled=unlabelled,
    )
    chosen = name or engine.next_name(f"auto-{Path(found.name).name}")
    try:
        for file, text in (("base.yaml", made.base), ("space.yaml", made.space)):
            write_atomically(out / file, text)
        write_atomically(out / NOTE, json.dumps({"study": chosen}))
    except OSError as e:
        raise UserError(f"--out {out}: cannot be written: {e.strerror}") from None
    told("\n".join([*made.reasons, f"written: {out / 'base.yaml'}, {out / 'space.yaml'}"]))
    space = load(out / "space.yaml")
    outcome = engine.start(space, name=chosen, jobs=jobs, view=Keeping(view, out))
    return _handed(outcome, out)


def resume(out: Path, view: View) -> SearchResult:
    """Go on inside what is left of the budget. Raises :class:`UserError`."""
    try:
        name = json.loads((out / NOTE).read_text())["study"]
    except (OSError, ValueError, KeyError):
        raise UserError(f"--resume: {out} holds nothing that `autokd auto` began") from None
    outcome = _finished(name)
    return _handed(outcome or engine.resume(name, None, view=Keeping(view, out)), out)


def _finished(name: str) -> SearchResult | None:
    """Of a study that was closed before its export was made."""
    with contextlib.closing(Ledger(ledger.existing(runs_root(), name)).open()) as book:
        created = book.table.created
        if not book.table.closed:
            return None
        how = {key: created[key] for key in ("seed", "jobs", "trials")}
        return close(Study(thaw(created["frozen"]), book, **how))


def _handed(outcome: SearchResult, out: Path) -> SearchResult:
    """The page and the export: with ONNX where its packages are there."""
    write_page(outcome.folder, out / "report.html")
    if outcome.recipe is None:
        return outcome
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as scratch:
        made = Path(scratch) / "export"
        try:
            bundle.export(runs_root(), outcome.name, made)
        except UserError as e:
            outcome.warnings.append(str(e))
            bundle.export(runs_root(), outcome.name, made, onnx=False)
        kept = out / STUDENT
        if kept.exists():
            os.replace(kept, Path(scratch) / "before")
        os.replace(made, kept)
    return outcome


def _seen(found: Look) -> str:
    head = (
        f"{found.pictures:,} pictures of {len(found.classes)} classes, short sides"
        f" {found.sides[0]} to {found.sides[2]} px"
    )
    return "\n".join([head, *(f"note: {note}" for note in found.notes)])


def _given(teacher: str | None) -> plan.Teacher | None:
    """An export of AutoKD, ``MODEL=FILE``, or ``timm:NAME`` with its own weights, fine-tuned."""
    if teacher is None:
        return None
    from autokd.export.loading import read_metadata

    model, _, file = teacher.partition("=")
    if Path(teacher).is_dir():
        weights = Path(teacher) / checksums.STUDENT
        try:
            model = read_metadata(weights).model
        except Exception as e:
            raise UserError(f"--teacher {teacher}: not an export of AutoKD: {e}") from None
        file = str(weights)
    if file:
        whole = Path(file).resolve()
        if not whole.exists():
            raise UserError(f"--teacher {file}: there is no such file")
        from autokd.recipe import remember

        remember([str(whole)])
        return plan.Teacher({"model": model, "weights": str(whole)}, f"{model}, as it was given")
    if not teacher.startswith(("timm:", "torchvision:")):
        raise UserError(
            f"--teacher {teacher}: say timm:NAME, MODEL=FILE for weights of your own, or the folder"
            " of an export"
        )
    block: dict[str, object] = {
        "model": teacher,
        "weights": "pretrained",
        "train": {"preset": "fine-tune", "epochs": 5},
    }
    return plan.Teacher(block, f"{teacher} with its pretrained weights, fine-tuned for 5 epochs")
