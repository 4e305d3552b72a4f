"""One recipe trained into a folder, with its progress on stderr: what `autokd train` does."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from autokd import data, networks
from autokd.cache import default_cache
from autokd.data import Dataset
from autokd.errors import UserError
from autokd.files import write_atomically
from autokd.recipe import Recipe, files, remember
from autokd.recipe.document import dump, get
from autokd.train import checkpoint as checkpoints
from autokd.train import distill, linear, prepare
from autokd.train.progress import Progress, finish
from autokd.train.store import Store

CHECKPOINT, HISTORY = "checkpoint.pt", "history.json"  # of a run that is under way
BESIDE = {"teacher": "accuracy", "linear": "linear_accuracy"}
SHOWN = {"train/loss", "val/accuracy", "val/nll"}  # of an epoch's metrics


def train(
    recipe: Recipe,
    out: Path,
    *,
    test: bool = False,
    quiet: bool = False,
    resume: bool = False,
    told: Callable[[str, dict[str, float], Dataset], None] = lambda name, metrics, data: None,
) -> dict[str, Any]:
    """One run into ``out``: ``student.safetensors``, ``metrics.json``, ``recipe.yaml``. Returns
    what ``metrics.json`` holds: the last metrics, the validation accuracy of each epoch
    (``curve``), and what it may be compared with (``beside``).

    ``test``: read the test pictures when the run is over. ``told`` the full teacher's name, its
    metrics on validation and the data before the first epoch. ``resume``: go on with a run of the
    same recipe that was broken off in ``out``. Raises :class:`UserError`.
    """
    fresh = not out.exists()
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):  # else it would be told when the run is over
            pass
    remember(files(recipe).values())
    began = time.monotonic()
    store = Store(default_cache(), "cuda" if torch.cuda.is_available() else "cpu")
    history: list[dict[str, float]] = []
    try:
        if test and not data.load(recipe.data, store.device).summary["test"]:
            raise UserError("--test: this data has no test pictures: data/test is 0")
        run, metrics, beside = _run(recipe, out, store, began, quiet, resume, history, told)
    except BaseException:
        if fresh:
            with contextlib.suppress(OSError):
                out.rmdir()
        raise
    if test:
        metrics |= run.test()
    result: dict[str, Any] = {
        "metrics": metrics,
        "curve": [m["val/accuracy"] for m in history if "val/accuracy" in m],
        "beside": {k: beside.get(f"val/{v}") for k, v in BESIDE.items()} if beside else {},
        "student_sha256": networks.weights_hash(run.result),
        "epochs": run.next_epoch,
        "seconds": round(time.monotonic() - began, 2),
    }
    with _writing(out):
        run.save_student(out / "student.safetensors")
        write_atomically(out / "recipe.yaml", dump(recipe.to_dict()))
        write_atomically(out / "metrics.json", json.dumps(result, indent=2) + "\n")
        for file in (CHECKPOINT, HISTORY):
            (out / file).unlink(missing_ok=True)
    return result


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise UserError(f"--out {out}: cannot be written: {e.strerror or e}") from None


def _beside(run: distill.Run) -> dict[str, float]:
    """On validation: of the full teacher, and of a linear model on the pixels."""
    found = run.members[-1].measured() if run.members else {}
    if (least := linear.accuracy(run.data)) is not None:
        found["linear_accuracy"] = least
    return {f"val/{name}": value for name, value in found.items()}


def _run(
    recipe: Recipe,
    out: Path,
    store: Store,
    began: float,
    quiet: bool,
    resume: bool,
    history: list[dict[str, float]],
    told: Callable[[str, dict[str, float], Dataset], None],
) -> tuple[distill.Run, dict[str, float], dict[str, float]]:
    """The finished run, its last metrics, and what it may be compared with; the metrics of each
    epoch are added to ``history``. Raises :class:`UserError` where it diverges.
    """

    def say(text: str) -> None:
        if not quiet:
            print(f"[{time.monotonic() - began:6.1f} s] {text}", file=sys.stderr)

    def of_teacher(p: Progress) -> None:
        say(f"teacher {_shown(p)}")

    def of_student(p: Progress) -> None:
        say(_shown(p._replace(model="")))
        if p.metrics:
            history.append(p.metrics)
            with contextlib.suppress(OSError):
                write_atomically(out / HISTORY, json.dumps(history))

    def begin() -> distill.Run:
        return prepare.start(recipe, store, report=of_teacher)

    def begun(run: distill.Run) -> None:
        del history[run.next_epoch :]
        if run.next_epoch:
            say(f"goes on after epoch {run.next_epoch}")
        beside.update(_beside(run))
        if run.members:
            told(recipe.teacher.model, beside, run.data)

    beside: dict[str, float] = {}
    for note in [] if quiet else data.notes(recipe.data):
        print(f"note: {note}", file=sys.stderr)
    checkpoint = out / CHECKPOINT
    if resume:
        history += _earlier(recipe, out)
    else:
        checkpoint.unlink(missing_ok=True)
    try:
        run = finish(begin, checkpoint, of_student, begun)
    except distill.Diverged as e:
        now = get(recipe.to_dict(), e.rate)
        raise UserError(f"the run diverged: {e}; lower {e.rate} (now {now})") from None
    return run, history[-1], beside


def _earlier(recipe: Recipe, out: Path) -> list[dict[str, float]]:
    """The metrics of the epochs that a run of this recipe did in ``out`` before it was broken off.
    Raises :class:`UserError` where there is another's, or none.
    """
    checkpoint = out / CHECKPOINT
    if (out / "metrics.json").exists() and not checkpoint.exists():
        raise UserError(f"--resume: the run in {out} is finished")
    if checkpoint.exists() and not checkpoints.fits(recipe, checkpoint):
        raise UserError(f"--resume: {out} holds a run of another recipe: choose another --out")
    try:
        return json.loads((out / HISTORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []


def _shown(p: Progress) -> str:
    done = f"{p.part:.0%} of epoch {p.epoch + 1}/{p.of}" if p.part else f"epoch {p.epoch}/{p.of}"
    figures = " ".join(f"{name} {v:.4f}" for name, v in p.metrics.items() if name in SHOWN)
    return f"{p.model} {done} {figures}".strip()
