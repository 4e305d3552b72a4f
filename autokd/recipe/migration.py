"""The format of recipes, and what becomes of those that were written in an older one. Light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from autokd import __version__
from autokd.recipe import network_names
from autokd.recipe.validation import Finding

NETWORKS = ("teacher/model", "student/model", "ladder", "distill/teaching/scratch")
FORMAT: Final = 2  # raised when an old recipe would no longer mean what it meant


def _from_1(data: dict[str, Any]) -> dict[str, Any]:
    """``teacher/train`` beside weights that were given said how they are run and nothing else; now
    it fine-tunes. Teachers' embeddings were never tables. Bare names that ImageNet's networks have
    too meant CIFAR's.
    """
    teacher = data.get("teacher", {})
    if isinstance(teacher, Mapping):
        kept = {"embedding": "online", **teacher}
        if teacher.get("weights", "train") != "train":
            train = kept.pop("train", {})
            ran = train if isinstance(train, Mapping) else {}
            kept |= {key: ran[key] for key in ("precision", "threads") if key in ran}
        data = data | {"teacher": kept}
    return renamed(data, network_names.newer)


def renamed(data: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    """A copy in which the networks of a recipe have other names; what is no name stays."""

    def name(value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(value.get("model"), str):
            return {**value, "model": rename(value["model"])}
        return rename(value) if isinstance(value, str) else value

    out = dict(data)
    for path in NETWORKS:
        *parents, last = path.split("/")
        block = out
        for key in parents:
            if not isinstance(block.get(key), Mapping):
                break
            block[key] = block = dict(block[key])
        else:
            if isinstance(block.get(last), list):
                block[last] = [name(value) for value in block[last]]
            elif last in block:
                block[last] = name(block[last])
    return out


# format n → what makes n + 1 of it, where that can be done
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}


def written(data: Mapping[str, Any], version: int) -> dict[str, Any]:
    """A recipe's values of now as a document of an older format has them."""
    out = renamed(data, network_names.older) if version < 2 else dict(data)
    return out | {"version": version}


def migrated(data: dict[str, Any]) -> tuple[dict[str, Any], Finding | None]:
    """The same choices in this version's format, or why they cannot be read."""
    version = data.get("version", FORMAT)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        rule, hint = "must be the number of a recipe format", f"this AutoKD writes {FORMAT}"
        return data, Finding("version", rule, version, hint)
    if version > FORMAT:
        rule = f"a newer format than AutoKD {__version__} reads, which is {FORMAT}"
        return data, Finding("version", rule, version, "update autokd to run it")
    while version < FORMAT:
        if version not in MIGRATIONS:
            rule = f"no longer read: in format {version} the same words meant another run"
            return data, Finding("version", rule, version, "use the AutoKD that wrote it")
        data = MIGRATIONS[version](data)
        version += 1
    return data | {"version": FORMAT}, None
