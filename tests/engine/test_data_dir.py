"""--data-dir on a Ray cluster that inherits nothing of the driver. Slow: run by hand."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.commands import autokd


@pytest.mark.slow
def test_workers_of_a_cluster_see_the_data_dir(pets: Path) -> None:
    """They inherit nothing of the driver's environment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("AUTOKD_")} | {
        "RAY_AUTH_MODE": "disabled"
    }
    with tempfile.TemporaryDirectory(
        prefix="akd-", ignore_cleanup_errors=True
    ) as scratch:  # short: Ray's sockets lie below it
        start = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
            f"--port={port}",
            "--num-cpus=1",
        ]
        ray = subprocess.Popen(
            [*start, "--include-dashboard=false", f"--temp-dir={scratch}"],
            env=plain,
            stdout=subprocess.DEVNULL,
        )
        try:
            while ray.poll() is None and not answers(port):
                time.sleep(0.2)
            how = [
                "--name",
                "one",
                "--jobs",
                "1",
                "--data-dir",
                "../sets",
                "--ray-address",
                f"127.0.0.1:{port}",
                "--json",
            ]
            found = json.loads(
                autokd(
                    "search", "--space", "space.yaml", *how, cwd=pets, RAY_AUTH_MODE="disabled"
                ).stdout
            )
        finally:
            for process in [*psutil.Process(ray.pid).children(recursive=True), ray]:
                process.kill()
            ray.wait(30)
    assert found["states"] == {"complete": 2}


def answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0
