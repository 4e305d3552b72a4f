"""The search space: a base recipe with free leaves. Light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from autokd.recipe import Recipe
from autokd.recipe.document import canonical
from autokd.recipe.migration import FORMAT, written
from autokd.space import baselines, tree
from autokd.space.settings import Search
from autokd.space.tree import Choose, Free, Leaf, Node, Point


@dataclass
class Space:
    """A base recipe, what is free in it, and how to look."""

    base: Recipe
    search: Search
    root: Node
    forbid: list[dict[str, Any]] = field(default_factory=list)
    baselines: list[dict[str, Any]] | None = None
    # what an earlier study found best: its places by this space's names or the recipe's paths
    warm_start: list[dict[str, Any]] = field(default_factory=list)
    title: str = ""
    document: dict[str, Any] = field(default_factory=dict)  # as read
    format: int = FORMAT  # of the recipes that its values were written for

    @property
    def frozen(self) -> dict[str, Any]:
        """What a study keeps, so that it goes on with the space it began with; its settings spelt
        out, since another version may have other defaults.
        """
        search = self.search.model_dump(mode="json")
        return {"space": self.document, "base": self.base.to_dict(), "search": search}

    def point(self, choose: Choose) -> Point:
        """Fill every free place; ``choose`` is asked for a leaf's value, or a branch's label, in
        document order.
        """
        return tree.fill(self.root, self.written(self.base), choose)

    def written(self, recipe: Recipe) -> dict[str, Any]:
        """A recipe in the words that this space's values are written in."""
        return written(recipe.to_dict(), self.format)

    def leaves(self) -> Iterator[Free]:
        return tree.free(self.root)

    def forbidden(self, point: Point) -> dict[str, Any] | None:
        """The first ``forbid`` entry that this point matches, by the recipe's paths or by the
        space's names.
        """
        return next((entry for entry in self.forbid if point.matches(entry)), None)

    def starting_points(self) -> list[tuple[str, Point]]:
        """The named baselines: the base if it lies in the space, then each preset that the space
        names, or the given list.

        Each is tried at every value of ``finalists/per``, so that no group's winner was never
        compared with them.
        """
        out: dict[str, tuple[str, Point]] = {}
        for name, choose in baselines.choosers(self.root, self.base, self.baselines, self.written):
            for option in self.per.options if self.per else [None]:
                try:
                    point = self.point(_with(self.per, option, choose))
                except LookupError:
                    if self.baselines is not None:
                        raise
                    continue
                if not self.forbidden(point):
                    shown = name if self.per is None else f"{name} {option}"
                    out.setdefault(canonical(point.data), (shown, point))
        return list(out.values())

    def warm_points(self) -> list[Point]:
        """What ``warm_start`` names and this space holds, as trials like any other."""
        out: dict[str, Point] = {}
        for _, choose in baselines.choosers(self.root, self.base, self.warm_start, self.written):
            try:
                point = self.point(choose)
            except LookupError:
                continue
            if not self.forbidden(point):
                out.setdefault(canonical(point.data), point)
        return list(out.values())

    def warmed(self, study: str, points: list[dict[str, Any]]) -> Space:
        """The same space with an earlier study's best to begin with."""
        document = self.document | {"warm_start": {"study": study, "points": points}}
        return replace(self, warm_start=points, document=document)

    @property
    def per(self) -> Leaf | None:
        """The free choice whose values are compared each on its own."""
        path = self.search.finalists.per
        for node in self.leaves():
            if isinstance(node, Leaf) and node.kind == "choice" and path in (node.path, node.name):
                return node
        return None


def _with(leaf: Leaf | None, value: Any, choose: Choose) -> Choose:
    """The same choices but for one leaf."""
    return lambda node: value if node is leaf else choose(node)
