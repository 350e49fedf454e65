"""A run that creates very many children at once is slow, and harms nobody in its process."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.store.prisma import PrismaStateStore
from tests.store.conftest import prisma_of
from tests.support.engine_rig import FAST, running_worker, tuned

pytestmark = pytest.mark.slow

CHILDREN = 500 if os.environ.get("DURABLE_CRASHES") == "all" else 250


@workflow
async def child(ctx: WorkflowContext, number: int) -> int:
    return number


@workflow
async def fan_out(ctx: WorkflowContext, children: int) -> int:
    return sum(await ctx.all(child, list(range(children))))


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Any]:
    # A wait for a connection of the pool ends soon, so that a test sees whoever waits for one.
    options = "?connection_limit=5&pool_timeout=2"
    async with prisma_of(database_url)(datasource={"url": database_url + options}) as client:
        yield client


@pytest.mark.timeout(600)
async def test_others_go_on_while_hundreds_of_children_are_created(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is turned away, no lease is lost, and no turn fails."""
    config = tuned(FAST, lease=timedelta(seconds=6), concurrency=64)
    store = PrismaStateStore(client)
    async with running_worker(store, child, fan_out, config=config) as (engine, _):
        handle = await engine.start(fan_out, CHILDREN)
        result = asyncio.create_task(handle.result("500s"))
        calls = 0
        while not result.done():
            await engine.start(child, calls, run_id=f"another-{calls}")
            await engine.signal(f"signal-{calls}", calls)
            assert await store.find_run(f"another-{calls}") is not None
            calls += 1
            await asyncio.sleep(0.01)
        assert await result == sum(range(CHILDREN))
    # Held up until the end, it would be one; how many it is depends on the machine.
    assert calls > 2, calls
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []
