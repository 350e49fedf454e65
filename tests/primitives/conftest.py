"""The stores on which the cases are lived through, and the check of locks."""

from collections.abc import AsyncIterator

import pytest

from tests.engine.conftest import locks_are_kept
from tests.primitives.situations import Stores, opened_stores
from tests.support.stores import EVERY_STORE

__all__ = ["locks_are_kept", "stores"]

_URLS = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}


@pytest.fixture(params=EVERY_STORE)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """Two processes' stores on the same data, which is empty; of each kind in turn."""
    url = None if request.param == "memory" else request.getfixturevalue(_URLS[request.param])
    async with opened_stores(request.param, url) as stores:
        yield stores
