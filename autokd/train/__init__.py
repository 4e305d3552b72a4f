"""One run: a student, those who teach it, and what its answers are worth. Knows no study."""

import importlib
import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """``autokd.train`` is this room, and to users the function of that name."""

    def __call__(self, *args: Any, **options: Any) -> dict[str, Any]:
        return importlib.import_module("autokd.api.calls").train(*args, **options)


sys.modules[__name__].__class__ = _Room
