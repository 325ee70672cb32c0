"""The version of the package, and that of its results."""

__version__ = "0.1.0"

RESULTS_VERSION = 10
"""Raised when the same song, model and options give other results than before: finished songs are then done again."""
