"""Runs whose process died: taken up by others, and given up when every process that takes them dies."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable import Retention
from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.upkeep import upkeep
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import RunDeadError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import (
    FAST,
    build_engine,
    build_machinery,
    has_status,
    killed_worker,
    running_engine,
    tuned,
    until,
)
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store


async def die(store: StateStore, number: int) -> int | None:
    """A process takes the run and dies at once; what it saw of the deaths before."""
    now = SystemClock().now()
    (run,) = await store.claim_runs(f"dead {number}", now=now, until=now, limit=1)
    return run.recovery_attempts


@on_every_store
async def test_a_run_whose_process_dies_again_and_again_is_dead_in_the_end(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.sleep("1h")

    handle = await build_engine(store, flow).start(flow)
    assert [await die(store, number) for number in range(3)] == [None, 1, 2]
    async with running_engine(store, flow, config=tuned(FAST, max_recovery_attempts=2)) as engine:
        with pytest.raises(RunDeadError, match="3 times without progress"):
            await engine.handle(handle.run_id).result("60s")


@on_every_store
async def test_a_process_that_dies_in_a_later_turn_is_noticed_and_counted_like_in_the_first(store: StateStore) -> None:
    """A poison pill may well be behind a sleep."""
    entered = asyncio.Event()

    @step
    async def pass_by() -> None: ...

    @step
    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(pass_by)
        await ctx.sleep("50ms")
        await ctx.step(hang)

    short = tuned(FAST, lease=timedelta(milliseconds=500))
    async with killed_worker(store, flow, config=short) as first:
        handle = await first.start(flow)
        await entered.wait()
        assert await has_status(handle, RunStatus.RUNNING), "or only its old timer would wake it"

    async def is_free() -> bool:
        until_when = (await handle.run()).locked_until
        return until_when is not None and until_when <= SystemClock().now()

    await until(is_free)
    assert [await die(store, number) for number in range(2)] == [1, 2]
    async with running_engine(store, flow, config=tuned(FAST, max_recovery_attempts=2)) as engine:
        with pytest.raises(RunDeadError, match="3 times without progress"):
            await engine.handle(handle.run_id).result("60s")


@on_every_store
async def test_progress_forgets_the_crashes_before_it(store: StateStore) -> None:
    """A healthy run that outlives many deploys is no poison pill."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def pass_by() -> None: ...

    @step
    async def meet() -> None:
        entered.set()
        await go_on.wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(pass_by)
        await ctx.step(meet)

    handle = await build_engine(store, flow).start(flow)
    for number in range(3):
        await die(store, number)
    async with running_engine(store, flow, config=tuned(FAST, max_recovery_attempts=5)) as engine:
        await entered.wait()
        await until(lambda: has_status(handle, RunStatus.RUNNING))
        assert (await handle.run()).recovery_attempts == 0
        go_on.set()
        await engine.handle(handle.run_id).result("60s")


async def test_upkeep_that_fails_is_tried_again_and_keeps_nothing_else_from_going_on(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look of every loop fails, as it does when the database is away at that moment."""
    failed: set[str] = set()
    tried_again: set[str] = set()

    async def fail_once(name: str, call: Any) -> Any:
        if name in {"save_worker", "list_workers", "prune_buffered_events", "list_expired_runs"}:
            if name not in failed:
                failed.add(name)
                raise OSError("the database is away")
            tried_again.add(name)
        return await call()

    @workflow(execution_timeout="1h")
    async def flow(ctx: WorkflowContext) -> str:
        return "done"

    for name in ("_FAILURE_PAUSE", "HEARTBEAT"):
        monkeypatch.setattr(upkeep, name, timedelta(milliseconds=5))
    config = tuned(FAST, blocked_poll_interval=timedelta(milliseconds=5))
    engine = build_machinery(interposed(store, fail_once), flow, config=config)
    engine.retention = Retention(sweep_interval="5ms")
    worker = Worker(engine)
    await worker.start()
    try:

        async def each_was_tried_again() -> bool:
            return bool(await store.list_workers()) and len(failed) == len(tried_again) == 4

        await until(each_was_tried_again)
        assert worker.health().alive
        assert await WorkflowService(engine.kernel).execute(flow, timeout="60s") == "done"
    finally:
        await worker.stop()
