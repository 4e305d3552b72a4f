"""The ``vary:`` block of a space, read to the tree of what is free, with every problem in it.
Light.

It maps recipe paths to what may stand there: a value, a range (``uniform``, ``log_uniform``,
``int_uniform``), a ``choice`` of values, or a ``one_of`` of branches, each again a value with free
leaves; a branch replaces its node. ``one_of`` directly under ``vary`` chooses between whole groups
of paths. A range's ``complement`` names a second path, which gets 1 − the value: two weights that
are one choice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from autokd.errors import nearest
from autokd.recipe import axes, expand
from autokd.recipe.document import (
    Document,
    Keys,
    Problem,
    flatten,
    flow,
    get,
    join,
    put,
    split,
)
from autokd.space.tree import NAMED_BY, RANGES, Fixed, Group, Leaf, Node, OneOf, is_number, value_at

# The branches a place lies in: (path of the one_of, label), outermost first.
Taken = tuple[tuple[str, str], ...]


def read(doc: Document, base: dict[str, Any]) -> tuple[Group, list[Problem]]:
    """The tree of a document's ``vary``, and everything wrong with it. ``base``: the recipe whose
    paths it may free.
    """
    reader = _Reader(doc, base)
    return reader.paths(doc.data.get("vary", {}), ("vary",), ()), reader.problems


class _Reader:
    """One method a kind of node; each says what is wrong with it and goes on, so that all problems
    are told at once.
    """

    def __init__(self, doc: Document, base: dict[str, Any]):
        self.doc = doc
        self.base = base
        self.problems: list[Problem] = []

    def wrong(self, keys: Keys, path: str, rule: str, value: Any = None, hint: str = "") -> None:
        self.problems.append(self.doc.problem(path, rule, value, hint, at=keys))

    def paths(self, block: Any, keys: Keys, taken: Taken) -> Group:
        """A mapping of paths to nodes; ``one_of`` among them chooses between whole mappings."""
        nodes: list[Node] = []
        if not isinstance(block, dict):
            self.wrong(keys, join(keys), "must be a mapping of recipe paths to what is free", block)
            return Group(nodes)
        varied: list[str] = []
        for path, value in block.items():
            at = (*keys, *split(path))
            if path == "one_of":
                node = self.one_of(value, "", at, taken, self.paths)
            elif self.may_vary(path, at):
                node = self.node(value, path, at, taken)
            else:
                continue
            own = [path] if path != "one_of" else list(_claimed(node))
            if doubled := next(((a, b) for b in own for a in varied if _overlap(a, b)), None):
                self.wrong(at, doubled[1], f"overlaps with {doubled[0]}, which is varied too")
                continue
            varied += own
            nodes.append(node)
        return Group(nodes)

    def may_vary(self, path: str, keys: Keys) -> bool:
        try:
            get(self.base, path)
        except KeyError:
            leaves = [split(leaf) for leaf in flatten(self.base)]
            every = {join(leaf[:i]) for leaf in leaves for i in range(1, len(leaf) + 1)}
            self.wrong(keys, path, "is not in the base", hint=nearest(path, every))
            return False
        if split(path)[-1] in {"seed", "split_seed"}:
            self.wrong(keys, path, "a seed is never varied: a search would pick a lucky one")
            return False
        return True

    def node(self, value: Any, path: str, keys: Keys, taken: Taken) -> Node:
        if isinstance(value, dict) and "one_of" in value:
            return self.branches(value, path, keys, taken)
        if isinstance(value, dict) and _is_free(value):
            return self.leaf(value, path, keys, taken)
        if isinstance(value, list) and not isinstance(value_at(self.base, path), list):
            pair = len(value) == 2 and all(map(is_number, value))
            hint = f"one of these: {path}: {{choice: {flow(value)}}}"
            if pair:
                kind = (
                    "log_uniform" if min(value) > 0 and max(value) >= 10 * min(value) else "uniform"
                )
                hint += f"; anything between them: {path}: {{{kind}: {flow(value)}}}"
            self.wrong(keys, path, "is a list where one value belongs", value, hint)
            return Group([])
        return self.branch(value, path, keys, taken)

    def branches(self, value: dict[str, Any], path: str, keys: Keys, taken: Taken) -> Node:
        """``one_of``, and beside it perhaps ``free: recommended``: the ranges that the presets
        recommend.
        """
        for key in set(value) - {"one_of", "free"}:
            hint = nearest(key, ["free"])
            self.wrong((*keys, key), f"{path}/{key}", "unknown key beside one_of", hint=hint)
        free = value.get("free")
        if free not in (None, "recommended"):
            self.wrong((*keys, "free"), f"{path}/free", "must be 'recommended'", free)

        def make(option: Any, at: Keys, inner: Taken) -> Node:
            return self.branch(option, path, at, inner, free == "recommended")

        return self.one_of(value["one_of"], path, (*keys, "one_of"), taken, make)

    def one_of(
        self,
        options: Any,
        path: str,
        keys: Keys,
        taken: Taken,
        make: Callable[[Any, Keys, Taken], Node],
    ) -> Node:
        if not isinstance(options, list) or not options:
            self.wrong(keys, path or "one_of", "must be a list of branches", options)
            return Group([])
        key = next(
            (k for k in NAMED_BY if all(isinstance(o, dict) and k in o for o in options)), "branch"
        )
        labels = [str(o[key]) if key != "branch" else str(i) for i, o in enumerate(options)]
        doubled = {lab for lab in labels if labels.count(lab) > 1}
        labels = [f"{lab}#{i}" if lab in doubled else lab for i, lab in enumerate(labels)]
        branches = [
            make(o, (*keys, i), (*taken, (path, lab)))
            for i, (o, lab) in enumerate(zip(options, labels, strict=True))
        ]
        return OneOf(path, f"{_name(path, taken)}/{key}".lstrip("/"), keys, labels, branches)

    def branch(
        self, value: Any, path: str, keys: Keys, taken: Taken, recommended: bool = False
    ) -> Node:
        """A value that replaces the node at ``path``: what is fixed of it first, then its free
        leaves.
        """
        if not isinstance(value, dict) or not value:
            return Fixed(path, keys, value)
        fixed: dict[str, Any] = {}
        inner: list[tuple[str, Keys, Any]] = []
        given: list[str] = []
        for sub, at, child in _places(value, keys):
            if other := next((g for g in given if _overlap(g, sub)), None):
                self.wrong(at, f"{path}/{sub}", f"overlaps with {path}/{other}")
                continue
            given.append(sub)
            if isinstance(child, dict) and child:
                inner.append((sub, at, child))
            else:
                put(fixed, sub, child)
        if path == "distill":
            name = fixed.get("preset")
            if "preset" in fixed and axes.find_preset(name) is None:
                hint = nearest(name, axes.presets())
                self.wrong((*keys, "preset"), "distill/preset", "unknown preset", name, hint)
                return Group([])
            fixed = expand(fixed)
        nodes: list[Node] = []
        if recommended and path == "distill":
            nodes = self.recommended(value, path, keys, taken)
        for sub, at, child in inner:
            try:
                put(copy.deepcopy(fixed), sub, None)
            except KeyError:
                rule = "there is no such place: a value of the preset stands in the way"
                self.wrong(at, f"{path}/{sub}", rule)
            else:
                nodes.append(self.node(child, f"{path}/{sub}", at, taken))
        return Group([Fixed(path, keys, fixed), *nodes])

    def recommended(self, value: dict[str, Any], path: str, keys: Keys, taken: Taken) -> list[Node]:
        """The ranges of this branch's preset, without those of which the branch itself says
        something.
        """
        preset = axes.find_preset(value.get("preset"))
        given = [
            sub
            for key, child in value.items()
            for sub, _, _ in _places(child, keys, tuple(map(str, split(key))))
        ]

        def said(sub: str) -> bool:
            return any(_overlap(sub, g) for g in given)

        nodes = []
        for sub, spec in preset.recommended.items() if preset else ():
            if said(sub):
                continue
            if other := spec.get("complement"):
                spec = {k: v for k, v in spec.items() if k != "complement"}
                spec |= {} if said(other) else {"complement": f"{path}/{other}"}
            nodes.append(self.node(spec, f"{path}/{sub}", keys, taken))
        return nodes

    def leaf(self, value: dict[str, Any], path: str, keys: Keys, taken: Taken) -> Node:
        kinds = [k for k in value if k in RANGES or k == "choice"]
        for key in set(value) - set(kinds) - {"prior", "complement"}:
            hint = nearest(key, [*RANGES, "choice", "prior", "complement"])
            self.wrong((*keys, key), f"{path}/{key}", "unknown key of a range", hint=hint)
        if len(kinds) > 1:
            self.wrong(keys, path, f"is given both as {kinds[0]} and as {kinds[1]}")
        kind, options = kinds[0], value[kinds[0]]
        if rule := _refusal(kind, options):
            self.wrong((*keys, kind), path, rule, options)
            return Group([])
        other = value.get("complement", "")
        if other and not self.may_complement(other, path, kind, options, keys):
            other = ""
        leaf = Leaf(path, _name(path, taken), keys, kind, options, value.get("prior"), other)
        if leaf.prior is not None and not leaf.contains(leaf.prior):
            self.wrong((*keys, "prior"), path, "prior lies outside the range", leaf.prior)
        return leaf

    def may_complement(self, other: Any, path: str, kind: str, options: Any, keys: Keys) -> bool:
        """Whether ``other`` may get 1 − the value of the range at ``path``."""
        at = (*keys, "complement")
        if kind == "choice" or options[0] < 0 or options[1] > 1:
            self.wrong(at, path, "only a range within [0, 1] has a complement", options)
        elif not isinstance(other, str) or _overlap(other, path):
            self.wrong(at, path, "complement must be the path of another number", other)
        elif not other.startswith("distill/"):
            return self.may_vary(other, at)
        else:  # which losses there are is the branch's to say, so the base is not asked
            weights = [f"distill/losses/{kind}/weight" for kind in axes.kinds("losses")]
            if other in weights:
                return True
            self.wrong(
                at, path, "complement must be a loss's weight", other, nearest(other, weights)
            )
        return False


def _overlap(a: str, b: str) -> bool:
    """Whether one place lies in the other, or they are the same."""
    return f"{a}/".startswith(f"{b}/") or f"{b}/".startswith(f"{a}/")


def _claimed(node: Node) -> Iterator[str]:
    """The outermost paths that a choice between groups of paths says something of."""
    if isinstance(node, Group):
        for child in node.nodes:
            yield from _claimed(child)
    elif node.path or not isinstance(node, OneOf):
        yield node.path
    else:
        for branch in node.branches:
            yield from _claimed(branch)


def _name(path: str, taken: Taken) -> str:
    """Optuna's name: the branch stands behind its node's path, ``distill/temperature/flsw/tau``."""
    name = path
    for owner, label in reversed(taken):
        name = f"{label}/{name}" if not owner else name.replace(owner, f"{owner}/{label}", 1)
    return name


def _is_free(node: dict[str, Any]) -> bool:
    return any(k in node for k in (*RANGES, "choice", "one_of"))


def _places(value: Any, keys: Keys, sub: tuple[str, ...] = ()) -> Iterator[tuple[str, Keys, Any]]:
    """What a branch gives, free nodes and fixed values: the path inside the branch, the keys in the
    document, and what stands there.
    """
    if isinstance(value, dict) and value and not _is_free(value):
        for key, child in value.items():
            yield from _places(child, (*keys, *split(key)), (*sub, *map(str, split(key))))
    else:
        yield "/".join(sub), keys, value


def _refusal(kind: str, options: Any) -> str:
    """Why a leaf cannot have these options; "" where it can."""
    if kind == "choice":
        if isinstance(options, list) and options:
            return ""
        return "choice must be a list with at least one value"
    if not (isinstance(options, list) and len(options) == 2 and all(map(is_number, options))):
        return f"{kind} must be two numbers, [low, high]"
    low, high = options
    if low >= high:
        return f"{kind}: low must be less than high"
    if kind == "log_uniform" and low <= 0:
        return "log_uniform: low must be greater than 0"
    if kind == "int_uniform" and not all(isinstance(v, int) for v in options):
        return "int_uniform must be two whole numbers"
    return ""
