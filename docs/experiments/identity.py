"""What must not change when only the code's form does: fingerprints, caches, students, a study.

    uv run python docs/experiments/identity.py OUT.json [--study FOLDER]

Run in two checkouts, then compare the two files. ``--study``: a finished study's folder, made by
either of them; its page and its MLflow runs are then written by this checkout and hashed too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from safetensors import safe_open

from autokd import recipe

try:
    from autokd.recipe import axes
except ImportError:  # before the package had rooms
    from autokd import axes  # type: ignore[attr-defined, no-redef]

ROOT = Path(__file__).parents[2]
TRAINED = ("kd", "dtd", "ka", "ces-kd", "stkd", "ctkd")
PASSING = {"t", "seconds", "student/latency_ms", "peak_memory_mb", "host", "pid", "took", "commit"}
PASSING_TAGS = (
    "autokd.pid",
    "mlflow.user",
    "mlflow.source",
    "autokd.sent",
    "autokd.closed",
    "autokd.commit",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--study", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = {**fingerprints(), **students(Path(scratch)), **searched(Path(scratch))}
        if options.study:
            found |= written(options.study.resolve(), Path(scratch))
    options.out.write_text(json.dumps(found, indent=1, sort_keys=True))
    print(f"{len(found)} entries, sha256 {digest(options.out.read_bytes())[:16]}")


def digest(content: bytes | str) -> str:
    raw = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(raw).hexdigest()


# ---------------------------------------------------------------- fingerprints


def fingerprints() -> dict[str, str]:
    out = {}
    for file in sorted((ROOT / "pipelines").glob("*.yaml")):
        out[f"pipeline {file.name}"] = recipe.load(file).fingerprint()
    for name in sorted(axes.presets()):
        made = recipe.parse({"distill": {"preset": name}, "ladder": ["cnn-3x16", "cnn-2x16"]})
        out[f"preset {name}"] = made.fingerprint()
    draw, n = random.Random(0), 0
    while n < 200:
        made, findings = recipe.check(random_recipe(draw))
        if made is not None:
            out[f"random {n:03}"] = made.fingerprint()
            n += 1
    return out


def random_recipe(draw: random.Random) -> dict[str, Any]:
    """A recipe that is often valid: a preset or single axes, and settings from all blocks."""
    pick = draw.choice
    distill: dict[str, Any] = {"preset": pick(sorted(axes.presets()))}
    for axis in ("target", "temperature", "view"):
        if draw.random() < 0.3:
            kind = pick(sorted(axes.kinds(axis)))
            distill[axis] = {"kind": kind}
    if draw.random() < 0.5:
        distill["losses/kl/weight"] = round(draw.random(), 3)
    optimizer = pick(["sgd", "adamw"])
    schedule = pick(["cosine", "step", "constant"])
    return {
        "data": {
            "name": pick(["digits", "cifar100", "fashion-mnist"]),
            "resolution": pick([8, 16, 32]),
            "validation": pick([0.1, 0.2]),
            "split_seed": draw.randrange(3),
            "limit": pick([None, 400]),
            "augment": {"crop_padding": pick([0, 1, 4]), "flip": pick([True, False])},
        },
        "view": {"seed": draw.randrange(3)},
        "teacher": {
            "model": pick(["cnn-3x32", "resnet20", "wrn-16-2"]),
            "weights": pick(["train", "train", "teacher.safetensors"]),
            "seed": draw.randrange(3),
            "input": pick(["full", "student"]),
            "table": pick(["fp16", "fp32"]),
            "train": {"epochs": draw.randrange(1, 40), "lr": round(draw.uniform(0.01, 0.5), 4)},
        },
        "ladder": draw.sample(["cnn-3x16", "cnn-3x8", "cnn-2x16"], draw.randrange(3)),
        "student": {"model": pick(["cnn-2x8", "resnet8"]), "resolution": pick([None, 8])},
        "distill": distill,
        "train": {
            "epochs": draw.randrange(1, 40),
            "optimizer": optimizer,
            "schedule": schedule,
            "milestones": [3, 5] if schedule == "step" else [],
            "precision": pick(["fp32", "bf16"]),
            "warmup": pick([0.0, 0.1]),
        },
        "seed": draw.randrange(100),
    }


# ---------------------------------------------------------------- runs


def autokd(home: Path, *words: str) -> str:
    env = os.environ | {"AUTOKD_CACHE": str(home / "cache"), "AUTOKD_RUNS": str(home / "mlruns")}
    env.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "autokd", *words]
    done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def students(home: Path) -> dict[str, str]:
    out = {}
    for preset in TRAINED:
        sets = [f"distill={{preset: {preset}}}", "train/epochs=4", "teacher/train/epochs=4"]
        sets += ["ladder=[cnn-3x16]", "ladder_train/epochs=4"]
        words = [word for s in sets for word in ("--set", s)]
        autokd(home, "train", str(ROOT / "pipelines/digits.yaml"), *words, "--out", preset)
        out[f"student {preset}"] = digest((home / preset / "student.safetensors").read_bytes())
        out[f"recipe {preset}"] = digest((home / preset / "recipe.yaml").read_bytes())
    return out


def searched(home: Path) -> dict[str, str]:
    """A search with one worker: its ledger less what passes, its recipe, its cache, its runs."""
    words = ["--name", "s", "--jobs", "1", "--trials", "14", "--quiet", "--set", "train/epochs=6"]
    words += ["--set", "search/asha/grace_epochs=2", "--set", "search/finalists/seeds=2"]
    autokd(home, "search", "--space", str(ROOT / "search_spaces/dtd.yaml"), *words)
    folder = home / "mlruns/studies/s"
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    out = {f"event {i:04}": digest(json.dumps(lasting(e))) for i, e in enumerate(lines)}
    out["recipe.yaml"] = digest(timeless((folder / "recipe.yaml").read_text()))
    for file in sorted((home / "cache").rglob("*.safetensors")):
        # The header's keys come in an order of chance: its checksum is over the tensors.
        with safe_open(file, "np") as f:
            out[f"cache {file.relative_to(home / 'cache')}"] = f.metadata()["sha256"]
    return out | {f"search {k}": v for k, v in mlflow(home / "mlruns/mlflow.db").items()}


def lasting(value: Any) -> Any:
    """An event without times, places and what differs from machine to machine."""
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if k not in PASSING}
    if isinstance(value, list):
        return [lasting(v) for v in value]
    return timeless(value) if isinstance(value, str) else value


def timeless(text: str) -> str:
    text = re.sub(r"(seconds|latency_ms|results_sha256|commit): [^,}\n]+", r"\1: -", text)
    return re.sub(r"/\S*/mlruns", "mlruns", text).replace(str(ROOT), "")


def mlflow(store: Path) -> dict[str, str]:
    """Parameters, metrics and tags of every run, by the run's trial."""
    db = sqlite3.connect(store)
    trials = dict(db.execute("select run_uuid, value from tags where key = 'autokd.trial'"))
    out = {}
    for table in ("params", "tags", "metrics"):
        step = ", step" if table == "metrics" else ""
        for run, key, value, *rest in db.execute(f"select run_uuid, key, value{step} from {table}"):
            skip = key.startswith(PASSING_TAGS) or key in PASSING or "seconds" in key
            skip = skip or any(word in key for word in ("latency", "mlflow.", "memory"))
            if not skip and run in trials:
                kept = timeless(str(value))
                out[f"mlflow {trials[run]} {table} {key} {rest}"] = digest(kept)[:16]
    return out


def written(study: Path, home: Path) -> dict[str, str]:
    """The page and the MLflow runs of a fixed ledger."""
    other = home / "fixed"
    shutil.copytree(study, other / "mlruns/studies" / study.name)
    autokd(other, "report", study.name, "--out", "page.html")
    autokd(other, "sync")
    page = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", (other / "page.html").read_text())
    out = {"page": digest(timeless(page))}
    (home / "page.html").write_text(page)
    return out | {f"fixed {k}": v for k, v in mlflow(other / "mlruns/mlflow.db").items()}


if __name__ == "__main__":
    main()
