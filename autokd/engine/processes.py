"""The processes that this one has started, and their end. Linux tells of them in ``/proc``."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

GONE = "ZX"  # states of a process that is dead


def descendants() -> set[int]:
    """The living processes that this one started, and those that they started in turn."""
    parents = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):  # it has ended meanwhile
                state, parent = _state(int(entry.name))
                if state not in GONE:
                    parents[int(entry.name)] = parent
    out: set[int] = set()
    found = {os.getpid()}
    while found := {pid for pid, parent in parents.items() if parent in found} - out:
        out |= found
    return out


def names() -> set[str]:
    """Of those processes."""
    out = set()
    for pid in descendants():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            out.add(Path(f"/proc/{pid}/comm").read_text().strip())
    return out


def end(pids: set[int], seconds: float = 10.0) -> None:
    """Kill these, and wait until they are gone, for so long."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + seconds
    while any(map(_lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return _state(pid)[0] not in GONE
    except (OSError, ValueError):
        return False


def _state(pid: int) -> tuple[str, int]:
    """Of a process: its state's letter, and its parent."""
    # the name before them stands in brackets, and may itself hold any
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[1])
