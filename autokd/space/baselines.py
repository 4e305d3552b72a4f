"""What a search tries first: the base where the space holds it, the presets that the space names,
or what it lists itself. Light.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from autokd.errors import nearest
from autokd.recipe import Recipe, check, check_distill
from autokd.recipe.document import put
from autokd.space.tree import Choose, Free, Node, OneOf, default, free, value_at


def choosers(
    root: Node,
    base: Recipe,
    listed: list[dict[str, Any]] | None,
    written: Callable[[Recipe], dict[str, Any]] = Recipe.to_dict,
) -> list[tuple[str, Choose]]:
    """The name of each baseline, and how it fills the tree. Filling raises LookupError where the
    space does not hold it. ``written``: a recipe in the words of the space.
    """
    own = written(base)
    if listed is not None:
        return [(f"baseline {i}", _given(entry, own)) for i, entry in enumerate(listed, 1)]
    named = [
        (label, node)
        for node in free(root)
        if isinstance(node, OneOf)
        for label in node.labels
        if node.name.endswith("preset")
    ]
    presets = ((label, _preset(node, label, own, written)) for label, node in named)
    return [("base", _like(own)), *presets]


def _like(data: dict[str, Any]) -> Choose:
    """Choose what the base has."""

    def choose(node: Free) -> Any:
        value = value_at(data, f"{node.path}/kind" if isinstance(node, OneOf) else node.path)
        held = value in node.labels if isinstance(node, OneOf) else node.contains(value)
        if not held:
            raise LookupError(node.name)
        return value

    return choose


def _preset(
    owner: OneOf, label: str, base: dict[str, Any], written: Callable[[Recipe], dict[str, Any]]
) -> Choose:
    """Choose one preset at its defaults, and elsewhere what the base has or a default."""
    data = copy.deepcopy(base)
    if owner.path == "distill":
        data["distill"] = check_distill({"preset": label})[0]
    else:  # a preset of training
        put(data, owner.path, {"preset": label})
        made, _ = check(data)
        data = written(made) if made else base

    def choose(node: Free) -> Any:
        if node is owner:
            return label
        if isinstance(node, OneOf):
            for lab, branch in zip(node.labels, node.branches, strict=True):
                if any(inner is owner for inner in free(branch)):
                    return lab
            near = value_at(data, f"{node.path}/kind")
            return near if near in node.labels else node.labels[0]
        return default(node, value_at(data, node.path))

    return choose


def _given(entry: Mapping[str, Any], data: dict[str, Any]) -> Choose:
    """Choose what a listed baseline says, by the space's names or the recipe's paths, and elsewhere
    the first branch or a default.
    """

    def choose(node: Free) -> Any:
        value = entry.get(node.name, entry.get(node.path))
        if isinstance(node, OneOf):
            if value is None:
                return node.labels[0]
            if value not in node.labels:
                raise LookupError(
                    f"{node.name}: {value!r} is no branch; {nearest(value, node.labels)}"
                )
            return value
        if value is None:
            return default(node, value_at(data, node.path))
        if not node.contains(value):
            raise LookupError(f"{node.name}: {value!r} is outside the range")
        return value

    return choose
