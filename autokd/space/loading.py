"""A space from its document. Light.

A document of three parts: ``base`` names a recipe, ``vary`` (read by ``vary``) says what is free in
it, ``search`` (``settings``) how to look. A space is valid when every corner of it is a valid
recipe and nothing is varied that a corner would not read (``checks``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autokd.errors import nearest
from autokd.recipe import Finding, Recipe, check, check_distill, override, placed
from autokd.recipe.document import (
    Document,
    DocumentError,
    Problem,
    flatten,
    is_recipe,
    is_space,
    put,
    read,
)
from autokd.recipe.migration import FORMAT
from autokd.space import settings, vary
from autokd.space.checks import check_corners, check_names
from autokd.space.settings import Search
from autokd.space.space import Space

KEYS = {"title", "description", "base", "search", "vary", "baselines", "forbid", "warm_start"}


def load(
    path: str | Path | Document,
    base: str | Path | Document | None = None,
    sets: tuple[str, ...] = (),
) -> Space:
    """Read a search space and its base recipe. Raises :class:`DocumentError` with every problem of
    both.

    ``base`` replaces the space's own; ``sets`` override the base (``PATH=VALUE``) or, under
    ``search/``, the search itself.
    """
    doc = read(path, is_space)
    own = tuple(s for s in sets if s.startswith("search/"))
    override(doc, own)
    named = doc.data.get("base")
    if base is None and not isinstance(named, str):
        raise DocumentError([doc.problem("base", "must name a recipe file", named)])
    base_doc = read(base if base is not None else Path(doc.file).parent / str(named), is_recipe)
    override(base_doc, tuple(s for s in sets if s not in own))
    return build(doc, base_doc)


def thaw(frozen: Mapping[str, Any]) -> Space:
    """The space that a study froze."""
    made = build(
        Document(frozen["space"], "the study's space"),
        Document(frozen["base"], "the study's base"),
        frozen=True,
    )
    made.search = frozen_search(frozen)
    return made


def frozen_search(frozen: Mapping[str, Any]) -> Search:
    """The settings that a study froze: spelt out, or, of a study from before they were, with what
    was the default then. What there was not yet when it did is as before there was such a thing.
    """
    given = frozen.get("search") or frozen["space"].get("search") or {}
    old = {key: {**of, **given.get(key, {})} for key, of in settings.ONCE.items()}
    return Search.model_validate({**given, **old})


def build(doc: Document, base_doc: Document, *, frozen: bool = False) -> Space:
    """A space from parsed documents; ``frozen``: by a study, with whole paths. Raises
    :class:`DocumentError` with every problem.
    """
    base, findings = check(base_doc.data)
    if base is not None and not frozen:
        base = placed(base, base_doc)  # workers run elsewhere: a teacher's file needs its full path
    problems = [
        doc.problem(key, "unknown key", hint=nearest(key, KEYS))
        for key in doc.data
        if key not in KEYS
    ]
    problems += _located(findings, base_doc)
    search, findings = settings.check(doc.data.get("search", {}))
    problems += _located(findings, doc)
    root, found = vary.read(doc, base.to_dict() if base else _merged(base_doc.data))
    problems += found
    if not root.nodes:
        problems.append(doc.problem("vary", "must free at least one path"))
    if base is None:
        raise DocumentError(problems)
    title = str(doc.data.get("title", ""))
    space = Space(base, search or Search(), root, title=title, document=doc.data)
    if frozen:
        space.format = base_doc.data.get("version", FORMAT)
    space.forbid = _entries(doc, "forbid", problems)
    space.baselines = _entries(doc, "baselines", problems) if "baselines" in doc.data else None
    space.warm_start = _warm_start(doc, problems)
    problems += check_corners(space, doc, base_doc)
    if not problems:
        problems += _located(check_names(space), doc)
    if problems:
        raise DocumentError(problems)
    return space


def _located(findings: Iterable[Finding], doc: Document) -> list[Problem]:
    return [doc.problem(f.path, f.rule, f.value, f.hint) for f in findings]


def _merged(data: Mapping[str, Any]) -> dict[str, Any]:
    """A base that is itself wrong, good enough to look paths up in."""
    out = Recipe(distill=check_distill({})[0]).to_dict()
    usable = {k: v for k, v in data.items() if isinstance(v, dict) or k in out}
    for path, value in flatten(usable).items():
        try:
            put(out, path, value)
        except KeyError:
            continue
    return out


def _warm_start(doc: Document, problems: list[Problem]) -> list[dict[str, Any]]:
    """What ``--like`` froze."""
    value = doc.data.get("warm_start", {"points": []})
    points = value.get("points") if isinstance(value, dict) else None
    if isinstance(points, list) and all(isinstance(p, dict) for p in points):
        return points
    rule = "must be what --like wrote: a study, and points as mappings from path to value"
    problems.append(doc.problem("warm_start", rule, value))
    return []


def _entries(doc: Document, key: str, problems: list[Problem]) -> list[dict[str, Any]]:
    """The mappings listed under ``key``; what is wrong with them goes to ``problems``."""
    value = doc.data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        problems.append(doc.problem(key, "must be a list of mappings from path to value", value))
        return []
    if key == "forbid" and {} in value:
        problems.append(doc.problem(key, "an empty mapping forbids every trial", value))
    return value
