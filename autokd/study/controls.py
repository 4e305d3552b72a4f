"""The two controls of a finalist: the same data, networks, resolutions, training and seeds; only
the distillation is gone. Light.
"""

from __future__ import annotations

from typing import Any

from autokd.recipe import parse

FINALIST = "finalist"
ALONE = "control-ce"  # the no-distillation baseline
REFERENCE = "control-kd"
CONTROLS = {ALONE: "student alone", REFERENCE: "reference KD"}  # role → name
PRESETS = {ALONE: "student-alone", REFERENCE: "kd"}


def with_controls(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Role → recipe of a finalist and of its own controls."""
    out = {FINALIST: recipe}
    for role, preset in PRESETS.items():
        out[role] = parse(recipe | {"distill": {"preset": preset}, "ladder": []}).to_dict()
    return out
