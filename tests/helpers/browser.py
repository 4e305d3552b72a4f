"""Headless Chromium, driven through its DevTools protocol: what a page asked for, what it
complained about, how it looks.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
    "--no-default-browser-check",
    "--metrics-recording-only",
    "--disable-domain-reliability",
    "--disable-features=Translate,OptimizationHints",
)


class Page:
    """The one page of a browser. ``requests`` and ``complaints`` are of the address opened last."""

    def __init__(self, socket: Any):
        self.socket = socket
        self.number = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        until = time.monotonic() + 60
        while True:
            message = json.loads(self.socket.recv(timeout=max(0.1, until - time.monotonic())))
            if message.get("id") == self.number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._heard(message)

    def _heard(self, message: dict[str, Any]) -> None:
        kind, p = message.get("method"), message.get("params", {})
        if kind == "Network.requestWillBeSent":
            self.requests.append(p["request"]["url"])
        elif kind == "Runtime.exceptionThrown":
            details = p["exceptionDetails"]
            self.complaints.append(
                details.get("exception", {}).get("description") or details["text"]
            )
        elif kind == "Runtime.consoleAPICalled" and p["type"] in {"error", "warning", "assert"}:
            self.complaints.append(
                " ".join(str(a.get("value", a.get("description"))) for a in p["args"])
            )
        elif kind == "Log.entryAdded" and p["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{p['entry']['text']} {p['entry'].get('url', '')}".strip())

    def open(self, url: str, *, width: int = 1280, height: int = 900, phone: bool = False) -> None:
        self.requests.clear()
        self.complaints.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        out = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in out, out["exceptionDetails"]
        return out["result"].get("value")

    def wait(self, expression: str, seconds: float = 30.0) -> Any:
        """Until the expression is true. Fails with the page's complaints."""
        until = time.monotonic() + seconds
        while True:
            if value := self.evaluate(
                f"(() => {{ try {{ return {expression} }} catch (e) {{ return false }} }})()"
            ):
                return value
            if time.monotonic() > until:
                text = self.evaluate("document.body ? document.body.innerText.slice(0, 3000) : ''")
                raise AssertionError(
                    f"never true: {expression}\ncomplaints: {self.complaints}\npage: {text}"
                )
            time.sleep(0.1)

    def screenshot(self, path: Path, *, whole: bool = False, height: int = 0) -> Path:
        """``whole``: the page from top to bottom, or to ``height`` pixels."""
        clip = {}
        if whole or height:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {
                "clip": {
                    "x": 0,
                    "y": 0,
                    "width": size["width"],
                    "height": min(size["height"], height or 1e9),
                    "scale": 1,
                }
            }
        data = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=bool(clip), **clip
        )["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))
        return path

    def pdf(self, path: Path) -> Path:
        path.write_bytes(
            base64.b64decode(
                self.call("Page.printToPDF", printBackground=False, preferCSSPageSize=False)["data"]
            )
        )
        return path


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """A browser with an empty profile. Skips the test where there is none."""
    connect = pytest.importorskip(
        "websockets.sync.client", reason="websockets is not installed"
    ).connect
    if PROGRAM is None:
        pytest.skip("Chromium is not installed")
    profile = tempfile.mkdtemp(prefix="akd-chromium-")
    process = subprocess.Popen(
        [PROGRAM, *QUIET, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = Path(profile) / "DevToolsActivePort"
        until = time.monotonic() + 30
        while not (port_file.exists() and port_file.read_text().count("\n")):
            assert process.poll() is None and time.monotonic() < until, "Chromium does not start"
            time.sleep(0.05)
        port = port_file.read_text().split()[0]
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
                pages = [p for p in json.load(answer) if p["type"] == "page"]
            if pages:
                break
            time.sleep(0.05)
        with connect(
            pages[0]["webSocketDebuggerUrl"], max_size=None, open_timeout=20, proxy=None
        ) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        shutil.rmtree(profile, ignore_errors=True)


def smaller(file: Path) -> None:
    """256 colours do for a screenshot; at most 300 kB go into the repository."""
    from PIL import Image

    with Image.open(file) as picture:
        picture.convert("RGB").quantize(256).save(file, optimize=True)
    assert file.stat().st_size < 300_000
