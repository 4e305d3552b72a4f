"""The file of a study's events: one JSON object a line, each sealed by a hash that runs on from
line to line. So a line that was changed, dropped, doubled or moved is noticed and named. Light.

    {"event":"paused","t":…,"trial":3,"rung":9,"h":"<16 hex digits>"}

``h`` is over the ``h`` of the line before and all of this line that stands before its own. Lines of
an older AutoKD have none: they are read, and counted as unsealed; the first sealed line behind them
covers them too. It tells of damage and of edits, not of forgery: who edits can seal anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from autokd.errors import UserError

Event = dict[str, Any]
DIGITS = 16
SEAL = re.compile(rb',"h":"([0-9a-f]{%d})"\}' % DIGITS)
LENGTH = len(',"h":""}') + DIGITS  # bytes of a seal, at the end of its line
NUMBER = (int, float)
FARTHEST = 1e11  # seconds from 1970, to either side: no calendar of ours goes further


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


# made once: json.dumps and json.loads would make one for each line
ENCODER = json.JSONEncoder(separators=(",", ":"))
DECODER = json.JSONDecoder(parse_constant=_no_number)
# event → the fields without which it cannot be read, and their types
_TRIAL = {"trial": int}
_ATTEMPT = {"trial": int, "attempt": int}
FIELDS: Mapping[str, Mapping[str, Any]] = {
    "created": {"frozen": dict},
    "teacher": {"key": str, "model": str, "state": str},
    "learned": {"key": str, "model": str, "epoch": int, "of": int},
    "suggested": {"trial": int, "role": str, "recipe": dict},
    "started": _ATTEMPT | {"epoch": int},
    "epoch": _ATTEMPT | {"epoch": int, "metrics": dict},
    "paused": _TRIAL | {"rung": int},
    "promoted": _TRIAL | {"rung": int},
    "pruned": _TRIAL | {"rung": int},
    "finished": _ATTEMPT,
    "diverged": _TRIAL,
    "oom": _TRIAL,
    "failed": _TRIAL,
    "lost": _TRIAL,
    "refused": {},
    "grace": {"epochs": int},
    "stopping": {"reason": str},
    "extended": {},
    "resumed": {},
    "searched": {"groups": list, "finals": list},
    "seeds": {"groups": list, "finals": list},
    "enough": {"reason": str},
    "outcomes": {"outcomes": dict},
    "test": {"results": dict},
    "closed": {},
}


class Damaged(UserError):
    """A line that is not what was written."""

    def __init__(self, file: Path, line: int, reason: str):
        super().__init__(f"{file}:{line}: damaged: {reason}")


class Line(NamedTuple):
    """One line as it was read."""

    number: int  # from 1
    event: Event  # {} where it cannot be read
    trouble: str  # what is wrong with it; ""
    end: int  # offset behind it


class Chain:
    """The hash that runs over a file's lines, as they are written or read."""

    def __init__(self) -> None:
        self.head = ""  # of the latest line
        self.lines = 0
        self.unsealed = 0  # lines without a seal

    def sealed(self, event: Event) -> tuple[str, str]:
        """The event as the next line, with its end, and what :meth:`grow` is told once that is
        written.
        """
        body = ENCODER.encode(event)[:-1]
        head = _hash(self.head, body.encode())
        return f'{body},"h":"{head}"}}\n', head

    def grow(self, head: str) -> None:
        """By the line that was written."""
        self.head = head
        self.lines += 1

    def check(self, raw: bytes) -> tuple[Event, str]:
        """The event of the next line (without its end), and what is wrong with it: the lines behind
        it are then checked as if it were whole.
        """
        seal = SEAL.fullmatch(raw[-LENGTH:])
        head = _hash(self.head, raw[:-LENGTH] if seal else raw)
        self.grow(seal[1].decode() if seal else head)
        if not seal:
            self.unsealed += 1
            if self.unsealed < self.lines:
                return {}, "it has no seal, and lines before it have"
        elif self.head != head:
            return {}, "it, or what stood before it, is not what was written"
        return _event(raw)


def lines(file: Path, chain: Chain | None = None) -> Iterator[Line]:
    """Each whole line; ``chain`` follows them. What a crash left of the last one ends the file.
    Raises :class:`UserError` where the file cannot be read.
    """
    chain, end = chain or Chain(), 0
    try:
        with file.open("rb") as f:
            for raw in f:
                if not raw.endswith(b"\n") and not SEAL.search(raw):
                    return
                end += len(raw)
                event, trouble = chain.check(raw.removesuffix(b"\n"))
                yield Line(chain.lines, event, trouble, end)
    except OSError as e:
        raise UserError(f"{file}: cannot be read: {e.strerror}") from None


def _hash(head: str, body: bytes) -> str:
    return hashlib.sha256(head.encode() + body).hexdigest()[:DIGITS]


def _event(raw: bytes) -> tuple[Event, str]:
    """The event, and why it cannot be read."""
    try:
        event = DECODER.decode(raw.decode())
    except (ValueError, RecursionError):
        return {}, "it is no JSON"
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return {}, "it is no event"
    event.pop("h", None)
    known = FIELDS.get(event["event"])
    if known is None:
        return {}, f"an unknown event {event['event'][:40]!r}: of a newer AutoKD?"
    for name, kind in {"t": NUMBER, **known}.items():
        value = event.get(name)
        if not isinstance(value, kind) or (name == "t" and abs(value) > FARTHEST):
            return {}, f"an event {event['event']!r} without a proper {name!r}"
    return event, ""
