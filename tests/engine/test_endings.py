"""A run that has ended stays as it ended, whoever wants something of it later; and whoever waits for it is told."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.retry import NO_DELAY
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import ChildFailedError, RunStateError
from fastapi_durable.model.records import ErrorRecord, Run, RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, build_engine, has_status, running_engine, tuned, until
from tests.support.stores import on_every_store

NEVER = "never"


@workflow
async def patient(ctx: WorkflowContext) -> None:
    await ctx.wait_for_signal(NEVER)


def ended(run_id: str, status: RunStatus, **fields: Any) -> Run:
    now = SystemClock().now()
    error = ErrorRecord(message="it went wrong", code="its own")
    run = Run(id=run_id, workflow="patient", workflow_version="1", status=status, created_at=now, updated_at=now)
    return replace(run, error=error, **fields)


@on_every_store
@pytest.mark.parametrize("compensate", [False, True])
async def test_a_cancel_leaves_a_run_that_has_failed_or_died_with_its_error(
    store: StateStore, compensate: bool
) -> None:
    """Alone, with its parent, and among many."""
    engine = build_engine(store, patient)
    parent = await engine.start(patient, run_id="parent")
    for status in (RunStatus.FAILED, RunStatus.DEAD):
        await store.create_run(ended(status, status))
        await store.create_run(ended(f"child {status}", status, parent_run_id="parent", parent_seq=0))
    before = {run.id: run for run in await store.list_runs(RunQuery()) if run.status.is_terminal}
    assert len(before) == 4
    for run_id, run in before.items():
        assert await engine.cancel(run_id, compensate=compensate) == run
    await engine.cancel(parent.run_id, compensate=compensate)
    await engine.cancel_where(RunQuery(workflow="patient"), compensate=compensate)
    assert {run.id: run for run in await store.list_runs(RunQuery()) if run.id in before} == before
    assert await has_status(parent, RunStatus.CANCELLED)


@on_every_store
async def test_a_parent_is_told_that_its_child_is_dead(store: StateStore) -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> str | None:
        try:
            await ctx.child(patient, run_id="the-child")
        except ChildFailedError as error:
            return error.error.code
        return None

    config = tuned(FAST, max_recovery_attempts=1)
    outside = build_engine(store, parent, patient)
    async with running_engine(store, parent, patient, config=config) as engine:
        handle = await engine.start(parent)
        await until(lambda: store.find_signal_waiter(NEVER))
        await until(lambda: has_status(outside.handle("the-child"), RunStatus.SUSPENDED))
    now = SystemClock().now()
    async with store.transaction() as transaction:
        await transaction.wake_run("the-child", now=now)
    for number in range(2):
        (run,) = await store.claim_runs(f"dead {number}", now=SystemClock().now(), until=now, limit=1)
        assert run.id == "the-child"
    async with running_engine(store, parent, patient, config=config) as engine:
        assert await engine.handle(handle.run_id).result("60s") == "max_recovery_attempts"
    assert await store.list_signal_waiters() == []


async def test_what_an_attempt_returns_after_its_time_does_not_settle_the_next_one(store: StateStore) -> None:
    """A thread cannot be ended: it is waited for, and counts as an attempt that took too long all the same."""
    begun, go_on = threading.Event(), threading.Event()
    attempts = 0

    @step(max_attempts=2, timeout="200ms", backoff=NO_DELAY)
    def slow() -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            begun.set()
            go_on.wait(60)
            return 1
        return 2

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.step(slow)

    async def has_begun() -> bool:
        return begun.is_set()

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(has_begun)
        # The limit passes meanwhile, in the same event loop.
        await asyncio.sleep(0.3)
        go_on.set()
        assert await handle.result("60s") == 2
        (row,) = await store.list_checkpoints(handle.run_id)
        assert (row.output, row.attempts) == (2, 2)


@on_every_store
async def test_what_comes_after_a_failure_does_not_take_the_run_up_again(store: StateStore) -> None:
    """The end of a child beside which it failed, a signal that another branch waited for, a report of a task."""
    attempts: list[int] = []

    @step
    async def fail() -> None:
        attempts.append(1)
        raise ValueError("no")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.child(patient, run_id="the-child"))
            group.create_task(ctx.wait_for_signal("late"))
            await ctx.wait_for_signal("go")
            await ctx.step(fail)

    told: list[str] = []
    async with running_engine(store, flow, patient) as engine:
        engine.events.listen(lambda event: told.append(event.type) if event.run_id == "run" else None)
        handle = await engine.start(flow, run_id="run")
        await until(lambda: store.find_signal_waiter(NEVER))
        await engine.signal("go")
        await until(lambda: has_status(handle, RunStatus.FAILED))
        failed = await handle.run()
        assert await store.find_signal_waiter("late") is None
        assert not await engine.signal("late")
        await engine.signal(NEVER)
        await engine.handle("the-child").result("60s")
        with pytest.raises(RunStateError):
            await engine.complete_task("run", "any")
        assert not (await engine.update("run", "any", 1)).accepted
        await (await engine.start(patient, run_id="another")).status()
        assert await handle.run() == failed
    assert attempts == [1]
    assert told.count("run.failed") == 1


async def test_deliveries_that_come_during_a_turn_begin_no_second_one(store: StateStore) -> None:
    """They are for branches of a run whose step is under way, and come from its own process and from another one."""
    executions, bodies, most = 0, 0, 0
    go_on = asyncio.Event()

    @step
    async def work() -> None:
        nonlocal executions
        executions += 1
        await go_on.wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        nonlocal bodies, most
        bodies += 1
        most = max(most, bodies)
        try:
            numbers = asyncio.create_task(ctx.gather(*(ctx.wait_for_signal(f"{n}", int) for n in range(4))))
            await ctx.step(work)
            return await numbers
        finally:
            bodies -= 1

    async def all_wait() -> bool:
        return executions > 0 and len(await store.list_signal_waiters()) == 4

    async with running_engine(store, flow) as own, running_engine(store, flow) as other:
        handle = await own.start(flow)
        await until(all_wait)
        for number in range(4):
            assert await (own, other)[number % 2].signal(f"{number}", number)
        go_on.set()
        assert await handle.result("60s") == [0, 1, 2, 3]
    assert (executions, most) == (1, 1)


async def _reached(condition: Callable[[], Any]) -> Any:
    return condition()
