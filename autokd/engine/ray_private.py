"""What we use of Ray that Ray does not promise, and why. Seen in Ray 2.60.0; look here first when a
newer one behaves otherwise.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import time
from collections.abc import Iterator
from typing import Any

from autokd.engine import processes
from autokd.errors import UserError

# What a Ray of our own, and all that it starts, reads from the environment.
OWN = {
    "RAY_AUTH_MODE": "token",
    # Ray's default is 15: on a machine that others use too, its workers would get no turn.
    "RAY_worker_niceness": "0",
    # Ray listens on all interfaces unless its node's address is 127.0.0.1, and it takes no such
    # address from `ray.init` but where it believes that there are no clusters.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray's own 100 and 60 seconds are too few where many programs share the CPUs: its agents and
    # workers each import for seconds of CPU time before they answer.
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
}
START_SECONDS = 300.0  # that a Ray of our own may take to start


@contextlib.contextmanager
def of_our_own() -> Iterator[None]:
    """A Ray that is started and ended inside listens on loopback alone, obeys those alone who have
    a token that is made for it, and gives its workers the driver's priority; whatever the
    environment says. Raises :class:`UserError` for a Ray that cannot.

    Ray reads its environment when it is imported, hence what is set again here (``ray_constants``,
    ``ray._raylet.Config``, its token's cache).
    """
    from ray._private import ray_constants

    raylet: Any = importlib.import_module("ray._raylet")
    if not hasattr(raylet, "AuthenticationTokenLoader"):
        raise UserError("this Ray cannot ask for a token, and would run anybody's code: uv sync")
    own = OWN | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = {name: os.environ.get(name) for name in (*own, "RAY_AUTH_TOKEN_PATH")}
    clusters = ray_constants.ENABLE_RAY_CLUSTER

    def read() -> None:
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()

    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    os.environ.update(own)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        read()
        if raylet.get_authentication_mode() != raylet.AuthenticationMode.TOKEN:
            raise UserError("this Ray does not ask for a token, and would run anybody's code")
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        read()


@contextlib.contextmanager
def without_its_signal_handler() -> Iterator[None]:
    """Ray, begun or joined inside, leaves SIGTERM to us: its own handler would exit where it stands
    (``ray._private.utils.set_sigterm_handler``).
    """
    from ray._private import utils

    theirs = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """A Ray that is begun inside may take :data:`START_SECONDS` until its raylet answers, while
    that lives. Ray itself gives up after 30, as a constant (``ray._private.node.Node``).
    """
    from ray._private import services

    asked = services.get_node

    def ask(*node: str) -> dict[str, Any]:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return asked(*node)
            except RuntimeError:  # it has not registered yet
                if time.monotonic() > deadline or "raylet" not in processes.names():
                    raise
            time.sleep(0.1)

    services.get_node = ask
    try:
        yield
    finally:
        services.get_node = asked


def keep_idle_workers(tune_controller: Any, trial: Any, jobs: int) -> None:
    """Let as many idle workers live as there are jobs.

    Ray keeps as many as it has trials waiting, and we let none wait; so it would drop all but one
    and, importing torch anew being slower than a short trial, never have a second one again. Tune
    has no setting for it: ``TuneController._actor_cache``.
    """
    tune_controller._actor_cache.increase_max(trial.placement_group_factory, by=jobs)


def dead_processes() -> set[str]:
    """Which of Ray's own processes are dead: ``raylet``, ``gcs_server``.

    Ray's public calls only hang, or say nothing, when its processes are gone. ``_global_node``
    knows those that this process started; where Ray was joined there are none, and our own node is
    looked for among the living (``global_worker.current_node_id``).
    """
    import ray
    from ray._private import worker

    mine = worker._global_node
    if mine is None:
        return set()
    dead = {kind for kind, _ in mine.dead_processes()} & {"raylet", "gcs_server"}
    if not dead:
        with contextlib.suppress(Exception):  # not answered for now
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
            dead = set() if worker.global_worker.current_node_id.hex() in alive else {"raylet"}
    return dead
