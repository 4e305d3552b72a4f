"""The recipe: every choice of one run. Its checks, canonical form and fingerprints. Light."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from autokd.errors import nearest
from autokd.recipe import axes, data_names, network_names, plugins
from autokd.recipe.distillation import check_distill
from autokd.recipe.document import Document, DocumentError, canonical, put
from autokd.recipe.migration import FORMAT, migrated, written
from autokd.recipe.network_settings import (
    RANDOM,
    TRAIN,
    Assistant,
    Start,
    StudentSettings,
    Taught,
    TeacherSettings,
)
from autokd.recipe.rules import RULES
from autokd.recipe.schema import (
    Block,
    DataSettings,
    TrainSettings,
    ViewSettings,
)
from autokd.recipe.validation import Finding, validate
from autokd.recipe.vocabulary import EMBEDDING, SOFTENED, STAGES, TEACHER

BLOCKS: dict[str, type[Block]] = {
    "data": DataSettings,
    "view": ViewSettings,
    "teacher": TeacherSettings,
    "ladder_train": TrainSettings,
    "student": StudentSettings,
    "train": TrainSettings,
}
NOTES = {"provenance", "results"}  # of an exported recipe: ignored when it is run

# Keys that came later, and what a recipe without them means: left at that, they stay out of
# fingerprints, so that what was made before them keeps its address.
LATER: dict[str, Any] = {
    f"{block}/{key}": default
    for block in ("train", "ladder_train", "teacher/train")
    for key, default in {
        "nesterov": False,
        "betas": [0.9, 0.999],
        "decay_norms": True,
        "layer_decay": None,
        "clip_norm": None,
        "ema": None,
    }.items()
} | {
    "data/crop_share": 1.0,
    "data/unlabelled": None,
    "data/augment/color_jitter/brightness": 0.0,
    "data/augment/color_jitter/contrast": 0.0,
    "data/augment/color_jitter/saturation": 0.0,
    "data/augment/color_jitter/hue": 0.0,
    "data/augment/randaugment/operations": None,
    "data/augment/randaugment/magnitude": 9,
    "data/augment/trivial_augment": False,
    "data/augment/erasing/probability": 0.0,
    "data/augment/erasing/scale": [0.02, 0.33],
    "data/augment/erasing/ratio": [0.3, 3.3],
    "student/weights": RANDOM,
    "student/mean": None,
    "student/std": None,
    "student/labels": None,
    "student/head": "own",
    "teacher/labels": None,
    "teacher/head": "own",
    "teacher/side": None,
    "teacher/embedding": "online",
    "teacher/precision": "fp32",
    "teacher/threads": 1,
}


class Recipe(Block):
    """Every choice of one run. ``distill`` is checked against the methods' own schemas, so here it
    is a plain mapping.
    """

    version: Literal[2] = FORMAT
    data: DataSettings = DataSettings()
    view: ViewSettings = ViewSettings()
    teacher: TeacherSettings = TeacherSettings()
    ladder: Annotated[
        list[
            Annotated[
                Annotated[str, Tag("name")] | Annotated[Assistant, Tag("block")],
                Discriminator(lambda v: "block" if isinstance(v, Mapping | Assistant) else "name"),
            ]
        ],
        Field(
            description=(
                "assistants between teacher and student, largest first: a network's name, or a"
                " block that says what it starts with"
            )
        ),
    ] = []
    ladder_train: TrainSettings = TrainSettings()
    student: StudentSettings = StudentSettings()
    distill: dict[str, Any] = {}
    train: TrainSettings = TrainSettings()
    seed: Annotated[int, Field(description="student weights and batch order, nothing else")] = 0

    @property
    def resolution(self) -> int:
        """Pixels a side that the student sees."""
        return self.student.resolution or self.data.resolution

    @property
    def teacher_resolution(self) -> int:
        """Pixels a side that teachers and assistants see."""
        return self.data.resolution if self.teacher.input == "full" else self.resolution

    @property
    def assistants(self) -> list[Assistant]:
        """The members of ``ladder``, each as a block."""
        return [Assistant(model=a) if isinstance(a, str) else a for a in self.ladder]

    @property
    def _uses_as_they_are(self) -> bool:
        """Whether the ladder has assistants that are not trained."""
        return any(a.train is None and not a.drawn for a in self.assistants)

    @property
    def methods(self) -> axes.Methods:
        """The methods that ``distill`` names, each with its settings, by axis."""
        return axes.chosen(self.distill)

    @property
    def reads(self) -> set[str]:
        """The words of the vocabulary that this recipe's methods read."""
        return self.methods.reads

    @property
    def online(self) -> bool:
        """Whether the full teacher is run on each batch: its stages are too large for tables."""
        read = {STAGES, EMBEDDING} if self.teacher.embedding == "online" else {STAGES}
        return bool(read & self.methods.reads)

    @property
    def tables_embeddings(self) -> bool:
        """Whether the full teacher's embeddings are tables, beside its logits."""
        return EMBEDDING in self.methods.reads and not self.online

    @property
    def needs_teacher(self) -> bool:
        """Whether anything asks the teacher: with cross-entropy alone nothing does."""
        return self.methods.needs_teacher

    @property
    def needs_ladder(self) -> bool:
        """Whether the assistants of ``ladder`` teach too."""
        return self.needs_teacher and bool(self._teaching.flags.get("needs_ladder"))

    @property
    def _teaching(self) -> axes.Method:
        return axes.method("teaching", self.distill["teaching"]["kind"])

    def to_dict(self) -> dict[str, Any]:
        """Everything spelt out, in the order of the documents."""
        return self.model_dump(mode="json")

    def with_(self, changes: Mapping[str, Any]) -> Recipe:
        """A checked copy with ``{"a/b": value}`` changed."""
        data = self.to_dict()
        for path, value in changes.items():
            put(data, path, value)
        return parse(data)

    def inactive(self) -> list[str]:
        """Path prefixes that nothing in this recipe reads: varying them would only repeat a
        trial.
        """
        out = [] if self.needs_teacher else self._inactive_teacher()
        if not self.needs_ladder:
            out += ["ladder", "ladder_train"]
        elif not any(a.drawn and a.train is None for a in self.assistants):
            out.append("ladder_train")
        for name, train in (("train", self.train), ("ladder_train", self.ladder_train)):
            if train.schedule != "step":
                out += [f"{name}/milestones", f"{name}/decay"]
            if train.optimizer != "sgd":
                out += [f"{name}/momentum", f"{name}/nesterov"]
            if train.optimizer != "adamw":
                out.append(f"{name}/betas")
        augment, path = self.data.augment, "data/augment"
        if not augment.randaugment.operations:
            out.append(f"{path}/randaugment/magnitude")
        if not augment.erasing.probability:
            out += [f"{path}/erasing/scale", f"{path}/erasing/ratio"]
        if self.teacher.train is None:
            out += ["teacher/train", "teacher/seed"]
        else:
            out.append("teacher/side")
        if self.teacher.train and not (self.needs_ladder and self._uses_as_they_are):
            out += ["teacher/precision", "teacher/threads"]
        if EMBEDDING not in self.methods.reads or STAGES in self.methods.reads:
            out.append("teacher/embedding")
        for name, start in (("teacher", self.teacher), ("student", self.student)):
            if not (start.file or start.repository):
                out += [f"{name}/mean", f"{name}/std"]
            if start.drawn:
                out.append(f"{name}/labels")
        return out

    def _inactive_teacher(self) -> list[str]:
        """Of a teacher that nothing asks. A scratch teacher has its resolution, and its network
        unless one is named for it.
        """
        if not self._teaching.flags.get("scratch"):
            return ["teacher"]
        active = {"input"} if self.distill["teaching"].get("scratch") else {"input", "model"}
        return [f"teacher/{key}" for key in TeacherSettings.model_fields if key not in active]

    def effective(self) -> dict[str, Any]:
        """What decides the student's bytes: the recipe without what nothing reads."""
        data = written(self.to_dict(), 1)  # as ever, so that what was computed is found again
        data["student"]["resolution"] = self.resolution
        if self.teacher.drawn:
            data["teacher"]["weights"] = TRAIN
        if self.needs_ladder and not self.ladder:
            # Any teaching without a ladder is that of a single teacher.
            data["distill"]["teaching"] = {"kind": "single"}
            del data["ladder"]
        for path in self.inactive():
            _remove(data, path)
        for path, default in LATER.items():
            _remove(data, path, default)
        return data

    def read(self) -> dict[str, Any]:
        """The document without what nothing in it reads, such as the teacher and temperature of a
        student alone: what people are shown. It describes the same run.
        """
        data = self.to_dict()
        for path in [*self.inactive(), *self._unread_axes()]:
            _remove(data, path)
        same = parse(data).effective() == self.effective()
        return data if same else self.to_dict()

    def _unread_axes(self) -> list[str]:
        """Axes of ``distill`` whose results no loss that counts looks at."""
        wanted = {w for loss in self.methods.losses if loss.active for w in loss.method.reads}
        out = [] if wanted & TEACHER else ["target"]
        out += [] if wanted & SOFTENED else ["temperature"]
        if not (self.needs_teacher or self._teaching.flags.get("scratch")):
            out.append("teaching")
        return [f"distill/{axis}" for axis in out]

    def plugins(self) -> dict[str, str]:
        """Name → SHA-256 (hex) of each file of the user's own that a run of this needs."""
        scratch = self.distill["teaching"].get("scratch")
        models = [self.student.model, *(a.model for a in self.assistants), self.teacher.model]
        cards = [network_names.card(name) for name in [*models, *([scratch] if scratch else [])]]
        named = [data_names.SOURCES.get(n) for n in (self.data.name, self.data.unlabelled) if n]
        return plugins.hashes(
            [
                *(card.build for card in cards),
                *(chosen.method.fn for chosen in self.methods),
                *(source.read for source in named if source),
            ]
        )

    def fingerprint(self) -> str:
        """16 hex digits that two recipes share when they describe the same run."""
        return fingerprint(self.effective())

    def members(self) -> list[Recipe]:
        """The recipes of those who teach, smallest first; the last is the full teacher. Empty
        without a teacher.

        Assistants are trained by plain reference KD under ``ladder_train``, taught by the next
        larger member, or by all larger ones where the teaching method's authors do so
        (``assistants="all"``). A member that is used as it is stands in its recipe as ``teacher``,
        which nothing there asks: see :attr:`given`.
        """
        if not self.needs_teacher:
            return []
        out = [self._full_teacher()]
        if self.needs_ladder:
            out += [self._assistant(i) for i in range(len(self.ladder))]
        return out[::-1]

    @property
    def given(self) -> TeacherSettings | None:
        """Of a member's own recipe: the weights that it is used with as they are, if it is."""
        as_it_is = not self.needs_teacher and self.teacher.train is None
        return self.teacher if as_it_is else None

    def _full_teacher(self) -> Recipe:
        if self.teacher.train is None:
            return self._as_it_is(self.teacher)
        own = {
            "student": _start(self.teacher),
            "distill": {"losses": {"ce": {"weight": 1.0}}},
            "train": self.teacher.train.model_dump(),
            "seed": self.teacher.seed,
        }
        return parse(self._shared | own)

    def _as_it_is(self, settings: Taught) -> Recipe:
        teacher = settings.model_dump(include=set(Taught.model_fields)) | {"train": None}
        own = {
            "teacher": teacher,
            "student": {"model": settings.model},
            "distill": {"losses": {"ce": {"weight": 1.0}}},
            "train": {"precision": self.teacher.precision, "threads": self.teacher.threads},
            "seed": self.teacher.seed,
        }
        return parse(self._shared | own)

    def _assistant(self, i: int) -> Recipe:
        """The ``i``-th of the ladder, taught by the full teacher and those before it."""
        assistant = self.assistants[i]
        if assistant.train is None and not assistant.drawn:
            return self._as_it_is(assistant)
        taught_by_all = self._teaching.flags.get("assistants") == "all"
        own = {
            "teacher": self.teacher.model_dump() | {"input": "full"},
            "ladder": self.to_dict()["ladder"][:i],
            "ladder_train": self.ladder_train.model_dump(),
            "student": _start(assistant),
            "distill": {"preset": "dgkd" if taught_by_all else "takd"},
            "train": (assistant.train or self.ladder_train).model_dump(),
            "seed": self.teacher.seed,
        }
        return parse(self._shared | own)

    @property
    def _shared(self) -> dict[str, Any]:
        """What all members have in common with this recipe."""
        return {"data": self.data.model_dump(), "view": self.view.model_dump()}

    def member_keys(self) -> list[str]:
        """For each of :meth:`members` 16 hex digits of what decides its answers to whole pictures:
        its training or weights, and what it sees.
        """
        return [
            fingerprint(
                {
                    "recipe": member.effective(),
                    "weights": _given_key(member.given),
                    "resolution": self.teacher_resolution,
                }
            )
            for member in self.members()
        ]


def _start(settings: Taught) -> dict[str, Any]:
    """A member's settings as those of the student of its own recipe."""
    if settings.drawn:
        return {"model": settings.model}
    return settings.model_dump(include=set(Start.model_fields))


def _given_key(given: TeacherSettings | None) -> list[Any] | None:
    """What decides the answers of a member that is used as it is, beside its network's name."""
    if given is None:
        return None
    out = [given.weights, given.mean, given.std]
    later = [given.labels, given.head, given.side]
    return out if later == [None, "own", None] else out + later


ANYTHING = object()


def _remove(data: dict[str, Any], path: str, value: Any = ANYTHING) -> None:
    """What stands at the path, if it is there and is ``value``, and the mappings that then hold
    nothing.
    """
    head, _, rest = path.partition("/")
    if rest and isinstance(data.get(head), dict):
        _remove(data[head], rest, value)
        if not data[head]:
            del data[head]
    elif not rest and (value is ANYTHING or data.get(head, ANYTHING) == value):
        data.pop(head, None)


def fingerprint(data: Any) -> str:
    """16 hex digits of plain data."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()[:16]


def parse(data: Mapping[str, Any], doc: Document | None = None) -> Recipe:
    """A recipe from a plain mapping. Raises :class:`DocumentError` with every problem."""
    recipe, findings = check(data)
    if recipe is None:
        doc = doc or Document(dict(data))
        raise DocumentError([doc.problem(f.path, f.rule, f.value, f.hint) for f in findings])
    return recipe


def check(data: Mapping[str, Any]) -> tuple[Recipe | None, list[Finding]]:
    """Check a plain mapping against every rule. Returns the recipe, or None and *all* findings."""
    data, refused = migrated({k: v for k, v in data.items() if k not in NOTES})
    if refused:
        return None, [refused]
    findings: list[Finding] = []
    values: dict[str, Any] = {}
    data.setdefault("distill", {})
    for key, value in data.items():
        if key in BLOCKS:
            values[key], found = validate(BLOCKS[key], value, key)
        elif key == "distill":
            values[key], found = check_distill(value)
        elif key not in Recipe.model_fields:
            hint = nearest(key, [*Recipe.model_fields, *NOTES])
            found = [Finding(key, "unknown key", hint=hint)]
        else:
            continue
        findings += found
    rest = {k: v for k, v in data.items() if k in Recipe.model_fields and k not in values}
    findings += validate(Recipe, rest, "")[1]
    # the rules are asked of what fits its schema too, so that all mistakes are told at once
    wrong = {f.path.partition("/")[0] for f in findings}
    fit = {k: v for k, v in (rest | values).items() if k not in wrong}
    recipe = Recipe.model_validate({"distill": check_distill({})[0]} | fit)
    findings += [
        finding
        for rule, compared in RULES.items()
        if wrong.isdisjoint(compared)
        for finding in rule(recipe)
    ]
    return (None, findings) if findings else (recipe, [])
