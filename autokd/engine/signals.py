"""How a search is stopped from without: Ctrl-C, SIGTERM, or the death of Ray itself."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from autokd.engine.bridge import Bridge
from autokd.engine.ray_private import dead_processes
from autokd.engine.session import RayDied


@contextlib.contextmanager
def interruptible(bridge: Bridge) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the study at once and in order: what was reported is in the ledger,
    the rest is done again.

    Ray's own handler would ask for patience; ours makes the searcher finish and raises
    KeyboardInterrupt afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        bridge.error = bridge.error or KeyboardInterrupt()
        if not bridge.busy:
            raise KeyboardInterrupt

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    old = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(bridge, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join(10.0)  # asking Ray anything while it shuts down would end this process
        for s, handler in old.items():
            signal.signal(s, handler)


def _watch(bridge: Bridge, over: threading.Event) -> None:
    """Interrupt the driver when Ray dies under it: it would wait for workers that nobody starts any
    more.
    """
    while not over.wait(2.0):
        dead = dead_processes()
        if dead and not over.is_set():
            bridge.error = bridge.error or RayDied(f"Ray died ({' and '.join(sorted(dead))})")
            os.kill(os.getpid(), signal.SIGINT)
            over.wait(20.0)  # and again, should Ray have swallowed it
