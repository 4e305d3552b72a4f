"""One run, from a recipe to a trained student, readable from top to bottom.

    data, members = prepare(recipe, store)
    run = Run(recipe, data, members, store)
    while not run.done:
        metrics = run.epoch()

Not here, on purpose: how teachers come to be (``prepare``) and how their answers are kept
(``teachers``, ``store``), how pictures are rendered (``batches``), what each method computes
(``methods/``: nothing below asks which one runs), data loader processes (data lives on the device),
gradient accumulation (batch statistics define several methods), early stopping on a best epoch (a
trial's value is its last), and logging.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autokd import networks, rng
from autokd.data import Dataset, Split
from autokd.data.uploading import upload
from autokd.data.views import Mix, Views, resize
from autokd.recipe import Recipe, Start
from autokd.train import checkpoint, metrics
from autokd.train.averaging import Averaging, MovingAverage, decay_over
from autokd.train.batches import Answer, Plan, rendered, split, steps_in
from autokd.train.build import build_for
from autokd.train.determinism import deterministic, memory_format, precision
from autokd.train.metrics import Averages
from autokd.train.optimisation import learning_rate, optimizer
from autokd.train.probe import linear_head, with_probe
from autokd.train.scratch import Trajectory, alone, label_loss, share_stem
from autokd.train.softening import log_softened, mixed_log_probs, mixed_logits
from autokd.train.store import Store
from autokd.train.teachers import Member

EVALUATED = 512  # pictures of one forward pass in evaluation


class Diverged(ArithmeticError):
    """The loss or a network's answers stopped being finite in ``epoch``. ``of``: the network, where
    it is not the run's own student; ``rate``: the path of its learning rate in the run's recipe.
    """

    def __init__(self, epoch: int, of: str = "", rate: str = "train/lr"):
        super().__init__(f"not finite in epoch {epoch}" + (f" of {of}" if of else ""))
        self.epoch = epoch
        self.of = of
        self.rate = rate


class Run:
    """A student in training.

    ``members``: those who teach, smallest first, as ``prepare`` gives them. ``weights_seed``: of
    the weights alone, where it is not the recipe's. ``record``: ``[N, C]``, where the student's
    logits of each step are written down. ``averaging``: an average of the weights that is measured
    beside the student (``val/ema/…``), where the recipe has none of its own.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        members: list[Member],
        store: Store,
        *,
        weights_seed: int | None = None,
        record: Tensor | None = None,
        averaging: Averaging | None = None,
    ):
        deterministic(recipe.train, store.device)
        self.recipe = recipe
        self.data = data
        self.members = members
        self.store = store
        self.device = store.device
        self.record = record
        self.methods = recipe.methods
        self.online = recipe.online  # the full teacher is run on each batch
        seed = recipe.seed if weights_seed is None else weights_seed
        self.student = self._network(recipe.student, recipe.resolution, seed)
        if recipe.student.head == "probe":
            linear_head(self.student)  # told now where it has none
        # the hash of the weights that it starts with; nothing where they are random
        self.start = "" if recipe.student.drawn else networks.weights_hash(self.student)
        self.averaging = None if recipe.train.ema else averaging
        self.average = self._average()
        self.scratch, self.trajectory = self._scratch_teacher()
        self.modules = self._loss_modules()
        trained = [self.student, self.modules, *([self.scratch] if self.scratch else [])]
        self.optimizer = optimizer(recipe.train, trained)
        self.parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        self.validation = resize(data.validation.pictures.float() / 255, recipe.resolution)
        self.student_losses = torch.zeros(len(data.train), device=self.device)
        self.next_epoch = 0
        # of the latest fitted head: its epoch, and the network without and with it
        self._probed: tuple[int, Any, Any] = -1, None, None
        # is told after each step which part of the epoch is done
        self.tick: Callable[[float], None] = lambda part: None

    def _network(self, start: Start, resolution: int, seed: int) -> networks.Network:
        network = build_for(self.data, start, resolution, seed).to(self.device)
        return network.to(memory_format=memory_format(resolution))

    def _scratch_teacher(self) -> tuple[networks.Network | None, Trajectory | None]:
        """A second teacher, where the teaching method has one: trained beside the student where the
        two depend on each other, else read from the tables of its trajectory.
        """
        recipe, (teaching, settings) = self.recipe, self.methods.teaching
        if not teaching.flags.get("scratch"):
            return None, None
        model = settings["scratch"] or recipe.teacher.model
        if not settings["share_stem"] and "scratch_stages" not in recipe.reads:
            return None, Trajectory(alone(recipe, model), self.data, self.store, Run)
        scratch = self._network(Start(model=model), recipe.teacher_resolution, recipe.seed + 1)
        if settings["share_stem"]:
            share_stem(scratch, self.student)
        return scratch, None

    def _loss_modules(self) -> nn.ModuleDict:
        """Networks of the losses' own, which are trained along with the student."""
        recipe, modules = self.recipe, nn.ModuleDict()
        shape = (self.data.channels, recipe.resolution, recipe.teacher_resolution)
        for loss in self.methods.losses:
            build = loss.method.flags.get("build_modules")
            if build and loss.active:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(recipe.seed)
                    module = build(self.student, self.members[-1].network, shape)
                    modules[loss.method.kind] = module.to(self.device)
        return modules

    def _average(self) -> MovingAverage[networks.Network] | None:
        """The average that the recipe asks for, or the one that is measured beside the student."""
        train = self.recipe.train
        if train.ema:
            return MovingAverage(self.student, train.ema)
        if self.averaging is None:
            return None
        steps = steps_in(len(self.data.train), train.batch_size)
        return MovingAverage(self.student, decay_over(self.averaging.epochs * steps))

    @property
    def result(self) -> networks.Network:
        """The network that the run is for: the student, or the average of its weights; with a head
        that is fitted now, where the recipe asks for that.
        """
        if self.average and self.recipe.train.ema:
            return self._with_head(self.average.network)
        return self._with_head(self.student)

    def _with_head(self, network: networks.Network) -> networks.Network:
        if self.recipe.student.head == "own":
            return network
        epoch, of, probed = self._probed
        if (epoch, of) != (self.next_epoch, network):
            form = self.recipe.train.precision
            probed = with_probe(network, self.data, self.recipe.resolution, form, self.device)
            self._probed = self.next_epoch, network, probed
        return probed

    @property
    def done(self) -> bool:
        return self.next_epoch >= self.recipe.train.epochs

    def epoch(self) -> dict[str, float]:
        """Train one epoch and measure on validation. Raises :class:`Diverged`."""
        recipe, epoch = self.recipe, self.next_epoch
        deterministic(recipe.train, self.device)
        averages = Averages()
        plan = self._plan(epoch, averages)
        sees = recipe.teacher_resolution if self.online or self.scratch else None
        batches = rendered(plan, self.data.train.labels, recipe.resolution, sees)
        steps = len(plan.batches)

        # An average that nobody will look at any more is not kept up.
        averaged = self.averaging is None or epoch < max(self.averaging.after, default=0)

        self.student.train()
        if self.scratch:
            self.scratch.train()
        devices = range(torch.cuda.device_count()) if self.device != "cpu" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(rng.key(recipe.seed, "dropout", epoch) % 2**63)
            for i, batch in enumerate(batches):
                step, of = epoch * steps + i, recipe.train.epochs * steps
                progress = step / of
                rate = learning_rate(recipe.train, step, of)
                for group in self.optimizer.param_groups:
                    group["lr"] = group["scale"] * rate
                inputs = batch | {"progress": progress, "epoch": epoch, "note": averages}
                inputs |= self._ask_teachers(plan, batch)
                with precision(recipe.train.precision, self.device):
                    loss, scratch_loss = self.step(inputs)
                self.optimizer.zero_grad(set_to_none=True)
                (loss if scratch_loss is None else loss + scratch_loss).backward()
                if recipe.train.clip_norm:
                    nn.utils.clip_grad_norm_(self.parameters, recipe.train.clip_norm)
                self.optimizer.step()
                if self.average and averaged:
                    self.average.update()
                averages("loss", loss)
                self.tick((i + 1) / steps)
        self.next_epoch += 1
        return self._measure(plan, averages)

    def _plan(self, epoch: int, note: Averages) -> Plan:
        """Who teaches each picture, and what each is mixed with: decided once for the epoch, for
        all pictures.
        """
        recipe, members = self.recipe, self.members
        view, teaching = self.methods.view, self.methods.teaching
        views = self._views(epoch)
        n = len(self.data.train)
        batches = split(rng.permutation(recipe.seed, "order", epoch, n), recipe.train.batch_size)
        batch_index = np.zeros(n, np.int64)  # 0 too for a picture that no batch has
        for i, rows in enumerate(batches):
            batch_index[rows] = i
        inputs: dict[str, Any] = {
            "labels": self.data.train.labels,
            "members": max(len(members), 1),
            "batch_index": upload(batch_index, views.pictures.device),
            "epoch": epoch,
            "epochs": recipe.train.epochs,
            "uniforms": views.uniforms,
            "note": note,
            "student_losses": self.student_losses,
        }
        drawn = view(inputs)
        mix = Mix(drawn[0].cpu().numpy(), *drawn[1:]) if drawn else None
        teacher_mix = mix if mix and mix.teacher_sees == "mixed" else None
        mix_settings = self._mix_settings() if teacher_mix else None

        def table(member: Member) -> Tensor:
            return member.table(views, teacher_mix, mix_settings)

        if members and "ladder_logits" in teaching.method.reads:
            inputs["ladder_logits"] = torch.stack([table(m).float() for m in members])
        if members and "first_logits" in teaching.method.reads:
            first = self._views(0)
            inputs["first_logits"] = torch.stack([m.table(first, None).float() for m in members])
        experts = teaching(inputs) if members else inputs["batch_index"].new_zeros((0, n))
        asked, full = set(experts.unique().tolist()), len(members) - 1
        same = mix is None or teacher_mix is not None  # its logits are of what it embeds
        if self.online and same:
            asked.discard(full)  # its online pass gives its logits too
        embeddings = None
        tables = {}
        if recipe.tables_embeddings:
            found = members[full].embeddings(views, mix, self._mix_settings() if mix else None)
            embeddings = found["embedding"]
            if full in asked and same:
                tables[full] = found["logits"]
        tables |= {k: table(members[k]) for k in sorted(asked - tables.keys())}
        scratch = self.trajectory.epoch(epoch) if self.trajectory else None
        return Plan(epoch, batches, views, mix, teacher_mix, experts, tables, embeddings, scratch)

    def _views(self, epoch: int) -> Views:
        recipe = self.recipe
        return Views(
            self.data.train.pictures,
            recipe.data.augment,
            recipe.view.seed,
            epoch,
            side=recipe.data.resolution,
            mean=self.data.mean,
        )

    def _mix_settings(self) -> dict[str, Any]:
        """What decides how pictures are mixed, for the address of tables of mixed pictures."""
        recipe, view = self.recipe, self.methods.view
        by_batch = "batch_index" in view.method.reads
        batches = [recipe.seed, recipe.train.batch_size] if by_batch else None
        return {**view.settings, "batches": batches}

    def _ask_teachers(self, plan: Plan, batch: dict[str, Any]) -> dict[str, Any]:
        """What the teachers say of a batch: their ``answers``, and the outputs of those that are
        not the student's to change.
        """
        out: dict[str, Any] = {}
        online: dict[int, Tensor] = {}
        full = len(self.members) - 1
        if self.online:
            with torch.no_grad(), precision(self.recipe.train.precision, self.device):
                out = self._outputs("teacher", self.members[full].network, batch["teacher_sees"])
            if full not in plan.tables:
                online = {full: out["teacher_logits"]}
        if plan.embeddings is not None:
            out["teacher_embedding"] = plan.embeddings[batch["rows"]].float()
        if plan.scratch:
            out["scratch_logits"] = plan.scratch.logits[batch["rows"]]
        return out | {"answers": plan.answers(batch, online)}

    def step(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """The loss of one batch, and a scratch teacher's own where it is trained beside the
        student: the order in which the axes act stands here and nowhere else.

        Teaching and view have been decided (:class:`Plan`). Then, for each member that teaches:
        target → temperature → losses.
        """
        inputs = inputs | self._outputs("student", self.student, inputs["student_sees"])
        self._keep(inputs)
        scratch_loss = None
        if self.scratch:
            inputs |= self._outputs("scratch", self.scratch, inputs["teacher_sees"])
            scratch_loss = label_loss(inputs)
            inputs["scratch_logits"] = inputs["scratch_logits"].detach()
        total = torch.zeros((), device=self.device)
        teachers = inputs["answers"] or [None]
        for turn, answers in enumerate(teachers):
            taught = inputs | self._softened(inputs, answers) if answers else inputs
            for loss in self.methods.losses:
                per_teacher = bool(set(loss.method.reads) & {"teacher_logits", "log_probs", "tau"})
                if not loss.active or (turn and not per_teacher):
                    continue
                kind, weight = loss.method.kind, loss.settings["weight"]
                module = self.modules[kind] if kind in self.modules else None
                value = loss(taught | {"modules": module})
                inputs["note"](kind, value)
                total = total + weight * (value / len(teachers) if per_teacher else value)
        return total, scratch_loss

    def _softened(self, inputs: dict[str, Any], answers: list[Answer]) -> dict[str, Any]:
        """One teacher's answers, repaired by the target axis and softened by the temperature axis;
        where there are answers to both parts of mixed pictures, mixed with their weights.
        """
        repaired, cold = [], []
        for answer in answers:
            about = {"teacher_logits": answer.logits, "labels": answer.labels}
            logits, unsoftened = self.methods.target(inputs | about)
            repaired.append(logits)
            cold.append(unsoftened)
        weights = [answer.weight for answer in answers]
        teacher_logits = mixed_logits(repaired, weights)
        tau = self.methods.temperature(inputs | {"teacher_logits": teacher_logits})
        log_probs = [log_softened(z, tau, c) for z, c in zip(repaired, cold, strict=True)]
        if isinstance(tau, Tensor):
            for name in ("tau", "tau/min", "tau/max"):
                inputs["note"](name, tau)
        mixed = mixed_log_probs(log_probs, weights)
        return {"teacher_logits": teacher_logits, "tau": tau, "log_probs": mixed}

    def _outputs(self, role: str, network: networks.Network, pictures: Tensor) -> dict[str, Any]:
        """What a network makes of the pictures, under its role's names."""
        features = {f"{role}_stages", f"{role}_embedding"}
        if not any(features & set(chosen.method.reads) for chosen in self.methods):
            return {f"{role}_logits": network(pictures).float()}
        out = network.features(pictures)
        return {
            f"{role}_logits": out.logits.float(),
            f"{role}_stages": tuple(s.float() for s in out.stages),
            f"{role}_embedding": out.embedding.float(),
        }

    @torch.no_grad()
    def _keep(self, inputs: dict[str, Any]) -> None:
        """The student's logits and losses of this step, for those who read them later."""
        rows, labels = inputs["rows"], inputs["labels"]
        logits = inputs["student_logits"].detach()
        if "student_losses" in self.methods.teaching.method.reads:
            losses = nn.functional.cross_entropy(logits, labels.clamp(min=0), reduction="none")
            self.student_losses[rows] = losses * (labels >= 0)
        if self.record is not None:
            self.record[rows] = logits

    def _measure(self, plan: Plan, averages: Averages) -> dict[str, float]:
        out = {f"train/{name}": value for name, value in averages.means().items()}
        logits = self.logits(self.validation)
        if not (math.isfinite(out["train/loss"]) and bool(torch.isfinite(logits).all())):
            raise Diverged(plan.epoch)
        split = self.data.validation
        if not len(split):
            return out
        out |= {f"val/{k}": v for k, v in metrics.evaluate(logits, split.labels).items()}
        if self.average and self.averaging and self.next_epoch in self.averaging.after:
            averaged = self.logits(self.validation, self._with_head(self.average.network))
            found = metrics.evaluate(averaged, split.labels)
            out |= {f"val/ema/{k}": v for k, v in found.items()}
        if self.members:
            out["val/agreement"] = metrics.agreement(logits, self.members[-1].validation())
        if self.scratch:
            pictures = resize(split.pictures.float() / 255, self.recipe.teacher_resolution)
            found = metrics.evaluate(self.logits(pictures, self.scratch), split.labels)
            out["val/scratch_accuracy"] = found["accuracy"]
        if plan.scratch:
            out["val/scratch_accuracy"] = plan.scratch.accuracy
        return out

    @torch.no_grad()
    def logits(self, pictures: Tensor, network: networks.Network | None = None) -> Tensor:
        """``[N, C]`` logits for pictures [N, C, r, r] in [0, 1], in evaluation mode.
        ``network``: the run's result where none is given.
        """
        network = network or self.result
        network.eval()
        layout = memory_format(pictures.shape[-1])
        out = [torch.zeros(0, len(self.data.classes), device=self.device)]
        with precision(self.recipe.train.precision, self.device):
            for chunk in pictures.split(EVALUATED):
                out.append(network(chunk.contiguous(memory_format=layout)).float())
        return torch.cat(out)

    def logits_of(self, split: Split) -> Tensor:
        """``[N, C]`` logits for a split's pictures, at the student's resolution."""
        return self.logits(resize(split.pictures.float() / 255, self.recipe.resolution))

    def test(self) -> dict[str, float]:
        """Read the test pictures. Whoever calls this writes down that it did."""
        split: Split = self.data.read_test()
        return self.measured_on(split, self.logits_of(split), self.teacher_logits_of(split))

    def teacher_logits_of(self, split: Split) -> Tensor | None:
        """The full teacher's ``[N, C]`` logits for a split's pictures; None where none teaches."""
        return self.members[-1].logits_of(split) if self.members else None

    def measured_on(self, split: Split, logits: Tensor, teacher: Tensor | None) -> dict[str, float]:
        """What the student's logits on the test pictures are worth, and how good its teacher is."""
        found = metrics.evaluate(logits, split.labels)
        if teacher is not None:
            found["teacher_accuracy"] = metrics.evaluate(teacher, split.labels)["accuracy"]
        return {f"test/{k}": v for k, v in found.items()}

    def save(self, path: Path) -> None:
        checkpoint.save(self, path)

    def restore(self, path: Path) -> None:
        checkpoint.restore(self, path)

    def save_student(self, path: Path) -> None:
        checkpoint.save_student(self, path)
