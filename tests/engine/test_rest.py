"""When a body counts as waiting, so that its turn ends: all it has under way waits, in whatever order that came."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import RunCancelledError, WorkflowNotRegisteredError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import FAST, has_status, is_idle, running_engine, running_worker, tuned, until

SELDOM = tuned(FAST, poll_interval=timedelta(hours=1), lease=timedelta(hours=1))


@step
async def work(value: int) -> int:
    return value


async def test_a_branch_that_finds_its_steps_recorded_keeps_nobody_from_waiting() -> None:
    """It comes to the recorded steps while another branch is parked already, and calls nothing that waits."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[Any]:
        async def sleeper() -> str:
            await ctx.sleep("200 ms")
            return "slept"

        async def stepper() -> int:
            await ctx.step(work, 1)
            await asyncio.sleep(0)
            return await ctx.step(work, 2)

        return list(await asyncio.gather(sleeper(), ctx.wait_for_signal("go", str), stepper()))

    async with running_worker(MemoryStateStore(), flow, config=FAST) as (engine, worker):
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.signal("go", "on")
        assert await handle.result("60s") == ["slept", "on", 2]
        await until(lambda: is_idle(worker))


async def test_a_call_that_is_refused_at_once_keeps_nobody_from_waiting() -> None:
    """It took a position, and never began."""

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        async def refused() -> None:
            for _ in range(20):
                await asyncio.sleep(0)
                with pytest.raises(WorkflowNotRegisteredError):
                    await ctx.child("nobody's")

        async def signalled() -> str:
            return await ctx.wait_for_signal("go", str)

        received, _ = await asyncio.gather(signalled(), refused())
        return received

    async with running_engine(MemoryStateStore(), flow, config=FAST) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.signal("go", "on")
        assert await handle.result("60s") == "on"


async def test_a_branch_that_only_found_recorded_steps_ends_with_its_turn() -> None:
    """What it waits for is not durable, so the next turn begins it anew."""
    started, branches = 0, list[asyncio.Task[None]]()

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        async def branch() -> None:
            nonlocal started
            await ctx.step(work, 1)
            started += 1
            await asyncio.Event().wait()

        branches.append(asyncio.create_task(branch(), name="a branch of the test"))
        return [await ctx.wait_for_signal(f"go {number}", str) for number in range(3)]

    async with running_worker(MemoryStateStore(), flow, config=FAST) as (engine, worker):
        handle = await engine.start(flow)
        for number in range(3):
            await until(lambda: has_status(handle, RunStatus.SUSPENDED))
            await until(lambda: is_idle(worker))
            assert not [task for task in asyncio.all_tasks() if task.get_name() == "a branch of the test"]
            await engine.signal(f"go {number}", "on")
        assert await handle.result("60s") == ["on"] * 3
        assert started > 1


@pytest.mark.parametrize("waits_first", [True, False])
async def test_cancelling_undoes_the_finished_steps_of_every_branch(waits_first: bool) -> None:
    """Also of those that come to them when another one stands where the history ends."""
    undone: list[int] = []

    @step
    async def undo(charge: Any) -> None:
        undone.append(charge)

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async def charging() -> None:
            await ctx.step(work, 1, compensate=undo)
            await ctx.step(work, 2, compensate=undo)

        branches = [ctx.wait_for_signal("never"), charging()]
        await asyncio.gather(*(branches if waits_first else reversed(branches)))

    async with running_engine(MemoryStateStore(), flow, config=FAST) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.cancel(handle.run_id, compensate=True)
        with pytest.raises(RunCancelledError):
            await handle.result("60s")
    assert len(undone) == 2
