"""What a worker does with a job: Recipe → run → a report per epoch. It knows nothing of Optuna, MLflow or the other trials."""

from __future__ import annotations

import functools
import json
import os
import resource
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune

from autokd.document import UserError
from autokd.study import Job

SAVE_SECONDS = 30.0  # a checkpoint between rungs, so that a crash costs at most this much of a trial


class Worker(tune.Trainable):
    """One epoch a step. The process is reused: data and tables stay in memory from trial to trial."""

    def setup(self, config: dict[str, Any]) -> None:
        os.umask(0o077)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.folder = Path(new_config["folder"])
        self.options = new_config["options"]
        self.job = Job(**json.loads(new_config["job"]))
        self.run: Any = None
        self.saved = time.monotonic()
        return True

    def step(self) -> dict[str, Any]:
        """One epoch. Returns ``outcome``: running, finished, diverged, oom, failed, taught, awake or tested, with what belongs to it."""
        from torch import OutOfMemoryError

        from autokd.distill import Diverged

        began = time.monotonic()
        try:
            out = {"test": self._test, "teacher": self._teach, "wake": self._wake}.get(self.job.role, self._epoch)()
        except Diverged as e:
            out = {"outcome": "diverged", "reason": str(e)}
        except (OutOfMemoryError, MemoryError) as e:
            out = {"outcome": "oom", "reason": f"out of memory: {str(e).splitlines()[0] if str(e) else 'host'}; use a smaller batch or network"}
        except UserError as e:
            out = {"outcome": "failed", "reason": str(e)}
        except Exception as e:
            out = {"outcome": "failed", "reason": f"{type(e).__name__}: {e}"}
        if out["outcome"] != "running":
            self.run = None
        out["seconds"] = round(time.monotonic() - began, 4)
        return {"report": json.dumps(out | {"role": self.job.role, "trial": self.job.trial, "attempt": self.job.attempt}), "done": out["outcome"] != "running"}

    def _epoch(self) -> dict[str, Any]:
        from autokd import distill
        from autokd.recipe import parse

        if self.run is None:
            store = cached_store(self.options["cache"], self.options["device"])
            self.began, self.before = time.monotonic(), dict(store.counts)
            self.run = distill.Run(parse(self.job.recipe), store)
            if self.job.checkpoint:
                try:
                    self.run.restore(self.folder / self.job.checkpoint)
                except Exception:  # gone, or cut short by a power failure: the same numbers come from the start
                    self.run = distill.Run(parse(self.job.recipe), store)
        run, own = self.run, Path("trials") / str(self.job.trial) / str(self.job.attempt)
        metrics = run.epoch()
        out: dict[str, Any] = {"outcome": "running", "epoch": run.next_epoch, "metrics": metrics}
        if run.done:
            return out | {"outcome": "finished", **self._finish(run, own)}
        if run.next_epoch in self.job.rungs or time.monotonic() - self.saved > SAVE_SECONDS:
            own /= f"checkpoint-{run.next_epoch}.pt"  # never over the one before, which may be the last that the ledger knows of
            run.save(self.folder / own)
            out["checkpoint"] = str(own)
            self.saved = time.monotonic()
        return out

    def _finish(self, run: Any, own: Path) -> dict[str, Any]:
        from autokd import export, metrics, models

        run.save_student(self.folder / own / "student.safetensors")
        counts = {k: v - self.before[k] for k, v in run.store.counts.items()}
        measured = models.measure(run.student, run.data.channels, run.recipe.resolution)
        facts: dict[str, Any] = {"student/params": measured["params"], "student/flops": measured["flops"], "seconds": round(time.monotonic() - self.began, 3)}
        facts |= {"student/latency_ms": latency(run), "hardware": export.hardware(self.options["device"])}
        facts |= {"peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1), "host": os.uname().nodename, "pid": os.getpid()}
        facts |= {"data": run.data.fingerprint, "teachers": {m.name: m.hash[:16] for m in run.members}, "device": self.options["device"]}
        if self.job.role not in {"trial", "baseline"} and len(run.data.validation):  # for the report's reliability diagram
            facts["reliability"] = metrics.reliability(run.logits(run.validation), run.data.validation.labels)
        return {"student": models.weights_hash(run.student), "facts": facts | counts}

    def _wake(self) -> dict[str, Any]:
        """Have ready what every trial needs."""
        from autokd import data
        from autokd.recipe import parse

        data.load(parse(self.job.recipe).data, cached_store(self.options["cache"], self.options["device"]).device)
        return {"outcome": "awake"}

    def _teach(self) -> dict[str, Any]:
        """Train or load one who teaches, for all trials to come, and look how good it is on validation."""
        from autokd import data, distill, metrics
        from autokd.recipe import parse
        from autokd.teachers import Member

        recipe, store, began = parse(self.job.recipe), cached_store(self.options["cache"], self.options["device"]), time.monotonic()
        own, before = recipe.members()[self.job.member], dict(store.counts)
        given = not own.needs_teacher and recipe.teacher.weights != "train"
        try:
            seen = data.load(recipe.data, store.device)
            member = Member(own, recipe, seen, store)
        except (UserError, ValueError, OSError, RuntimeError) as e:
            if not given:
                raise
            return {"outcome": "failed", "given": True, "reason": str(e)}
        distill.deterministic(own.train, store.device)
        found = metrics.evaluate(member.validation(), seen.validation.labels) if len(seen.validation) else {}
        facts = {k: v - before[k] for k, v in store.counts.items()}
        return {
            "outcome": "taught", "given": given, "assistant": own.needs_teacher, "resolution": member.resolution,
            "metrics": {f"val/{k}": v for k, v in found.items()}, "facts": facts, "took": round(time.monotonic() - began, 3),
        }  # fmt: skip

    def _test(self) -> dict[str, Any]:
        """Read the test pictures: the stored students of the winner and its controls, once."""
        from autokd import distill, models
        from autokd.recipe import load

        results = {}
        for trial, where in self.job.students.items():
            recipe = load(self.folder / where / "recipe.yaml")
            run = distill.Run(recipe, cached_store(self.options["cache"], self.options["device"]))
            models.load_weights(run.student, str(self.folder / where / "student.safetensors"))
            results[trial] = run.test()
        return {"outcome": "tested", "results": results}

    def cleanup(self) -> None:
        self.run = None


def latency(run: Any) -> float:
    """Milliseconds for one picture on this hardware, under the recipe's threads: the median over about a fifth of a second."""
    from autokd import models

    about = run.student, run.data.channels, run.recipe.resolution, 1, run.device
    return round(models.latency(*about, repeats=int(min(max(200 / models.latency(*about, repeats=1), 2), 50))), 4)


@functools.cache
def cached_store(root: str, device: str) -> Any:
    """The worker's store, kept from trial to trial."""
    from autokd.teachers import Store

    return Store(Path(root), device)


def config(folder: Path, job: Job, options: dict[str, Any]) -> dict[str, Any]:
    return {"folder": str(folder), "job": json.dumps(asdict(job)), "options": options}
