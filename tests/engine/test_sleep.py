"""A sleep ends when its recorded moment has come, however often the run is looked at before."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, Run, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.testing import HandClock
from tests.support.engine_rig import FAST, has_status, killed_worker, run_has, running_engine, tuned, until
from tests.support.stores import on_every_store

PATIENT = tuned(FAST, lease=timedelta(days=1))
"""Nothing is taken for dead when the clock is moved."""


@asynccontextmanager
async def by_hand(store: StateStore, clock: HandClock, *flows: Any) -> AsyncIterator[WorkflowService]:
    async with running_engine(store, *flows, clock=clock, config=PATIENT) as engine:
        yield engine


async def result(store: StateStore, engine: WorkflowService, run_id: str, flow: Any) -> Any:
    """A limit of `result` would be one of the clock that stands still."""
    await until(run_has(store, run_id, RunStatus.COMPLETED))
    return await engine.handle(run_id, flow).result()


async def look(store: StateStore, clock: HandClock, run_id: str) -> None:
    """Have the run taken up although nothing happened."""
    async with store.transaction() as transaction:
        assert await transaction.wake_run(run_id, now=clock.now())


@on_every_store
async def test_a_run_that_sleeps_says_so_and_until_when(store: StateStore) -> None:
    """Its row is no finished one, which would look as if the run were at work."""
    clock = HandClock()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.sleep("1.5h")
        return "awake"

    async with by_hand(store, clock, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        end = clock.now() + timedelta(minutes=90)
        (row,) = await store.list_checkpoints(handle.run_id)
        assert (row.kind, row.status, row.wake_at) == (CheckpointKind.SLEEP, CheckpointStatus.PENDING, end)
        assert (await handle.run()).wake_at == end
        clock.move(hours=1.5)
        assert await result(store, engine, handle.run_id, flow) == "awake"
        (row,) = await store.list_checkpoints(handle.run_id)
        assert (row.status, row.wake_at) == (CheckpointStatus.COMPLETED, end)


async def test_a_sleep_ends_at_the_moment_that_its_first_turn_named(store: StateStore) -> None:
    """What a later turn makes of the same lines does not count: it may compute the moment from the time of day."""
    clock, turns = HandClock(), list[datetime]()
    began = clock.now()

    @workflow
    async def flow(ctx: WorkflowContext) -> datetime:
        turns.append(clock.now())
        await ctx.sleep_until(clock.now() + timedelta(hours=2))
        return await ctx.now()

    async with by_hand(store, clock, flow) as engine:
        handle = await engine.start(flow)
        for number in (1, 2):

            async def rests(number: int = number) -> bool:
                return len(turns) == number and await has_status(handle, RunStatus.SUSPENDED)

            await until(rests)
            clock.move(minutes=59)
            if number == 1:
                await look(store, clock, handle.run_id)
        assert (await handle.run()).wake_at == began + timedelta(hours=2)
        clock.move(minutes=2)
        assert await result(store, engine, handle.run_id, flow) == began + timedelta(hours=2)


async def test_the_death_of_its_process_does_not_start_a_sleep_again(store: StateStore) -> None:
    clock = HandClock()
    began = clock.now()

    @workflow
    async def flow(ctx: WorkflowContext) -> datetime:
        await ctx.sleep("2h")
        return await ctx.now()

    async with killed_worker(store, flow, clock=clock, config=PATIENT) as first:
        handle = await first.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    clock.move(hours=1)
    async with by_hand(store, clock, flow) as second:
        await look(store, clock, handle.run_id)
        clock.move(hours=1)
        assert await result(store, second, handle.run_id, flow) == began + timedelta(hours=2)


@on_every_store
async def test_a_sleep_that_nestjs_durable_recorded_lasts_until_its_moment(store: StateStore) -> None:
    """It writes the row as completed when the sleep begins."""
    clock = HandClock()
    now, end = clock.now(), clock.now() + timedelta(hours=1)
    asleep = {"status": RunStatus.SUSPENDED, "wake_at": now, "created_at": now, "updated_at": now}
    await store.create_run(Run(id="r", workflow="flow", workflow_version="1", **asleep))  # type: ignore[arg-type]
    await store.save_checkpoint(
        Checkpoint(
            run_id="r",
            seq=0,
            name="sleep",
            kind=CheckpointKind.SLEEP,
            status=CheckpointStatus.COMPLETED,
            step_id="r:0",
            wake_at=end,
            started_at=now,
            finished_at=now,
        )
    )

    @workflow(name="flow")
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.sleep("1h")
        return "awake"

    async with by_hand(store, clock, flow) as engine:

        async def waits_for_its_moment() -> bool:
            run = await store.find_run("r")
            return run is not None and (run.status, run.wake_at) == (RunStatus.SUSPENDED, end)

        await until(waits_for_its_moment)
        clock.move(hours=1)
        assert await result(store, engine, "r", flow) == "awake"
