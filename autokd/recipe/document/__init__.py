"""YAML in, plain Python out, with the line of every value: the one way a document enters AutoKD.

Documents are data. No tags, no anchors, no duplicate keys, no file above 1 MB; ``1e-4`` is a number
and ``no`` is a word (YAML 1.2). Everything wrong with a document is a :class:`Problem`; they are
raised together in one :class:`DocumentError`. Light.
"""

from autokd.recipe.document.document import Document, is_recipe, is_space
from autokd.recipe.document.paths import Keys, flatten, get, join, put, split
from autokd.recipe.document.problems import DocumentError, Problem
from autokd.recipe.document.reading import parse, read, value_of
from autokd.recipe.document.writing import canonical, dump, flow

__all__ = [
    "Document",
    "DocumentError",
    "Keys",
    "Problem",
    "canonical",
    "dump",
    "flatten",
    "flow",
    "get",
    "is_recipe",
    "is_space",
    "join",
    "parse",
    "put",
    "read",
    "split",
    "value_of",
]
