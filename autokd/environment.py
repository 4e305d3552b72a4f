"""The machine and the packages that a result was made with. Light."""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from autokd import __version__

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "optuna", "ray", "mlflow")


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide a result; ``commit`` where AutoKD runs from a
    checkout.
    """
    out = {"autokd": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out | ({"commit": own} if (own := commit()) else {})


@functools.cache
def commit() -> str:
    """The commit of the checkout that AutoKD runs from, with ``+changes`` where files differ from
    it; else nothing.
    """
    here = Path(__file__).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        # Not merely installed somewhere below another checkout.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        changes = "+changes" if git("status", "--porcelain", "--untracked-files=no", ".") else ""
        return git("rev-parse", "--short=12", "HEAD") + changes
    except (OSError, subprocess.SubprocessError):
        return ""


def hardware(device: str = "cpu") -> str:
    """The name of the processor, or of the first GPU, as far as the system tells."""
    name = ""
    if device.startswith("cuda"):
        name = _line(sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")), "Model")
    name = name or _line([Path("/proc/cpuinfo")], "model name")
    return f"{name or platform.processor() or platform.machine()} ({device})"


def _line(files: Sequence[Path], key: str) -> str:
    """What stands behind ``key:`` in the first of these files."""
    try:
        lines = files[0].read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, IndexError):
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
