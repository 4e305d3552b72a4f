"""The search space: a base recipe with free leaves. Light.

``vary`` maps recipe paths to what may stand there: a value, a range (``uniform``, ``log_uniform``, ``int_uniform``), a
``choice`` of values, or a ``one_of`` of branches, each again a value with free leaves; a branch replaces its node. ``one_of``
directly under ``vary`` chooses between whole groups of paths. A space is valid when every corner of it is a valid recipe and
nothing is varied that a corner would not read.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from autokd import axes
from autokd import recipe as recipes
from autokd.document import Document, DocumentError, Keys, Problem, canonical, flatten, get, join, nearest, put, read, split
from autokd.recipe import Block, Finding, Recipe, _validate, expand

METRICS = ("val/accuracy", "val/nll", "val/ece", "val/entropy")
COSTS = ("student/flops", "student/params", "student/latency_ms")  # latency is known after a trial, the others before
SAMPLERS = Literal["tpe", "random", "qmc", "cmaes", "gp", "nsga2"]
FLAT = {"qmc": "it uses the first trial's branch for all", "cmaes": "it draws such parameters at random"}  # why not on any space
UNPRUNED = ("cmaes", "gp", "nsga2")  # learn nothing from a pruned trial


class Asha(Block):
    """Asynchronous successive halving: which trials get how many epochs."""

    form: Annotated[Literal["promotion", "stopping", "none"], Field(description="pause and resume the best, stop the rest, or neither")] = "promotion"
    grace_epochs: Annotated[int | None, Field(ge=1, description="epochs that every trial gets: the first rung; left out: a third of its own")] = None
    reduction: Annotated[int, Field(ge=2, description="one in so many goes on from a rung")] = 3
    compare: Annotated[Literal["branch", "all"], Field(description="rank within a branch of the space, or across all")] = "branch"
    exempt: Annotated[int, Field(ge=0, description="one random trial in so many always runs to its end (0: none)")] = 8
    raise_grace_below: Annotated[
        float | None,
        Field(
            ge=-1,
            le=1,
            description="later trials pass the lowest rung unjudged once its rank correlation with the final value, over 8 or more trials that "
            "ran to their end whatever their rank, is below this (0.3, say); left out: never",
        ),
    ] = None


class Finalists(Block):
    """What is confirmed over fresh seeds, beside its controls."""

    top: Annotated[int, Field(ge=1)] = 1
    per: Annotated[str | None, Field(description="a varied path: the best `top` are taken for each of its values")] = None
    seeds: Annotated[int, Field(ge=0, description="fresh seeds of each finalist and control; 0 leaves the finals out")] = 5


class Resources(Block):
    """What one trial takes."""

    gpu: Annotated[float | None, Field(ge=0, description="GPUs; 0.25: four trials share one (default: the GPUs there are, shared by --jobs)")] = None


class Objective(Block):
    maximize: str | None = None
    minimize: str | None = None

    @property
    def metric(self) -> str:
        return self.maximize or self.minimize or ""

    @property
    def sign(self) -> int:
        return 1 if self.maximize else -1


class Constraint(NamedTuple):
    """``metric <= bound`` or ``metric >= bound``."""

    metric: str
    sign: int  # 1: at most
    bound: float

    def holds(self, value: float) -> bool:
        return self.sign * value <= self.sign * self.bound


class Plateau(Block):
    """Stop when so many trials in a row brought nothing."""

    trials: Annotated[int, Field(ge=1)] = 20
    margin: Annotated[float, Field(ge=0, description="what counts as better, in the objective's unit")] = 0.0


class Search(Block):
    """How to look, and when to stop: each limit is for the whole search, whatever runs side by side."""

    trials: Annotated[int, Field(ge=1)] = 40
    time: Annotated[float | None, Field(gt=0, description="seconds of wall time after which no trial is started")] = None
    epochs: Annotated[int | None, Field(ge=1, description="epochs of training after which no trial is started")] = None
    target: Annotated[float | None, Field(description="stop when the objective has reached this")] = None
    plateau: Plateau | None = None
    objective: Annotated[Objective | list[Objective], Field(description="one, or several for a Pareto front; pruning looks at the first")] = Objective(
        maximize="val/accuracy"
    )
    constraints: Annotated[list[str], Field(description="for example `student/flops <= 20e6`")] = []
    sampler: SAMPLERS = "tpe"
    asha: Asha = Asha()
    finalists: Finalists = Finalists()
    resources: Resources = Resources()

    @property
    def objectives(self) -> list[Objective]:
        return self.objective if isinstance(self.objective, list) else [self.objective]

    @property
    def limits(self) -> list[Constraint]:
        return [c for text in self.constraints if (c := constraint(text))]


def constraint(text: str) -> Constraint | None:
    """Parse ``student/flops <= 20e6``; None where it is no constraint."""
    parts = text.split()
    if len(parts) != 3 or parts[1] not in {"<=", ">="}:
        return None
    try:
        return Constraint(parts[0], 1 if parts[1] == "<=" else -1, float(parts[2]))
    except ValueError:
        return None


# ---------------------------------------------------------------- the tree


@dataclass(frozen=True)
class Leaf:
    """A free value. ``name``: what Optuna calls it; ``keys``: where it stands in the document."""

    path: str
    name: str
    keys: Keys
    kind: str
    options: list[Any]
    prior: Any = None

    def contains(self, value: Any) -> bool:
        if self.kind == "choice":
            return value in self.options
        low, high = self.options
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    @property
    def encoded(self) -> list[Any]:
        """A choice's options as Optuna stores them: scalars as they are, structures as canonical JSON."""
        return [canonical(v) if isinstance(v, dict | list) else v for v in self.options]


@dataclass(frozen=True)
class OneOf:
    path: str
    name: str
    keys: Keys
    labels: list[str]
    branches: list[Node]

    @property
    def options(self) -> list[str]:
        return self.labels


@dataclass(frozen=True)
class Fixed:
    path: str
    keys: Keys
    value: Any


@dataclass(frozen=True)
class Group:
    """Several places filled together; later ones may lie inside earlier ones (a preset, then its free leaves)."""

    nodes: list[Node]


Node = Leaf | OneOf | Fixed | Group
Choose = Callable[[Leaf | OneOf], Any]
RANGES = ("uniform", "log_uniform", "int_uniform")


@dataclass(frozen=True)
class Point:
    """One place of the space: the recipe's data, what was chosen by Optuna's names, and each value's place in the document."""

    data: dict[str, Any]
    params: dict[str, Any]
    varied: dict[str, Any]
    origins: dict[str, Keys]

    @property
    def branch(self) -> str:
        """The ``one_of`` branches taken: trials are ranked within them."""
        return " ".join(f"{k}={v}" for k, v in self.params.items() if k.rsplit("/", 1)[-1] in {"kind", "preset", "branch"})


@dataclass
class Space:
    base: Recipe
    search: Search
    root: Node
    forbid: list[dict[str, Any]] = field(default_factory=list)
    baselines: list[dict[str, Any]] | None = None
    title: str = ""
    document: dict[str, Any] = field(default_factory=dict)  # as read

    @property
    def frozen(self) -> dict[str, Any]:
        """What a study keeps, so that it goes on with the space it began with."""
        return {"space": self.document, "base": self.base.to_dict()}

    def point(self, choose: Choose) -> Point:
        """Fill every free place; ``choose`` is asked for a leaf's value, or a branch's label, in document order."""
        point = Point(self.base.to_dict(), {}, {}, {})
        _fill(self.root, point, choose)
        return point

    def leaves(self) -> Iterator[Leaf | OneOf]:
        yield from _free(self.root)

    def forbidden(self, point: Point) -> dict[str, Any] | None:
        """The first ``forbid`` entry that this point matches, by the recipe's paths or by the space's names."""
        for entry in self.forbid:
            if all(_matches(point, path, value) for path, value in entry.items()):
                return entry
        return None

    def starting_points(self) -> list[tuple[str, Point]]:
        """The named baselines: the base if it lies in the space, then each preset that the space names, or the given list.

        Each is tried at every value of ``finalists/per``, so that no group's winner was never compared with them.
        """
        wanted: list[tuple[str, Callable[[Leaf | OneOf], Any]]] = []
        if self.baselines is not None:
            for i, given in enumerate(self.baselines):
                wanted.append((f"baseline {i + 1}", _given(given, self.base)))
        else:
            wanted.append(("base", _like(self.base.to_dict())))
            for node in self.leaves():
                if isinstance(node, OneOf):
                    wanted += [(label, _preset(node, label, self.base)) for label in node.labels if label in axes.presets()]
        out: dict[str, tuple[str, Point]] = {}
        for name, choose in wanted:
            for option in self.per.options if self.per else [None]:
                try:
                    point = self.point(choose if self.per is None else _with(self.per, option, choose))
                except LookupError:
                    if self.baselines is not None:
                        raise
                    continue
                if not self.forbidden(point):
                    shown = name if self.per is None else f"{name} {option}"
                    out.setdefault(canonical(point.data), (shown, point))
        return list(out.values())

    @property
    def per(self) -> Leaf | None:
        """The free choice whose values are compared each on its own."""
        path = self.search.finalists.per
        return next((n for n in self.leaves() if isinstance(n, Leaf) and n.kind == "choice" and path in (n.path, n.name)), None)


def _with(leaf: Leaf, value: Any, choose: Choose) -> Choose:
    """The same choices but for one leaf."""
    return lambda node: value if node is leaf else choose(node)


def _matches(point: Point, path: str, value: Any) -> bool:
    try:
        found = point.varied[path] if path in point.varied else get(point.data, path)
    except KeyError:
        return False
    return found == value or (isinstance(value, list) and not isinstance(found, list) and found in value)


def _fill(node: Node, point: Point, choose: Choose) -> None:
    if isinstance(node, Group):
        for child in node.nodes:
            _fill(child, point, choose)
        return
    point.origins[node.path] = node.keys
    if isinstance(node, Fixed):
        put(point.data, node.path, copy.deepcopy(node.value))
        if isinstance(node.value, dict):
            point.origins.update({f"{node.path}/{path}": (*node.keys, *split(path)) for path in flatten(node.value)})
        return
    chosen = choose(node)
    if isinstance(node, OneOf):
        point.params[node.name] = point.varied[node.name] = chosen
        _fill(node.branches[node.labels.index(chosen)], point, choose)
    else:
        point.params[node.name] = canonical(chosen) if isinstance(chosen, dict | list) else chosen
        point.varied[node.path] = chosen
        put(point.data, node.path, copy.deepcopy(chosen))


def _free(node: Node) -> Iterator[Leaf | OneOf]:
    if isinstance(node, Leaf):
        yield node
    elif isinstance(node, OneOf):
        yield node
        for branch in node.branches:
            yield from _free(branch)
    elif isinstance(node, Group):
        for child in node.nodes:
            yield from _free(child)


def default(leaf: Leaf, base: Any = None) -> Any:
    """The value to start from: the prior, else the base's where the range holds it, else the first or middle one."""
    for value in (leaf.prior, base):
        if value is not None and leaf.contains(value):
            return value
    if leaf.kind == "choice":
        return leaf.options[0]
    low, high = leaf.options
    middle = (low * high) ** 0.5 if leaf.kind == "log_uniform" else (low + high) / 2
    return round(middle) if leaf.kind == "int_uniform" else middle


def _value_at(data: Any, path: str) -> Any:
    try:
        return get(data, path)
    except KeyError:
        return None


def _like(base: Mapping[str, Any]) -> Choose:
    """Choose what the base has; LookupError where the space does not hold it."""

    def choose(node: Leaf | OneOf) -> Any:
        if isinstance(node, OneOf):
            for label in node.labels:
                if _value_at(base, f"{node.path}/kind") == label:
                    return label
            raise LookupError(node.name)
        value = _value_at(base, node.path)
        if not node.contains(value):
            raise LookupError(node.name)
        return value

    return choose


def _preset(owner: OneOf, label: str, base: Recipe) -> Choose:
    """Choose one preset with its authors' defaults, and elsewhere what the base has or a default."""
    own = expand({"preset": label})
    data = base.to_dict() | {"distill": recipes.check_distill(own, [])}

    def choose(node: Leaf | OneOf) -> Any:
        if node is owner:
            return label
        if isinstance(node, OneOf):
            near = _value_at(data, f"{node.path}/kind")
            if any(o is owner for o in _free(node)):
                return next(lab for lab, b in zip(node.labels, node.branches, strict=True) if any(o is owner for o in _free(b)))
            return near if near in node.labels else node.labels[0]
        return default(node, _value_at(data, node.path))

    return choose


def _given(given: Mapping[str, Any], base: Recipe) -> Choose:
    def choose(node: Leaf | OneOf) -> Any:
        value = given.get(node.name, given.get(node.path))
        if isinstance(node, OneOf):
            if value is None:
                return node.labels[0]
            if value not in node.labels:
                raise LookupError(f"{node.name}: {value!r} is no branch; {nearest(value, node.labels)}")
            return value
        if value is None:
            return default(node, _value_at(base.to_dict(), node.path))
        if not node.contains(value):
            raise LookupError(f"{node.name}: {value!r} is outside the range")
        return value

    return choose


# ---------------------------------------------------------------- reading


Taken = tuple[tuple[str, str], ...]  # the branches a place lies in: (path of the one_of, label), outermost first


def _name(path: str, taken: Taken) -> str:
    """Optuna's name: the branch stands behind its node's path, ``distill/temperature/flsw/tau``."""
    name = path
    for owner, label in reversed(taken):
        name = f"{label}/{name}" if not owner else name.replace(owner, f"{owner}/{label}", 1)
    return name


class _Reader:
    """Builds the tree of one document, gathering every problem."""

    def __init__(self, doc: Document, base: dict[str, Any]):
        self.doc, self.base, self.problems = doc, base, []  # type: tuple[Document, dict, list[Problem]]

    def wrong(self, keys: Keys, path: str, rule: str, value: Any = None, hint: str = "") -> None:
        self.problems.append(self.doc.problem(path, rule, value, hint, at=keys))

    def vary(self, block: Any, keys: Keys, taken: Taken) -> Group:
        """A mapping of paths to nodes; ``one_of`` among them chooses between whole mappings."""
        nodes: list[Node] = []
        if not isinstance(block, dict):
            self.wrong(keys, join(keys), "must be a mapping of recipe paths to what is free", block)
            return Group(nodes)
        paths = [p for p in block if p != "one_of" and self.known(p, (*keys, *split(p)))]
        for a, b in itertools.combinations(paths, 2):
            if split(a)[: len(split(b))] == split(b) or split(b)[: len(split(a))] == split(a):
                self.wrong((*keys, *split(b)), b, f"overlaps with {a}, which is varied too")
        for path, value in block.items():
            at = (*keys, *split(path))
            if path == "one_of":
                nodes.append(self.one_of(value, "", at, taken, self.vary))
            elif path in paths:
                nodes.append(self.node(value, path, at, taken))
        return Group(nodes)

    def known(self, path: str, keys: Keys) -> bool:
        try:
            get(self.base, path)
        except KeyError:
            every = {join(split(p)[:i]) for p in flatten(self.base) for i in range(1, len(split(p)) + 1)}
            self.wrong(keys, path, "is not in the base", hint=nearest(path, every))
            return False
        if split(path)[-1] in {"seed", "split_seed"}:
            self.wrong(keys, path, "a seed is never varied: a search would pick a lucky one")
            return False
        return True

    def node(self, value: Any, path: str, keys: Keys, taken: Taken) -> Node:
        if not isinstance(value, dict):
            return Fixed(path, keys, value)
        if "one_of" in value:
            extra = set(value) - {"one_of", "free"}
            for key in extra:
                self.wrong((*keys, key), f"{path}/{key}", "unknown key beside one_of", hint=nearest(key, ["free"]))
            free = value.get("free")
            if free not in (None, "recommended"):
                self.wrong((*keys, "free"), f"{path}/free", "must be 'recommended'", free)

            def make(option: Any, at: Keys, inner: Taken) -> Node:
                return self.branch(option, path, at, inner, free == "recommended")

            return self.one_of(value["one_of"], path, (*keys, "one_of"), taken, make)
        if "choice" in value or any(r in value for r in RANGES):
            return self.leaf(value, path, _name(path, taken), keys)
        return self.branch(value, path, keys, taken, False)

    def branch(self, value: Any, path: str, keys: Keys, taken: Taken, recommended: bool) -> Node:
        """A value that replaces the node at ``path``: what is fixed of it first, then its free leaves."""
        if not isinstance(value, dict):
            return Fixed(path, keys, value)
        fixed: dict[str, Any] = {}
        nodes: list[Node] = []
        name = value.get("preset")
        if recommended and path == "distill" and name in axes.presets():
            given = {join(split(k)) for k in _paths(value)}
            for sub, spec in axes.presets()[name].recommended.items():
                if not any(sub == g or sub.startswith(g + "/") or g.startswith(sub + "/") for g in given):
                    nodes.append(self.node(spec, f"{path}/{sub}", keys, taken))

        def walk(node: Any, sub: tuple[str, ...], at: Keys) -> None:
            if isinstance(node, dict) and not _is_free(node) and node:
                for key, child in node.items():
                    walk(child, (*sub, *map(str, split(key))), (*at, *split(key)))
            elif isinstance(node, dict) and node:
                nodes.append(self.node(node, "/".join((path, *sub)), at, taken))
            else:
                try:
                    put(fixed, "/".join(sub), node)
                except KeyError:
                    self.wrong(at, "/".join((path, *sub)), "overlaps with another key")

        walk(value, (), keys)
        if path == "distill":
            if "preset" in fixed and fixed["preset"] not in axes.presets():
                self.wrong((*keys, "preset"), "distill/preset", "unknown preset", fixed["preset"], nearest(fixed["preset"], axes.presets()))
                return Group([])
            fixed = expand(fixed)
        return Group([Fixed(path, keys, fixed), *nodes])

    def one_of(self, options: Any, path: str, keys: Keys, taken: Taken, make: Callable[[Any, Keys, Taken], Node]) -> Node:
        if not isinstance(options, list) or not options:
            self.wrong(keys, path or "one_of", "must be a list of branches", options)
            return Group([])
        key = next((k for k in ("preset", "kind") if all(isinstance(o, dict) and k in o for o in options)), "branch")
        labels = [str(o[key]) if key != "branch" else str(i) for i, o in enumerate(options)]
        doubled = {lab for lab in labels if labels.count(lab) > 1}
        labels = [f"{lab}#{i}" if lab in doubled else lab for i, lab in enumerate(labels)]
        branches = [make(o, (*keys, i), (*taken, (path, lab))) for i, (o, lab) in enumerate(zip(options, labels, strict=True))]
        return OneOf(path, f"{_name(path, taken)}/{key}".lstrip("/"), keys, labels, branches)

    def leaf(self, value: dict[str, Any], path: str, name: str, keys: Keys) -> Node:
        kinds = [k for k in value if k in RANGES or k == "choice"]
        for key in set(value) - set(kinds) - {"prior"}:
            self.wrong((*keys, key), f"{path}/{key}", "unknown key of a range", hint=nearest(key, [*RANGES, "choice", "prior"]))
        kind, options = kinds[0], value[kinds[0]]
        at = (*keys, kind)
        if len(kinds) > 1:
            self.wrong(keys, path, f"is given both as {kinds[0]} and as {kinds[1]}")
        if kind == "choice":
            if not isinstance(options, list) or not options:
                self.wrong(at, path, "choice must be a list with at least one value", options)
                return Group([])
        else:
            numbers = isinstance(options, list) and len(options) == 2
            numbers = numbers and all(isinstance(v, int | float) and not isinstance(v, bool) for v in options)
            if not numbers:
                self.wrong(at, path, f"{kind} must be two numbers, [low, high]", options)
                return Group([])
            if options[0] >= options[1]:
                self.wrong(at, path, f"{kind}: low must be less than high", options)
                return Group([])
            if kind == "log_uniform" and options[0] <= 0:
                self.wrong(at, path, "log_uniform: low must be greater than 0", options)
                return Group([])
            if kind == "int_uniform" and not all(isinstance(v, int) for v in options):
                self.wrong(at, path, "int_uniform must be two whole numbers", options)
                return Group([])
        leaf = Leaf(path, name, keys, kind, options, value.get("prior"))
        if leaf.prior is not None and not leaf.contains(leaf.prior):
            self.wrong((*keys, "prior"), path, "prior lies outside the range", leaf.prior)
        return leaf


def _is_free(node: Mapping[str, Any]) -> bool:
    return any(k in node for k in (*RANGES, "choice", "one_of"))


def _paths(value: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, child in value.items():
        path = f"{prefix}{key}"
        if isinstance(child, dict) and not _is_free(child) and child:
            yield from _paths(child, path + "/")
        else:
            yield path


# ---------------------------------------------------------------- corners


def corners(root: Node, base: Mapping[str, Any], most_pairs: int = 400) -> Iterator[Choose]:
    """Ways to fill the space that together show every value of every leaf, and every pair of structural choices."""

    def walk(node: Node, context: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Leaf | OneOf, Any]]:
        if isinstance(node, Group):
            for child in node.nodes:
                yield from walk(child, context)
        elif isinstance(node, Leaf | OneOf):
            for i, option in enumerate(node.options):
                yield context, node, option
                if isinstance(node, OneOf):
                    yield from walk(node.branches[i], context | {node.name: option})

    def filled(wanted: dict[str, Any]) -> Choose:
        def choose(node: Leaf | OneOf) -> Any:
            if node.name in wanted:
                return wanted[node.name]
            return node.labels[0] if isinstance(node, OneOf) else default(node, _value_at(base, node.path))

        return choose

    singles = [(context | {node.name: option}, isinstance(node, OneOf) or node.kind == "choice") for context, node, option in walk(root, {})]
    for wanted, _ in singles:
        yield filled(wanted)
    structural = [wanted for wanted, s in singles if s]
    pairs = ((a, b) for a, b in itertools.combinations(structural, 2) if all(b.get(k, v) == v for k, v in a.items()))
    for a, b in itertools.islice(pairs, most_pairs):
        yield filled(a | b)


def _check_corners(space: Space, doc: Document, base_doc: Document) -> list[Problem]:
    problems: dict[tuple[str, str], Problem] = {}
    for choose in corners(space.root, space.base.to_dict()):
        point = space.point(choose)
        if space.forbidden(point):
            continue
        made, findings = recipes.check(point.data)
        if made is not None:
            findings = list(_dead_leaves(point, made))
        for f in findings:
            at = next((k for k in _upwards(f.path) if k in point.origins), None)
            if at is None:
                problem = base_doc.problem(f.path, f.rule, f.value, f.hint)
            else:
                rest = f.path[len(at) :].strip("/")
                problem = doc.problem(f.path, f.rule, f.value, f.hint, at=(*point.origins[at], *split(rest)))
            problems.setdefault((problem.path, problem.rule), problem)
    return list(problems.values())


def _upwards(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _dead_leaves(point: Point, made: Recipe) -> Iterator[Finding]:
    for path in point.varied:
        for dead in made.dead():
            if path == dead or path.startswith(dead + "/"):
                yield Finding(path, f"is varied where nothing reads it ({_why_dead(made, dead)}): nest it in the branches that do")


def _why_dead(made: Recipe, dead: str) -> str:
    if dead.startswith("teacher") and not made.needs_teacher:
        return "no loss asks the teacher"
    if dead.startswith("teacher"):
        return f"teacher/weights is {made.teacher.weights}"
    if dead == "ladder" or (dead == "ladder_train" and made.ladder):
        return f"distill/teaching is {made.distill['teaching']['kind']}"
    return "the ladder is empty" if dead == "ladder_train" else "the optimizer or schedule has no use for it"


# ---------------------------------------------------------------- loading


KEYS = {"title", "description", "base", "search", "vary", "baselines", "forbid"}


def load(path: str | Path, base: str | Path | None = None, sets: tuple[str, ...] = ()) -> Space:
    """Read a search space and its base recipe. Raises :class:`DocumentError` with every problem of both.

    ``base`` replaces the space's own; ``sets`` override the base (``PATH=VALUE``) or, under ``search/``, the search itself.
    """
    doc = read(path)
    own = tuple(s for s in sets if s.startswith("search/"))
    recipes.override(doc, own)
    named = doc.data.get("base")
    if base is None and not isinstance(named, str):
        raise DocumentError([doc.problem("base", "must name a recipe file", named)])
    base_doc = read(base) if base is not None else read(Path(path).parent / str(named))
    recipes.override(base_doc, tuple(s for s in sets if s not in own))
    return build(doc, base_doc)


def thaw(frozen: Mapping[str, Any]) -> Space:
    """The space that a study froze."""
    return build(Document(frozen["space"], "the study's space"), Document(frozen["base"], "the study's base"))


def build(doc: Document, base_doc: Document) -> Space:
    """A space from parsed documents. Raises :class:`DocumentError` with every problem."""
    problems: list[Problem] = []
    for key in doc.data:
        if key not in KEYS:
            problems.append(doc.problem(key, "unknown key", hint=nearest(key, KEYS)))
    made, findings = recipes.check(base_doc.data)
    if made is not None and base_doc.file.endswith((".yaml", ".yml")):
        made = recipes.placed(made, base_doc)  # workers run elsewhere: a teacher's file needs its whole path
    problems += [base_doc.problem(f.path, f.rule, f.value, f.hint) for f in findings]
    search = _search(doc, problems)
    reader = _Reader(doc, made.to_dict() if made else _merged(base_doc.data))
    root = reader.vary(doc.data.get("vary", {}), ("vary",), ())
    problems += reader.problems
    if not isinstance(root, Group) or not root.nodes:
        problems.append(doc.problem("vary", "must free at least one path"))
    if made is None:
        raise DocumentError(problems)
    space = Space(made, search or Search(), root, title=str(doc.data.get("title", "")))
    space.forbid = _entries(doc, "forbid", problems)
    space.baselines = _entries(doc, "baselines", problems) if "baselines" in doc.data else None
    problems += _check_corners(space, doc, base_doc)
    if not problems:
        problems += _check_paths(space, doc)
    if problems:
        raise DocumentError(problems)
    space.document = doc.data
    return space


def _merged(data: Mapping[str, Any]) -> dict[str, Any]:
    """A base that is itself wrong, good enough to look paths up in."""
    out = Recipe(distill=recipes.check_distill({}, [])).to_dict()
    for path, value in flatten({k: v for k, v in data.items() if isinstance(v, dict) or k in out}).items():
        try:
            put(out, path, value)
        except KeyError:
            continue
    return out


def _search(doc: Document, problems: list[Problem]) -> Search | None:
    made, findings = _validate(Search, doc.data.get("search", {}), "search")
    problems += [doc.problem(f.path, f.rule, f.value, f.hint) for f in findings]
    if not isinstance(made, Search):
        return None
    for i, objective in enumerate(made.objectives):
        known = METRICS + COSTS if i else METRICS  # pruning needs something that each epoch reports
        if bool(objective.maximize) == bool(objective.minimize):
            problems.append(doc.problem("search/objective", "must name one metric to maximize or to minimize"))
        elif objective.metric.startswith("test/"):
            rule = "the test data is read once, at the end: a search never looks at it"
            problems.append(doc.problem("search/objective", rule, objective.metric, "use val/" + objective.metric[5:]))
        elif objective.metric not in known:
            rule = "the first objective must be a validation metric" if objective.metric in COSTS else "unknown metric"
            problems.append(doc.problem("search/objective", rule, objective.metric, nearest(objective.metric, known)))
    for i, text in enumerate(made.constraints):
        limit = constraint(text)
        if limit is None:
            problems.append(doc.problem(f"search/constraints/{i}", "must read like 'student/flops <= 20e6'", text))
        elif limit.metric not in COSTS:
            problems.append(doc.problem(f"search/constraints/{i}", "unknown metric", limit.metric, nearest(limit.metric, COSTS)))
    if made.sampler in UNPRUNED and made.asha.form != "none":
        rule = f"{made.sampler} learns nothing from pruned trials: add asha: {{form: none}}, or use tpe"
        problems.append(doc.problem("search/sampler", rule))
    if made.sampler == "gp" and len(made.objectives) > 1:
        problems.append(doc.problem("search/sampler", "gp takes one objective here: use nsga2 or tpe"))
    return made


def _entries(doc: Document, key: str, problems: list[Problem]) -> list[dict[str, Any]]:
    value = doc.data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        problems.append(doc.problem(key, "must be a list of mappings from path to value", value))
        return []
    return value


def _check_paths(space: Space, doc: Document) -> list[Problem]:
    """``finalists/per``, ``forbid`` and ``baselines`` speak of paths and values that exist."""
    problems = []
    name = space.search.sampler
    odd = [n.name for n in space.leaves() if isinstance(n, OneOf) or n.kind == "choice"]
    if name in FLAT and odd:
        problems.append(doc.problem("search/sampler", f"{name} cannot model {odd[0]} ({FLAT[name]}): use tpe or random", name))
    varied = {n.path for n in space.leaves() if n.path} | {n.name for n in space.leaves()}
    per = space.search.finalists.per
    if per and per not in varied:
        problems.append(doc.problem("search/finalists/per", "is not varied", per, nearest(per, varied)))
    elif per and space.per is None:
        problems.append(doc.problem("search/finalists/per", "must be varied by a choice of values", per))
    known = varied | set(flatten(space.base.to_dict()))
    for i, entry in enumerate(space.forbid):
        for path in entry:
            if path not in known:
                problems.append(doc.problem(f"forbid/{i}/{path}", "names no path of a recipe", hint=nearest(path, known)))
    for i, entry in enumerate(space.baselines or []):
        for path in entry:
            if path not in varied:
                problems.append(doc.problem(f"baselines/{i}/{path}", "is not varied", hint=nearest(path, varied)))
    if not problems and space.baselines is not None:
        try:
            space.starting_points()
        except LookupError as e:
            problems.append(doc.problem("baselines", str(e.args[0])))
    return problems
