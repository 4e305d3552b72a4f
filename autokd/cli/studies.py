"""`autokd studies`: what was searched here, and what came of it."""

from __future__ import annotations

import json
import sys

from autokd.api import listing
from autokd.cli.options import Json
from autokd.files import runs_root

COLUMNS = {
    "study": 24,
    "state": 11,
    "score": 24,
    "verdict": 34,
    "begun": 16,
    "trials": 6,
    "epochs": 8,
}


def studies(as_json: Json = False) -> None:
    """List the studies under mlruns/: whether each is running, its score and its verdict."""
    rows, damaged = listing.rows()
    for trouble in damaged:
        print(f"warning: {trouble}", file=sys.stderr)
    if as_json:
        print(json.dumps(rows))
    elif not rows:
        print(f"no studies under {runs_root()}")
    else:
        print("  ".join(f"{head:{width}}" for head, width in COLUMNS.items()).rstrip())
        for row in rows:
            cells = [f"{row[head] or '':{width}}" for head, width in COLUMNS.items()]
            print("  ".join(cells).rstrip())
