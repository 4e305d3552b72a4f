"""Where MLflow keeps what it is told, and what it takes: names, lengths, times."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LONGEST = 6000  # characters of a parameter's value that MLflow takes; tags take more


def default_uri(root: Path) -> str:
    """``MLFLOW_TRACKING_URI``, else the SQLite file beside the studies."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.absolute() / 'mlflow.db'}"


def milliseconds(seconds: float) -> int:
    """MLflow's times, which begin in 1970, and 0 is none: what a clock said that was wrong is moved
    there.
    """
    return max(1, round(seconds * 1000))


def clean(tags: Mapping[str, Any]) -> dict[str, str]:
    """As MLflow takes them; what is empty is left out."""
    return {name: shorten(str(value)) for name, value in tags.items() if value not in ("", None)}


def key(name: str) -> str:
    """A name with what MLflow allows in one."""
    name = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)
    if len(name) <= 250:
        return name
    return f"{name[:230]} {hashlib.sha256(name.encode()).hexdigest()[:16]}"


def shorten(text: str) -> str:
    """MLflow's longest parameter, with a hash in place of what is cut off; the recipe artifact has
    it whole.
    """
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 80]}… sha256:{hashlib.sha256(text.encode()).hexdigest()}"
