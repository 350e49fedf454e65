"""What engine tests share: a store, and the check that nothing is left behind."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import until


@pytest.fixture
def store() -> StateStore:
    """An empty store."""
    return MemoryStateStore()


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
