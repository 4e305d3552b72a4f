"""The ``distill`` block: presets spelt out, defaults filled in, each axis checked against the
schema of the method that it names. Light.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from autokd.errors import nearest
from autokd.recipe import axes
from autokd.recipe.axes import Axis
from autokd.recipe.validation import Finding, validate

DEFAULTS: dict[Axis, dict[str, Any]] = {
    "teaching": {"kind": "single"},
    "view": {"kind": "plain"},
    "target": {"kind": "teacher"},
    "temperature": {"kind": "constant"},
    "losses": {"ce": {}, "kl": {}},
}


def expand(distill: Mapping[str, Any]) -> dict[str, Any]:
    """Replace ``preset: NAME`` by its fragment; keys given beside it win, and a new ``kind``
    replaces an axis whole.
    """
    preset = axes.find_preset(distill.get("preset"))
    out = copy.deepcopy(dict(preset.distill)) if preset else {}
    for key, value in distill.items():
        if key != "preset":
            _merge(out, key, value)
    return out


def _merge(node: dict[str, Any], key: str, value: Any) -> None:
    if "/" in key:
        head, _, rest = key.partition("/")
        child = node.setdefault(head, {})
        if isinstance(child, dict):
            _merge(child, rest, value)
        return
    old = node.get(key)
    if isinstance(old, dict) and isinstance(value, Mapping) and _same_kind(old, value):
        for k, v in value.items():
            _merge(old, k, v)
    else:
        node[key] = copy.deepcopy(value)


def _same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return new.get("kind", old.get("kind")) == old.get("kind")


def check_distill(value: Any) -> tuple[dict[str, Any], list[Finding]]:
    """The block spelt out with every default, and everything wrong with it."""
    if not isinstance(value, Mapping):
        return {}, [Finding("distill", "must be a mapping of axes", value)]
    findings = []
    if "preset" in value and axes.find_preset(value["preset"]) is None:
        hint = nearest(value["preset"], axes.presets())
        findings.append(Finding("distill/preset", "unknown preset", value["preset"], hint))
    expanded = expand(value)
    for key in expanded:
        if key not in axes.AXES:
            hint = nearest(key, [*axes.AXES, "preset"])
            findings.append(Finding(f"distill/{key}", "unknown key", hint=hint))
    out: dict[str, Any] = {}
    for axis in axes.AXES:
        settings = expanded.get(axis, DEFAULTS[axis])
        check_axis = _check_losses if axis == "losses" else _check_kind
        made, found = check_axis(axis, settings)
        findings += found
        if made is not None:
            out[axis] = made
    return out, findings


def _check_losses(axis: Axis, settings: Any) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Each loss's settings by its kind."""
    if not isinstance(settings, Mapping):
        return None, [Finding(f"distill/{axis}", "must be a mapping", settings)]
    methods = axes.kinds(axis)
    if not settings:
        hint = nearest("", methods)
        return {}, [Finding(f"distill/{axis}", "must name at least one loss", hint=hint)]
    out: dict[str, Any] = {}
    findings = []
    for kind, own in settings.items():
        path = f"distill/{axis}/{kind}"
        if kind not in methods:
            findings.append(Finding(path, "unknown loss", hint=nearest(kind, methods)))
            continue
        made, found = validate(methods[kind].schema, own or {}, path)
        findings += found
        out[kind] = made.model_dump() if made else {}
    return out, findings


def _check_kind(axis: Axis, settings: Any) -> tuple[dict[str, Any] | None, list[Finding]]:
    """The settings of an axis on which one method stands; None where it is not known which."""
    if not isinstance(settings, Mapping):
        return None, [Finding(f"distill/{axis}", "must be a mapping", settings)]
    methods = axes.kinds(axis)
    kind = settings.get("kind", DEFAULTS[axis]["kind"])
    if not isinstance(kind, str) or kind not in methods:
        rule, hint = f"unknown kind of {axis}", nearest(kind, methods)
        return None, [Finding(f"distill/{axis}/kind", rule, kind, hint)]
    made, findings = validate(methods[kind].schema, {**settings, "kind": kind}, f"distill/{axis}")
    return made.model_dump() if made else {}, findings
