"""The search space: which leaves of a recipe are free, and how to look among them. Light.

Top down: ``loading`` (document → space) → ``checks`` (the space as a whole) → ``space``
(:class:`Space`) → ``baselines`` (what is tried first), ``vary`` (the ``vary:`` block) → ``tree``
(what is free, filled to a point), ``settings`` (the ``search:`` block). Beside them ``training``
(what of it a control is tuned over) and ``schemas``, the documents' JSON schemas.
"""

from autokd.space.loading import build, frozen_search, load, thaw
from autokd.space.space import Space

__all__ = ["Space", "build", "frozen_search", "load", "thaw"]
