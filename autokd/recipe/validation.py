"""What does not fit a pydantic model, as findings at the paths of the document. Light."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from autokd.errors import nearest
from autokd.recipe.document import Keys, join

WRONG_FORM = {"model_type", "list_type"}  # errors: the value is not even a mapping, or a list
PHRASES = {  # pydantic's, and ours
    "Input should": "must",
    "List should": "must",
    "valid dictionary or instance of": "mapping like",
}
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Finding:
    """Something wrong at a path of a recipe, before it is known which file and line the path came
    from.
    """

    path: str
    rule: str
    value: Any = None
    hint: str = ""


def validate(model: type[Model], value: Any, path: str) -> tuple[Model | None, list[Finding]]:
    """The model of a block, or None and everything in which the value does not fit it."""
    try:
        return model.model_validate(value), []
    except ValidationError as e:
        return None, [_finding(model, path, keys, err) for keys, err in _meant(e, value)]


def _finding(model: type[BaseModel], path: str, keys: Keys, error: Any) -> Finding:
    where = join([path, *keys] if path else keys)
    if error["type"] == "extra_forbidden":
        owners = _owners(model, keys[:-1])
        known = {name for owner in owners for name in owner.model_fields}
        return Finding(where, "unknown key", hint=nearest(keys[-1], known))
    rule = error["msg"].removeprefix("Value error, ").replace(" after validation", "")
    for theirs, ours in PHRASES.items():
        rule = rule.replace(theirs, ours)
    if error["type"] == "model_type":
        rule = rule.removesuffix("Settings")  # of the block's class
    shown = None if isinstance(error["input"], BaseModel) else error["input"]
    return Finding(where, rule, shown)


def _meant(error: ValidationError, value: Any) -> list[tuple[Keys, Any]]:
    """Each error with its keys in the document. Of a key that takes a mapping or a list, only what
    the form given does not fit.

    Pydantic tells the errors of both, and puts the form's name, which is no key of the document,
    among the keys.
    """
    errors = [(*_keys(err, value), err) for err in error.errors()]
    entered = {  # places where one of the forms fits so far that its inside is told of
        keys[: len(at)]
        for keys, at, err in errors
        if at is not None and not (keys == at and err["type"] in WRONG_FORM)
    }
    return [
        (keys, err)
        for keys, at, err in errors
        if at is None or keys != at or err["type"] not in WRONG_FORM or at not in entered
    ]


def _keys(error: Any, value: Any) -> tuple[Keys, Keys | None]:
    """The keys of an error without the names of forms; and where such a name stood, if one did."""
    keys: list[str | int] = []
    at = None
    missing = len(error["loc"]) - 1 if error["type"] == "missing" else None
    for i, key in enumerate(error["loc"]):
        if isinstance(value, Mapping):
            inside = key in value
        else:
            inside = isinstance(value, list) and isinstance(key, int)
        if not inside and i != missing:
            at = tuple(keys)
            continue
        keys.append(key)
        value = value[key] if inside else None
    return tuple(keys), at


def _owners(model: Any, keys: Keys) -> list[type[BaseModel]]:
    """The models that may stand at these keys of a model: through optional values, unions and
    lists.
    """
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return [owner for part in typing.get_args(model) for owner in _owners(part, keys)]
    if not keys:
        return [model]
    if isinstance(keys[0], int):
        return _owners(model, keys[1:])
    if keys[0] not in model.model_fields:
        return []
    return _owners(model.model_fields[keys[0]].annotation, keys[1:])
