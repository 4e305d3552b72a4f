"""MLflow servers that die, come back or do not answer."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from autokd.errors import UserError
from autokd.tracking.follower import Follower, sync
from tests.helpers.synthetic import Story
from tests.tracking.mlflow_store import SMALL, client, effective, runs, store


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen]:
    """A real MLflow server over SQLite on loopback; it is killed, as by a crash."""
    where = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        *where,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    own = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    process = subprocess.Popen(
        command,
        env=own,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 90
        while True:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer,
            ):
                if answer.status == 200:
                    break
            assert process.poll() is None and time.monotonic() < until, "the server does not start"
            time.sleep(0.1)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.mark.long
def test_a_server_that_dies_and_comes_back(written: Path, empty: Path, tmp_path: Path) -> None:
    """The search goes on at once, the thread catches up by itself, what is left `sync` completes;
    the same content as at once.
    """
    (tmp_path / "server").mkdir()
    shutil.copy(empty, tmp_path / "server" / "server.db")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    story = Story(tmp_path / "studies" / "done", **SMALL)
    with server(tmp_path / "server", port):
        background = Follower(uri, tmp_path, story.book)
        story.search(13)
        until = time.monotonic() + 60
        while background.wake.is_set() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)  # it is in the middle of writing
    began = time.monotonic()
    story.confirm()
    story.close()
    assert time.monotonic() - began < 5  # nobody waited for a dead server
    assert background.close(3.0) != "", "it cannot have written this"
    story.book.close()
    with pytest.raises(UserError, match="MLflow at http"):
        sync(tmp_path, uri, ["done"])
    with server(tmp_path / "server", port):
        sync(tmp_path, uri, ["done"])
        ours = effective(uri, "done")
        sync(tmp_path, uri, ["done"])
        assert effective(uri, "done") == ours
        assert "recipe.yaml" in {
            f.path for f in client(uri).list_artifacts(runs(uri, "done")["3"].info.run_id)
        }
        (version,) = client(uri).search_model_versions("name = 'autokd-done'")
        (output,) = client(uri).get_run(version.run_id).outputs.model_outputs
        assert "MLmodel" in {
            f.path.split("/")[-1] for f in client(uri).list_logged_model_artifacts(output.model_id)
        }
    theirs = effective(store(written), "done")
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert ours[key] == theirs[key], key


@pytest.mark.parametrize("kind", ["dead", "silent"])
def test_a_server_that_does_not_answer_neither_blocks_nor_fails(
    ready: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    story = Story(ready / "studies" / "s", **SMALL)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "silent":
            listener.listen()
        background = Follower(f"http://127.0.0.1:{listener.getsockname()[1]}", ready, story.book)
        story.search(3)
        story.confirm()
        story.close()
        began = time.monotonic()
        assert background.close(0.5) == "still writing" or kind == "dead"
        assert time.monotonic() - began < 5
        background.thread.join(60)
        assert background.trouble and not background.thread.is_alive()
    story.book.close()
    sync(ready, store(ready), ["s"])
    assert runs(store(ready), "s")["search"].info.status == "FINISHED"
