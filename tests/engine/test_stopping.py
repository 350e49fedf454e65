"""A worker that stops hands its runs back: another one goes on at once, not when a lease expires."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.retry import NO_DELAY, fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.engine import Engine
from fastapi_durable.engine.turns import lifetime
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import (
    FAST,
    build_engine,
    build_machinery,
    has_status,
    is_idle,
    running_engine,
    tuned,
    until,
)
from tests.support.interposed_store import interposed

PATIENT = tuned(FAST, lease=timedelta(minutes=5), shutdown_timeout=timedelta(seconds=5))
"""A run that is not handed back stays untouched for longer than any test takes."""


@asynccontextmanager
async def _started(
    store: StateStore, *workflows: Any, config: Any = PATIENT
) -> AsyncIterator[tuple[WorkflowService, Worker]]:
    """A worker that the test itself stops."""
    engine = build_machinery(store, *workflows, config=config)
    worker = Worker(engine)
    await worker.start()
    try:
        yield WorkflowService(engine.kernel), worker
    finally:
        await worker.stop(timedelta(0))


async def _begun(stop: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """The stop, which has told every turn of it by now."""
    task = asyncio.create_task(stop)
    await asyncio.sleep(0)
    return task


async def _goes_on(store: StateStore, flow: Any, run_id: str) -> Any:
    async with running_engine(store, flow, config=PATIENT) as engine:
        return await engine.handle(run_id).result("60s")


async def test_a_run_is_handed_back_at_its_next_checkpoint(store: StateStore) -> None:
    """The step that is under way is finished and recorded; the one after it runs elsewhere."""
    entered, go_on = asyncio.Event(), asyncio.Event()
    executions: list[int] = []

    @step
    async def work(number: int) -> int:
        executions.append(number)
        entered.set()
        await go_on.wait()
        return number

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        return [await ctx.step(work, number) for number in range(3)]

    async with _started(store, flow) as (engine, worker):
        handle = await engine.start(flow)
        await entered.wait()
        stopping = await _begun(worker.stop())
        go_on.set()
        await stopping
        run = await handle.run()
        assert (run.status, run.locked_by) == (RunStatus.PENDING, None)
    assert executions == [0]
    assert await _goes_on(store, flow, handle.run_id) == [0, 1, 2]
    assert executions == [0, 1, 2]
    assert (await handle.run()).recovery_attempts is None, "a stop is no crash"


async def test_a_run_that_comes_to_its_end_meanwhile_completes(store: StateStore) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def work() -> None:
        entered.set()
        await go_on.wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.step(work)
        return "done"

    async with _started(store, flow) as (engine, worker):
        handle = await engine.start(flow)
        await entered.wait()
        stopping = await _begun(worker.stop())
        go_on.set()
        await stopping
        assert await has_status(handle, RunStatus.COMPLETED)


async def test_a_step_that_takes_longer_than_the_deadline_is_ended_and_its_run_handed_back(store: StateStore) -> None:
    entered = asyncio.Event()
    executions = 0

    @step
    async def work() -> int:
        nonlocal executions
        executions += 1
        if executions == 1:
            entered.set()
            await asyncio.Event().wait()
        return executions

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.step(work)

    async with _started(store, flow) as (engine, worker):
        handle = await engine.start(flow)
        await entered.wait()
        async with asyncio.timeout(60):
            await worker.stop(timedelta(milliseconds=20))
    assert await _goes_on(store, flow, handle.run_id) == 2


async def test_a_thread_that_cannot_be_ended_does_not_hold_up_the_stop(store: StateStore) -> None:
    entered, release = threading.Event(), threading.Event()

    @step
    def work() -> bool:
        entered.set()
        return release.wait(100)

    @workflow
    async def flow(ctx: WorkflowContext) -> bool:
        return await ctx.step(work)

    async with _started(store, flow) as (engine, worker):
        handle = await engine.start(flow)
        await until(lambda: _is_set(entered))
        async with asyncio.timeout(60):
            await worker.stop(timedelta(milliseconds=20))
    release.set()
    assert await _goes_on(store, flow, handle.run_id) is True


async def _is_set(event: threading.Event) -> bool:
    return event.is_set()


async def test_a_step_that_refuses_to_end_is_left_and_its_run_waits_for_the_lease(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still works in this process, so nobody else may begin it before the lease has expired."""
    monkeypatch.setattr(lifetime, "_UNWIND_TIMEOUT", 0.05)
    entered, release = asyncio.Event(), asyncio.Event()

    @step
    async def stubborn() -> str:
        entered.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "at last"

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(stubborn)

    config = tuned(PATIENT, lease=timedelta(milliseconds=300))
    async with _started(store, flow, config=config) as (engine, worker):
        handle = await engine.start(flow)
        await entered.wait()
        async with asyncio.timeout(60):
            await worker.stop(timedelta(milliseconds=20))
        run = await handle.run()
        assert (run.status, run.locked_by is None) == (RunStatus.RUNNING, False)
    release.set()
    async with running_engine(store, flow, config=config) as second:
        assert await second.handle(handle.run_id).result("60s") == "at last"


async def test_a_step_between_two_attempts_is_handed_back_with_its_count(store: StateStore) -> None:
    attempts = 0
    second = asyncio.Event()

    @step(max_attempts=1000, backoff=fixed("1 ms"))
    async def fail() -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            second.set()
        if not second.is_set() or attempts < 1000:
            raise ConnectionError("try again")
        return attempts

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.step(fail, backoff=NO_DELAY if attempts else None)

    async with _started(store, flow) as (engine, worker):
        handle = await engine.start(flow)
        await second.wait()
        async with asyncio.timeout(60):
            await worker.stop()
        assert await has_status(handle, RunStatus.PENDING)
    (row,) = await store.list_checkpoints(handle.run_id)
    assert row.attempts == attempts < 1000
    attempts = 998
    assert await _goes_on(store, flow, handle.run_id) == 1000


async def test_a_run_with_one_branch_waiting_and_one_at_work_is_handed_back_after_the_work(store: StateStore) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def work() -> int:
        entered.set()
        await go_on.wait()
        return 1

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        return list(await asyncio.gather(ctx.wait_for_signal("go", int), ctx.step(work)))

    async with _started(store, flow) as (engine, worker):
        handle = await engine.start(flow)
        await entered.wait()
        await until(lambda: store.find_signal_waiter("go"))
        stopping = await _begun(worker.stop())
        go_on.set()
        async with asyncio.timeout(60):
            await stopping
        assert (await handle.run()).locked_by is None
        await engine.signal("go", 2)
    assert await _goes_on(store, flow, handle.run_id) == [2, 1]


@pytest.mark.parametrize("method", ["read_history", "claim_runs"])
async def test_a_stop_at_the_very_beginning_of_a_turn_hands_the_run_back(store: StateStore, method: str) -> None:
    """While the runs are claimed, or their history is read: there is no turn yet that could be told."""
    asked, answer = asyncio.Event(), asyncio.Event()
    begun = 0

    async def slow(name: str, call: "partial[Awaitable[Any]]") -> Any:
        result = await call()
        if name == method and (result or name == "read_history"):
            asked.set()
            await answer.wait()
        return result

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        nonlocal begun
        begun += 1
        await ctx.side_effect(lambda: 1, int)
        return "done"

    async with _started(interposed(store, slow), flow) as (_, worker):
        # From another process: this worker would not look for what it starts itself.
        handle = await build_engine(store, flow).start(flow)
        await asked.wait()
        stopping = await _begun(worker.stop())
        answer.set()
        await stopping
        run = await handle.run()
        assert (run.status, run.locked_by) == (RunStatus.PENDING, None)
    assert await store.list_checkpoints(handle.run_id) == []
    assert await _goes_on(store, flow, handle.run_id) == "done"


async def test_a_stop_while_the_store_hangs_is_bounded(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetime, "_UNWIND_TIMEOUT", 0.05)
    asked = asyncio.Event()
    hanging = {"record_prepared"}

    async def hang(name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name in hanging:
            asked.set()
            hanging.update({"claim_runs", "update_run", "renew_leases"})
            await asyncio.Event().wait()
        return await call()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.side_effect(lambda: 1, int)
        await ctx.wait_for_signal("go")

    async with _started(interposed(store, hang), flow) as (engine, worker):
        await engine.start(flow)
        await asked.wait()
        async with asyncio.timeout(60):
            await worker.stop(timedelta(milliseconds=20))
        assert await is_idle(worker)
        assert not worker.health().alive


async def test_a_worker_is_started_once(store: StateStore) -> None:
    async with _started(store) as (_, worker):
        with pytest.raises(RuntimeError, match="started already"):
            await worker.start()


def test_an_event_loop_that_closes_ends_the_bodies_that_nobody_has_stopped() -> None:
    """As a script does that ends without a word, or by an error: `asyncio.run` cancels what is left."""
    ended: list[str] = []

    @step
    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("step")

    @workflow
    async def left(ctx: WorkflowContext) -> None:
        try:
            await ctx.step(endless)
        finally:
            ended.append("body")

    async def script() -> None:
        engine = build_machinery(MemoryStateStore(), left)
        await Worker(engine).start()
        await WorkflowService(engine.kernel).start(left)
        await until(lambda: has_begun(engine))
        raise ZeroDivisionError

    async def has_begun(engine: Engine) -> bool:
        return any("endless" in str(engine.kernel.executions.in_task(task)) for task in asyncio.all_tasks())

    with pytest.raises(ZeroDivisionError):
        asyncio.run(script())
    assert ended == ["step", "body"]
