"""Ray's life: a Ray of our own for one study, or a place in a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from autokd.engine import processes, ray_private
from autokd.errors import UserError

QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}


class RayDied(Exception):
    """Ray's own processes are gone, not just a worker."""


@contextlib.contextmanager
def ray_session(
    jobs: int,
    address: str | None,
    gpus: float,
    study: Path,
    hold: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Iterator[Path]:
    """A Ray of our own, or a place in the cluster at ``address``; gives a folder for Ray's own
    results, which is gone afterwards, as are all of Ray's processes that were started here.

    While Ray starts and ends, inside ``hold()``, no signal may interrupt it. The file ``scratch``
    in the study's folder names our Ray's folder while it exists, so that the next driver removes
    what a killed one left.
    """
    import ray

    os.umask(0o077)
    note = study / "scratch"
    _remove_left(note)
    # Nobody else may look into it: Ray makes what lies below it open to all. Its name is short, as
    # Ray's sockets lie there and a socket's name has at most 107 bytes.
    scratch = Path(tempfile.mkdtemp(prefix="akd-"))
    # on a cluster: where all nodes can write
    results = study / "ray" if address else scratch / "results"
    note.write_text(str(scratch))
    started = not ray.is_initialized()
    others = processes.descendants()
    own = started and not address
    with ray_private.of_our_own() if own else contextlib.nullcontext():
        try:
            with hold(), ray_private.without_its_signal_handler():
                if own:
                    _begin(None if gpus else jobs, scratch / "r")
                elif started and address:
                    _join(address)
            yield results
        finally:
            with hold():
                if started:
                    ray.shutdown()
                    # of a Ray that did not start, `shutdown` knows nothing
                    processes.end(processes.descendants() - others)
                shutil.rmtree(scratch, ignore_errors=True)
                shutil.rmtree(results, ignore_errors=True)
                note.unlink(missing_ok=True)


def _remove_left(note: Path) -> None:
    """The folder of a Ray whose driver was killed."""
    if note.exists():
        left = Path(note.read_text())
        if left.name.startswith("akd-") and left.parent == Path(tempfile.gettempdir()):
            shutil.rmtree(left, ignore_errors=True)


def _begin(cpus: int | None, folder: Path) -> None:
    """Start a Ray of our own. Raises :class:`RayDied` where it does not come up."""
    import ray

    try:
        with ray_private.patient():
            where = {"include_dashboard": False, "_temp_dir": str(folder)}
            ray.init("local", num_cpus=cpus, **where, **QUIET)
    # Ray raises nothing more special when one of its processes dies or is slow
    except Exception as e:
        raise RayDied(f"Ray did not start ({str(e).strip().splitlines()[0]})") from None


def _join(address: str) -> None:
    """Connect to a cluster; its workers get our own settings. Raises :class:`UserError` where there
    is none.
    """
    import ray

    own = {key: value for key, value in os.environ.items() if key.startswith("AUTOKD_")}
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # Ray itself would wait for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(address=address, runtime_env={"env_vars": own}, **QUIET)
    except (OSError, RuntimeError, ValueError) as e:
        raise UserError(
            f"--ray-address {address}: no Ray cluster answers there:"
            f" {str(e).strip().splitlines()[0]}"
        ) from None


def nodes(address: str) -> list[dict[str, float]]:
    """The resources of each living node of a cluster. Raises :class:`UserError` where it cannot be
    reached.
    """
    import ray

    hush()
    _join(address)
    try:
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def hush() -> None:
    """A worker's death is told by the study, in a line; Ray would show a traceback."""
    warnings.filterwarnings("ignore", module="ray")
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
