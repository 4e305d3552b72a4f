"""The recipe: every choice of one run, as a checked document. Light.

Top down: ``loading`` (files and ``--set``) → ``recipe`` (parse, check, fingerprint) → ``rules``
between values, ``distillation`` (the ``distill`` block), ``schema`` (all other blocks),
``migration`` (older formats) → ``validation`` → ``document`` (YAML with lines). Beside them
``axes`` (what methods are), ``data_names`` and ``network_names``, and ``diff`` of two recipes.
"""

from autokd.recipe.distillation import check_distill, expand
from autokd.recipe.loading import absent, files, load, override, placed
from autokd.recipe.recipe import Recipe, check, fingerprint, parse
from autokd.recipe.schema import (
    Augment,
    Block,
    DataSettings,
    ResizedCrop,
    StudentSettings,
    TeacherSettings,
    TrainSettings,
)
from autokd.recipe.validation import Finding, validate

__all__ = [
    "Augment",
    "Block",
    "DataSettings",
    "Finding",
    "Recipe",
    "ResizedCrop",
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
    "validate",
]
