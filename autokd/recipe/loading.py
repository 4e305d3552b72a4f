"""Recipes from files, with ``--set`` applied, and the files that a recipe names itself. Light."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from autokd.cache import default_cache
from autokd.errors import UserError
from autokd.files import write_atomically
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
from autokd.recipe.network_settings import Start
from autokd.recipe.recipe import Recipe, parse

NAMED = "named.json"  # in the cache


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
        if "." in path and "/" not in path:
            told = f"{path.replace('.', '/')}={text}"
            raise UserError(f"--set {item}: paths use '/': --set {told}")
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
    """Recipe path → file or folder that it names outside the recipe: the weights that a teacher or
    the student starts with, a folder of pictures.
    """
    out: dict[str, str] = {}
    starts: dict[str, Start] = {"teacher": r.teacher, "student": r.student}
    starts |= {f"ladder/{i}": assistant for i, assistant in enumerate(r.assistants)}
    for name, start in starts.items():
        named = {"weights": start.file, "labels": start.labels}
        out |= {f"{name}/{key}": file for key, file in named.items() if file}
    pictures = {"data/name": r.data.name, "data/unlabelled": r.data.unlabelled or ""}
    for path, name in pictures.items():
        if name.startswith(FOLDER):
            out[path] = name.removeprefix(FOLDER)
    return out


def absent(r: Recipe) -> dict[str, str]:
    """Of :func:`files` those that are not there for now; what lies below ``--data-dir`` is not
    looked for.
    """
    return {
        path: name
        for path, name in files(r).items()
        if not Path(name).expanduser().exists() and reads(r, path)
    }


def reads(r: Recipe, path: str) -> bool:
    """Whether a run of the recipe reads the file that it names at this path."""
    asked = {"teacher": r.needs_teacher, "ladder": r.needs_ladder}
    return asked.get(path.partition("/")[0], True)


def placed(r: Recipe, doc: Document) -> Recipe:
    """The recipe with the whole paths of files and folders that the document names: in ``--set``
    relative to the user, in the document found by :func:`_places`.

    No document may name files anywhere: whoever wrote it. What lies in its own folder or below
    ``--data-dir`` it may name, what is found from the current folder and lies in it, and what this
    user has named before (:func:`remember`); the rest the user names by ``--set``. Raises
    :class:`DocumentError`.
    """
    folder = Path(doc.file).resolve().parent
    problems, changes = [], {}
    for path, name in files(r).items():
        typed, own = bool(doc.option(path)), os.path.expanduser(name)
        places = [Path(os.path.abspath(Path.cwd() / own))] if typed else _places(own, folder)
        whole = next((place for place in places if place.exists()), places[0])
        tops = [folder]
        if whole in places[1:2] and whole.is_relative_to(Path.cwd()) and not os.path.isabs(own):
            tops.append(Path.cwd().resolve())
        if not typed and not _may_be_named(whole.resolve(), tops):
            rule = "lies outside the document's folder and --data-dir, and was never named before"
            hint = f"if you trust the document, name it yourself: --set {path}=…"
            problems.append(doc.problem(path, rule, name, hint))
        looked_at[name] = places
        if not path.startswith("data/"):
            changes[path] = str(whole)
        # what is found from the current folder and below --data-dir keeps its short name
        elif not typed and whole.is_dir() and whole not in places[1:FOLDERS]:
            changes[path] = f"{FOLDER}{whole}"
    if problems:
        raise DocumentError(problems)
    return r.with_(changes) if changes else r


FOLDERS = 3  # in which a name is looked for
looked_at: dict[str, list[Path]] = {}  # name in a document → where it was looked for, for messages


def _places(name: str, folder: Path) -> list[Path]:
    """Where what a document in ``folder`` names is looked for: beside it, in the current folder,
    below ``--data-dir``; a bare name also among what this user has named before.
    """
    given = os.environ.get("AUTOKD_DATA")
    tops = [folder, Path.cwd(), Path(given).expanduser() if given else Path.cwd()]
    out = [Path(os.path.abspath(top / name)) for top in tops]
    if os.sep not in name:
        known = [Path(p) for p in _named() if Path(p).name == name]
        out += known if len(known) == 1 else []
    return out


def _may_be_named(file: Path, tops: list[Path]) -> bool:
    """``file``, and the folders that it may lie in besides ``--data-dir``: without links."""
    given = os.environ.get("AUTOKD_DATA")
    below = [*tops, *([Path(given).expanduser().resolve()] if given else [])]
    return any(file.is_relative_to(top) for top in below) or str(file) in _named()


def remember(paths: Iterable[str]) -> None:
    """Files and folders that a run of this user has been given: whole ones may be named by the
    documents that come of it, wherever those lie. Kept in the cache; what cannot be kept must be
    named again.
    """
    known = _named()
    whole = {str(own.resolve()) for p in paths if (own := Path(p).expanduser()).exists()}
    if whole - known:
        with contextlib.suppress(OSError):
            write_atomically(default_cache() / NAMED, json.dumps(sorted(known | whole)))


def _named() -> set[str]:
    try:
        return set(json.loads((default_cache() / NAMED).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return set()
