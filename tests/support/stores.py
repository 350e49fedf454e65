"""The stores that a test of the engine may run on."""

from typing import Final

import pytest

EVERY_STORE: Final = ("memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))

on_every_store: Final = pytest.mark.parametrize("store", EVERY_STORE, indirect=True)
"""Runs a test that takes `store` on each of them; without it, it runs on the memory store alone."""
