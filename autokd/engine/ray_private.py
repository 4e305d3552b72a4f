"""What we use of Ray that Ray does not promise, and why. Seen in Ray 2.60.0; look here first when a
newer one behaves otherwise.
"""

from __future__ import annotations

import contextlib
from typing import Any


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
