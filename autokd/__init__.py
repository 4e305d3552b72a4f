"""AutoKD: search for the best way to distil a big vision model into a small one.

The flow, and the module that owns each part of it:

    space.yaml ─ space ─→ Optuna suggests ─ study ─→ recipe ─→ one run ─ distill ─→ a report per epoch ─→ ASHA pauses or promotes
                    │                        │                   └ data → views → teachers (tables: store) → step → metrics
                    │                        └ ledger ─→ tracking (MLflow), report, export
                    └ vary → tree (what is free), settings (how to look), baselines (what is tried first)

Modules marked *light* load neither torch, ray, mlflow, optuna nor numpy, so that look-ups answer at once:
``cli``, ``document``, ``axes``, ``methods`` (until called), ``zoo``, ``recipe``, ``space`` and its parts, ``ledger``, ``report``.
"""

__version__ = "0.1.0"
