"""Exported recipes, edited or made without a search."""

from __future__ import annotations

from pathlib import Path

from autokd import environment, networks, recipe
from autokd.study import recipe_yaml
from autokd.train import prepare
from autokd.train.teachers import Store


def edit(file: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert text.count(old) >= 1, old
    file.write_text(text.replace(old, new, 1))
    return file


def claimed(made: recipe.Recipe, seeds: int = 1) -> str:
    """An exported recipe without a search: runs of ``made``, and what came of them."""
    runs = [prepare.train(made.with_({"seed": made.seed + i}), Store(None)) for i in range(seeds)]
    first, last = runs[0]
    results = {
        "student_sha256": networks.weights_hash(first.student),
        "metric": "val/accuracy",
        "validation": {k: round(v, 6) for k, v in last.items() if k.startswith("val/")},
        "seeds": [made.seed + i for i in range(seeds)],
        "per_seed": [round(own["val/accuracy"], 6) for _, own in runs],
    }
    provenance = {
        "fingerprint": recipe_yaml.identity(made),
        "versions": environment.versions(),
        "data_fingerprint": first.data.fingerprint,
        "device": "cpu",
        "teachers": {m.name: m.hash[:16] for m in first.members},
        "hardware": environment.hardware(),
        "threads": made.train.threads,
    }
    return recipe_yaml.compose(["Made by a test."], made.to_dict(), provenance, results)
