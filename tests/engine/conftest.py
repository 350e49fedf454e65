"""What engine tests share: a store, and the checks that nothing is left behind and that locks are kept."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import until
from tests.support.lock_journal import LockJournal
from tests.support.stores import EVERY_STORE


@pytest.fixture
async def store(request: pytest.FixtureRequest) -> AsyncIterator[StateStore]:
    """An empty store: the memory one, or the one that `on_every_store` names."""
    async with AsyncExitStack() as stack:
        (only,) = await _stores(request, getattr(request, "param", "memory"), 1, stack)
        yield only


@pytest.fixture(params=EVERY_STORE)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[tuple[StateStore, StateStore]]:
    """Two stores on the same data, with connections of their own, as two processes have them."""
    async with AsyncExitStack() as stack:
        first, second = await _stores(request, request.param, 2, stack)
        yield first, second


async def _stores(request: pytest.FixtureRequest, kind: str, number: int, stack: AsyncExitStack) -> list[StateStore]:
    if kind == "memory":
        return [MemoryStateStore()] * number
    from example_app.clients import postgresql, sqlite
    from fastapi_durable.store.prisma import PrismaStateStore

    client: Any = sqlite.Prisma if kind == "sqlite" else postgresql.Prisma
    url: str = request.getfixturevalue("sqlite_url" if kind == "sqlite" else "postgres_url")
    clients = [await stack.enter_async_context(client(datasource={"url": url})) for _ in range(number)]
    return [PrismaStateStore(each) for each in clients]


@pytest.fixture(autouse=True)
def locks_are_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[LockJournal]:
    """Fails a test in which a transaction did something without its lock, or took two in another order than others."""
    journal = LockJournal()
    journal.watch(monkeypatch.setattr)
    yield journal
    assert journal.faults == []


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
        await until(nothing_runs)
    except TimeoutError:
        pytest.fail(f"tasks are left behind: {left}")
    gc.collect(1)
    assert not unseen
