"""What a search tries first: the base where the space holds it, the presets that the space names,
or what it lists itself. Light.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autokd.errors import nearest
from autokd.recipe import Recipe, check, check_distill
from autokd.recipe.document import put
from autokd.space.tree import Choose, Free, Node, OneOf, default, free, value_at


def choosers(
    root: Node, base: Recipe, listed: list[dict[str, Any]] | None
) -> list[tuple[str, Choose]]:
    """The name of each baseline, and how it fills the tree. Filling raises LookupError where the
    space does not hold it.
    """
    if listed is not None:
        return [(f"baseline {i}", _given(entry, base)) for i, entry in enumerate(listed, 1)]
    named = [
        (label, node)
        for node in free(root)
        if isinstance(node, OneOf)
        for label in node.labels
        if node.name.endswith("preset")
    ]
    return [("base", _like(base)), *((label, _preset(node, label, base)) for label, node in named)]


def _like(base: Recipe) -> Choose:
    """Choose what the base has."""
    data = base.to_dict()

    def choose(node: Free) -> Any:
        value = value_at(data, f"{node.path}/kind" if isinstance(node, OneOf) else node.path)
        held = value in node.labels if isinstance(node, OneOf) else node.contains(value)
        if not held:
            raise LookupError(node.name)
        return value

    return choose


def _preset(owner: OneOf, label: str, base: Recipe) -> Choose:
    """Choose one preset at its defaults, and elsewhere what the base has or a default."""
    data = base.to_dict()
    if owner.path == "distill":
        data["distill"] = check_distill({"preset": label})[0]
    else:  # a preset of training
        put(data, owner.path, {"preset": label})
        made, _ = check(data)
        data = made.to_dict() if made else base.to_dict()

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


def _given(entry: Mapping[str, Any], base: Recipe) -> Choose:
    """Choose what a listed baseline says, by the space's names or the recipe's paths, and elsewhere
    the first branch or a default.
    """
    data = base.to_dict()

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
