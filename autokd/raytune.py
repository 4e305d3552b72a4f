"""Ray Tune runs what the study decides: a searcher that hands out its jobs, a scheduler that passes on its verdicts.

A trial that pauses at a rung ends as a Ray trial, and comes back as a new one that starts from its checkpoint. So Ray holds no
state that the ledger does not: nothing of Ray's is restored after a crash, and no paused trial counts against concurrency.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
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
from autokd.ledger import Trial  # noqa: E402
from autokd.study import DONE, TEST, Job, Study  # noqa: E402


def run(study: Study, *, options: dict[str, Any], address: str | None = None, gpus: float = 0.0) -> None:
    """Run the study to its end. ``options``: cache, device. Raises KeyboardInterrupt when stopped, UserError when it cannot go on.

    ``gpus``: GPUs of one trial; without one a trial takes a CPU.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(study.jobs)
    warnings.filterwarnings("ignore", module="ray")
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from ray import tune
    from ray.tune import CheckpointConfig, RunConfig, TuneConfig, Tuner
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler
    from ray.tune.search import Searcher

    bridge = Bridge(study, options)

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
    with ray_session(study.jobs, address, gpus, study.book.path / "scratch") as scratch, interruptible(bridge):
        tuner = Tuner(
            tune.with_resources(worker.Worker, resources),
            tune_config=TuneConfig(
                search_alg=Suggest(metric="report", mode="max"), scheduler=Verdicts(), num_samples=-1, reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=RunConfig(name="study", storage_path=str(scratch), verbose=0, checkpoint_config=CheckpointConfig(checkpoint_at_end=False)),
        )  # fmt: skip
        tuner.fit()
    if bridge.error is not None:
        raise bridge.error


class Bridge:
    """Between Ray's trials, which are stretches, and the study's."""

    def __init__(self, study: Study, options: dict[str, Any]):
        self.study, self.options, self.folder = study, options, study.book.path
        self.jobs: dict[str, Job] = {}
        self.error: BaseException | None = None
        self.seen: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ()  # Ray pickles its searcher for a restore of its own, which never happens here

    def next(self, ray_id: str) -> Any:
        if self.error is not None:
            return DONE
        try:
            job = self.study.next_job()
        except Exception as e:  # Ray would log it and go on
            self.error = e
            return DONE
        if not isinstance(job, Job):
            return job
        self.jobs[ray_id] = job
        if job.trial != TEST:
            write_recipe(self.folder, self.study.trials[job.trial])
        return worker.config(self.folder, job, self.options)

    def reported(self, text: str) -> bool:
        """Tell the study, once. Returns whether the trial goes on."""
        if text in self.seen:
            return True
        self.seen = {text} | (self.seen if len(self.seen) < 64 else set())
        r = json.loads(text)
        number, attempt, outcome = r["trial"], r["attempt"], r["outcome"]
        try:
            if outcome == "tested":
                self.study.tested(r["results"])
                return False
            if "metrics" in r and not self.study.report(number, attempt, r["epoch"], r["metrics"], r.get("checkpoint"), r.get("seconds")):
                return False
            if outcome == "running":
                return True
            if number == TEST:
                raise UserError(f"the test pictures could not be read: {r.get('reason')}")
            self.study.finish(number, attempt, outcome, reason=r.get("reason", ""), student=r.get("student", ""), facts=r.get("facts"))
        except Exception as e:
            self.error = e
        return False

    def ended(self, ray_id: str, error: bool) -> None:
        job = self.jobs.pop(ray_id, None)
        if job is None or job.trial not in self.study.running:
            return
        if error:
            try:
                self.study.lost(job.trial, "the worker process died")
            except Exception as e:
                self.error = e


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
        bridge.error = KeyboardInterrupt()
        raise KeyboardInterrupt

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    old = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for s, handler in old.items():
            signal.signal(s, handler)


@contextlib.contextmanager
def ray_session(jobs: int, address: str | None, gpus: float, note: Path) -> Iterator[Path]:
    """A Ray of our own, or a place in the cluster at ``address``; a scratch folder that is gone afterwards.

    ``note`` names the folder while it exists, so that the next driver removes what a killed one left.
    """
    import ray

    os.umask(0o077)
    if note.exists():
        left = Path(note.read_text())
        if left.name.startswith("akd-") and left.parent == Path(tempfile.gettempdir()):
            shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix="akd-"))  # short: Ray's sockets lie below it, and a socket's name has at most 107 bytes
    note.write_text(str(scratch))
    started = not ray.is_initialized()
    try:
        if started:
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
            if address:
                own = {name: value for name, value in os.environ.items() if name.startswith("AUTOKD_")}  # a cluster's workers inherit none of it
                ray.init(address=address, runtime_env={"env_vars": own}, **quiet)
            else:
                ray.init(num_cpus=jobs if not gpus else None, include_dashboard=False, _temp_dir=str(scratch), **quiet)
        yield scratch / "results"
    except (ConnectionError, TimeoutError) as e:
        raise UserError(f"--ray-address {address}: {str(e).splitlines()[0]}") from None
    finally:
        if started:
            ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
        note.unlink(missing_ok=True)


assert sys.version_info >= (3, 11)
