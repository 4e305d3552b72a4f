"""Reads a ledger that grows while it is read."""

from __future__ import annotations

import json
from pathlib import Path

from autokd.study.ledger import Event


class LedgerReader:
    """Hands out the events of a ledger that may still grow, each once."""

    def __init__(self, file: Path):
        self.file = file
        self.offset = 0

    def read(self, most: int) -> list[Event]:
        """At most so many of those that were not handed out yet."""
        out: list[Event] = []
        with self.file.open("rb") as f:
            f.seek(self.offset)
            for raw in f:
                if not raw.endswith(b"\n"):
                    break  # it is being written
                out.append(json.loads(raw))
                self.offset += len(raw)
                if len(out) == most:
                    break
        return out
