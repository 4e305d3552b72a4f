"""Single runs and services behind the command line: train one recipe, open MLflow's UI."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from autokd.document import UserError, dump, write_atomically
from autokd.recipe import Recipe


def train(recipe: Recipe, out: Path, *, test: bool = False, quiet: bool = False) -> dict[str, Any]:
    """One run into ``out``: ``student.safetensors``, ``metrics.json``, ``recipe.yaml``. Raises :class:`UserError`."""
    import torch

    from autokd import distill, models
    from autokd.teachers import Store, default_cache

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"--out {out}: cannot be written: {e.strerror}") from None
    began = time.monotonic()

    def report(epoch: int, metrics: dict[str, float]) -> None:
        if not quiet:
            shown = " ".join(f"{k} {v:.4f}" for k, v in metrics.items() if k in {"train/loss", "val/accuracy", "val/nll"})
            print(f"[{time.monotonic() - began:6.1f} s] epoch {epoch}/{recipe.train.epochs} {shown}", file=sys.stderr)

    store = Store(default_cache(), "cuda" if torch.cuda.is_available() else "cpu")
    try:
        run, metrics = distill.train(recipe, store, report)
    except distill.Diverged as e:
        raise UserError(f"the run diverged: {e}; lower train/lr (now {recipe.train.lr})") from None
    if test:
        metrics |= run.test()
    result = {"metrics": metrics, "student_sha256": models.weights_hash(run.student), "epochs": run.next_epoch, "seconds": round(time.monotonic() - began, 2)}
    run.save_student(out / "student.safetensors")
    write_atomically(out / "recipe.yaml", dump(recipe.to_dict()))
    write_atomically(out / "metrics.json", json.dumps(result, indent=2) + "\n")
    return result


def ui(port: int, uri: str | None) -> int:
    """MLflow's UI in the foreground, on loopback, until Ctrl-C."""
    from autokd.search import root
    from autokd.tracking import default_uri

    if not port:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
    uri = uri or default_uri(root())
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(f"there is no MLflow store at {uri} yet; run a search first")
    print(f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it). Choose the experiment with the study's name; useful columns:", file=sys.stderr)
    print("  val/accuracy, autokd.role, autokd.state, distill/temperature/kind, student/resolution", file=sys.stderr)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait(10)
        return 0
