"""The stores that a test of the engine may run on."""

from typing import Final

import pytest

EVERY_STORE: Final = ("memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))

on_every_store: Final = pytest.mark.parametrize("store", EVERY_STORE, indirect=True)
"""Runs a test that takes `store` on each of them; without it, it runs on the memory store alone."""

DATABASES_SLOWLY: Final = (
    "memory",
    pytest.param("sqlite", marks=pytest.mark.slow),
    pytest.param("postgresql", marks=[pytest.mark.slow, pytest.mark.postgres]),
)
"""For tests of which there are many of a kind: on the databases they run in `make test-slow`."""

on_databases_slowly: Final = pytest.mark.parametrize("store", DATABASES_SLOWLY, indirect=True)
"""As `on_every_store`, for such tests."""
