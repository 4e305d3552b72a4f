"""Where pictures come from: one file for each kind of source. What a recipe may name is the list
in :mod:`autokd.recipe.data_names`.
"""

from autokd.data.sources.folders import EXTENSIONS, UNLABELLED, folder, resolve
from autokd.data.sources.named import contents, unlabelled
from autokd.data.sources.parts import Contents, Part

__all__ = [
    "EXTENSIONS",
    "UNLABELLED",
    "Contents",
    "Part",
    "contents",
    "folder",
    "resolve",
    "unlabelled",
]
