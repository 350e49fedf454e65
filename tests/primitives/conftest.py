"""The stores on which the cases are lived through."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fastapi_durable.store.memory import MemoryStateStore
from tests.primitives.situations import Stores
from tests.support.stores import EVERY_STORE


@pytest.fixture(params=EVERY_STORE)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """Two processes' stores on the same data, which is empty; of each kind in turn."""
    if request.param == "memory":
        store = MemoryStateStore()
        yield Stores("memory", store, store)
        return
    from example_app.clients import postgresql, sqlite
    from fastapi_durable.store.prisma import PrismaStateStore

    kind: Any = sqlite.Prisma if request.param == "sqlite" else postgresql.Prisma
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(kind(datasource={"url": url})) for _ in range(2)]
        yield Stores(request.param, PrismaStateStore(first), PrismaStateStore(second))
