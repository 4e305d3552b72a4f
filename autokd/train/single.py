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
from autokd.train import distill, linear, prepare
from autokd.train.store import Store

BESIDE = {"teacher": "accuracy", "linear": "linear_accuracy"}
SHOWN = {"train/loss", "val/accuracy", "val/nll"}  # of an epoch's metrics


def train(
    recipe: Recipe,
    out: Path,
    *,
    test: bool = False,
    quiet: bool = False,
    told: Callable[[str, dict[str, float], Dataset], None] = lambda name, metrics, data: None,
) -> dict[str, Any]:
    """One run into ``out``: ``student.safetensors``, ``metrics.json``, ``recipe.yaml``. Returns
    what ``metrics.json`` holds: the last metrics, the validation accuracy of each epoch
    (``curve``), and what it may be compared with (``beside``).

    ``test``: read the test pictures when the run is over. ``told`` the full teacher's name, its
    metrics on validation and the data before the first epoch. Raises :class:`UserError`.
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
        run, metrics, beside = _run(recipe, store, began, quiet, history, told)
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
    store: Store,
    began: float,
    quiet: bool,
    history: list[dict[str, float]],
    told: Callable[[str, dict[str, float], Dataset], None],
) -> tuple[distill.Run, dict[str, float], dict[str, float]]:
    """The finished run, its last metrics, and what it may be compared with; the metrics of each
    epoch are added to ``history``. Raises :class:`UserError` where it diverges.
    """

    def report(epoch: int, metrics: dict[str, float]) -> None:
        history.append(metrics)
        if not quiet:
            shown = " ".join(f"{name} {v:.4f}" for name, v in metrics.items() if name in SHOWN)
            print(
                f"[{time.monotonic() - began:6.1f} s] epoch {epoch}/{recipe.train.epochs} {shown}",
                file=sys.stderr,
            )

    for note in [] if quiet else data.notes(recipe.data):
        print(f"note: {note}", file=sys.stderr)
    try:
        run = prepare.start(recipe, store)
        beside = _beside(run)
        if run.members:
            told(recipe.teacher.model, beside, run.data)
        while not run.done:
            metrics = run.epoch()
            report(run.next_epoch, metrics)
    except distill.Diverged as e:
        now = get(recipe.to_dict(), e.rate)
        raise UserError(f"the run diverged: {e}; lower {e.rate} (now {now})") from None
    return run, history[-1], beside
