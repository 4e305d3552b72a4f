"""What could explain that a recipe trained again gives another student."""

from __future__ import annotations

from typing import Any

from autokd import environment
from autokd.export.claim import Claim

# Recipe paths of what changes rounding, or is the chance that the interval is about; any other
# change makes another recipe.
CHANCE = {
    f"{block}{key}"
    for block in ("train/", "teacher/train/", "ladder_train/")
    for key in ("threads", "precision", "deterministic")
} | {"seed"}
WHY = {
    "threads": "sums are added up in another order",
    "precision": "numbers are rounded otherwise",
    "deterministic": "kernels may add in any order",
    "seed": "other first weights and another order of batches",
}


def explanations(claim: Claim, device: str, teachers: dict[str, str], start: str = "") -> list[str]:
    """What is not as it was recorded: the recipe, the teachers, the machine, the packages.

    ``teachers``: name → hash of the weights that taught here; ``start``: that of the weights that
    the student started with, where they are not random.
    """
    origin = claim.provenance
    out = []
    for path, what in claim.changed.items():
        why = WHY.get(path.rsplit("/", 1)[-1]) if path in CHANCE else None
        out.append(f"{path}: {what}" + (f" ({why})" if why else ""))
    out += [
        f"teacher {name}: weights' hash {recorded} recorded, {here} here"
        for name, recorded, here in _different(origin.get("teachers", {}), teachers)
    ]
    if (recorded := origin.get("start", "")) != start:
        out.append(f"student/weights: hash {recorded or None} recorded, {start or None} here")
    out += [
        f"plugin {name}: SHA-256 {str(recorded)[:16]} recorded, {str(here)[:16]} here"
        for name, recorded, here in _different(origin.get("plugins", {}), claim.made.plugins())
    ]
    machine = {"hardware": environment.hardware(device), "device": device}
    out += [
        f"{key}: {origin.get(key)} recorded, {value} here"
        for key, value in machine.items()
        if origin.get(key) != value
    ]
    mine = environment.versions()
    theirs = dict(origin.get("versions", {}))
    if "commit" in origin:
        theirs["commit"] = origin["commit"]
    out += [
        f"{name}: {recorded} recorded, {here} here"
        for name, recorded, here in _different(theirs, mine)
        if name != "commit" or (name in theirs and name in mine)
    ]
    return out


def _different(recorded: dict[str, Any], here: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name, and what differs under it."""
    return [
        (name, recorded.get(name), here.get(name))
        for name in {**recorded, **here}
        if recorded.get(name) != here.get(name)
    ]
