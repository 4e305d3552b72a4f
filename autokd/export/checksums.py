"""``SHA256SUMS``: what an export was made of, as ``sha256sum -c SHA256SUMS`` reads it."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

from autokd.errors import UserError, printable

SUMS = "SHA256SUMS"
STUDENT = "student.safetensors"
# of every export; the last name of the file is among them, so that what was cut off is noticed
ALWAYS = {"MODEL_CARD.md", "labels.txt", "load.py", "network.py", "recipe.yaml", STUDENT}
LINE = re.compile("([0-9a-f]{64})  ([A-Za-z0-9._]+)")


def write(folder: Path) -> None:
    """Of all files there are."""
    lines = [f"{_sha256(p)}  {p.name}\n" for p in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(lines))


def check(folder: Path, needed: str = "") -> None:
    """Say on stderr which files are not what was exported. Nothing where the folder is no export,
    or an older one. Raises :class:`UserError` for the file that is ``needed``.
    """
    for name, trouble in _differences(folder).items():
        told = f"{folder / name}: {trouble}"
        if name == needed:
            raise UserError(told)
        print(printable(f"note: {told}"), file=sys.stderr)


def _differences(folder: Path) -> dict[str, str]:
    """File -> what is wrong with it."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as e:
        return {SUMS: f"cannot be read: {e.strerror}"}
    found = [LINE.fullmatch(line) for line in lines]
    listed = {m[2]: m[1] for m in found if m}
    if not all(found) or not listed.keys() >= ALWAYS:
        return {SUMS: "is damaged, so nothing tells whether the files are what was exported"}
    out = {}
    for name, sha256 in listed.items():
        try:
            if _sha256(folder / name) != sha256:
                out[name] = f"is not what was exported, by {SUMS}"
        except OSError as e:
            out[name] = f"cannot be read: {e.strerror}"
    return out


def _sha256(file: Path) -> str:
    with file.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
