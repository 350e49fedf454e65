"""A run from start to result."""

import asyncio
from datetime import timedelta

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.retry import fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import FatalError, RunFailedError, SignalTimeoutError, StepFailedError
from fastapi_durable.model.records import CheckpointStatus, RunStatus
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import has_status, running_engine, until


class Order(BaseModel):
    id: str
    cents: int


class Approval(BaseModel):
    approved: bool


async def test_a_workflow_of_steps_returns_its_typed_result() -> None:
    @step
    async def double(value: int) -> int:
        return value * 2

    @step
    def describe(order: Order) -> str:
        return f"{order.id}:{order.cents}"

    @workflow(name="flow")
    async def flow(ctx: WorkflowContext, order: Order) -> Order:
        cents = await ctx.step(double, order.cents)
        label = await ctx.step(describe, order)
        return Order(id=label, cents=cents)

    async with running_engine(MemoryStateStore(), flow) as engine:
        handle = await engine.start(flow, Order(id="o1", cents=21))
        assert await handle.result("60s") == Order(id="o1:21", cents=42)
        assert await handle.status() is RunStatus.COMPLETED


async def test_steps_run_together_and_keep_their_positions() -> None:
    both = asyncio.Barrier(2)

    @step
    async def meet(value: int) -> int:
        await both.wait()
        return value

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        return list(await asyncio.gather(ctx.step(meet, 1), ctx.step(meet, 2)))

    async with running_engine(MemoryStateStore(), flow) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == [1, 2]


async def test_a_failing_step_is_tried_again_and_then_fails_the_run() -> None:
    attempts = 0

    @step(max_attempts=3, backoff=fixed("1ms"))
    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        raise ValueError(f"no {attempts}")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(fail)

    store = MemoryStateStore()
    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError, match="after 3 attempts: no 3"):
            await handle.result("60s")
    assert attempts == 3
    (row,) = await store.list_checkpoints(handle.run_id)
    assert (row.status, row.attempts) == (CheckpointStatus.FAILED, 3)


async def test_a_fatal_error_is_not_tried_again_and_keeps_its_code() -> None:
    attempts = 0

    @step(max_attempts=3)
    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        raise FatalError("card stolen", code="stolen")

    @workflow
    async def flow(ctx: WorkflowContext) -> str | None:
        try:
            await ctx.step(fail)
        except StepFailedError as error:
            return error.code
        return "no error"

    async with running_engine(MemoryStateStore(), flow) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == "stolen"
    assert attempts == 1


async def test_a_sleep_suspends_the_run_and_wakes_it_in_time() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> float:
        before = await ctx.now()
        await ctx.sleep("100ms")
        return ((await ctx.now()) - before) / timedelta(seconds=1)

    async with running_engine(MemoryStateStore(), flow) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") >= 0.1


async def test_a_signal_reaches_the_run_that_waits_for_it() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> bool:
        approval = await ctx.wait_for_signal("approve", Approval)
        return approval.approved

    store = MemoryStateStore()
    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        assert await engine.signal("approve", Approval(approved=True))
        assert await handle.result("60s") is True
        assert await store.list_signal_waiters() == []


async def test_a_signal_that_came_before_the_wait_is_kept_for_it() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.wait_for_signal("early", int)

    async with running_engine(MemoryStateStore(), flow) as engine:
        assert not await engine.signal("early", 7)
        handle = await engine.start(flow)
        assert await handle.result("60s") == 7


async def test_a_bounded_wait_ends_with_a_timeout_that_the_body_can_catch() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.wait_for_signal("never", str, timeout="50ms")
        except SignalTimeoutError:
            return await ctx.wait_for_signal("later", str)
        return "signalled"

    store = MemoryStateStore()
    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("later"))
        await engine.signal("never", "too late")
        await engine.signal("later", "done")
        assert await handle.result("60s") == "done"


async def test_branches_of_a_task_group_may_wait_while_others_work() -> None:
    @step
    async def work(value: int) -> int:
        await asyncio.sleep(0.03)
        return value

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(ctx.wait_for_signal("number", int))
            working = group.create_task(ctx.step(work, 2))
        return [waiting.result(), working.result()]

    async with running_engine(MemoryStateStore(), flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.signal("number", 1)
        assert await handle.result("60s") == [1, 2]
