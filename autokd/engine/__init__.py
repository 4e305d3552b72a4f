"""Ray Tune runs what a study decides: the only room that knows Ray.

``search`` begins a study and closes it, ``checks`` and ``capacity`` look before it begins,
``raytune`` runs it, ``bridge`` stands between Ray's trials and the study's, ``worker`` does a job
in a process of its own, ``session`` and ``signals`` mind Ray's life and the driver's.
"""

import os

# Read by Ray when it is imported.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
    RAY_AIR_NEW_OUTPUT="0",
    RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS="0",
    TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S="0",
    RAY_DEDUP_LOGS="1",
    TUNE_GLOBAL_CHECKPOINT_S="3600",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
)
