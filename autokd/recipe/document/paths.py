"""Paths into a document, such as ``train/epochs`` or ``ladder/0``. Light."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from autokd.recipe.bounds import DEPTH

Keys = tuple[str | int, ...]


def split(path: str) -> Keys:
    """``ladder/0/model`` → ``("ladder", 0, "model")``."""
    return tuple(
        int(key) if re.fullmatch("0|[1-9][0-9]{0,8}", key) else key
        for key in path.split("/")
        if key
    )


def join(keys: Iterable[str | int]) -> str:
    """``("ladder", 0, "model")`` → ``ladder/0/model``."""
    return "/".join(str(key) for key in keys)


def get(data: Any, path: str) -> Any:
    """The value at ``a/b/0``. Raises KeyError."""
    for key in split(path):
        if isinstance(data, dict) and str(key) in data:
            data = data[str(key)]
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            raise KeyError(path)
    return data


def put(data: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at ``a/b``, making the mappings on the way where there is none or a null.

    Raises KeyError where a leaf stands in the way, or there is no such place.
    """
    keys = split(path)
    if not 0 < len(keys) <= DEPTH:
        raise KeyError(path)
    *parents, last = keys
    node: Any = data
    for key in parents:
        if isinstance(node, dict):
            if node.get(str(key)) is None:
                node[str(key)] = {}
            node = node[str(key)]
        elif isinstance(node, list) and isinstance(key, int) and key < len(node):
            node = node[key]
        else:
            raise KeyError(path)
    if isinstance(node, dict):
        node[str(last)] = value
    elif isinstance(node, list) and isinstance(last, int) and last < len(node):
        node[last] = value
    else:
        raise KeyError(path)


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` → ``{"a/b": 1}``; lists stay whole."""
    out: dict[str, Any] = {}
    for key, value in data.items():
        path = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            out |= flatten(value, path)
        else:
            out[path] = value
    return out
