"""One run, from a recipe to a trained student, readable from top to bottom.

    run = Run(recipe, store)
    while not run.done:
        metrics = run.epoch()

Not here, on purpose: how teachers come to be and how their answers are kept (``teachers``), what each method computes
(``methods/``: nothing below asks which one runs), data loader processes (data lives on the device), gradient accumulation
(batch statistics define several methods), early stopping on a best epoch (a trial's value is its last), and logging.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from autokd import axes, metrics, models, rng
from autokd import data as datasets
from autokd.data import Data, Split
from autokd.document import UserError, write_atomically
from autokd.networks.backbone import Backbone
from autokd.recipe import Recipe, Train
from autokd.store import Store
from autokd.teachers import ladder, layout, precision
from autokd.views import Mix, Views, resize

CHUNK = 2048  # pictures rendered at once; a picture's view does not depend on its chunk


class Diverged(ArithmeticError):
    """The loss or the student's answers stopped being finite in ``epoch``."""

    def __init__(self, epoch: int):
        super().__init__(f"not finite in epoch {epoch}")
        self.epoch = epoch


def deterministic(train: Train, device: str) -> None:
    """Threads and kernels as the recipe says; what the environment says is of no account."""
    torch.set_num_threads(train.threads)
    if torch.device(device).type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = not train.deterministic
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(train.deterministic)
    # Without it torch fills all new memory, for no kernel of ours to read: a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def learning_rate(train: Train, progress: float) -> float:
    """The rate at ``progress`` in [0, 1): a linear rise over ``warmup``, then the schedule over what is left."""
    if progress < train.warmup:
        return train.lr * progress / train.warmup
    if train.schedule == "cosine":
        return train.lr * 0.5 * (1 + math.cos(math.pi * (progress - train.warmup) / (1 - train.warmup)))
    if train.schedule == "step":
        return train.lr * train.decay ** sum(progress * train.epochs >= m for m in train.milestones)
    return train.lr


class Notes:
    """Figures of one epoch, gathered on the device: sums and counts, and extremes for names that end in ``min`` or ``max``."""

    def __init__(self) -> None:
        self.sums: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def __call__(self, name: str, values: Any) -> None:
        values = torch.as_tensor(values).detach().float()
        if name.endswith(("/min", "/max")):
            extreme = values.min() if name.endswith("min") else values.max()
            old = self.sums.get(name, extreme)
            self.sums[name] = torch.minimum(old, extreme) if name.endswith("min") else torch.maximum(old, extreme)
            self.counts[name] = 1
        else:
            self.sums[name] = self.sums.get(name, 0.0) + values.sum()
            self.counts[name] = self.counts.get(name, 0) + values.numel()

    def means(self) -> dict[str, float]:
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}


class Run:
    """A student in training.

    ``data``: handed over where it is loaded already (a teacher's own training). ``weights_seed``: of the weights alone, where it is
    not the recipe's. ``kept``: ``[N, C]``, where the student's logits of each step are written down.
    """

    def __init__(self, recipe: Recipe, store: Store, *, data: Data | None = None, weights_seed: int | None = None, kept: Tensor | None = None):
        self.recipe, self.store, self.device = recipe, store, store.device
        self.data = data or datasets.load(recipe.data, self.device)
        self.members = ladder(recipe, self.data, store)  # smallest first; may train them, under their own settings
        deterministic(recipe.train, self.device)
        self.student = self._network(recipe.student.model, recipe.resolution, recipe.seed if weights_seed is None else weights_seed)
        self.kept = kept
        self.high = recipe.data.resolution if recipe.teacher.input == "full" else recipe.resolution  # what teachers see
        self.methods = recipe.methods
        teaching, settings = self.methods[0]
        self.scratch: models.Network | None = None  # a second teacher: trained beside the student where the two depend on each other,
        self.trajectory: Trajectory | None = None  # else its course is a table too
        if teaching.flags.get("scratch"):
            name = settings["scratch"] or recipe.teacher.model
            if settings["share_stem"] or "scratch_stages" in recipe.reads:
                self.scratch = self._network(name, self.high, recipe.seed + 1)
                if settings["share_stem"]:
                    share_stem(self.scratch, self.student)
            else:
                self.trajectory = Trajectory(recipe, name, self.high, self.data, store)
        self.modules = nn.ModuleDict()
        for m, s in self.methods:
            if "build_modules" in m.flags and s["weight"]:
                shape = (self.data.channels, recipe.resolution, self.high)
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(recipe.seed)
                    self.modules[m.kind] = m.flags["build_modules"](self.student, self.members[-1].network, shape).to(self.device)
        trained = [self.student, self.modules, *([self.scratch] if self.scratch else [])]
        self.parameters = list({id(p): p for module in trained for p in module.parameters()}.values())
        self.optimizer = optimizer(recipe.train, self.parameters)
        self.online = any(set(m.reads) & axes.ONLINE for m, s in self.methods if s.get("weight", 1))
        self.validation = resize(self.data.validation.pictures.float() / 255, recipe.resolution)
        self.student_losses = torch.zeros(len(self.data.train), device=self.device)
        self.next_epoch = 0

    def _network(self, name: str, resolution: int, seed: int) -> models.Network:
        d = self.data
        net = models.build(name, classes=len(d.classes), channels=d.channels, resolution=resolution, mean=d.mean, std=d.std, seed=seed)
        return net.to(self.device).to(memory_format=layout(resolution))

    @property
    def done(self) -> bool:
        return self.next_epoch >= self.recipe.train.epochs

    def epoch(self) -> dict[str, float]:
        """Train one epoch and measure on validation. Raises :class:`Diverged`."""
        recipe, e, n = self.recipe, self.next_epoch, len(self.data.train)
        deterministic(recipe.train, self.device)
        notes, views = Notes(), Views(self.data.train.pictures, recipe.data.augment, recipe.view.seed, e)
        order = torch.from_numpy(rng.permutation(recipe.seed, "order", e, n)).to(self.device)
        steps = batches(order, recipe.train.batch_size)
        batch_index = torch.zeros_like(order)  # 0 too for the one picture that a dropped last batch leaves out
        for i, rows in enumerate(steps):
            batch_index[rows] = i

        # Who teaches each picture, and what each picture is mixed with: decided once for the epoch, for all pictures.
        (teaching, teaching_settings), (view, view_settings) = self.methods[:2]
        words: dict[str, Any] = {
            "labels": self.data.train.labels, "members": max(len(self.members), 1), "batch_index": batch_index, "epoch": e,
            "epochs": recipe.train.epochs, "uniforms": views.uniforms, "note": notes, "student_losses": self.student_losses,
        }  # fmt: skip
        mixed = view.call(words, view_settings)
        mix = Mix(*mixed) if mixed else None
        seen = mix if mix and mix.teacher_sees == "mixed" else None  # the mix that teachers see
        mixing = {**view_settings, "batches": [recipe.seed, recipe.train.batch_size] if "batch_index" in view.reads else None} if seen else None
        if self.members and "ladder_logits" in teaching.reads:
            words["ladder_logits"] = torch.stack([m.table(views, seen, mixing).float() for m in self.members])
        if self.members and "first_logits" in teaching.reads:
            words["first_logits"] = torch.stack([m.table(self._views(0), None).float() for m in self.members])
        experts = teaching.call(words, teaching_settings) if self.members else order.new_zeros((0, n))
        asked = set(experts.unique().tolist())
        if self.online and (mix is None or seen):
            asked.discard(len(self.members) - 1)  # the full teacher's pass for its features gives its logits too
        tables = {k: self.members[k].table(views, seen, mixing) for k in sorted(asked)}
        course = self.trajectory.epoch(e) if self.trajectory else None

        self.student.train()
        if self.scratch:
            self.scratch.train()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if self.device != "cpu" else []):
            torch.manual_seed(rng.key(recipe.seed, "dropout", e) % 2**63)
            for i, batch in enumerate(self._batches(steps, views, mix, seen, experts, tables, course)):
                progress = (e * len(steps) + i) / (recipe.train.epochs * len(steps))
                for group in self.optimizer.param_groups:
                    group["lr"] = learning_rate(recipe.train, progress)
                with precision(recipe.train.precision, self.device):
                    loss, lesson = self.step(batch | {"progress": progress, "epoch": e, "note": notes})
                self.optimizer.zero_grad(set_to_none=True)
                (loss if lesson is None else loss + lesson).backward()
                self.optimizer.step()
                notes("loss", loss)
        self.next_epoch += 1
        return self._measure(notes, e) | ({"val/scratch_accuracy": course.accuracy} if course and len(self.data.validation) else {})

    def step(self, b: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """The loss of one batch, and that of a scratch teacher's own lesson: the order in which the axes act stands here and nowhere else.

        teaching and view have been decided (``b``); then, for each member that teaches, target → temperature → losses.
        """
        _, _, (target, target_settings), (temperature, temperature_settings), *losses = self.methods
        words = b | self._look(self.student, "student", b["student_sees"])
        self._remember(b["rows"], words)
        note, total, lesson = b["note"], torch.zeros((), device=self.device), None
        if self.scratch:  # it learns from the labels alone
            words |= self._look(self.scratch, "scratch", b["teacher_sees"])
            ce = axes.method("losses", "ce")
            lesson = ce.call(words | {"student_logits": words["scratch_logits"]}, {"label_smoothing": 0.0})
            words["scratch_logits"] = words["scratch_logits"].detach()
        teachers = [(answer, words) for answer in b["answers"]] or [(None, words)]
        for turn, (answer, words) in enumerate(teachers):
            if answer is not None:
                # Each answer is one or, where the answers to two pictures are mixed, two sets of logits with their weights.
                parts = []
                for logits, labels, weight in answer:
                    repaired, cold = target.call(words | {"teacher_logits": logits, "labels": labels}, target_settings)
                    parts.append((repaired, cold, weight))
                words = words | {"teacher_logits": parts[0][0] if len(parts) == 1 else sum(w[:, None] * z for z, _, w in parts)}
                tau = temperature.call(words, temperature_settings)
                words |= {"tau": tau, "log_probs": mixture([(log_softened(z, tau, cold), w) for z, cold, w in parts])}
                if isinstance(tau, Tensor):
                    note("tau", tau), note("tau/min", tau), note("tau/max", tau)
            for loss, settings in losses:
                per_teacher = bool(set(loss.reads) & {"teacher_logits", "log_probs", "tau"})
                if settings["weight"] == 0 or (turn and not per_teacher):
                    continue
                value = loss.call(words | {"modules": self.modules[loss.kind] if loss.kind in self.modules else None}, settings)
                note(loss.kind, value)
                total = total + settings["weight"] * (value / len(teachers) if per_teacher else value)
        return total, lesson

    def _look(self, network: models.Network, role: str, pictures: Tensor) -> dict[str, Any]:
        """What a network makes of the pictures, under its role's names."""
        if not any({f"{role}_stages", f"{role}_embedding"} & set(m.reads) for m, _ in self.methods):
            return {f"{role}_logits": network(pictures).float()}
        out = network.features(pictures)
        stages = tuple(s.float() for s in out.stages)
        return {f"{role}_logits": out.logits.float(), f"{role}_stages": stages, f"{role}_embedding": out.embedding.float()}

    @torch.no_grad()
    def _remember(self, rows: Tensor, words: dict[str, Any]) -> None:
        if "student_losses" in self.methods[0][0].reads:
            labels = words["labels"]
            rows_ce = nn.functional.cross_entropy(words["student_logits"].detach(), labels.clamp(min=0), reduction="none")
            self.student_losses[rows] = rows_ce * (labels >= 0)
        if self.kept is not None:
            self.kept[rows] = words["student_logits"].detach()

    def _batches(
        self, steps: list[Tensor], views: Views, mix: Mix | None, seen: Mix | None, experts: Tensor, tables: dict[int, Tensor], course: Course | None
    ) -> Iterator[dict[str, Any]]:
        """What each step works on: the student's pictures, the teachers' answers, labels and weights."""
        recipe, labels = self.recipe, self.data.train.labels
        per_chunk = max(1, CHUNK // recipe.train.batch_size)
        look = self.online or self.scratch is not None
        full = len(self.members) - 1
        for start in range(0, len(steps), per_chunk):
            group = steps[start : start + per_chunk]
            low_pictures = self._render(views, group, recipe.resolution, mix)
            high_pictures = self._render(views, group, self.high, mix) if look else low_pictures
            for rows, student_sees, teacher_sees in zip(group, low_pictures, high_pictures, strict=True):
                partner = mix.partner[rows] if mix else rows
                weight = mix.weight[rows] if mix else torch.ones(len(rows), device=self.device)
                batch: dict[str, Any] = {
                    "rows": rows, "labels": labels[rows], "partner_labels": labels[partner], "mix_weight": weight,
                    "student_sees": student_sees, "teacher_sees": teacher_sees, "answers": [],
                }  # fmt: skip
                if self.online:
                    with torch.no_grad(), precision(recipe.train.precision, self.device):
                        batch |= self._look(self.members[-1].network, "teacher", teacher_sees)
                if course:
                    batch["scratch_logits"] = course.logits[rows]
                for who in experts:
                    here = {full: batch["teacher_logits"]} if self.online and full not in tables else {}
                    answer = [(_gather(tables, here, who[rows], rows), batch["labels"], weight)]
                    if mix and not seen:
                        answer.append((_gather(tables, {}, who[rows], partner), batch["partner_labels"], 1 - weight))
                    batch["answers"].append(answer)
                yield batch

    @staticmethod
    def _render(views: Views, steps: list[Tensor], resolution: int, mix: Mix | None) -> tuple[Tensor, ...]:
        """The pictures of several steps, rendered at once."""
        pictures = views.render(torch.cat(steps), resolution, mix).contiguous(memory_format=layout(resolution))
        return pictures.split([len(rows) for rows in steps])

    def _views(self, epoch: int) -> Views:
        return Views(self.data.train.pictures, self.recipe.data.augment, self.recipe.view.seed, epoch)

    def _measure(self, notes: Notes, epoch: int) -> dict[str, float]:
        out = {f"train/{name}": value for name, value in notes.means().items()}
        logits = self.logits(self.validation)
        if not (math.isfinite(out["train/loss"]) and bool(torch.isfinite(logits).all())):
            raise Diverged(epoch)
        if len(self.data.validation):
            out |= {f"val/{k}": v for k, v in metrics.evaluate(logits, self.data.validation.labels).items()}
            if self.members:
                out["val/agreement"] = metrics.agreement(logits, self.members[-1].validation())
            if self.scratch:
                seen = resize(self.data.validation.pictures.float() / 255, self.high)
                out["val/scratch_accuracy"] = metrics.evaluate(self.logits(seen, self.scratch), self.data.validation.labels)["accuracy"]
        return out

    @torch.no_grad()
    def logits(self, pictures: Tensor, network: models.Network | None = None) -> Tensor:
        """``[N, C]`` logits of the student for pictures [N, C, r, r] in [0, 1], in evaluation mode."""
        network = network or self.student
        network.eval()
        with precision(self.recipe.train.precision, self.device):
            parts = [network(chunk.contiguous(memory_format=layout(chunk.shape[-1]))).float() for chunk in pictures.split(512)]
        return torch.cat(parts) if parts else torch.zeros(0, len(self.data.classes), device=self.device)

    def test(self) -> dict[str, float]:
        """Read the test pictures. Whoever calls this writes down that it did."""
        split: Split = self.data.read_test()
        logits = self.logits(resize(split.pictures.float() / 255, self.recipe.resolution))
        return {f"test/{k}": v for k, v in metrics.evaluate(logits, split.labels).items()}

    def save_student(self, path: Path) -> None:
        """The student's weights; beside them, in the file's own metadata, what is needed to build it and to name its answers."""
        r = self.recipe
        meta = {"model": r.student.model, "resolution": r.resolution, "channels": self.data.channels, "classes": self.data.classes}
        write_atomically(path, safetensors.torch.save(models.state(self.student), metadata={"autokd": json.dumps(meta)}))

    def save(self, path: Path) -> None:
        """Everything that the next epoch depends on, written atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".part-{path.name}-{os.getpid()}")
        torch.save(self._state(), part)
        os.replace(part, path)

    def restore(self, path: Path) -> None:
        """Go on from :meth:`save`, to the same bytes as a run that was never interrupted."""
        state = torch.load(path, weights_only=True, map_location=self.device)
        if state["recipe"] != self.recipe.fingerprint():
            raise ValueError(f"{path} is a checkpoint of another recipe")
        self._set(state)

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.next_epoch,
            "recipe": self.recipe.fingerprint(),
            "student": self.student.state_dict(),
            "modules": self.modules.state_dict(),
            "scratch": self.scratch.state_dict() if self.scratch else {},
            "trajectory": self.trajectory.run._state() if self.trajectory and self.trajectory.run else {},
            "optimizer": self.optimizer.state_dict(),
            "student_losses": self.student_losses,
        }

    def _set(self, state: dict[str, Any]) -> None:
        self.student.load_state_dict(state["student"])
        self.modules.load_state_dict(state["modules"])
        if self.scratch:
            self.scratch.load_state_dict(state["scratch"])
        if self.trajectory and state["trajectory"]:
            self.trajectory.start()._set(state["trajectory"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.student_losses = state["student_losses"]
        self.next_epoch = state["epoch"]


class Course(NamedTuple):
    """One epoch of a scratch teacher."""

    logits: Tensor  # [N, C], each picture's in the step that saw it
    accuracy: float  # on validation, after the epoch


class Trajectory:
    """A scratch teacher that nothing of the student reaches: trained once, its logits of each step kept as a table an epoch.

    It learns from the labels, on the very batches, views and schedule of the student's run, so all of these stand in its address.
    Trained only as far as some run asks, and again from its start where an epoch is asked for that was not kept.
    """

    def __init__(self, recipe: Recipe, model: str, resolution: int, data: Data, store: Store):
        alone = {"view": recipe.distill["view"], "losses": {"ce": {"weight": 1.0}}}
        self.recipe = recipe.with_({"student/model": model, "student/resolution": resolution, "distill": alone})
        self.data, self.store, self.run = data, store, None  # type: Data, Store, Run | None
        self.kept = torch.zeros(len(data.train), len(data.classes), device=store.device)
        self.shelf = store.shelf({"scratch": self.recipe.essence(), "data": data.fingerprint})

    def start(self) -> Run:
        self.run = Run(self.recipe, self.store, data=self.data, weights_seed=self.recipe.seed + 1, kept=self.kept)
        return self.run

    def epoch(self, epoch: int) -> Course:
        """Raises :class:`Diverged`."""

        def train() -> dict[str, Tensor]:
            run = self.run if self.run and self.run.next_epoch <= epoch else self.start()
            metrics: dict[str, float] = {}
            while run.next_epoch <= epoch:
                self.kept.zero_()  # a picture that a dropped last batch leaves out has no logits
                metrics = run.epoch()
            accuracy = torch.tensor(metrics.get("val/accuracy", math.nan), dtype=torch.float64)
            return {"logits": self.kept.clone(), "accuracy": accuracy}

        found = self.store.table(self.shelf, epoch, None, train, f"scratch {self.recipe.student.model}, epoch {epoch}")
        return Course(found["logits"], float(found["accuracy"]))


def batches(order: Tensor, size: int) -> list[Tensor]:
    """Consecutive pieces of ``order``; a last piece of one picture is left out (BatchNorm has no variance for it)."""
    return [rows for rows in order.split(size) if len(rows) > 1]


def _gather(tables: dict[int, Tensor], here: dict[int, Tensor], who: Tensor, rows: Tensor) -> Tensor:
    """Of each picture of ``rows`` [B] the answer of the member ``who`` [B], from the tables [N, C] or from ``here`` [B, C]: ``[B, C]`` float32."""
    answers = {k: table[rows].float() for k, table in tables.items()} | here
    out = answers.popitem()[1]
    for k, answer in answers.items():
        out = torch.where((who == k)[:, None], answer, out)
    return out


def log_softened(logits: Tensor, tau: Tensor | float, cold: Tensor | None) -> Tensor:
    """``log softmax(z/tau)`` [B, C]; rows in ``cold`` are not softened."""
    if isinstance(tau, Tensor) or cold is not None:
        tau = torch.as_tensor(tau, dtype=logits.dtype, device=logits.device).expand(len(logits))
        tau = (torch.where(cold, torch.ones_like(tau), tau) if cold is not None else tau)[:, None]
    return (logits / tau).log_softmax(1)


def mixture(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """``log Σ w·p`` of log-probabilities [B, C] with weights [B]; a single part is itself."""
    if len(parts) == 1:
        return parts[0][0]
    return torch.logsumexp(torch.stack([log_p + w.clamp(min=1e-30).log()[:, None] for log_p, w in parts]), 0)


def optimizer(train: Train, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """All parameters in one pass over memory (``fused``)."""
    if train.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=train.lr, momentum=train.momentum, weight_decay=train.weight_decay, fused=True)
    return torch.optim.AdamW(parameters, lr=train.lr, weight_decay=train.weight_decay, fused=True)


def share_stem(one: models.Network, other: models.Network) -> None:
    """Make two networks share their first convolution. UserError where the shapes do not allow it."""
    if not isinstance(one.backbone, Backbone) or not isinstance(other.backbone, Backbone):
        raise UserError("share_stem: only AutoKD's own networks have a stem to share")
    shapes = [[tuple(p.shape) for p in b.stem.parameters()] for b in (one.backbone, other.backbone)]
    if shapes[0] != shapes[1]:
        raise UserError(f"share_stem: the first layers differ: {shapes[0]} and {shapes[1]}")
    other.backbone.stem = one.backbone.stem


def train(recipe: Recipe, store: Store, report: Callable[[int, dict[str, float]], None] = lambda e, m: None) -> tuple[Run, dict[str, float]]:
    """A whole run. Returns it with the metrics of its last epoch."""
    run, last = Run(recipe, store), {}
    while not run.done:
        last = run.epoch()
        report(run.next_epoch, last)
    return run, last
