"""The axes of one distillation step, the tensor vocabulary that wires methods to it, and their
registration.

A method is a function on one axis. Its positional arguments are words of ``vocabulary`` and are
handed over by name; its keyword-only arguments are hyperparameters, and their annotations and
defaults are their schema. So a new method is one new file in ``methods/`` (or in a folder named by
``AUTOKD_METHODS``), and nothing else needs to know of it.

| axis | called | returns |
|---|---|---|
| teaching | once an epoch, on all training pictures | the members that teach each, `[M, N]` |
| view | once an epoch, on all training pictures | what each is mixed with, or None |
| target | once a step and member | repaired logits, and which rows stay unsoftened |
| temperature | once a step and member | tau, a number or `[B]` |
| losses | once a step and member | a scalar, the mean over the batch |

- teaching: int64 indices of the ladder's members, 0 the smallest; M teach each picture.
- view: ``(partner [N] int64, weight [N] float, what teachers see)``; picture i becomes
  ``w·x_i + (1−w)·x_partner``, and teachers see it ``"mixed"``, or its two ``"parts"``. With boxes
  ``[N, 4]`` as a fourth (top, left, bottom, right as shares of the side) it shows its partner
  inside of its box instead, and w is the share of the area outside.
- target: ``(teacher_logits [B, C], cold [B] bool or None)``; no temperature softens cold rows.

The order in which they run is ``distill.step`` and stands nowhere else. This module is light.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, create_model

from autokd.errors import nearest
from autokd.recipe import plugins
from autokd.recipe.bounds import NUMBER, WHOLE_NUMBER
from autokd.recipe.vocabulary import SCRATCH, TEACHER, VOCABULARY, Axis

PACKAGE = __name__.split(".")[0]
FOLDER = Path(__file__).parents[1] / "methods"  # scanned, so that nothing here names a method

AXES: tuple[Axis, ...] = typing.get_args(Axis)

Positive = Annotated[float, Field(gt=0, le=NUMBER, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=NUMBER, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=WHOLE_NUMBER)]


@dataclass(frozen=True)
class Refusal:
    """A combination that has no meaning. ``when``: paths inside ``distill`` with the values that
    trigger it.
    """

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
    about: str = ""  # what it does, in a line for people who know none of these papers
    flags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Any]:
        return {n: f.default for n, f in self.schema.model_fields.items() if n != "kind"}

    def call(self, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
        """Call with the inputs that it reads and its hyperparameters (a loss's ``weight`` belongs
        to the step).
        """
        not_its_own = {"kind", "weight"} if self.axis == "losses" else {"kind"}
        own = {k: v for k, v in settings.items() if k not in not_its_own}
        return self.fn(*(inputs[name] for name in self.reads), **own)


class Chosen(NamedTuple):
    """A method with its settings."""

    method: Method
    settings: Mapping[str, Any]

    def __call__(self, inputs: Mapping[str, Any]) -> Any:
        return self.method.call(inputs, self.settings)

    @property
    def active(self) -> bool:
        """Whether it counts: a loss of weight 0 does not."""
        return self.method.axis != "losses" or self.settings["weight"] != 0


@dataclass(frozen=True)
class Methods:
    """What one distillation step is made of, by axis. Iterating gives all of them."""

    teaching: Chosen
    view: Chosen
    target: Chosen
    temperature: Chosen
    losses: tuple[Chosen, ...]

    def __iter__(self) -> Iterator[Chosen]:
        yield from (self.teaching, self.view, self.target, self.temperature, *self.losses)

    @property
    def reads(self) -> set[str]:
        """The words of the vocabulary that those that count read."""
        return {word for chosen in self if chosen.active for word in chosen.method.reads}

    @property
    def needs_teacher(self) -> bool:
        """Whether a loss that counts asks the teacher: cross-entropy alone does not."""
        return any(set(loss.method.reads) & TEACHER for loss in self.losses if loss.active)


@dataclass(frozen=True)
class Preset:
    """A named fragment of ``distill`` with the ranges recommended for it (paths inside
    ``distill``).
    """

    name: str
    distill: Mapping[str, Any]
    paper: str
    summary: str
    recommended: Mapping[str, Any]


METHODS: dict[tuple[Axis, str], Method] = {}
PRESETS: dict[str, Preset] = {}


def register(
    axis: Axis,
    kind: str,
    *,
    paper: str,
    about: str = "",
    weight: float | None = None,
    refuses: tuple[Refusal, ...] = (),
    **flags: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as ``kind`` on ``axis``.

    ``about`` is its line in `autokd methods`, else the docstring's first sentence; ``weight`` is a
    loss's default weight. Flags: ``needs_ladder`` (teaching that reads the ladder),
    ``assistants`` (``next`` or ``all``: who taught the assistants), ``plain`` (settings that make
    it the identity), ``build_modules`` (``(student Network, teacher Network, picture shape) → torch
    Module``), ``scratch`` (it trains a teacher beside the student).
    """

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        hints = typing.get_type_hints(fn, include_extras=True)
        fields: dict[str, Any] = {}
        reads = []
        for name, p in inspect.signature(fn).parameters.items():
            if p.kind is p.KEYWORD_ONLY:
                if p.default is p.empty or name not in hints:
                    raise TypeError(
                        f"{fn.__name__}: hyperparameter {name!r} needs an annotation and a default"
                    )
                fields[name] = (hints[name], p.default)
            elif name in VOCABULARY[axis]:
                reads.append(name)
            else:
                raise TypeError(
                    f"{fn.__name__}: {name!r} is no word of the {axis} axis;"
                    f" {nearest(name, VOCABULARY[axis])}"
                )
        if axis == "losses":
            fields["weight"] = (NonNegative, 1.0 if weight is None else weight)
        else:
            fields = {"kind": (Literal[kind], kind)} | fields
        schema = create_model(f"{axis}_{kind}", __config__=STRICT, **fields)
        METHODS[axis, kind] = Method(
            axis,
            kind,
            fn,
            paper,
            tuple(reads),
            schema,
            about or _first_sentence(fn),
            flags | {"refuses": refuses},
        )
        return fn

    return decorate


def _first_sentence(fn: Callable[..., Any]) -> str:
    told = " ".join((fn.__doc__ or "").partition("\n\n")[0].split()).replace("``", "")
    return told.partition(". ")[0].rstrip(".")


STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True)


def preset(
    name: str,
    distill: Mapping[str, Any],
    *,
    paper: str,
    summary: str,
    recommended: Mapping[str, Any] | None = None,
) -> None:
    """Declare a preset. Axes that it does not name take their defaults."""
    PRESETS[name] = Preset(name, distill, paper, summary, recommended or {})


@functools.cache
def _built_in() -> None:
    """Import every file of ``autokd/methods/``."""
    for info in sorted(pkgutil.iter_modules([str(FOLDER)]), key=lambda m: m.name):
        importlib.import_module(f"{PACKAGE}.{FOLDER.name}.{info.name}")


def load() -> None:
    """Have all methods registered: the built-in ones, then those of plugins. Raises
    :class:`UserError` for a file of the user's that cannot be loaded.
    """
    _built_in()
    plugins.load()


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


def chosen(distill: Mapping[str, Any]) -> Methods:
    """The methods that a valid ``distill`` block names."""
    return Methods(
        teaching=_chosen("teaching", distill),
        view=_chosen("view", distill),
        target=_chosen("target", distill),
        temperature=_chosen("temperature", distill),
        losses=tuple(Chosen(method("losses", kind), s) for kind, s in distill["losses"].items()),
    )


def _chosen(axis: Axis, distill: Mapping[str, Any]) -> Chosen:
    return Chosen(method(axis, distill[axis]["kind"]), distill[axis])


def refusals(distill: Mapping[str, Any]) -> list[tuple[str, str]]:
    """``(path, reason)`` for every combination in a valid ``distill`` block that some method
    declares meaningless.
    """
    out = []
    methods = chosen(distill)
    has_scratch = methods.teaching.method.flags.get("scratch")
    for m, _ in methods:
        path = f"distill/{m.axis}" + (f"/{m.kind}" if m.axis == "losses" else "")
        if set(m.reads) & SCRATCH and not has_scratch:
            trains = [kind for kind, t in kinds("teaching").items() if t.flags.get("scratch")]
            kind = " or ".join(sorted(trains))
            reason = f"reads a scratch teacher, which only distill/teaching/kind {kind} trains"
            out.append((path, reason))
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
