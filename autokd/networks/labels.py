"""The classes of a given network by name, so that those of the data are found among them: in
another order, or a few of many.
"""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from autokd.errors import UserError
from autokd.networks.network import Network


def read_labels(path: str | Path) -> list[str]:
    """Names in the order of a network's outputs: a line each, or JSON: a list, or a mapping from
    output to name, also under ``id2label`` or ``label_names`` as in a Hugging Face ``config.json``.

    Raises:
        UserError: It cannot be read, or holds none.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        names = _from_json(json.loads(text)) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError, RecursionError) as fault:
        raise UserError(f"{path}: labels cannot be read: {fault}") from None
    names = [name.strip() for name in names if name.strip()]
    if len(names) < 2:
        raise UserError(f"{path}: holds no labels, a line each or as a list in JSON")
    return names


def _from_json(content: Any) -> list[str]:
    if isinstance(content, dict):
        content = content.get("id2label") or content.get("label_names") or content
    if isinstance(content, dict):
        content = [content[key] for key in sorted(content, key=int)]
    return [str(name) for name in content] if isinstance(content, list) else []


def places(classes: Sequence[str], labels: Sequence[str], file: str) -> list[int]:
    """For each class its place among the labels: by the same name, or but for case and underscores.

    Raises:
        UserError: A class is not among them, or more than once.
    """
    out = []
    for name in classes:
        found = [i for i, label in enumerate(labels) if label == name]
        found = found or [i for i, label in enumerate(labels) if _alike(label) == _alike(name)]
        if len(found) != 1:
            [near] = difflib.get_close_matches(name, labels, n=1, cutoff=0.0)
            what = f"there {len(found)} times" if found else f"not there; nearest: {near!r}"
            raise UserError(f"{file}: the class {name!r} of the data is {what}")
        out += found
    return out


def _alike(name: str) -> str:
    return name.casefold().replace("_", " ")


def choose_classes(source: Network, target: Network, order: Sequence[int]) -> None:
    """Gives `target` the weights of `source`, of its head those rows alone."""
    head = {f"backbone.{name}" for name in source.backbone.head_names()}
    rows = torch.tensor(order)
    theirs = source.state_dict()
    target.load_state_dict({n: t[rows] if n in head else t for n, t in theirs.items()})
