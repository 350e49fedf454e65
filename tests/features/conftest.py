"""The store of a cell, and the checks of what is left behind and of locks: those of the engine's tests."""

from tests.engine.conftest import locks_are_kept, nothing_left_behind, store

__all__ = ["locks_are_kept", "nothing_left_behind", "store"]
