"""One file a sampler: how Optuna makes it, and what it cannot do. ``adapter`` asks and tells it.

The files are read by ``space.samplers`` whenever a space is checked, so they import Optuna inside
their functions only.
"""
