"""The search space: a base recipe with free leaves. Light.

A document of three parts: ``base`` names a recipe, ``vary`` (read by ``vary``) says what is free in it, ``search`` (``settings``)
how to look. A space is valid when every corner of it is a valid recipe and nothing is varied that a corner would not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autokd import baselines, settings, tree, vary
from autokd import recipe as recipes
from autokd.document import Document, DocumentError, Problem, canonical, flatten, is_recipe, is_space, nearest, put, read, split
from autokd.recipe import Finding, Recipe
from autokd.settings import Search
from autokd.tree import Choose, Free, Leaf, Node, OneOf, Point

KEYS = {"title", "description", "base", "search", "vary", "baselines", "forbid"}
ONLY_RANGES = {"qmc": "it uses the first trial's branch for all", "cmaes": "it draws such parameters at random"}  # samplers, and why


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
        return tree.fill(self.root, self.base.to_dict(), choose)

    def leaves(self) -> Iterator[Free]:
        return tree.free(self.root)

    def forbidden(self, point: Point) -> dict[str, Any] | None:
        """The first ``forbid`` entry that this point matches, by the recipe's paths or by the space's names."""
        return next((entry for entry in self.forbid if point.matches(entry)), None)

    def starting_points(self) -> list[tuple[str, Point]]:
        """The named baselines: the base if it lies in the space, then each preset that the space names, or the given list.

        Each is tried at every value of ``finalists/per``, so that no group's winner was never compared with them.
        """
        out: dict[str, tuple[str, Point]] = {}
        for name, choose in baselines.choosers(self.root, self.base, self.baselines):
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


# ---------------------------------------------------------------- loading


def load(path: str | Path | Document, base: str | Path | None = None, sets: tuple[str, ...] = ()) -> Space:
    """Read a search space and its base recipe. Raises :class:`DocumentError` with every problem of both.

    ``base`` replaces the space's own; ``sets`` override the base (``PATH=VALUE``) or, under ``search/``, the search itself.
    """
    doc = read(path, is_space)
    own = tuple(s for s in sets if s.startswith("search/"))
    recipes.override(doc, own)
    named = doc.data.get("base")
    if base is None and not isinstance(named, str):
        raise DocumentError([doc.problem("base", "must name a recipe file", named)])
    base_doc = read(base if base is not None else Path(doc.file).parent / str(named), is_recipe)
    recipes.override(base_doc, tuple(s for s in sets if s not in own))
    return build(doc, base_doc)


def thaw(frozen: Mapping[str, Any]) -> Space:
    """The space that a study froze."""
    return build(Document(frozen["space"], "the study's space"), Document(frozen["base"], "the study's base"))


def build(doc: Document, base_doc: Document) -> Space:
    """A space from parsed documents. Raises :class:`DocumentError` with every problem."""
    base, findings = recipes.check(base_doc.data)
    if base is not None and base_doc.file.endswith((".yaml", ".yml")):
        base = recipes.placed(base, base_doc)  # workers run elsewhere: a teacher's file needs its whole path
    problems = [doc.problem(key, "unknown key", hint=nearest(key, KEYS)) for key in doc.data if key not in KEYS]
    problems += _located(findings, base_doc)
    search, findings = settings.check(doc.data.get("search", {}))
    problems += _located(findings, doc)
    root, found = vary.read(doc, base.to_dict() if base else _merged(base_doc.data))
    problems += found
    if not root.nodes:
        problems.append(doc.problem("vary", "must free at least one path"))
    if base is None:
        raise DocumentError(problems)
    space = Space(base, search or Search(), root, title=str(doc.data.get("title", "")), document=doc.data)
    space.forbid = _entries(doc, "forbid", problems)
    space.baselines = _entries(doc, "baselines", problems) if "baselines" in doc.data else None
    problems += _check_corners(space, doc, base_doc)
    if not problems:
        problems += _located(_check_names(space), doc)
    if problems:
        raise DocumentError(problems)
    return space


def _located(findings: Iterable[Finding], doc: Document) -> list[Problem]:
    return [doc.problem(f.path, f.rule, f.value, f.hint) for f in findings]


def _merged(data: Mapping[str, Any]) -> dict[str, Any]:
    """A base that is itself wrong, good enough to look paths up in."""
    out = Recipe(distill=recipes.check_distill({}, [])).to_dict()
    for path, value in flatten({k: v for k, v in data.items() if isinstance(v, dict) or k in out}).items():
        try:
            put(out, path, value)
        except KeyError:
            continue
    return out


def _entries(doc: Document, key: str, problems: list[Problem]) -> list[dict[str, Any]]:
    value = doc.data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        problems.append(doc.problem(key, "must be a list of mappings from path to value", value))
        return []
    if key == "forbid" and {} in value:
        problems.append(doc.problem(key, "an empty mapping forbids every trial", value))
    return value


# ---------------------------------------------------------------- the whole of it


def _check_corners(space: Space, doc: Document, base_doc: Document) -> list[Problem]:
    """Every corner is a valid recipe, and reads what is varied there."""
    problems: dict[tuple[str, str], Problem] = {}
    for choose in tree.corners(space.root, space.base.to_dict()):
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


def _check_names(space: Space) -> list[Finding]:
    """The sampler, ``finalists/per``, ``forbid`` and ``baselines`` fit what is varied."""
    out = []
    leaves = list(space.leaves())
    name, odd = space.search.sampler, [n.name for n in leaves if isinstance(n, OneOf) or n.kind == "choice"]
    if name in ONLY_RANGES and odd:
        out.append(Finding("search/sampler", f"{name} cannot model {odd[0]} ({ONLY_RANGES[name]}): use tpe or random", name))
    varied = {n.path for n in leaves if n.path} | {n.name for n in leaves}
    per = space.search.finalists.per
    if per and per not in varied:
        out.append(Finding("search/finalists/per", "is not varied", per, nearest(per, varied)))
    elif per and space.per is None:
        out.append(Finding("search/finalists/per", "must be varied by a choice of values", per))
    out += _unknown(space.forbid, "forbid", varied | set(flatten(space.base.to_dict())), "names no path of a recipe")
    out += _unknown(space.baselines or [], "baselines", varied, "is not varied")
    if not out and space.baselines is not None:
        try:
            space.starting_points()
        except LookupError as e:
            out.append(Finding("baselines", str(e.args[0])))
    return out


def _unknown(entries: list[dict[str, Any]], key: str, known: set[str], rule: str) -> list[Finding]:
    return [Finding(f"{key}/{i}/{path}", rule, hint=nearest(path, known)) for i, entry in enumerate(entries) for path in entry if path not in known]
