"""What a space must keep as a whole: each corner is a valid recipe that reads what is varied there,
and what is named is varied. Light.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autokd.errors import nearest
from autokd.recipe import Finding, Recipe, check
from autokd.recipe.document import Document, Problem, flatten, split
from autokd.space import samplers, tree
from autokd.space.space import Space
from autokd.space.tree import OneOf, Point


def check_corners(space: Space, doc: Document, base_doc: Document) -> list[Problem]:
    """Every corner is a valid recipe, and reads what is varied there."""
    problems: dict[tuple[str, str], Problem] = {}
    for choose in tree.corners(space.root, space.written(space.base)):
        point = space.point(choose)
        if space.forbidden(point):
            continue
        recipe, findings = check(point.data)
        if recipe is not None:
            findings = [*_inactive_leaves(point, recipe), *_unmeasured(space, recipe)]
        for finding in findings:
            problem = _located(finding, point, doc, base_doc)
            problems.setdefault((problem.path, problem.rule), problem)
    return list(problems.values())


def _located(f: Finding, point: Point, doc: Document, base_doc: Document) -> Problem:
    """In the space's document where a value of this point comes from it, else in the base's."""
    origin = next((path for path in _upwards(f.path) if path in point.origins), None)
    if origin is None:
        return base_doc.problem(f.path, f.rule, f.value, f.hint)
    rest = split(f.path[len(origin) :].strip("/"))
    return doc.problem(f.path, f.rule, f.value, f.hint, at=(*point.origins[origin], *rest))


def _upwards(path: str) -> Iterator[str]:
    """``a/b/c``, ``a/b``, ``a``."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _inactive_leaves(point: Point, recipe: Recipe) -> Iterator[Finding]:
    for path in point.varied:
        for prefix in recipe.inactive():
            if path == prefix or path.startswith(prefix + "/"):
                yield Finding(
                    path,
                    f"is varied where nothing reads it ({_why_inactive(recipe, prefix)}): nest it"
                    " in the branches that do",
                )


def _unmeasured(space: Space, recipe: Recipe) -> list[Finding]:
    """A search compares its trials on validation pictures."""
    if recipe.data.validation == "folder":
        if space.search.finalists.repeat == "seed":
            return []
        rule = "keeps one split, and finalists/repeat asks for others: give a fraction"
        return [Finding("data/validation", rule, "folder")]
    if recipe.data.validation > 0:
        return []
    rule = "must be above 0 in a search: objectives and pruning look at validation pictures"
    return [Finding("data/validation", rule, recipe.data.validation)]


def _why_inactive(recipe: Recipe, prefix: str) -> str:
    if prefix.startswith("teacher") and not recipe.needs_teacher:
        return "no loss asks the teacher"
    if prefix.startswith("teacher"):
        t = recipe.teacher
        return "teacher/train is left out" if t.train is None else f"teacher/weights is {t.weights}"
    if prefix.startswith("student"):
        return f"student/weights is {recipe.student.weights}"
    if prefix == "ladder" or (prefix == "ladder_train" and recipe.ladder):
        return f"distill/teaching is {recipe.distill['teaching']['kind']}"
    if prefix == "ladder_train":
        return "the ladder is empty"
    return "the optimizer or schedule has no use for it"


def check_names(space: Space) -> list[Finding]:
    """The sampler, ``finalists/per``, ``forbid`` and ``baselines`` fit what is varied."""
    leaves = list(space.leaves())
    varied = {n.path for n in leaves if n.path} | {n.name for n in leaves}
    known = varied | set(flatten(space.base.to_dict()))
    out = _check_sampler(space)
    per = space.search.finalists.per
    if per and per not in varied:
        out.append(Finding("search/finalists/per", "is not varied", per, nearest(per, varied)))
    elif per and space.per is None:
        out.append(Finding("search/finalists/per", "must be varied by a choice of values", per))
    out += _unknown(space.forbid, "forbid", known, "names no path of a recipe")
    out += _unknown(space.baselines or [], "baselines", varied, "is not varied")
    if not out and space.baselines is not None:
        try:
            space.starting_points()
        except LookupError as e:
            out.append(Finding("baselines", str(e.args[0])))
    return out


def _check_sampler(space: Space) -> list[Finding]:
    sampler = samplers.sampler(space.search.sampler)
    choices = [n.name for n in space.leaves() if isinstance(n, OneOf) or n.kind == "choice"]
    if not sampler.no_choices or not choices:
        return []
    rule = f"{sampler.name} cannot model {choices[0]} ({sampler.no_choices}): use tpe or random"
    return [Finding("search/sampler", rule, sampler.name)]


def _unknown(entries: list[dict[str, Any]], key: str, known: set[str], rule: str) -> list[Finding]:
    return [
        Finding(f"{key}/{i}/{path}", rule, hint=nearest(path, known))
        for i, entry in enumerate(entries)
        for path in entry
        if path not in known
    ]
