"""`settled`: a test goes on when nothing does any more."""

import asyncio

import pytest

from fastapi_durable import DurableModule, DurableOptions, MemoryStateStore, RunStatus, WorkflowContext, step, workflow
from fastapi_durable.testing import HandClock, settled


@step(max_attempts=2)
async def second_time(seen: str) -> str:
    attempts.append(seen)
    if len(attempts) == 1:
        raise ConnectionError("not yet")
    return seen


attempts: list[str] = []


@workflow
async def sleeps(ctx: WorkflowContext) -> str:
    await ctx.step(second_time, "again")
    await ctx.sleep("30 days")
    return await ctx.wait_for_signal("wake", str)


@workflow
async def parent(ctx: WorkflowContext) -> str:
    return await ctx.child(sleeps)


async def test_days_pass_at_once_and_every_run_has_gone_as_far_as_it_can() -> None:
    """Retries, a sleep, a child and its parent: after each move they stand where nothing but the test helps them."""
    attempts.clear()
    clock = HandClock()
    # A look for work an hour from now: nothing here is found by waiting for it.
    options = DurableOptions(store=MemoryStateStore(), clock=clock, poll_interval="1h")
    durable = DurableModule.for_root(options, workflows=[sleeps, parent])
    async with asyncio.timeout(60), durable.running() as runtime:
        handle = await runtime.service.start(parent)
        await settled(runtime)
        assert attempts == ["again", "again"]
        clock.move(days=29)
        await settled(runtime)
        await runtime.service.signal("wake", "early")
        clock.move(days=1)
        await settled(runtime)
        assert await handle.status() is RunStatus.COMPLETED
        assert await handle.result() == "early"


async def test_runs_that_go_on_are_named_when_the_time_is_up() -> None:
    """A test that waits in vain says for what."""
    entered = asyncio.Event()

    @workflow
    async def hangs(ctx: WorkflowContext) -> None:
        await ctx.local_step("wait", entered.wait)

    options = DurableOptions(store=MemoryStateStore(), shutdown_timeout="10ms")
    durable = DurableModule.for_root(options, workflows=[hangs])
    async with durable.running() as runtime:
        await runtime.service.start(hangs, run_id="stuck")
        with pytest.raises(TimeoutError, match=r"'stuck' \(hangs, running\)"):
            await settled(runtime, timeout="50ms")
        entered.set()
        await settled(runtime)
