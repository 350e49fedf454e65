"""The store of a cell, and the check that nothing is left behind: those of the engine's tests."""

from tests.engine.conftest import nothing_left_behind, store

__all__ = ["nothing_left_behind", "store"]
