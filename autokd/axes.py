"""The axes of one distillation step, the tensor vocabulary that wires methods to it, and their registration.

A method is a function on one axis. Its positional arguments are named from :data:`VOCABULARY` and are handed over by name;
its keyword-only arguments are hyperparameters, and their annotations and defaults are their schema. So a new method is one
new file in ``methods/`` (or in a folder named by ``AUTOKD_METHODS``), and nothing else needs to know of it.

| axis | called | returns |
|---|---|---|
| teaching | once an epoch, on the whole training set | ``[M, N]`` int64: the M ladder members that teach each picture (0 = the smallest) |
| view | once an epoch, on the whole training set | ``(partner [N] int64, weight [N] float)``: picture i becomes ``w·x_i + (1−w)·x_partner`` |
| target | once a step and member | ``(teacher_logits, cold)``: repaired logits, and ``[B]`` bool of rows that no temperature softens (or None) |
| temperature | once a step and member | tau, a scalar or ``[B]`` |
| losses | once a step and member | a scalar, the mean over the batch |

The order in which they run is ``distill.step`` and stands nowhere else. This module is light.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import pkgutil
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from autokd.document import UserError, nearest

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

Axis = Literal["teaching", "view", "target", "temperature", "losses"]
AXES: tuple[Axis, ...] = typing.get_args(Axis)

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]

# What a method may read, by axis. B = batch, N = training pictures, C = classes, K = ladder members.
_EPOCH = {
    "labels": "[N] int64, −1 where a picture has no label",
    "members": "K, how many teach: assistants plus the full teacher; member K−1 is the full teacher",
    "ladder_logits": "[K, N, C] this epoch's teacher tables, smallest member first",
    "first_logits": "[K, N, C] the tables of epoch 0",
    "student_losses": "[N] the student's cross-entropies in the epoch before (zeros in epoch 0, and where there is no label)",
    "batch_index": "[N] int64: the step of this epoch in which each picture is seen",
    "uniforms": "function (purpose, columns) → [N, columns] uniforms in [0, 1), fixed by view seed, epoch, picture and purpose",
    "epoch": "number of this epoch, from 0",
    "epochs": "how many epochs there are",
    "note": "function (name, value): adds a figure to the epoch's metrics",
}
_STEP = {
    "student_logits": "[B, C]; gradient flows to the student",
    "teacher_logits": "[B, C], no gradient; repaired by the target axis before temperature and losses see it",
    "labels": "[B] int64, −1 where a picture has no label",
    "progress": "fraction of all steps done, in [0, 1)",
    "epoch": "number of this epoch, from 0",
    "note": "function (name, values): adds [B] or scalar values to the epoch's mean of that name",
}
_LOSS = _STEP | {
    "log_probs": "[B, C] log of the teacher's softened distribution p",
    "tau": "scalar or [B], the temperature of this batch",
    "partner_labels": "[B] int64, the mixup partner's labels (the picture's own without mixup)",
    "mix_weight": "[B] weight of the picture itself (ones without mixup)",
    "student_stages": "tuple of [B, c, h, w], the student's stage outputs",
    "teacher_stages": "tuple of [B, c, h, w], the full teacher's",
    "scratch_stages": "tuple of [B, c, h, w], the scratch teacher's; gradient flows to it",
    "student_embedding": "[B, D], what the student's classifier reads",
    "teacher_embedding": "[B, D], what the full teacher's classifier reads",
    "scratch_logits": "[B, C], the scratch teacher's; no gradient reaches it",
    "modules": "torch.nn.Module of this loss's own, built by its `build_modules`",
}
VOCABULARY: dict[Axis, dict[str, str]] = {
    "teaching": _EPOCH,
    "view": {k: _EPOCH[k] for k in ("uniforms", "batch_index", "epoch", "epochs", "note")},
    "target": _STEP,
    "temperature": _STEP,
    "losses": _LOSS,
}
# The words that mean: the full teacher must be run on these very views, a table of logits will not do.
ONLINE = {"teacher_stages", "teacher_embedding"}
TEACHER = {"teacher_logits", "log_probs"} | ONLINE
SCRATCH = {"scratch_logits", "scratch_stages"}  # exist only under a teaching with the flag `scratch`


@dataclass(frozen=True)
class Refusal:
    """A combination that has no meaning. ``when``: paths inside ``distill`` with the values that trigger it."""

    when: Mapping[str, Any]
    reason: str


@dataclass(frozen=True)
class Method:
    """A registered function and what its file declares about it."""

    axis: Axis
    kind: str
    fn: Callable[..., Any]
    paper: str
    reads: tuple[str, ...]
    schema: type[BaseModel]
    flags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Any]:
        return {n: f.default for n, f in self.schema.model_fields.items() if n != "kind"}

    def call(self, words: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
        """Call with the tensors it names and its hyperparameters (``weight`` belongs to the step)."""
        own = {k: v for k, v in settings.items() if k != "kind" and (k != "weight" or self.axis != "losses")}
        return self.fn(*(words[name] for name in self.reads), **own)


@dataclass(frozen=True)
class Preset:
    """A named fragment of ``distill`` with the ranges its authors searched (paths inside ``distill``)."""

    name: str
    distill: Mapping[str, Any]
    paper: str
    summary: str
    recommended: Mapping[str, Any]


METHODS: dict[tuple[Axis, str], Method] = {}
PRESETS: dict[str, Preset] = {}


def register(
    axis: Axis, kind: str, *, paper: str, weight: float | None = None, refuses: tuple[Refusal, ...] = (), **flags: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as ``kind`` on ``axis``.

    ``weight`` is a loss's default weight. Flags: ``needs_ladder`` (teaching that reads the ladder), ``assistants`` (``next``
    or ``all``: who taught the assistants), ``plain`` (settings that make it the identity), ``build_modules``
    (``(student Network, teacher Network, picture shape) → torch Module``), ``scratch`` (it trains a teacher beside the student).
    """

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        hints = typing.get_type_hints(fn, include_extras=True)
        fields: dict[str, Any] = {}
        reads = []
        for name, p in inspect.signature(fn).parameters.items():
            if p.kind is p.KEYWORD_ONLY:
                if p.default is p.empty or name not in hints:
                    raise TypeError(f"{fn.__name__}: hyperparameter {name!r} needs an annotation and a default")
                fields[name] = (hints[name], p.default)
            elif name in VOCABULARY[axis]:
                reads.append(name)
            else:
                raise TypeError(f"{fn.__name__}: {name!r} is no word of the {axis} axis; {nearest(name, VOCABULARY[axis])}")
        if axis == "losses":
            fields["weight"] = (NonNegative, 1.0 if weight is None else weight)
        else:
            fields = {"kind": (Literal[kind], kind)} | fields
        schema = create_model(f"{axis}_{kind}", __config__=STRICT, **fields)
        METHODS[axis, kind] = Method(axis, kind, fn, paper, tuple(reads), schema, flags | {"refuses": refuses})
        return fn

    return decorate


STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True)


def preset(name: str, distill: Mapping[str, Any], *, paper: str, summary: str, recommended: Mapping[str, Any] | None = None) -> None:
    """Declare a preset. Axes that it does not name take their defaults."""
    PRESETS[name] = Preset(name, distill, paper, summary, recommended or {})


@functools.cache
def load() -> None:
    """Import every file of ``autokd/methods/``, then those in the folders that ``AUTOKD_METHODS`` names."""
    import autokd.methods

    for info in sorted(pkgutil.iter_modules(autokd.methods.__path__), key=lambda m: m.name):
        importlib.import_module(f"autokd.methods.{info.name}")
    for folder in filter(None, os.environ.get("AUTOKD_METHODS", "").split(os.pathsep)):
        for file in sorted(Path(folder).glob("[a-z]*.py")):
            spec = importlib.util.spec_from_file_location(f"autokd_methods_{file.stem}", file)
            assert spec is not None and spec.loader is not None
            try:
                spec.loader.exec_module(importlib.util.module_from_spec(spec))
            except Exception as e:
                raise UserError(f"{file}: this method file cannot be loaded: {type(e).__name__}: {e}") from e


def kinds(axis: Axis) -> dict[str, Method]:
    load()
    return {kind: m for (a, kind), m in METHODS.items() if a == axis}


def method(axis: Axis, kind: str) -> Method:
    load()
    return METHODS[axis, kind]


def presets() -> dict[str, Preset]:
    load()
    return PRESETS


def find_preset(name: Any) -> Preset | None:
    """The preset of that name. Documents may hold anything in its place."""
    return presets().get(name) if isinstance(name, str) else None


def chosen(distill: Mapping[str, Any]) -> list[tuple[Method, Mapping[str, Any]]]:
    """The methods that a valid ``distill`` block names, each with its settings, in the order of the axes."""
    out = []
    for axis in AXES:
        if axis == "losses":
            out += [(method(axis, kind), s) for kind, s in distill[axis].items()]
        else:
            out.append((method(axis, distill[axis]["kind"]), distill[axis]))
    return out


def refusals(distill: Mapping[str, Any]) -> list[tuple[str, str]]:
    """``(path, reason)`` for every combination in a valid ``distill`` block that some method declares meaningless."""
    out = []
    has_scratch = method("teaching", distill["teaching"]["kind"]).flags.get("scratch")
    for m, _ in chosen(distill):
        path = f"distill/{m.axis}" + (f"/{m.kind}" if m.axis == "losses" else "")
        if set(m.reads) & SCRATCH and not has_scratch:
            trained_by = " or ".join(sorted(kind for kind, t in kinds("teaching").items() if t.flags.get("scratch")))
            out.append((path, f"reads a scratch teacher, which only distill/teaching/kind {trained_by} trains"))
        for refusal in m.flags["refuses"]:
            if all(_at(distill, where) == value for where, value in refusal.when.items()):
                out.append((path, refusal.reason))
    return out


ABSENT = "<absent>"


def _at(data: Any, path: str) -> Any:
    for key in path.split("/"):
        if not isinstance(data, Mapping) or key not in data:
            return ABSENT
        data = data[key]
    return data
