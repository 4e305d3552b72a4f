"""AutoKD: search for the best way to distil a big vision model into a small one.

The flow, and the room that owns each part of it::

    space.yaml ─ space ─→ Optuna suggests ─ study ─→ recipe ─→ one run ─ train ─→ a report an epoch
                                              │                  │
         ASHA pauses or promotes ─ study ─────┤                  └ data → views → networks →
         ledger ─→ tracking (MLflow), report, export               teacher tables → step → metrics

    cli        one file a group of commands; the live view         light
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
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``models``: how students that MLflow logged before the package had rooms name the builder."""
    if name == "models":
        import importlib

        return importlib.import_module("autokd.networks")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
