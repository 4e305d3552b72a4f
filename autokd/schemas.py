"""JSON schemas of the documents, for editors: assembled from the same models and method signatures that check them. Light."""

from __future__ import annotations

from typing import Any

from autokd import axes, zoo
from autokd.recipe import Recipe
from autokd.settings import Search


def schema(what: str) -> dict[str, Any]:
    """The schema of ``recipe`` or ``space``. Raises :class:`UserError` for anything else."""
    if what == "recipe":
        return recipe()
    if what == "space":
        return space()
    raise axes.UserError(f"{what!r} has no schema; known: recipe, space")


def recipe() -> dict[str, Any]:
    out = Recipe.model_json_schema()
    out["title"] = "AutoKD recipe"
    properties: dict[str, Any] = {"preset": {"enum": sorted(axes.presets())}}
    for axis in axes.AXES:
        kinds = sorted(axes.kinds(axis).items())
        if axis == "losses":
            own = {k: _described(m) for k, m in kinds}
            properties[axis] = {"type": "object", "additionalProperties": False, "properties": own}
        else:
            properties[axis] = {"oneOf": [_described(m) for _, m in kinds]}
    out["properties"]["distill"] = {"type": "object", "additionalProperties": False, "properties": properties}
    names = {"anyOf": [{"enum": zoo.names()}, {"type": "string"}]}
    for block in ("Teacher", "Student"):
        out["$defs"][block]["properties"]["model"] = names
    out["properties"] |= {"provenance": {"type": "object"}, "results": {"type": "object"}}
    return out


def _described(m: axes.Method) -> dict[str, Any]:
    made = m.schema.model_json_schema()
    made["description"] = (m.fn.__doc__ or "").strip()
    if "kind" in made["properties"]:
        made["required"] = ["kind"]
    return made


def space() -> dict[str, Any]:
    search = Search.model_json_schema()
    defs = search.pop("$defs", {})
    return {
        "title": "AutoKD search space",
        "type": "object",
        "additionalProperties": False,
        "required": ["base", "vary"],
        "$defs": defs,
        "properties": {
            "title": {"type": "string"},
            "description": {"type": "string"},
            "base": {"type": "string", "description": "the recipe that the space starts from"},
            "search": search,
            "vary": {"type": "object", "description": "recipe paths, and what may stand there"},
            "baselines": {"type": "array", "items": {"type": "object"}},
            "forbid": {"type": "array", "items": {"type": "object"}},
        },
    }
