"""A worker that finds its concurrency: what it drives follows its places."""

import asyncio
from datetime import timedelta

from fastapi_durable.declare.concurrency import Adaptive
from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import FAST, running_worker, tuned, until

NEVER_LATE = timedelta(days=1)
ALWAYS_LATE = timedelta(microseconds=1)


async def test_places_are_added_while_all_are_taken_and_the_loop_is_prompt() -> None:
    go_on = asyncio.Event()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await go_on.wait()

    config = tuned(FAST, concurrency=Adaptive(least=1, most=3, longest_lag=NEVER_LATE))
    async with running_worker(MemoryStateStore(), flow, config=config) as (engine, worker):
        handles = [await engine.start(flow) for _ in range(5)]

        async def three_are_driven() -> bool:
            return worker.health().in_flight == 3

        await until(three_are_driven)
        assert await shown(engine) in (1, 2, 3)
        go_on.set()
        for handle in handles:
            await handle.result("60s")


async def test_no_place_is_added_while_the_loop_is_late() -> None:
    at_once = most = 0

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.1)
        at_once -= 1

    config = tuned(FAST, concurrency=Adaptive(least=2, most=9, longest_lag=ALWAYS_LATE))
    async with running_worker(MemoryStateStore(), flow, config=config) as (engine, _):
        handles = [await engine.start(flow) for _ in range(20)]
        for handle in handles:
            await handle.result("60s")
    assert most == 2


async def shown(engine: WorkflowService) -> int:
    """The number that the worker's row shows, once it has one."""

    async def is_listed() -> bool:
        return bool(await engine.workers())

    await until(is_listed)
    (me,) = await engine.workers()
    return me.concurrency
