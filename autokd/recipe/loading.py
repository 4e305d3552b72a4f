"""Recipes from files, with ``--set`` applied, and the files that a recipe names itself. Light."""

from __future__ import annotations

import os
from pathlib import Path

from autokd.errors import UserError
from autokd.files import runs_root
from autokd.recipe import axes
from autokd.recipe.data_names import FOLDER
from autokd.recipe.distillation import expand
from autokd.recipe.document import (
    Document,
    DocumentError,
    is_recipe,
    is_space,
    put,
    read,
    split,
    value_of,
)
from autokd.recipe.recipe import Recipe, parse

WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".tar", ".bin")


def load(path: str | Path | Document, sets: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file, with ``PATH=VALUE`` overrides applied. Raises :class:`DocumentError`."""
    doc = read(path, is_recipe)
    if is_space(doc.data):
        raise UserError(
            f"{doc.file} is a search space, not a recipe: run it with `autokd search --space"
            f" {doc.file}`"
        )
    override(doc, sets)
    return placed(parse(doc.data, doc), doc)


def override(doc: Document, sets: tuple[str, ...]) -> None:
    """Apply ``--set PATH=VALUE`` to a document in place."""
    for item in sets:
        path, eq, text = item.partition("=")
        if not eq or not path:
            raise UserError(f"--set {item}: expected PATH=VALUE, for example --set train/epochs=10")
        try:
            if path.startswith("distill/"):
                _spell_out_preset(doc)
            put(doc.data, path, value_of(text))
        except KeyError:
            raise UserError(
                f"--set {item}: there is no such place, or a value stands in the way"
            ) from None
        doc.options[split(path)] = f"--set {item}"


def _spell_out_preset(doc: Document) -> None:
    """So that a value inside a preset can be set."""
    distill = doc.data.get("distill")
    if isinstance(distill, dict) and axes.find_preset(distill.get("preset")):
        doc.data["distill"] = expand(distill)


def files(r: Recipe) -> dict[str, str]:
    """Recipe path → file or folder that it names outside the recipe: a teacher's weights, a folder
    of pictures.
    """
    out = {}
    if "/" in r.teacher.weights or r.teacher.weights.endswith(WEIGHT_FILES):
        out["teacher/weights"] = r.teacher.weights
    if r.data.name.startswith(FOLDER):
        out["data/name"] = r.data.name.removeprefix(FOLDER)
    return out


def absent(r: Recipe) -> dict[str, str]:
    """Of :func:`files` those that are not there for now; what lies below ``--data-dir`` is not
    looked for.
    """
    return {
        path: name
        for path, name in files(r).items()
        if not Path(name).expanduser().exists() and (r.needs_teacher or path == "data/name")
    }


def placed(r: Recipe, doc: Document) -> Recipe:
    """The recipe with the whole path of a teacher's file: in the document it is relative to it, in
    ``--set`` to the user.

    So is a folder of pictures that lies beside the document and not in the current folder, where it
    is looked for first.

    A recipe that came from elsewhere (it has a provenance and is not one of this user's own
    studies) may only name files in its own folder. Raises :class:`DocumentError` for others.
    """
    folder = Path(doc.file).resolve().parent
    own = folder.is_relative_to(runs_root().resolve() / "studies")
    confined = "provenance" in doc.data and not own
    problems, changes = [], {}
    for path, name in files(r).items():
        typed = bool(doc.option(path))
        expanded = os.path.expanduser(name)
        whole = Path(os.path.abspath((Path.cwd() if typed else folder) / expanded))
        if confined and not typed and not whole.resolve().is_relative_to(folder):
            rule = "lies outside the folder of a recipe that came from elsewhere"
            hint = f"if you trust it, name it yourself: --set {path}=…"
            problems.append(doc.problem(path, rule, name, hint))
        if path == "teacher/weights":
            changes[path] = str(whole)
        elif not typed and whole.is_dir() and not Path(expanded).is_dir():
            changes[path] = f"{FOLDER}{whole}"
    if problems:
        raise DocumentError(problems)
    return r.with_(changes) if changes else r
