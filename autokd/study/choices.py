"""What a trial chose, in the words that people use: a preset by its own name, other values by their
place in the recipe. Light.

Optuna's names keep branches apart (``0/distill/ka/target/kind``); nobody else needs to read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autokd.recipe.document import flow
from autokd.space.tree import names_branch
from autokd.study.ledger import Trial

METHOD = "distill/preset"
ALTERNATIVE = "alternative"  # stands for the number of a branch that nothing else names


def settings(varied: Mapping[str, Any]) -> dict[str, Any]:
    """Path in the recipe → value, a preset under :data:`METHOD`. The number of a branch is left
    out where a preset tells which branch it is.
    """
    preset = next((v for k, v in varied.items() if k.endswith(METHOD)), None)
    out: dict[str, Any] = {} if preset is None else {METHOD: preset}
    for name, value in varied.items():
        path = place(name, preset)
        if path.rsplit("/", 1)[-1] == "branch":
            if preset is not None:
                continue
            path, value = path[: -len("branch")] + ALTERNATIVE, _counted(value)
        out.setdefault(path, value)
    return out


def _counted(label: Any) -> Any:
    """A branch's place in its list, from 1."""
    return int(label) + 1 if str(label).isdigit() else label


def place(name: str, preset: str | None = None) -> str:
    """Where the value of that (Optuna's) name stands in a recipe of that preset."""
    keys = name.split("/")
    while len(keys) > 1 and keys[0].isdigit():
        keys = keys[1:]
    if preset is not None and keys[:2] == ["distill", preset]:
        del keys[1]
    return "/".join(keys)


def label(path: str) -> str:
    """A recipe path as people say it: ``distill/losses/kl/weight`` → ``kl weight``."""
    if path == METHOD:
        return "method"
    keys = [k for k in path.split("/") if k not in {"distill", "losses", "kind"}]
    return " ".join(keys[-2:]) or path


def short(value: Any) -> str:
    """A value of a recipe."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return " → ".join(value) or "none"
    return value if isinstance(value, str) else flow(value)


def choices(t: Trial) -> str:
    """What a trial chose: ``ka, target shift, temperature tau 4``."""
    return ", ".join(_said(settings(t.varied)))


def branch(varied: Mapping[str, Any]) -> str:
    """The branch in which it lies: ``ka, target shift``; ``""`` where there are no branches."""
    found = settings(varied)
    return ", ".join(_said({k: v for k, v in found.items() if tells_branch(k)}))


def method(t: Trial) -> str:
    """The preset that a trial is of, else what is special about it; ``""``: nothing."""
    return str(settings(t.varied).get(METHOD, "")) or t.name


def tells_branch(path: str) -> bool:
    return names_branch(path) or path.rsplit("/", 1)[-1] == ALTERNATIVE


def _said(found: Mapping[str, Any]) -> list[str]:
    return [short(v) if k == METHOD else f"{label(k)} {short(v)}" for k, v in found.items()]
