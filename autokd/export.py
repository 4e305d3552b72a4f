"""The recipe that leaves a study: the winner's choices, where they come from, and what they gave. Light."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from autokd import __version__, verdict
from autokd.document import dump
from autokd.ledger import Table
from autokd.verdict import Result

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "optuna", "ray", "mlflow")


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide a result."""
    out = {"autokd": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def hardware(device: str = "cpu") -> str:
    """The processor's name, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    except OSError:
        model = platform.processor() or platform.machine()
    return f"{model} ({device})"


def recipe_text(study: str, table: Table, result: Result, metric: str) -> str:
    """``recipe.yaml``: readable first, and a recipe that `autokd train` and `autokd reproduce` take as it is."""
    trial = table.trials[result.best_trial]
    source = table.trials[result.trial]
    epochs = sum(t.epochs for t in table.trials.values())
    seconds = sum(t.facts.get("seconds", 0.0) for t in table.trials.values())
    lines = [f"# The best recipe of study {study}" + (f", for {result.group}" if result.group is not None else "") + "."]
    lines += [f"# {verdict.sentence(result, metric)}"]
    for d in result.differences:
        lines.append(f"#   {metric} against {d.control}: {verdict.figure(d, metric)}, {d.n} seeds: {d.verdict}")
    for d in result.test_differences:
        lines.append(f"#   test, read once, against {d.control}: {verdict.figure(d, metric)}: {d.verdict}")
    lines += [f"# The 95 % interval is {verdict.LEFT_OUT}.", "# Train it:    autokd train recipe.yaml", "# Prove it:    autokd reproduce recipe.yaml", ""]
    provenance = {
        "study": study, "trial": result.trial, "versions": table.created.get("versions", {}), "data_fingerprint": trial.facts.get("data"),
        "teachers": trial.facts.get("teachers", {}), "hardware": hardware(trial.facts.get("device", "cpu")), "device": trial.facts.get("device", "cpu"),
        "seeds": {"search": table.created.get("seed"), "trial": source.seed, "confirmed": result.seeds},
        "cost": {"trials": len(table.trials), "epochs": epochs, "seconds": round(seconds, 1)},
    }  # fmt: skip
    return "\n".join(lines) + dump(trial.recipe) + "\n" + dump({"provenance": provenance, "results": _results(table, result, metric)})


def _results(table: Table, result: Result, metric: str) -> dict[str, Any]:
    trial = table.trials[result.best_trial]
    runs = result.runs["finalist"]
    out: dict[str, Any] = {
        "student_sha256": trial.student,
        "validation": {name: round(value, 6) for name, value in trial.last.items() if name.startswith("val/")},
        "per_seed": {str(seed): round(table.trials[runs[seed]].last[metric], 6) for seed in result.seeds},
        "params": trial.facts.get("student/params"),
        "flops": trial.facts.get("student/flops"),
        "against": [_rounded(d) for d in result.differences],
    }
    if result.test_mean is not None:
        on_test = table.tests[0]["results"]
        out["test"] = {name: round(v, 6) for name, v in on_test[str(trial.number)].items()} | {"read": len(table.tests)}
        out["test_against"] = [_rounded(d) for d in result.test_differences]
    return out


def _rounded(d: verdict.Difference) -> dict[str, Any]:
    return {"control": d.control, "mean": round(d.mean, 5), "interval": [round(d.low, 5), round(d.high, 5)], "seeds": d.n, "verdict": d.verdict}
