"""The command line."""

from autokd.cli.app import main

__all__ = ["main"]
