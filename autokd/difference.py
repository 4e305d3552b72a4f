"""`autokd diff`: what differs between two recipes, in words, block by block. Light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autokd import axes
from autokd.document import flatten, flow
from autokd.recipe import Recipe

ABSENT = object()
BLOCKS = {
    "data": "data", "view": "view", "teacher": "teacher", "ladder": "ladder", "ladder_train": "training of the assistants",
    "student": "student", "distill": "distillation", "train": "training of the student", "seed": "seed", "version": "format",
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One difference. ``path``: where; ``before``, ``after``: the values; ``matters``: whether any of the two runs reads it."""

    path: str
    before: Any
    after: Any
    words: str
    matters: bool


def changes(one: Recipe, other: Recipe) -> list[Change]:
    """All that differs, in the order of the documents."""
    old, new = one.to_dict(), other.to_dict()
    dead = [path for path in one.dead() if path in other.dead()]
    out = []
    for block in BLOCKS:
        if block == "distill":
            pairs = _distill(old["distill"], new["distill"])
        else:
            a, b = (flatten({block: d[block]}) for d in (old, new))
            pairs = [(p, a.get(p, ABSENT), b.get(p, ABSENT), _becomes) for p in {**a, **b}]
        for path, before, after, words in pairs:
            if before != after:
                matters = not any(path == d or path.startswith(f"{d}/") for d in dead)
                said = words(path.split("/", 2 if path.startswith("distill/losses/") else 1)[-1], before, after)
                out.append(Change(path, _plain(before), _plain(after), said, matters))
    return out


def _distill(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any, Any]]:
    """Axis by axis: another kind is one difference, with its settings; of the same kind each setting is one."""
    out: list[tuple[str, Any, Any, Any]] = []
    for axis in axes.AXES:
        a, b = old[axis], new[axis]
        if axis == "losses":
            for kind in {**a, **b}:
                if kind in a and kind in b:
                    out += [(f"distill/losses/{kind}/{k}", a[kind].get(k, ABSENT), b[kind].get(k, ABSENT), _becomes) for k in {**a[kind], **b[kind]}]
                else:
                    out.append((f"distill/losses/{kind}", a.get(kind, ABSENT), b.get(kind, ABSENT), _loss))
        elif a["kind"] != b["kind"]:
            out.append((f"distill/{axis}", a, b, _kind))
        else:
            out += [(f"distill/{axis}/{k}", a.get(k, ABSENT), b.get(k, ABSENT), _becomes) for k in {**a, **b}]
    return out


def _becomes(name: str, before: Any, after: Any) -> str:
    if before is ABSENT:
        return f"{name} is added: {_value(after)}"
    if after is ABSENT:
        return f"{name} goes: it was {_value(before)}"
    number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (before, after))
    ratio = f" ({after / before:.3g} times)" if number and before > 0 and after > 0 and "seed" not in name else ""
    return f"{name} was {_value(before)} and becomes {_value(after)}{ratio}"


def _kind(name: str, before: Any, after: Any) -> str:
    return f"{name} was {_settings(before)} and becomes {_settings(after)}"


def _loss(name: str, before: Any, after: Any) -> str:
    return f"loss {name} is added, {_settings(after)}" if before is ABSENT else f"loss {name} goes; it had {_settings(before)}"


def _settings(settings: Mapping[str, Any]) -> str:
    own = ", ".join(f"{k} {_value(v)}" for k, v in settings.items() if k != "kind")
    return " with ".join(part for part in (settings.get("kind"), own) if part)


def _value(value: Any) -> str:
    return {None: "left out", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else flow(value)


def _plain(value: Any) -> Any:
    return None if value is ABSENT else value


def same_run(one: Recipe, other: Recipe) -> bool:
    """Whether the two describe the same run: what nothing reads does not count."""
    return one.fingerprint() == other.fingerprint()


def as_text(one: Recipe, other: Recipe) -> str:
    """What is printed: a sentence, then the blocks that differ."""
    found = changes(one, other)
    places = f"{len(found)} place{'s' if len(found) != 1 else ''}"
    if not found:
        return f"The two recipes are the same (fingerprint {one.fingerprint()})."
    if same_run(one, other):
        lines = [f"The two recipes differ in {places} and describe the same run (fingerprint {one.fingerprint()}): nothing reads what differs."]
    else:
        lines = [f"The two recipes describe different runs; they differ in {places}."]
    block = ""
    for change in found:
        if (head := change.path.partition("/")[0]) != block:
            block = head
            lines.append(BLOCKS[block])
        lines.append(f"  {change.words}" + ("" if change.matters or same_run(one, other) else " (nothing reads it)"))
    return "\n".join(lines)


def as_json(one: Recipe, other: Recipe) -> dict[str, Any]:
    return {
        "same_run": same_run(one, other),
        "fingerprints": [one.fingerprint(), other.fingerprint()],
        "changes": [{"path": c.path, "before": c.before, "after": c.after, "words": c.words, "matters": c.matters} for c in changes(one, other)],
    }
