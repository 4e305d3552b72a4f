"""The controls of a finalist: the same data, networks, resolutions and seeds; only the distillation
is gone. Light.

Its own controls have its training as well: what does the distillation add to this recipe? Where the
space frees the training, a control is also tuned by itself (``tuning``): does distillation beat
what the student reaches without it? Only the second is what "helps" means.
"""

from __future__ import annotations

from typing import Any

from autokd.recipe import parse

FINALIST = "finalist"
ALONE = "control-ce"  # the no-distillation baseline
REFERENCE = "control-kd"
TUNED = {ALONE: "tuned-ce", REFERENCE: "tuned-kd"}  # own control → the same, tuned by itself
OWN = {ALONE: "student alone", REFERENCE: "reference KD"}  # role → name
# of all, each tuned one before the finalist's own
CONTROLS = {
    role: name
    for own, told in OWN.items()
    for role, name in ((TUNED[own], f"tuned {told}"), (own, told))
}
# Of the trials that tune them. Whether distillation helps is decided by the student alone, which is
# also the one that a learning rate chosen for distillation suits least.
WEIGHTS = {ALONE: 2, REFERENCE: 1}
PRESETS = {ALONE: "student-alone", REFERENCE: "kd"}


def with_controls(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Role → recipe of a finalist and of its own controls."""
    out = {FINALIST: recipe}
    for role, preset in PRESETS.items():
        out[role] = parse(recipe | {"distill": {"preset": preset}, "ladder": []}).to_dict()
    return out
