"""Plain data as text: YAML for people, canonical JSON for fingerprints. Light."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

WIDTH = 118  # columns of a mapping on one line, without the colon and the space after its key


def dump(data: Mapping[str, Any]) -> str:
    """YAML text of plain data: block style at the top, one line for what fits in 120 columns."""
    return "".join(_block(str(key), value, 0) for key, value in data.items())


def _block(key: str, value: Any, indent: int) -> str:
    pad = "  " * indent
    flat = flow(value)
    if not isinstance(value, Mapping) or not value or len(flat) + len(pad) + len(key) <= WIDTH:
        return f"{pad}{flow(key)}: {flat}\n"
    inner = "".join(_block(str(k), v, indent + 1) for k, v in value.items())
    return f"{pad}{flow(key)}:\n{inner}"


def flow(value: Any) -> str:
    """One value in YAML's flow style, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(k))}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(v) for v in value) + "]"
    if isinstance(value, str) and not _is_bare(value):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value)


def _is_bare(text: str) -> bool:
    """Whether a string needs no quotes."""
    if not text or not text[0].isalpha() or text.lower() in {"null", "true", "false"}:
        return False
    return all(c.isalnum() or c in "_-./" for c in text)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: what fingerprints are made of, and how Optuna stores
    structured choices.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
