"""What a worker does with a job: Recipe → run → a report per epoch. It knows nothing of Optuna,
MLflow or the other trials.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from autokd.engine.teaching import Teaching
from autokd.errors import UserError
from autokd.study import outcomes
from autokd.study.controls import CONTROLS, FINALIST
from autokd.study.jobs import Job, Report
from autokd.study.ledger import TUNING

if TYPE_CHECKING:
    from autokd.train.progress import Progress

# a checkpoint between rungs, so that a crash costs at most this much of a trial
SAVE_SECONDS = 30.0


class Worker(tune.Trainable):
    """One epoch a step. The process is reused: data and tables stay in memory from trial to
    trial.
    """

    def setup(self, config: dict[str, Any]) -> None:
        os.umask(0o077)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.folder = Path(new_config["folder"])
        self.options = new_config["options"]
        self.job = Job.from_json(new_config["job"])
        self.run: Any = None
        self.teaching: Teaching | None = None
        self.saved = time.monotonic()
        return True

    def step(self) -> dict[str, Any]:
        """One epoch, or the whole of a job that is no trial: a :class:`Report`, as JSON."""
        began = time.monotonic()
        said = self._report()
        over = said.outcome != "running"
        if over:
            self.run = self.teaching = None
        said = replace(said, seconds=round(time.monotonic() - began, 4))
        return {"report": said.to_json(), "done": over}

    def _report(self) -> Report:
        """What came of it; what went wrong is a report too."""
        from torch import OutOfMemoryError

        from autokd.train.distill import Diverged

        work = {
            "test": self._test,
            "outcomes": self._rebuild,
            "teacher": self._teach,
            "preload": self._preload,
        }
        try:
            return work.get(self.job.role, self._epoch)()
        except Diverged as e:
            return self._said("diverged", reason=str(e))
        except (OutOfMemoryError, MemoryError) as e:
            told = str(e).splitlines()[0] if str(e) else "host"
            told = f"out of memory: {told}; use a smaller batch or network"
            return self._said("oom", reason=told)
        except UserError as e:
            return self._said("failed", reason=str(e))
        except Exception as e:
            return self._said("failed", reason=f"{type(e).__name__}: {e}")

    def _said(self, outcome: str, **found: Any) -> Report:
        return Report(self.job.role, self.job.trial, self.job.attempt, outcome, **found)

    def _epoch(self) -> Report:
        if self.run is None:
            self._begin()
        run = self.run
        metrics = run.epoch()
        said = self._said("running", epoch=run.next_epoch, metrics=metrics)
        if run.done:
            student, facts = self._finish()
            return replace(said, outcome="finished", student=student, facts=facts)
        if run.next_epoch in self.job.rungs or time.monotonic() - self.saved > SAVE_SECONDS:
            # never over the one before, which may be the last that the ledger knows of
            file = self.job.folder / f"checkpoint-{run.next_epoch}.pt"
            run.save(self.folder / file)
            self.saved = time.monotonic()
            return replace(said, checkpoint=str(file))
        return said

    def _begin(self) -> None:
        """The run, from its checkpoint where there is one."""
        from autokd.recipe import parse
        from autokd.train import prepare
        from autokd.train.averaging import Averaging

        store = cached_store(self.options["cache"], self.options["device"])
        self.began = time.monotonic()
        self.before = dict(store.counts)
        recipe = parse(self.job.recipe)
        averaging = Averaging(self.job.average, self.job.rungs) if self.job.average else None
        self.run = prepare.start(recipe, store, averaging=averaging)
        if self.job.checkpoint:
            try:
                self.run.restore(self.folder / self.job.checkpoint)
            # gone, or cut short by a power failure: the same numbers come from the start
            except Exception:
                self.run = prepare.start(recipe, store, averaging=averaging)

    def _finish(self) -> tuple[str, dict[str, Any]]:
        """Save the student. Returns its hash, and what is known of it and of the run."""
        from autokd import environment, networks
        from autokd.train import metrics

        run = self.run
        run.save_student(self.folder / self.job.folder / "student.safetensors")
        counts = {k: v - self.before[k] for k, v in run.store.counts.items()}
        measured = networks.measure(run.result, run.data.channels, run.recipe.resolution)
        facts: dict[str, Any] = {
            "student/params": measured["params"],
            "student/flops": measured["flops"],
            "seconds": round(time.monotonic() - self.began, 3),
            "student/latency_ms": latency(run),
            "hardware": environment.hardware(self.options["device"]),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "data": run.data.fingerprint,
            "teachers": {m.name: m.hash[:16] for m in run.members},
            **({"start": run.start[:16]} if run.start else {}),
            "device": self.options["device"],
        }
        if told := run.data.summary.get("note"):
            facts["data_note"] = told
        # for the report's reliability diagram
        if self.job.role not in {"trial", "baseline", TUNING} and len(run.data.validation):
            logits = run.logits(run.validation)
            own = run.teacher_logits_of(run.data.validation)
            facts["reliability"] = metrics.reliability(logits, run.data.validation.labels)
            if self.job.role in {FINALIST, *CONTROLS}:
                sha256 = self._keep(run, self.job.folder, "validation", logits, own)
                facts["outcomes"] = {"validation": sha256}
        return networks.weights_hash(run.result), facts | counts

    def _preload(self) -> Report:
        """Have ready what every trial needs."""
        from autokd import data
        from autokd.recipe import parse

        store = cached_store(self.options["cache"], self.options["device"])
        data.load(parse(self.job.recipe).data, store.device)
        return self._said("preloaded")

    def _teach(self) -> Report:
        """How far the teacher is, or, at its end, what came of it."""
        self.teaching = self.teaching or Teaching(self._taught)
        told = self.teaching.next()
        return told if isinstance(told, Report) else self._said("running", learned=told)

    def _taught(self, report: Callable[[Progress], None]) -> Report:
        """Train or load one who teaches, for all trials to come, and look how good it is on
        validation.
        """
        from torch import OutOfMemoryError

        from autokd import data
        from autokd.recipe import parse
        from autokd.train import linear, prepare
        from autokd.train.determinism import deterministic

        recipe = parse(self.job.recipe)
        store = cached_store(self.options["cache"], self.options["device"])
        began = time.monotonic()
        members = recipe.members()
        own = members[self.job.member]
        before = dict(store.counts)
        given = own.given is not None or not own.student.drawn
        assistant = self.job.member < len(members) - 1
        try:
            seen = data.load(recipe.data, store.device)
            member = prepare.member(own, recipe, seen, store, report=report)
        except (UserError, ValueError, OSError, RuntimeError) as e:
            if not given or isinstance(e, OutOfMemoryError):
                raise
            return self._said("failed", given=True, reason=str(e))
        deterministic(own.train, store.device)
        found = member.measured()
        # beside the full teacher, what any student should reach
        if not assistant and (least := linear.accuracy(seen)) is not None:
            found["linear_accuracy"] = least
        return self._said(
            "taught",
            given=given,
            assistant=assistant,
            resolution=member.resolution,
            metrics={f"val/{k}": v for k, v in found.items()},
            facts={k: v - before[k] for k, v in store.counts.items()}
            | {"classes": len(seen.classes), "validation": len(seen.validation)},
            took=round(time.monotonic() - began, 3),
        )

    def _test(self) -> Report:
        """Read the test pictures: the stored students of winners and their controls, once. No
        results where the data has no such pictures.
        """
        results, kept = {}, {}
        for trial, where in self.job.students.items():
            run = self._stored(where)
            split = run.data.read_test()
            if len(split):
                logits, own = run.logits_of(split), run.teacher_logits_of(split)
                results[trial] = run.measured_on(split, logits, own)
                kept[trial] = {"test": self._keep(run, Path(where), "test", logits, own)}
        return self._said("tested", results=results, outcomes=kept)

    def _rebuild(self) -> Report:
        """What came of each validation picture, from stored students. Nothing of those that are
        gone.
        """
        kept = {}
        for trial, where in self.job.students.items():
            try:
                run = self._stored(where)
            except (UserError, ValueError, OSError, RuntimeError):
                continue
            if len(split := run.data.validation):
                logits, own = run.logits_of(split), run.teacher_logits_of(split)
                sha256 = self._keep(run, Path(where), "validation", logits, own)
                kept[trial] = {"validation": sha256}
        return self._said("rebuilt", outcomes=kept)

    def _stored(self, where: str) -> Any:
        """The run that left its student in this folder of the study, with that student."""
        from autokd import networks
        from autokd.recipe import document, parse
        from autokd.train import prepare

        recipe = parse(document.read(self.folder / where / "recipe.yaml").data)
        run = prepare.start(recipe, cached_store(self.options["cache"], self.options["device"]))
        networks.load_weights(run.result, str(self.folder / where / "student.safetensors"))
        return run

    def _keep(self, run: Any, where: Path, part: str, logits: Any, teacher: Any) -> str:
        """Write down what came of each picture, by the student and its teacher. Returns the file's
        hash.
        """
        from autokd.train import metrics, mistakes

        split = run.data.validation if part == "validation" else run.data.read_test()
        columns = metrics.outcomes(logits, split.labels, teacher)
        columns |= mistakes.shown(columns, split.pictures)
        found = {k: v.cpu() for k, v in columns.items()} | {"case": split.cases}
        classes = list(json.dumps(run.data.classes).encode())
        return outcomes.write(self.folder / where, part, found | {"classes": classes})

    def cleanup(self) -> None:
        self.run = None


def latency(run: Any) -> float:
    """Milliseconds for one picture on this hardware, under the recipe's threads: the median over
    about a fifth of a second.
    """
    from autokd import networks

    about = run.result, run.data.channels, run.recipe.resolution, 1, run.device
    once = networks.latency(*about, repeats=1)
    repeats = int(min(max(200 / once, 2), 50))
    return round(networks.latency(*about, repeats=repeats), 4)


@functools.cache
def cached_store(root: str, device: str) -> Any:
    """The worker's store, kept from trial to trial."""
    from autokd.train.store import Store

    return Store(Path(root), device)


def config(folder: Path, job: Job, options: dict[str, Any]) -> dict[str, Any]:
    """A job as Ray hands it to a worker. ``options``: cache, device."""
    return {"folder": str(folder), "job": job.to_json(), "options": options}
