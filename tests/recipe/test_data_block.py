"""Mistakes in the data block of a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from autokd import recipe
from autokd.recipe.document import DocumentError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"name": "cifar1O"},
            "data/name: unknown data set; got 'cifar1O'; did you mean 'cifar10'?",
        ),
        ({"name": "pets/mine"}, "write folder:pets/mine for a folder"),
        ({"name": "folder:"}, "names no folder"),
        ({"group_by": "("}, "data/group_by: is not a regular expression"),
        (
            {"group_by": "x"},
            "data/group_by: groups by path, but the pictures of digits are not files",
        ),
        (
            {"resolution": 100, "store": {"short_side": 90}},
            "data/store/short_side: must not be below data/resolution, which is 100",
        ),
        (
            {"augment": {"random_resized_crop": {"scale": [0.5, 0.2]}}},
            "data/augment/random_resized_crop/scale: must be",
        ),
        (
            {"augment": {"random_resized_crop": {"scale": [0.0, 1.0]}}},
            "data/augment/random_resized_crop/scale: must be",
        ),
        (
            {"augment": {"random_resized_crop": {"scale": [0.1, 1.0], "ratio": [2, 1]}}},
            "random_resized_crop/ratio: must be",
        ),
        (
            {"augment": {"random_resized_crop": {"scale": [0.1, 1.0]}, "crop_padding": 2}},
            "data/augment/crop_padding: must be 0 beside",
        ),
        (
            {"augment": {"random_resized_crop": {"scal": [0.1, 1.0]}}},
            "data/augment/random_resized_crop/scal: unknown key; did you mean 'scale'?",
        ),
        (
            {"store": {"shortside": 3}},
            "data/store/shortside: unknown key; did you mean 'short_side'?",
        ),
        ({"on_error": "ignore"}, "data/on_error: must be 'stop' or 'skip'"),
    ],
)
def test_mistakes_in_the_data_block(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError) as e:
        recipe.parse({"data": change})
    assert message in str(e.value)
