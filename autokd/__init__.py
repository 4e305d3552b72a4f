"""AutoKD: search for the best way to distil a big vision model into a small one.

The flow, and the room that owns each part of it::

    space.yaml ─ space ─→ Optuna suggests ─ study ─→ recipe ─→ one run ─ train ─→ a report an epoch
                                              │                  │
         ASHA pauses or promotes ─ study ─────┤                  └ data → views → networks →
         ledger ─→ tracking (MLflow), report, export               teacher tables → step → metrics

    cli        one file a group of commands; the live view         light
    api        the same from Python: ``autokd.search`` …            light
    planner    from a folder to documents, for ``autokd auto``     torch
    engine     Ray Tune and the study: session, workers, checks    ray
    tracking   MLflow from the ledger                              mlflow
    report     the study's page                                    light
    export     what leaves: recipe, student, model card            torch
    train      one run, its teachers and their tables              torch
    study      decisions: queue, ledger, ASHA, finals, verdict     light but for the samplers
    space      what is free, and how to look                       light
    data       sources, packing, splits, views                     torch
    networks   name → network                                      torch
    methods    one file a paper                                    light until called
    recipe     every choice of one run, as a checked document      light

Imports point down this list only; below all of it lie ``cache``, ``environment``, ``errors``,
``files`` and ``rng``. *Light* rooms load neither torch, ray, mlflow, optuna nor numpy, so that
look-ups answer at once.

From Python, each loaded when it is asked for::

    study = autokd.search("dtd", time="5m")
    study.trials, study.recipe, study.report(), study.export("out")
    student = autokd.load("out")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autokd.api.calls import auto, load, reproduce, resume, search, studies, train
    from autokd.api.study import Study
    from autokd.errors import UserError
    from autokd.recipe import Recipe

__version__ = "0.1.0"
__all__ = [
    "Recipe",
    "Study",
    "UserError",
    "auto",
    "load",
    "reproduce",
    "resume",
    "search",
    "studies",
    "train",
]
_HOMES = {name: "autokd.api.calls" for name in __all__} | {
    "Recipe": "autokd.recipe",
    "Study": "autokd.api.study",
    "UserError": "autokd.errors",
    "models": "autokd.networks",
    "train": "autokd.train",
}


def __getattr__(name: str) -> object:
    """The public names; and ``models``: how students that MLflow logged before the package had
    rooms name the builder. ``train`` is a room that can be called.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    home = importlib.import_module(_HOMES[name])
    return home if name in {"models", "train"} else getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
