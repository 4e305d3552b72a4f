"""The recipe: every choice of one run, as a checked document. Light.

Top down: ``loading`` (files and ``--set``) → ``recipe`` (parse, check, fingerprint) → ``rules``
between values, ``distillation`` (the ``distill`` block), ``schema`` (all other blocks, each a
``block``, with ``training_presets``), ``migration`` (older formats) → ``validation`` → ``document``
(YAML with lines). Beside them ``axes`` (what methods are), ``data_names`` and ``network_names``,
and ``diff`` of two recipes.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autokd.recipe.block import Block
    from autokd.recipe.distillation import check_distill, expand
    from autokd.recipe.loading import absent, files, load, override, placed, reads, remember
    from autokd.recipe.network_settings import Start, StudentSettings, TeacherSettings
    from autokd.recipe.recipe import Recipe, check, fingerprint, parse
    from autokd.recipe.schema import (
        Augment,
        ColorJitter,
        DataSettings,
        Erasing,
        RandAugment,
        ResizedCrop,
        TrainSettings,
    )
    from autokd.recipe.validation import Finding, validate

__all__ = [
    "Augment",
    "Block",
    "ColorJitter",
    "DataSettings",
    "Erasing",
    "Finding",
    "RandAugment",
    "Recipe",
    "ResizedCrop",
    "Start",
    "StudentSettings",
    "TeacherSettings",
    "TrainSettings",
    "absent",
    "check",
    "check_distill",
    "expand",
    "files",
    "fingerprint",
    "load",
    "override",
    "parse",
    "placed",
    "reads",
    "remember",
    "validate",
]

# Loaded when asked for: whoever reads a document or an axis does not need the whole recipe.
HOMES = {
    "Augment": "schema",
    "Block": "block",
    "ColorJitter": "schema",
    "DataSettings": "schema",
    "Erasing": "schema",
    "Finding": "validation",
    "RandAugment": "schema",
    "Recipe": "recipe",
    "ResizedCrop": "schema",
    "Start": "network_settings",
    "StudentSettings": "network_settings",
    "TeacherSettings": "network_settings",
    "TrainSettings": "schema",
    "absent": "loading",
    "check": "recipe",
    "check_distill": "distillation",
    "expand": "distillation",
    "files": "loading",
    "fingerprint": "recipe",
    "load": "loading",
    "override": "loading",
    "parse": "recipe",
    "placed": "loading",
    "reads": "loading",
    "remember": "loading",
    "validate": "validation",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
