"""The networks of AutoKD, one file per family: a file here is a family.

Every file has ``build``, which is called with the keyword arguments ``channels``, ``classes`` and
``resolution`` (px; only families that flatten their last map look at it) and with those of the
name's card (:mod:`autokd.recipe.network_names`), and returns a ``Backbone``.
"""

import importlib
import pkgutil
from collections.abc import Callable

from autokd.networks.backbone import Backbone

# the key of a family, as cards have it, is its file's name
FAMILIES: dict[str, Callable[..., Backbone]] = {
    info.name: importlib.import_module(f"{__name__}.{info.name}").build
    for info in pkgutil.iter_modules(__path__)
}
