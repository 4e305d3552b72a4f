"""The repository's YAML files, and the problems of a document."""

from __future__ import annotations

import pytest

from autokd.recipe import document
from autokd.recipe.document import DocumentError
from tests.helpers.commands import ROOT

YAMLS = sorted([*(ROOT / "pipelines").rglob("*.yaml"), *(ROOT / "search_spaces").rglob("*.yaml")])


def problems(load, *args) -> list[document.Problem]:
    with pytest.raises(DocumentError) as e:
        load(*args)
    return e.value.problems
