"""Ray's life under a search: nobody else's, on this machine alone, and over when we are."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from autokd.engine import processes, ray_private
from autokd.engine.session import RayDied, ray_session
from autokd.engine.signals import Interruptible
from tests.helpers.commands import PATIENCE, RECIPE, SPACE, python

LOOK = """
    import json, os, sys
    from pathlib import Path
    import psutil
    from autokd.engine.session import ray_session

    with ray_session(1, None, 0.0, Path.cwd()):
        import ray

        @ray.remote
        def nice():
            return os.nice(0)

        niceness = ray.get(nice.remote())
        family = psutil.Process().children(recursive=True)
        sockets = [
            (p.name(), c.laddr.ip)
            for p in [psutil.Process(), *family]
            for c in p.net_connections("inet")
            if c.status == psutil.CONN_LISTEN
        ]
        servers = {p.name(): p.environ() for p in family if p.name() in ("gcs_server", "raylet")}
        scratch = Path(Path("scratch").read_text())
        print(json.dumps({
            "sockets": sockets,
            "niceness": niceness - os.nice(0),
            "modes": {n: e.get("RAY_AUTH_MODE") for n, e in servers.items()},
            "tokens": [e.get("RAY_AUTH_TOKEN") for e in servers.values()],
            "scratch": [oct(scratch.stat().st_mode & 0o777), len(list(scratch.iterdir()))],
        }))
    print(json.dumps({
        "left": [p.name() for p in psutil.Process().children(recursive=True)],
        "scratch": scratch.exists() or Path("scratch").exists(),
        "mode": os.environ["RAY_AUTH_MODE"],
        "token": os.environ.get("RAY_AUTH_TOKEN"),
    }))
"""


@pytest.mark.long
def test_a_ray_of_our_own_is_on_loopback_asks_for_a_token_and_gives_its_workers_their_turn(
    tmp_path: Path,
) -> None:
    done = python(LOOK, cwd=tmp_path, RAY_AUTH_MODE="disabled", RAY_ADDRESS="127.0.0.1:1")
    inside, after = map(json.loads, done.stdout.splitlines())
    assert {name for name, _ in inside["sockets"]} >= {"gcs_server", "raylet"}
    for name, ip in inside["sockets"]:
        assert ip in {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, (name, ip)
    assert inside["niceness"] == 0
    assert inside["modes"] == {"gcs_server": "token", "raylet": "token"}
    assert len(set(inside["tokens"])) == 1 and len(inside["tokens"][0]) == 64
    assert inside["scratch"][0] == "0o700" and inside["scratch"][1] > 0
    assert after == {"left": [], "scratch": False, "mode": "disabled", "token": None}


def test_a_ray_that_does_not_start_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    from ray._private import utils

    started: list[subprocess.Popen] = []

    def init(*_: Any, **__: Any) -> None:
        utils.set_sigterm_handler(lambda number, frame: None)  # as Ray's own does
        # a process with one of its own, as a raylet has its agents
        shell = ["sh", "-c", "sleep 1000 & sleep 1000"]
        started.append(subprocess.Popen(shell))
        while len(psutil.Process(started[0].pid).children()) < 2:
            time.sleep(0.01)
        raise RuntimeError("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", init)
    mine, handler = subprocess.Popen(["sleep", "1000"]), signal.getsignal(signal.SIGTERM)
    try:
        with (
            pytest.raises(RayDied, match="did not start"),
            ray_session(1, None, 0.0, tmp_path),
        ):
            pytest.fail("it did not start")
        assert started[0].wait(10) == -signal.SIGKILL
        ours = [p for p in psutil.Process().children(recursive=True) if p.pid != mine.pid]
        assert not [p for p in ours if p.status() != psutil.STATUS_ZOMBIE and "sleep" in p.name()]
        assert mine.poll() is None and signal.getsignal(signal.SIGTERM) is handler
        assert not (tmp_path / "scratch").exists()
    finally:
        mine.kill()
        mine.wait()


def test_a_ray_that_is_slow_to_start_is_waited_for_while_its_raylet_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray itself asks no longer than 30 seconds: a machine with much to do needs more."""
    from ray._private import services

    asked, clock, alive = [], iter(range(0, 10**6, 20)), {"raylet"}

    def get_node(*node: str) -> dict[str, str]:
        asked.append(node)
        if len(asked) < 10:
            raise RuntimeError("no node info")
        return {"node": node[1]}

    monkeypatch.setattr(services, "get_node", get_node)
    monkeypatch.setattr(ray_private.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(ray_private.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(processes, "names", lambda: alive)
    with ray_private.patient():
        assert services.get_node("127.0.0.1:1", "n") == {"node": "n"} and len(asked) == 10
        asked.clear()
        alive.clear()
        with pytest.raises(RuntimeError, match="no node info"):
            services.get_node("127.0.0.1:1", "n")
        assert len(asked) == 1
    assert services.get_node is get_node


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_while_it_is_held(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    bridge: Any = SimpleNamespace(error=None, busy=False)
    before = signal.getsignal(number)
    with Interruptible(bridge) as signals:
        with signals.hold():
            os.kill(os.getpid(), number)
            time.sleep(0.05)
        assert isinstance(bridge.error, KeyboardInterrupt)
        assert "as soon as Ray answers" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(1.0)
    assert signal.getsignal(number) is before


@contextlib.contextmanager
def searching(where: Path) -> Iterator[subprocess.Popen[str]]:
    (where / "base.yaml").write_text(RECIPE)
    (where / "space.yaml").write_text(SPACE)
    process = subprocess.Popen(
        [sys.executable, "-m", "autokd", "search", "--space", "space.yaml", "--name", "s"],
        cwd=where,
        env=os.environ | {"AUTOKD_CACHE": str(where / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.long
def test_sigterm_while_ray_starts_ends_the_search_in_order(tmp_path: Path) -> None:
    with searching(tmp_path) as process:
        family: list[psutil.Process] = []
        while not any(p.name() == "gcs_server" for p in family):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
            family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert out == "" and "--resume s" in err and "Traceback" not in err and "***" not in err
    _, alive = psutil.wait_procs(family, 30)
    assert not alive and not (tmp_path / "mlruns/studies/s/scratch").exists()
