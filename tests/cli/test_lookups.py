"""Look-ups."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def test_look_ups(space_file: Path, run: Callable) -> None:
    def shown(*args: str) -> str:
        code, out, _ = run(*args)
        assert code == 0
        return out

    assert "flsw" in shown("methods")
    assert "resnet20" in shown("models")
    assert "digits" in shown("datasets")
    assert "no studies" in shown("studies")
    assert "distill/temperature/flsw/beta" in shown("show", "space.yaml")
    text = shown("show", "base.yaml")
    (space_file.parent / "shown.yaml").write_text(text)
    assert shown("show", "shown.yaml") == text
    schema = json.loads(shown("schema", "recipe"))
    assert "flsw" in json.dumps(schema["properties"]["distill"])
    assert shown("validate", "base.yaml", "space.yaml").count(": ok") == 2
