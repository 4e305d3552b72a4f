"""MLflow's UI on the studies' store."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from autokd.errors import UserError
from autokd.files import runs_root

# Ends the server and all that it starts when whoever started this is gone, however that ended: its
# standard input then comes to its end. It outlives SIGTERM, so that the server ends in order.
WATCHDOG = """
import os, signal, subprocess, sys, threading

def watch():
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)

server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=watch, daemon=True).start()
sys.exit(server.wait() & 255)
"""


def ui(port: int, uri: str | None) -> int:
    """MLflow's UI in the foreground, on loopback, until Ctrl-C; no process of it stays behind."""
    from autokd.tracking.store import default_uri

    uri = uri or default_uri(runs_root())
    if uri.startswith(("http://", "https://")):
        print(f"The MLflow store is a server: open {uri} in a browser.", file=sys.stderr)
        return 0
    file = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not file.exists():
        raise UserError(
            f"there is no MLflow store at {file} yet; run a search first, or `autokd sync`"
        )
    port = port or _free_port()
    own = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    where = [
        "--backend-store-uri",
        uri,
        "--default-artifact-root",
        (runs_root() / "artifacts").as_uri(),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command = [sys.executable, "-m", "mlflow", "server", *where, "--workers", "1"]
    command = [sys.executable, "-c", WATCHDOG, *command]
    with tempfile.TemporaryFile() as said:
        # A session of its own: Ctrl-C reaches us alone, and its whole group ends with us.
        server = subprocess.Popen(
            command,
            env=own,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        previous = {
            number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            if _answers(server, port):
                print(_directions(runs_root(), port), file=sys.stderr, flush=True)
                server.wait()
            said.seek(0)
            reason = said.read().decode("utf-8", "replace").strip().splitlines()[-1:] or [
                f"exit code {server.returncode}"
            ]
            raise UserError(f"MLflow's UI on port {port} ended: {reason[0]}")
        except KeyboardInterrupt:
            return 0
        finally:
            _end(server)
            for number, handler in previous.items():
                signal.signal(number, handler)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _answers(server: subprocess.Popen, port: int) -> bool:
    """Wait until the server does; False when it has ended instead."""
    while server.poll() is None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer,
        ):
            if answer.status == 200:
                return True
        time.sleep(0.2)
    return False


def _end(server: subprocess.Popen) -> None:
    """The server and its workers: asked first, then killed."""
    for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(seconds)
    # The first signal may have ended the parent alone; the second is for whoever is left of its
    # group.


def _directions(root: Path, port: int) -> str:
    """Which experiment is which study, and what to look at there."""
    from autokd.space import frozen_search
    from autokd.study import ledger
    from autokd.tracking import view

    at = f"http://127.0.0.1:{port}"
    lines = [f"MLflow is on {at} (Ctrl-C ends it). One experiment a study:"]
    with urllib.request.urlopen(
        urllib.request.Request(
            f"{at}/api/2.0/mlflow/experiments/search",
            data=json.dumps({"max_results": 1000}).encode(),
            headers={"Content-Type": "application/json"},
        ),
        timeout=10,
    ) as answer:
        experiments = {
            e["name"]: e["experiment_id"] for e in json.load(answer).get("experiments", [])
        }
    shown = [name for name in ledger.names(root) if name in experiments]
    for name in shown[-10:]:
        try:
            events, _ = ledger.read(ledger.folder(root, name))
        except UserError as e:
            lines.append(f"  {e}")
            continue
        table = ledger.tabulate(events[:200])  # its first trials tell what is varied
        search = frozen_search(table.created["frozen"])
        shared = view.columns(search, view.paths(t.varied for t in table.trials.values()))
        lines += [
            f"  {name}: {view.link(at, experiments[name])}",
            f"    columns: {', '.join(column.split('`')[1] for column in shared)}",
        ]
    lines += [f"  and {len(shown) - 10} older ones"] if len(shown) > 10 else []
    lines += (
        [
            "The run named as the study is the parent: its children are the trials. Tick some and"
            " choose Compare."
        ]
        if shown
        else ["  none yet"]
    )
    return "\n".join(lines)
