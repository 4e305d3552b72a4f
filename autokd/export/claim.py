"""What an exported recipe claims: what is to be run, what was said to come of it, and whether the
file is as it was exported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autokd import recipe
from autokd.errors import UserError
from autokd.recipe import Recipe, document, network_names, plugins
from autokd.recipe.document import Document, Problem, flatten, flow
from autokd.study import recipe_yaml

# The types that a comparison needs, by key of the block ``results``.
NEEDED = {
    "student_sha256": str,
    "metric": str,
    "validation": dict,
    "per_seed": list,
    "seeds": list,
}

# recipe format → what its fingerprints did not see, as this version writes it when it is left out
UNSEEN: dict[Any, dict[str, Any]] = {1: {"teacher/precision": "fp32", "teacher/threads": 1}}


@dataclass
class Claim:
    """An exported recipe: what is to be run, and what was said to come of it."""

    file: str
    made: Recipe
    provenance: dict[str, Any]
    results: dict[str, Any]
    # recipe path → what was recorded and what is here: by --set, or because the file was edited
    changed: dict[str, str]
    edited: list[str]  # what was edited that nothing should be: the results


def read(path: str | Path | Document, sets: tuple[str, ...] = ()) -> Claim:
    """Raises :class:`UserError` for what is no exported recipe."""
    doc = document.read(path)
    results, provenance = doc.data.get("results"), doc.data.get("provenance")
    _plugins_are_there(path, provenance)
    made = recipe.load(path, sets)
    if not isinstance(results, dict) or not isinstance(provenance, dict):
        raise UserError(
            f"{path} has no results to compare with: it was not exported by a search; `autokd train"
            f" {path}` runs it"
        )
    _complete(doc, results, provenance)
    taught = {network_names.newer(k): v for k, v in provenance.get("teachers", {}).items()}
    provenance = provenance | {"teachers": taught}
    files = recipe.files(made)
    placed = tuple(s for s in sets if s.partition("=")[0] in files)
    unseen = UNSEEN.get(doc.data.get("version"), {})
    exported, changed = _exported(recipe.load(path, placed), provenance, unseen)
    old, new = flatten(exported.effective()), flatten(made.effective())
    changed |= {
        p: f"{flow(old.get(p))} recorded, {flow(new.get(p))} here"
        for p in {**old, **new}
        if old.get(p) != new.get(p)
    }
    return Claim(str(path), made, provenance, results, changed, _edited(results, provenance))


def _plugins_are_there(path: str | Path | Document, provenance: Any) -> None:
    """Raises :class:`UserError` where files of the user's own that it was made with are missing,
    rather than what they would have registered being unknown.
    """
    named = provenance.get("plugins") if isinstance(provenance, dict) else None
    if absent := plugins.missing(map(str, named)) if isinstance(named, dict) else []:
        raise UserError(
            f"{path} was made with {', '.join(absent)}, which is in no folder that"
            f" {plugins.VARIABLES[0]} names, nor in an installed package"
        )


def _edited(results: dict[str, Any], provenance: dict[str, Any]) -> list[str]:
    try:
        checksum = recipe_yaml.checksum(results)
    except ValueError:
        return ["results: were edited after the export, and are no plain values any more"]
    if provenance.get("results_sha256") == checksum:
        return []
    return [
        "results: were edited after the export (provenance/results_sha256 does not fit them)",
    ]


def _exported(
    written: Recipe, provenance: dict[str, Any], unseen: dict[str, Any]
) -> tuple[Recipe, dict[str, str]]:
    """The recipe as it was exported, as far as its provenance still tells, and whether the file was
    edited beyond that. ``unseen``: see :data:`UNSEEN`.
    """
    seeds = provenance.get("seeds")
    recorded = {
        f"train/{key}": provenance.get(key) for key in ("threads", "precision", "deterministic")
    }
    recorded["seed"] = seeds.get("exported") if isinstance(seeds, dict) else None
    try:
        before = written.with_({p: v for p, v in recorded.items() if v is not None})
    except UserError:
        before = written
    same = [recipe_yaml.identity(r) for r in (before, before.with_(unseen))]
    if provenance.get("fingerprint") in same:
        return before, {}
    return written, {
        "the recipe": "was edited after it was exported: provenance/fingerprint does not fit it"
    }


def _complete(doc: Document, results: dict[str, Any], provenance: dict[str, Any]) -> None:
    """What is compared must be there, and be what it should. Raises :class:`DocumentError`."""
    missing = "is needed to compare with, and missing or of another type"
    problems = [
        doc.problem(f"results/{key}", missing, results.get(key))
        for key, kind in NEEDED.items()
        if not isinstance(results.get(key), kind)
    ]
    if not problems:
        problems = _wrong_figures(doc, results)
    for key in ("teachers", "versions", "plugins"):
        if not isinstance(provenance.get(key, {}), dict):
            problems.append(doc.problem(f"provenance/{key}", "must be a mapping", provenance[key]))
    if problems:
        raise document.DocumentError(problems)


def _wrong_figures(doc: Document, results: dict[str, Any]) -> list[Problem]:
    figures = [("validation", v) for v in results["validation"].values()]
    figures += [("per_seed", v) for v in results["per_seed"]]
    problems = [
        doc.problem(f"results/{key}", "must hold numbers", v)
        for key, v in figures
        if isinstance(v, bool) or not isinstance(v, int | float)
    ]
    problems += [
        doc.problem("results/seeds", "must hold whole numbers", v)
        for v in results["seeds"]
        if isinstance(v, bool) or not isinstance(v, int)
    ]
    if results["metric"] not in results["validation"]:
        problems.append(
            doc.problem("results/metric", "is not among results/validation", results["metric"])
        )
    return problems
