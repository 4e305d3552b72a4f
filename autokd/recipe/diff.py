"""`autokd diff`: what differs between two recipes, in words, block by block. Light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autokd.recipe import axes
from autokd.recipe.document import flatten, flow
from autokd.recipe.recipe import Recipe

ABSENT = object()  # where one of the two has no such key
BLOCKS = {
    "data": "data",
    "view": "view",
    "teacher": "teacher",
    "ladder": "ladder",
    "ladder_train": "training of the assistants",
    "student": "student",
    "distill": "distillation",
    "train": "training of the student",
    "seed": "seed",
    "version": "format",
}


@dataclass(frozen=True)
class Change:
    """One difference. ``path``: where; ``before``, ``after``: the values; ``matters``: whether any
    of the two runs reads it.
    """

    path: str
    before: Any
    after: Any
    words: str
    matters: bool


# A path, the values before and after, and what says it in words.
Difference = tuple[str, Any, Any, Callable[[str, Any, Any], str]]


def changes(one: Recipe, other: Recipe) -> list[Change]:
    """All that differs, in the order of the documents."""
    old, new = one.to_dict(), other.to_dict()
    inactive = [path for path in one.inactive() if path in other.inactive()]
    out = []
    for block in BLOCKS:
        if block == "distill":
            pairs = _distill(old["distill"], new["distill"])
        else:
            pairs = _by_key("", flatten({block: old[block]}), flatten({block: new[block]}))
        for path, before, after, words in pairs:
            if before != after:
                matters = not any(path == p or path.startswith(f"{p}/") for p in inactive)
                name = path.split("/", 2 if path.startswith("distill/losses/") else 1)[-1]
                said = words(name, before, after)
                out.append(Change(path, _plain(before), _plain(after), said, matters))
    return out


def _distill(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Axis by axis: another kind is one difference, with its settings; of the same kind each
    setting is one.
    """
    out: list[Difference] = []
    for axis in axes.AXES:
        a, b = old[axis], new[axis]
        if axis == "losses":
            for kind in {**a, **b}:
                path = f"distill/losses/{kind}"
                if kind in a and kind in b:
                    out += _by_key(f"{path}/", a[kind], b[kind])
                else:
                    out.append((path, a.get(kind, ABSENT), b.get(kind, ABSENT), _loss))
        elif a["kind"] != b["kind"]:
            out.append((f"distill/{axis}", a, b, _kind))
        else:
            out += _by_key(f"distill/{axis}/", a, b)
    return out


def _by_key(prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    return [
        (f"{prefix}{key}", old.get(key, ABSENT), new.get(key, ABSENT), _becomes)
        for key in {**old, **new}
    ]


def _becomes(name: str, before: Any, after: Any) -> str:
    if before is ABSENT:
        return f"{name} is added: {_value(after)}"
    if after is ABSENT:
        return f"{name} goes: it was {_value(before)}"
    number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (before, after))
    ratio = ""
    if number and before > 0 and after > 0 and "seed" not in name:
        ratio = f" ({after / before:.3g} times)"
    return f"{name} was {_value(before)} and becomes {_value(after)}{ratio}"


def _kind(name: str, before: Any, after: Any) -> str:
    return f"{name} was {_settings(before)} and becomes {_settings(after)}"


def _loss(name: str, before: Any, after: Any) -> str:
    if before is ABSENT:
        return f"loss {name} is added, {_settings(after)}"
    return f"loss {name} goes; it had {_settings(before)}"


def _settings(settings: Mapping[str, Any]) -> str:
    own = ", ".join(f"{k} {_value(v)}" for k, v in settings.items() if k != "kind")
    return " with ".join(part for part in (settings.get("kind"), own) if part)


def _value(value: Any) -> str:
    if value is None:
        return "left out"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return flow(value)


def _plain(value: Any) -> Any:
    return None if value is ABSENT else value


def same_run(one: Recipe, other: Recipe) -> bool:
    """Whether the two describe the same run: what nothing reads does not count."""
    return one.fingerprint() == other.fingerprint()


def as_text(one: Recipe, other: Recipe) -> str:
    """What is printed: a sentence, then the blocks that differ."""
    found, same = changes(one, other), same_run(one, other)
    if not found:
        return f"The two recipes are the same (fingerprint {one.fingerprint()})."
    places = f"{len(found)} place{'s' if len(found) != 1 else ''}"
    if same:
        sentence = (
            f"The two recipes differ in {places} and describe the same run (fingerprint"
            f" {one.fingerprint()}): nothing reads what differs."
        )
    else:
        sentence = f"The two recipes describe different runs; they differ in {places}."
    lines, block = [sentence], ""
    for change in found:
        if (head := change.path.partition("/")[0]) != block:
            block = head
            lines.append(BLOCKS[block])
        note = "" if change.matters or same else " (nothing reads it)"
        lines.append(f"  {change.words}{note}")
    return "\n".join(lines)


def as_json(one: Recipe, other: Recipe) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "same_run": same_run(one, other),
        "fingerprints": [one.fingerprint(), other.fingerprint()],
        "changes": [asdict(change) for change in changes(one, other)],
    }
