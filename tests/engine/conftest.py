"""What engine tests share: a store, and the check that nothing is left behind."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import until


@pytest.fixture
def store() -> StateStore:
    """An empty store."""
    return MemoryStateStore()


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[tuple[StateStore, StateStore]]:
    """Two stores on the same data, with connections of their own, as two processes have them."""
    if request.param == "memory":
        store = MemoryStateStore()
        yield store, store
        return
    from example_app.clients import postgresql, sqlite
    from fastapi_durable.store.prisma import PrismaStateStore

    kind: Any = sqlite.Prisma if request.param == "sqlite" else postgresql.Prisma
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(kind(datasource={"url": url})) for _ in range(2)]
        yield PrismaStateStore(first), PrismaStateStore(second)


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    """Fails a test after which a task still runs, or in which an exception went unseen."""
    loop = asyncio.get_running_loop()
    unseen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    before = asyncio.all_tasks()
    yield
    left: set[asyncio.Task[Any]] = set()

    async def nothing_runs() -> bool:
        left.clear()
        left.update(asyncio.all_tasks() - before - {asyncio.current_task()})
        return not left

    try:
        await until(nothing_runs, seconds=1)
    except TimeoutError:
        pytest.fail(f"tasks are left behind: {left}")
    gc.collect(1)
    assert not unseen
