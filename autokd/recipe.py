"""The recipe: every choice of one run. Loading, checking, canonical form and fingerprints. Light."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from autokd import __version__, axes, sources, zoo
from autokd.axes import Fraction, NonNegative, Positive
from autokd.document import Document, DocumentError, UserError, canonical, is_recipe, is_space, nearest, put, read, split, value_of

FORMAT = 1  # raised when an old recipe would no longer mean what it meant
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}  # format n → what makes n + 1 of it, where that can be done
WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".tar", ".bin")
Model = TypeVar("Model", bound=BaseModel)


class Block(BaseModel):
    model_config = axes.STRICT


class ResizedCrop(Block):
    """Random-resized-crop: a random box, made as large as each network's resolution. Off while ``scale`` is left out."""

    scale: Annotated[list[float] | None, Field(min_length=2, max_length=2, description="the box's share of the area: lowest, highest")] = None
    ratio: Annotated[list[float], Field(min_length=2, max_length=2, description="the box's width / height: lowest, highest")] = [0.75, 1.3333]


class Augment(Block):
    crop_padding: Annotated[int, Field(ge=0, le=64, description="zero padding in pixels before a random crop of the old size")] = 0
    flip: Annotated[bool, Field(description="mirror left-right with probability 1/2")] = False
    random_resized_crop: ResizedCrop = ResizedCrop()


class Storage(Block):
    """How pictures are kept on disk. Larger ones are made smaller once, when they are packed; none is made larger."""

    short_side: Annotated[int | None, Field(ge=4, le=4096, description="pixels; left out: 1.15 times data/resolution, but at least 64")] = None


class Data(Block):
    """Which pictures, and how they are split."""

    name: Annotated[str, Field(description="a data set's name (see `autokd datasets`)")] = "digits"
    resolution: Annotated[int, Field(ge=4, le=4096, description="pixels a side that the teacher sees")] = 8
    augment: Augment = Augment()
    validation: Annotated[float, Field(ge=0, lt=1, description="fraction of the training pictures held out for the search")] = 0.2
    test: Annotated[float, Field(ge=0, lt=1, description="fraction held out for the end, where the data has no official test split")] = 0.2
    split_seed: int = 0
    limit: Annotated[int | None, Field(ge=1, description="use only so many training pictures, stratified")] = None
    labelled: Annotated[int | None, Field(ge=1, description="only so many training pictures keep their label, stratified")] = None
    label_noise: Annotated[float, Field(ge=0, lt=1, description="fraction of training labels replaced by another class")] = 0.0
    group_by: Annotated[str | None, Field(description="a regular expression; files whose paths match alike stay together in a split")] = None
    store: Storage = Storage()
    on_error: Annotated[Literal["stop", "skip"], Field(description="what to do about a file that is no picture")] = "stop"

    @property
    def short_side(self) -> int:
        """Pixels to which larger pictures are made smaller when they are packed."""
        return self.store.short_side or max(64, math.ceil(self.resolution * 1.15))


class View(Block):
    """The deterministic stream of augmented views."""

    seed: int = 0


class Train(Block):
    """How one network is trained."""

    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=2)] = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.05
    momentum: Fraction = 0.9
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: Annotated[list[int], Field(description="epochs at which `step` multiplies the rate by `decay`")] = []
    decay: Fraction = 0.1
    warmup: Annotated[float, Field(ge=0, lt=1, description="fraction of all steps over which the rate rises from 0")] = 0.0
    weight_decay: NonNegative = 5e-4
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: Annotated[int, Field(ge=1, le=256, description="CPU threads; part of the result, so never taken from the machine")] = 1
    deterministic: Annotated[bool, Field(description="deterministic kernels; false gives up bit-for-bit reproduction on a GPU")] = True


class Teacher(Block):
    """The full teacher, the largest member of the ladder."""

    model: str = "cnn-3x32"
    weights: Annotated[str, Field(description="train, pretrained, or a .safetensors / .pth file")] = "train"
    mean: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]] | None,
        Field(min_length=1, description="per channel, of pictures in [0, 1], as a file's network was trained; the data's own where it is left out"),
    ] = None
    std: Annotated[list[Annotated[float, Field(gt=0, le=1)]] | None, Field(min_length=1, description="as `mean`")] = None
    seed: int = 0
    input: Annotated[Literal["full", "student"], Field(description="the resolution that the teacher sees")] = "full"
    table: Annotated[Literal["fp16", "fp32"], Field(description="the precision to which its logits are rounded, cached or not")] = "fp16"
    train: Train = Train()


class Student(Block):
    """The network that the recipe is for."""

    model: str = "cnn-2x8"
    resolution: Annotated[int | None, Field(ge=4, le=4096, description="pixels a side; the data's own where it is left out")] = None


class Recipe(Block):
    """Every choice of one run. ``distill`` is checked against the methods' own schemas, so here it is a plain mapping."""

    version: Literal[1] = 1
    data: Data = Data()
    view: View = View()
    teacher: Teacher = Teacher()
    ladder: Annotated[list[str], Field(description="assistants between teacher and student, largest first")] = []
    ladder_train: Train = Train()
    student: Student = Student()
    distill: dict[str, Any] = {}
    train: Train = Train()
    seed: Annotated[int, Field(description="student weights and batch order, nothing else")] = 0

    @property
    def resolution(self) -> int:
        """Pixels a side that the student sees."""
        return self.student.resolution or self.data.resolution

    @property
    def methods(self) -> list[tuple[axes.Method, Mapping[str, Any]]]:
        return axes.chosen(self.distill)

    @property
    def reads(self) -> set[str]:
        """The words of the vocabulary that this recipe's methods read."""
        return {word for m, s in self.methods for word in m.reads if s.get("weight", 1) != 0}

    @property
    def needs_teacher(self) -> bool:
        """Whether anything asks the teacher: with cross-entropy alone nothing does."""
        return any(set(m.reads) & axes.TEACHER for m, s in self.methods if m.axis == "losses" and s["weight"] != 0)

    @property
    def needs_ladder(self) -> bool:
        teaching = axes.method("teaching", self.distill["teaching"]["kind"])
        return self.needs_teacher and bool(teaching.flags.get("needs_ladder"))

    def to_dict(self) -> dict[str, Any]:
        """Everything spelt out, in the order of the documents."""
        return self.model_dump(mode="json")

    def with_(self, changes: Mapping[str, Any]) -> Recipe:
        """A checked copy with ``{"a/b": value}`` changed."""
        data = self.to_dict()
        for path, value in changes.items():
            put(data, path, value)
        return parse(data)

    def dead(self) -> list[str]:
        """Path prefixes that nothing in this recipe reads: varying them would only repeat a trial."""
        out = []
        teaching, settings = self.methods[0]
        if not self.needs_teacher:  # a scratch teacher still has the teacher's network and resolution
            scratch = teaching.flags.get("scratch")
            alive = {"input"} | ({"model"} if not settings.get("scratch") else set()) if scratch else set()
            out += [f"teacher/{key}" for key in Teacher.model_fields if key not in alive] if alive else ["teacher"]
        if not self.needs_ladder:
            out += ["ladder", "ladder_train"]
        elif not self.ladder:
            out.append("ladder_train")
        for name in ("train", "ladder_train"):
            train: Train = getattr(self, name)
            if train.schedule != "step":
                out += [f"{name}/milestones", f"{name}/decay"]
            if train.optimizer != "sgd":
                out.append(f"{name}/momentum")
        if self.teacher.weights != "train":
            out += ["teacher/train", "teacher/seed"]
        if self.teacher.weights in {"train", "pretrained"}:
            out += ["teacher/mean", "teacher/std"]
        return out

    def essence(self) -> dict[str, Any]:
        """What decides the student's bytes: the recipe without what nothing reads."""
        data = self.to_dict()
        data["student"]["resolution"] = self.resolution
        if self.needs_ladder and not self.ladder:
            data["distill"]["teaching"] = {"kind": "single"}  # which any teaching without a ladder is
            del data["ladder"]
        for path in self.dead():
            head, _, last = path.rpartition("/")
            node = data.get(head, {}) if head else data  # which may be gone as a whole
            if isinstance(node, dict):
                node.pop(last, None)
        return data

    def fingerprint(self) -> str:
        """16 hex digits that two recipes share when they describe the same run."""
        return fingerprint(self.essence())

    def members(self) -> list[Recipe]:
        """The recipes of those who teach, smallest first; the last is the full teacher. Empty without a teacher.

        Assistants are trained by plain reference KD under ``ladder_train``, taught by the next larger member, or by all larger
        ones where the teaching method's authors do so (``assistants="all"``).
        """
        if not self.needs_teacher:
            return []
        alone = {"losses": {"ce": {"weight": 1.0}}}
        common = {"data": self.data.model_dump(), "view": self.view.model_dump()}
        teacher = self.teacher.model_dump()
        out = [parse(common | {"student": {"model": self.teacher.model}, "distill": alone, "train": teacher["train"], "seed": self.teacher.seed})]
        taught_by_all = axes.method("teaching", self.distill["teaching"]["kind"]).flags.get("assistants") == "all"
        for i, model in enumerate(self.ladder if self.needs_ladder else []):
            own = {
                "teacher": teacher | {"input": "full"},
                "ladder": self.ladder[:i],
                "ladder_train": self.ladder_train.model_dump(),
                "student": {"model": model},
                "distill": {"preset": "dgkd" if taught_by_all else "takd"},
                "train": self.ladder_train.model_dump(),
                "seed": self.teacher.seed,
            }
            out.insert(0, parse(common | own))
        return out

    def member_keys(self) -> list[str]:
        """For each of :meth:`members` 16 hex digits of what decides its answers to whole pictures: its training or weights, and what it sees."""
        seen = self.resolution if self.teacher.input == "student" else self.data.resolution
        t = self.teacher
        full = None if t.weights == "train" else [t.weights, t.mean, t.std]
        return [fingerprint({"recipe": m.essence(), "weights": None if m.needs_teacher else full, "resolution": seen}) for m in self.members()]


BLOCKS: dict[str, type[Block]] = {
    "data": Data, "view": View, "teacher": Teacher, "ladder_train": Train, "student": Student, "train": Train,
}  # fmt: skip
NOTES = {"provenance", "results"}  # of an exported recipe: ignored when it is run


@dataclass(frozen=True)
class Finding:
    """Something wrong at a path of a recipe, before it is known which file and line the path came from."""

    path: str
    rule: str
    value: Any = None
    hint: str = ""


def fingerprint(data: Any) -> str:
    return hashlib.sha256(canonical(data).encode()).hexdigest()[:16]


def check(data: Mapping[str, Any]) -> tuple[Recipe | None, list[Finding]]:
    """Check a plain mapping against every rule. Returns the recipe, or None and *all* findings."""
    data, refused = migrated({k: v for k, v in data.items() if k not in NOTES})
    if refused:
        return None, [refused]
    findings: list[Finding] = []
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key in BLOCKS:
            values[key] = _block(BLOCKS[key], value, key, findings)
        elif key == "distill":
            values[key] = check_distill(value, findings)
        elif key not in Recipe.model_fields:
            findings.append(Finding(key, "unknown key", hint=nearest(key, [*Recipe.model_fields, *NOTES])))
    values.setdefault("distill", check_distill({}, findings))
    rest = {k: v for k, v in data.items() if k in Recipe.model_fields and k not in values}
    findings += validate(Recipe, rest, "")[1]
    if not findings:
        recipe = Recipe.model_validate(rest | values)
        findings = [f for rule in RULES for f in rule(recipe)]
        if not findings:
            return recipe, []
    return None, findings


def migrated(data: dict[str, Any]) -> tuple[dict[str, Any], Finding | None]:
    """The same choices in this version's format, or why they cannot be read."""
    version = data.get("version", FORMAT)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        return data, Finding("version", "must be the number of a recipe format", version, f"this AutoKD writes {FORMAT}")
    if version > FORMAT:
        return data, Finding("version", f"a newer format than AutoKD {__version__} reads, which is {FORMAT}", version, "update autokd to run it")
    while version < FORMAT:
        if version not in MIGRATIONS:
            return data, Finding("version", f"no longer read: in format {version} the same words meant another run", version, "use the AutoKD that wrote it")
        data = MIGRATIONS[version](data)
        version += 1
    return data | {"version": FORMAT}, None


def _block(model: type[Block], value: Any, path: str, findings: list[Finding]) -> Any:
    made, found = validate(model, value, path)
    findings += found
    return made


def validate(model: type[Model], value: Any, path: str) -> tuple[Model | None, list[Finding]]:
    """The model of a block, or None and everything in which the value does not fit it."""
    try:
        return model.model_validate(value), []
    except ValidationError as e:
        found = []
        for keys, err in _told(e, value):
            where = "/".join(str(k) for k in ([path, *keys] if path else keys))
            if err["type"] == "extra_forbidden":
                known = {name for owner in _owners(model, keys[:-1]) for name in owner.model_fields}
                found.append(Finding(where, "unknown key", hint=nearest(keys[-1], known)))
            else:
                rule = err["msg"].removeprefix("Value error, ").replace(" after validation", "")
                for theirs, ours in {"Input should": "must", "List should": "must", "valid dictionary or instance of": "mapping like"}.items():
                    rule = rule.replace(theirs, ours)
                shown = err["input"] if not isinstance(err["input"], BaseModel) else None
                found.append(Finding(where, rule, shown))
        return None, found


FORM = {"model_type", "list_type"}  # the value is not even a mapping, or a list


def _told(error: ValidationError, value: Any) -> list[tuple[tuple[str | int, ...], Any]]:
    """Each error with its keys in the document. Of a key that takes a mapping or a list, only what the form given does not fit.

    Pydantic tells the errors of both, and puts the form's name, which is no key of the document, among the keys.
    """
    told = [(*_keys(err, value), err) for err in error.errors()]
    meant = {keys[: len(at)] for keys, at, err in told if at is not None and not (keys == at and err["type"] in FORM)}
    return [(keys, err) for keys, at, err in told if at is None or keys != at or err["type"] not in FORM or at not in meant]


def _keys(err: Any, value: Any) -> tuple[tuple[str | int, ...], tuple[str | int, ...] | None]:
    """The keys of an error without the names of forms; and where such a name stood, if one did."""
    keys: list[str | int] = []
    at = None
    for key in err["loc"]:
        inside = key in value if isinstance(value, Mapping) else isinstance(value, list) and isinstance(key, int)
        if not inside and err["type"] != "missing":
            at = tuple(keys)
            continue
        keys.append(key)
        value = value[key] if inside else None
    return tuple(keys), at


def _owners(model: Any, keys: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """The models that may stand at these keys of a model: through optional values, unions and lists."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return [owner for part in typing.get_args(model) for owner in _owners(part, keys)]
    if not keys:
        return [model]
    if isinstance(keys[0], int):
        return _owners(model, keys[1:])
    return _owners(model.model_fields[keys[0]].annotation, keys[1:]) if keys[0] in model.model_fields else []


def expand(distill: Mapping[str, Any]) -> dict[str, Any]:
    """Replace ``preset: NAME`` by its fragment; keys given beside it win, and a new ``kind`` replaces an axis whole."""
    out: dict[str, Any] = {}
    given = {k: v for k, v in distill.items() if k != "preset"}
    if preset := axes.find_preset(distill.get("preset")):
        out = copy.deepcopy(dict(preset.distill))
    for key, value in given.items():
        _merge(out, key, value)
    return out


def _merge(node: dict[str, Any], key: str, value: Any) -> None:
    if "/" in key:
        head, _, rest = key.partition("/")
        child = node.setdefault(head, {})
        if isinstance(child, dict):
            _merge(child, rest, value)
        return
    old = node.get(key)
    if isinstance(old, dict) and isinstance(value, Mapping) and value.get("kind", old.get("kind")) == old.get("kind"):
        for k, v in value.items():
            _merge(old, k, v)
    else:
        node[key] = copy.deepcopy(value)


DEFAULT_DISTILL: dict[str, Any] = {
    "teaching": {"kind": "single"},
    "view": {"kind": "plain"},
    "target": {"kind": "teacher"},
    "temperature": {"kind": "constant"},
    "losses": {"ce": {}, "kl": {}},
}


def check_distill(value: Any, findings: list[Finding]) -> dict[str, Any]:
    """The block spelt out with every default; what is wrong goes to ``findings``."""
    if not isinstance(value, Mapping):
        findings.append(Finding("distill", "must be a mapping of axes", value))
        return {}
    if "preset" in value and axes.find_preset(value["preset"]) is None:
        findings.append(Finding("distill/preset", "unknown preset", value["preset"], nearest(value["preset"], axes.presets())))
    expanded = expand(value)
    for key in expanded:
        if key not in axes.AXES:
            findings.append(Finding(f"distill/{key}", "unknown key", hint=nearest(key, [*axes.AXES, "preset"])))
    out: dict[str, Any] = {}
    for axis in axes.AXES:
        settings = expanded.get(axis, DEFAULT_DISTILL[axis])
        methods = axes.kinds(axis)
        if not isinstance(settings, Mapping):
            findings.append(Finding(f"distill/{axis}", "must be a mapping", settings))
        elif axis == "losses":
            out[axis] = {}
            for kind, own in settings.items():
                if kind not in methods:
                    findings.append(Finding(f"distill/losses/{kind}", "unknown loss", hint=nearest(kind, methods)))
                    continue
                made = _block(methods[kind].schema, own or {}, f"distill/losses/{kind}", findings)  # type: ignore[arg-type]
                out[axis][kind] = made.model_dump() if made else {}
            if not settings:
                findings.append(Finding("distill/losses", "must name at least one loss", hint=nearest("", methods)))
        else:
            kind = settings.get("kind", DEFAULT_DISTILL[axis]["kind"])
            if not isinstance(kind, str) or kind not in methods:
                findings.append(Finding(f"distill/{axis}/kind", f"unknown kind of {axis}", kind, nearest(kind, methods)))
                continue
            made = _block(methods[kind].schema, {**settings, "kind": kind}, f"distill/{axis}", findings)  # type: ignore[arg-type]
            out[axis] = made.model_dump() if made else {}
    return out


def _names(r: Recipe) -> list[Finding]:
    named = [("teacher/model", r.teacher.model), ("student/model", r.student.model)]
    named += [(f"ladder/{i}", name) for i, name in enumerate(r.ladder)]
    return [Finding(path, rule, name) for path, name in named if (rule := zoo.problem(name))]


def _source(r: Recipe) -> list[Finding]:
    if rule := sources.problem(r.data.name):
        return [Finding("data/name", *rule)]
    if r.data.group_by is not None:
        try:
            re.compile(r.data.group_by)
        except (re.error, OverflowError, RecursionError) as e:
            return [Finding("data/group_by", f"is not a regular expression: {e}", r.data.group_by)]
        if not sources.has_files(r.data.name):
            return [Finding("data/group_by", f"groups by path, but the pictures of {r.data.name} are not files", r.data.group_by)]
    return []


def _resolution(r: Recipe) -> list[Finding]:
    if r.resolution > r.data.resolution:
        return [Finding("student/resolution", f"must not exceed data/resolution, which is {r.data.resolution}", r.resolution)]
    return []


def _meaning(r: Recipe) -> list[Finding]:
    found = [Finding(path, reason) for path, reason in axes.refusals(r.distill)]
    if all(loss["weight"] == 0 for loss in r.distill["losses"].values()):
        found.append(Finding("distill/losses", "every weight is 0: there is nothing to learn"))
    return found


def _amounts(r: Recipe) -> list[Finding]:
    d, found = r.data, []
    if d.labelled is not None and d.limit is not None and d.labelled > d.limit:
        found.append(Finding("data/labelled", f"must not exceed data/limit, which is {d.limit}", d.labelled))
    if d.short_side < d.resolution:
        found.append(Finding("data/store/short_side", f"must not be below data/resolution, which is {d.resolution}", d.short_side))
    crop = d.augment.random_resized_crop
    if crop.scale and not 0 < crop.scale[0] <= crop.scale[1] <= 1:
        found.append(Finding("data/augment/random_resized_crop/scale", "must be [lowest, highest] with 0 < lowest <= highest <= 1", crop.scale))
    if not 0 < crop.ratio[0] <= crop.ratio[1]:
        found.append(Finding("data/augment/random_resized_crop/ratio", "must be [lowest, highest] with 0 < lowest <= highest", crop.ratio))
    if crop.scale and d.augment.crop_padding:
        found.append(Finding("data/augment/crop_padding", "must be 0 beside random_resized_crop: each is a way to crop", d.augment.crop_padding))
    return found


RULES = [_source, _names, _resolution, _meaning, _amounts]


def parse(data: Mapping[str, Any], doc: Document | None = None) -> Recipe:
    """A recipe from a plain mapping. Raises :class:`DocumentError` with every problem."""
    recipe, findings = check(data)
    if recipe is None:
        doc = doc or Document(dict(data))
        raise DocumentError([doc.problem(f.path, f.rule, f.value, f.hint) for f in findings])
    return recipe


def load(path: str | Path | Document, sets: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file, with ``PATH=VALUE`` overrides applied. Raises :class:`DocumentError`."""
    doc = read(path, is_recipe)
    if is_space(doc.data):
        raise UserError(f"{doc.file} is a search space, not a recipe: run it with `autokd search --space {doc.file}`")
    override(doc, sets)
    return placed(parse(doc.data, doc), doc)


def files(r: Recipe) -> dict[str, str]:
    """Recipe path → file or folder that it names outside the recipe: a teacher's weights, a folder of pictures."""
    out = {}
    if "/" in r.teacher.weights or r.teacher.weights.endswith(WEIGHT_FILES):
        out["teacher/weights"] = r.teacher.weights
    if r.data.name.startswith("folder:"):
        out["data/name"] = r.data.name.removeprefix("folder:")
    return out


def absent(r: Recipe) -> dict[str, str]:
    """Of :func:`files` those that are not there for now; what lies below ``--data-dir`` is not looked for."""
    return {path: name for path, name in files(r).items() if not Path(name).expanduser().exists() and (r.needs_teacher or path == "data/name")}


def placed(r: Recipe, doc: Document) -> Recipe:
    """The recipe with the whole path of a teacher's file: in the document it is relative to it, in ``--set`` to the user.

    So is a folder of pictures that lies beside the document and not in the current folder, where it is looked for first.

    A recipe that came from elsewhere (it has a provenance and is not one of this user's own studies) may only name files in its
    own folder. Raises :class:`DocumentError` for others.
    """
    folder = Path(doc.file).resolve().parent
    own = folder.is_relative_to(Path(os.environ.get("AUTOKD_RUNS") or "mlruns").resolve() / "studies")
    problems, changes = [], {}
    for path, name in files(r).items():
        typed = bool(doc.option(path))
        whole = Path(os.path.abspath((Path.cwd() if typed else folder) / os.path.expanduser(name)))
        if not typed and not own and "provenance" in doc.data and not whole.resolve().is_relative_to(folder):
            rule = "lies outside the folder of a recipe that came from elsewhere"
            problems.append(doc.problem(path, rule, name, f"if you trust it, name it yourself: --set {path}=…"))
        if path == "teacher/weights":
            changes[path] = str(whole)
        elif not typed and whole.is_dir() and not Path(os.path.expanduser(name)).is_dir():
            changes[path] = f"folder:{whole}"
    if problems:
        raise DocumentError(problems)
    return r.with_(changes) if changes else r


def override(doc: Document, sets: tuple[str, ...]) -> None:
    """Apply ``--set PATH=VALUE`` to a document in place."""
    for item in sets:
        path, eq, text = item.partition("=")
        if not eq or not path:
            raise UserError(f"--set {item}: expected PATH=VALUE, for example --set train/epochs=10")
        try:
            if path.startswith("distill/") and isinstance(doc.data.get("distill"), dict):
                doc.data["distill"] = expand(doc.data["distill"]) if axes.find_preset(doc.data["distill"].get("preset")) else doc.data["distill"]
            put(doc.data, path, value_of(text))
            doc.options[split(path)] = f"--set {item}"
        except KeyError:
            raise UserError(f"--set {item}: there is no such place, or a value stands in the way") from None
