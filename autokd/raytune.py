"""Ray Tune runs what the study decides: a searcher that hands out its jobs, a scheduler that passes on its verdicts.

A trial that pauses at a rung ends as a Ray trial, and comes back as a new one that starts from its checkpoint. So Ray holds no
state that the ledger does not: nothing of Ray's is restored after a crash, and no paused trial counts against concurrency.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Read by Ray when it is imported.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0", TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_ENABLE_UV_RUN_RUNTIME_ENV="0", RAY_AIR_NEW_OUTPUT="0",
    RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS="0", TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S="0", RAY_DEDUP_LOGS="1",
    TUNE_GLOBAL_CHECKPOINT_S="3600", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
)  # fmt: skip

from autokd import trial as worker  # noqa: E402
from autokd.document import UserError  # noqa: E402
from autokd.ledger import ENDED, Trial  # noqa: E402
from autokd.study import DONE, Job, Study  # noqa: E402

MOST_RAYS = 3  # Rays that die under a search before it gives up


def run(study: Study, *, options: dict[str, Any], address: str | None = None, gpus: float = 0.0) -> None:
    """Run the study to its end. ``options``: cache, device. Raises KeyboardInterrupt when stopped, UserError when it cannot go on.

    ``gpus``: GPUs of one trial; without one a trial takes a CPU. Where Ray itself dies, it is started again, a few times.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(study.jobs)
    _hush()
    for deaths in itertools.count(1):
        try:
            _run(bridge := Bridge(study, options), address, gpus)
            for number in study.trials:  # those that were paused to the end
                bridge.tidy(number)
            return
        except RayDied as e:
            for number in list(study.running):
                study.lost(number, str(e))
            if deaths == MOST_RAYS:
                raise UserError(f"{e}, {deaths} times; is there enough memory? What was finished is kept: --resume {study.book.path.name}") from None


class RayDied(Exception):
    """Ray's own processes are gone, not just a worker."""


def _run(bridge: Bridge, address: str | None, gpus: float) -> None:
    study = bridge.study
    from ray import tune
    from ray.tune import CheckpointConfig, RunConfig, TuneConfig, Tuner
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler
    from ray.tune.search import Searcher

    class Suggest(Searcher):
        """Hands out the study's next job."""

        def suggest(self, trial_id: str) -> Any:
            job = bridge.next(trial_id)
            return Searcher.FINISHED if job is DONE else job

        def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
            bridge.ended(trial_id, error)

        def save(self, checkpoint_path: str) -> None: ...

        def restore(self, checkpoint_path: str) -> None: ...

    class Verdicts(FIFOScheduler):
        """Passes each report on, and the study's verdict back."""

        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            # Ray keeps as many idle workers as it has trials waiting, and we let none wait; so it would drop all but one
            # and, importing torch anew being slower than a short trial, never have a second one again.
            cache, key = tune_controller._actor_cache, trial.placement_group_factory
            if key not in self.__dict__.setdefault("kept", set()):
                self.__dict__["kept"].add(key)
                cache.increase_max(key, by=bridge.study.jobs)
            super().on_trial_add(tune_controller, trial)

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
            return TrialScheduler.CONTINUE if bridge.reported(result["report"]) else TrialScheduler.STOP

        def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict) -> None:
            bridge.reported(result["report"])

    resources = {"gpu": gpus, "cpu": 0} if gpus else {"cpu": 1}
    with ray_session(study.jobs, address, gpus, study.book.path) as results, interruptible(bridge):
        tuner = Tuner(
            tune.with_resources(worker.Worker, resources),
            tune_config=TuneConfig(
                search_alg=Suggest(metric="report", mode="max"), scheduler=Verdicts(), num_samples=-1, reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=RunConfig(name="study", storage_path=str(results), verbose=0, checkpoint_config=CheckpointConfig(checkpoint_at_end=False)),
        )  # fmt: skip
        try:
            tuner.fit()
        except KeyboardInterrupt:
            raise bridge.error or KeyboardInterrupt() from None
    if bridge.error is not None:
        raise bridge.error


class Bridge:
    """Between Ray's trials, which are stretches, and the study's."""

    def __init__(self, study: Study, options: dict[str, Any]):
        self.study, self.options, self.folder = study, options, study.book.path
        self.jobs: dict[str, Job] = {}
        self.error: BaseException | None = None
        self.busy = False
        self.seen: set[str] = set()

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """A signal waits until the study has said what it did: else the sampler might have drawn what no event tells of."""
        self.busy = True
        try:
            yield
        except Exception as e:  # Ray would log it and go on
            self.error = self.error or e
        finally:
            self.busy = False
        if isinstance(self.error, KeyboardInterrupt | RayDied):
            raise KeyboardInterrupt

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ()  # Ray pickles its searcher for a restore of its own, which never happens here

    def next(self, ray_id: str) -> Any:
        if self.error is None:
            with self.undisturbed():
                job = self.study.next_job()
                if not isinstance(job, Job):
                    return job
                self.jobs[ray_id] = job
                if job.trial >= 0:
                    write_recipe(self.folder, self.study.trials[job.trial])
                return worker.config(self.folder, job, self.options)
        return DONE

    def reported(self, text: str) -> bool:
        """Tell the study, once. Returns whether the trial goes on: none does once there is an error, or it would be told hours later."""
        if text in self.seen or self.error is not None:
            return self.error is None
        self.seen = {text} | (self.seen if len(self.seen) < 64 else set())
        r = json.loads(text)
        with self.undisturbed():
            if r["role"] == "wake":
                self.study.woken(r["trial"])  # whatever came of it: a trial will tell
            elif r["role"] == "teacher":
                known = {k: r[k] for k in ("metrics", "resolution", "assistant", "facts", "given", "reason") if k in r}
                self.study.taught(r["trial"], r["outcome"], seconds=r.get("took", r["seconds"]), **known)
            elif r["role"] == "test":
                if r["outcome"] != "tested":
                    raise UserError(f"the test pictures could not be read: {r.get('reason')}")
                self.study.tested(r["results"])
            else:
                return self._trial(r)
        return False

    def _trial(self, r: dict[str, Any]) -> bool:
        number, attempt, outcome = r["trial"], r["attempt"], r["outcome"]
        if "metrics" in r:
            goes_on = self.study.report(number, attempt, r["epoch"], r["metrics"], r.get("checkpoint"), r.get("seconds"))
            if r.get("checkpoint"):
                self.tidy(number)
            if not goes_on or outcome == "running":
                return goes_on
        self.study.finish(number, attempt, outcome, reason=r.get("reason", ""), student=r.get("student", ""), facts=r.get("facts"))
        self.tidy(number)
        return False

    def tidy(self, number: int) -> None:
        """Remove a trial's checkpoints but the one that the ledger names, and that too when the trial is over."""
        trial = self.study.trials[number]
        keep = None if trial.state in ENDED else trial.checkpoint
        for file in (self.folder / "trials" / str(number)).glob("*/checkpoint*.pt"):
            if str(file.relative_to(self.folder)) != keep:
                file.unlink(missing_ok=True)

    def ended(self, ray_id: str, error: bool) -> None:
        job = self.jobs.pop(ray_id, None)
        if job is None or job.trial not in self.study.running:
            return
        if error:
            with self.undisturbed():
                self.study.lost(job.trial, "the worker process died")


def write_recipe(folder: Path, trial: Trial) -> None:
    from autokd.document import dump, write_atomically

    path = folder / "trials" / str(trial.number) / str(trial.attempt) / "recipe.yaml"
    write_atomically(path, dump(trial.recipe))


@contextlib.contextmanager
def interruptible(bridge: Bridge) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the study at once and in order: what was reported is in the ledger, the rest is done again.

    Ray's own handler would ask for patience; ours makes the searcher finish and raises KeyboardInterrupt afterwards.
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
    """Interrupt the driver when Ray dies under it: it would wait for workers that nobody starts any more."""
    import ray
    from ray._private import worker

    while not over.wait(2.0):
        mine = worker._global_node
        dead = {kind for kind, _ in mine.dead_processes()} & {"raylet", "gcs_server"} if mine is not None else set()
        if not dead and mine is not None:
            with contextlib.suppress(Exception):  # not answered for now
                alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
                dead = set() if worker.global_worker.current_node_id.hex() in alive else {"raylet"}
        if dead and not over.is_set():
            bridge.error = bridge.error or RayDied(f"Ray died ({' and '.join(sorted(dead))})")
            os.kill(os.getpid(), signal.SIGINT)
            over.wait(20.0)  # and again, should Ray have swallowed it


@contextlib.contextmanager
def ray_session(jobs: int, address: str | None, gpus: float, study: Path) -> Iterator[Path]:
    """A Ray of our own, or a place in the cluster at ``address``; gives a folder for Ray's own results, which is gone afterwards.

    The file ``scratch`` in the study's folder names our Ray's folder while it exists, so that the next driver removes what a killed one left.
    """
    import ray

    os.umask(0o077)
    note = study / "scratch"
    if note.exists():
        left = Path(note.read_text())
        if left.name.startswith("akd-") and left.parent == Path(tempfile.gettempdir()):
            shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix="akd-"))  # short: Ray's sockets lie below it, and a socket's name has at most 107 bytes
    results = study / "ray" if address else scratch / "results"  # on a cluster: where all nodes can write
    note.write_text(str(scratch))
    started = not ray.is_initialized()
    try:
        if started and address:
            _join(address)
        elif started:
            cpus = None if gpus else jobs
            try:
                ray.init(num_cpus=cpus, include_dashboard=False, _temp_dir=str(scratch), **QUIET)
            except Exception as e:  # Ray raises nothing more special when one of its processes dies or is slow
                raise RayDied(f"Ray did not start ({str(e).strip().splitlines()[0]})") from None
        yield results
    finally:
        if started:
            ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(results, ignore_errors=True)
        note.unlink(missing_ok=True)


def _join(address: str) -> None:
    """Connect to a cluster; its workers get our own settings. Raises :class:`UserError` where there is none."""
    import ray

    own = {key: value for key, value in os.environ.items() if key.startswith("AUTOKD_")}
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # Ray itself would wait for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(address=address, runtime_env={"env_vars": own}, **QUIET)
    except (OSError, RuntimeError, ValueError) as e:
        raise UserError(f"--ray-address {address}: no Ray cluster answers there: {str(e).strip().splitlines()[0]}") from None


def nodes(address: str) -> list[dict[str, float]]:
    """The resources of each living node of a cluster. Raises :class:`UserError` where it cannot be reached."""
    import ray

    _hush()
    _join(address)
    try:
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}


def _hush() -> None:
    """A worker's death is told by the study, in a line; Ray would show a traceback."""
    warnings.filterwarnings("ignore", module="ray")
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
