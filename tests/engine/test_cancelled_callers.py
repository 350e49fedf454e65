"""A caller is cancelled, as a request is whose client goes away: what it had committed is driven at once."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any

from fastapi_durable import RunStatus, WorkflowContext, workflow
from fastapi_durable.model.records import LIVE_STATUSES, RunQuery
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, is_idle, run_has, running_worker, tuned, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

# No lease ends, and nothing is found by polling.
SELDOM = tuned(FAST, poll_interval=timedelta(hours=1), lease=timedelta(hours=1))
AT_ONCE = 12
CYCLES = range(0, 24, 2)


@workflow
async def quick(ctx: WorkflowContext) -> str:
    return await ctx.side_effect(lambda: "done", str)


@workflow
async def signalled(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal(ctx.run_id, str)


async def _some_cancelled(cycles: int, *calls: Awaitable[object]) -> None:
    """Make calls at the same time, and cancel every second one of those that are under way when the first has ended.

    The store writes what comes at the same time together, so this is in the middle of such a write.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for _ in range(cycles):
        await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.wait(tasks)


def _none_is_alive(store: StateStore) -> Any:
    async def check() -> bool:
        return await store.count_runs(RunQuery(statuses=LIVE_STATUSES)) == 0

    return check


@on_every_store
async def test_a_run_whose_start_is_cancelled_at_any_moment_is_driven_at_once_if_it_exists(store: StateStore) -> None:
    async with running_worker(store, quick, config=SELDOM) as (engine, worker):
        for cycles in CYCLES:
            starts = (engine.start(quick, run_id=f"{cycles}-{number}") for number in range(AT_ONCE))
            await _some_cancelled(cycles, *starts)
        await until(_none_is_alive(store))
        await until(lambda: is_idle(worker))
        assert await store.count_runs(RunQuery(status=RunStatus.COMPLETED)) > 0


@on_every_store
async def test_a_run_whose_signal_is_cancelled_at_any_moment_goes_on_at_once_if_it_was_woken(store: StateStore) -> None:
    async with running_worker(store, signalled, config=SELDOM) as (engine, worker):
        for cycles in CYCLES:
            ids = [f"{cycles}-{number}" for number in range(AT_ONCE)]
            for run_id in ids:
                await engine.start(signalled, run_id=run_id)
            await until(lambda: is_idle(worker))
            await _some_cancelled(cycles, *(engine.signal(run_id, "on", signal_id="first") for run_id in ids))
            # Those that have not received it receive this one.
            await asyncio.gather(*(engine.signal(run_id, "on", signal_id="second") for run_id in ids))
        await until(_none_is_alive(store))


class _LateDatabase:
    """One that is still at the write of a run when the cancellation of its caller is over.

    Attributes:
        looked: A look for the run has come, before it is written.
        written: The test sets it: the run is written now.
    """

    def __init__(self) -> None:
        self.looked, self.written = asyncio.Event(), asyncio.Event()
        self._asked = asyncio.Event()
        self._late: asyncio.Task[Any] | None = None

    async def answer(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "create_run":
            self._late = asyncio.create_task(self._write(call))
            self._asked.set()
            return await asyncio.shield(self._late)
        answer = await call()
        if name == "find_run" and self._late is not None:
            self.looked.set()
        return answer

    async def _write(self, call: "partial[Awaitable[Any]]") -> Any:
        await self.written.wait()
        return await call()

    async def cancel_a_start(self, engine: WorkflowService) -> None:
        start = asyncio.create_task(engine.start(quick, run_id="late"))
        await self._asked.wait()
        start.cancel()
        await asyncio.wait({start})


async def test_a_run_whose_start_is_committed_after_its_caller_was_cancelled_is_driven_at_once(
    store: StateStore,
) -> None:
    """A database may still be at a write when the cancellation of its caller is over."""
    database = _LateDatabase()
    async with running_worker(interposed(store, database.answer), quick, config=SELDOM) as (engine, _):
        await database.cancel_a_start(engine)
        await database.looked.wait()
        database.written.set()
        await until(run_has(store, "late", RunStatus.COMPLETED))


async def test_a_worker_that_stops_hands_back_a_run_whose_start_is_committed_late(store: StateStore) -> None:
    database = _LateDatabase()
    async with running_worker(interposed(store, database.answer), quick, config=SELDOM) as (engine, worker):
        await database.cancel_a_start(engine)
        await database.looked.wait()
        stop = asyncio.create_task(worker.stop())
        await asyncio.sleep(0)
        database.written.set()
        await stop
        run = await store.find_run("late")
    assert run is not None
    assert run.locked_by is None


async def test_a_run_that_may_still_be_committed_takes_no_place_of_the_worker(store: StateStore) -> None:
    """Else callers that are cancelled all the time would take every place."""
    asked, stopped = asyncio.Event(), asyncio.Event()
    looks = 0

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal looks
        if name == "create_run" and not asked.is_set():
            asked.set()
            await asyncio.Event().wait()
        if name == "find_run" and call.args == ("gone",):
            looks += 1
            if looks > 1:
                await stopped.wait()
        return await call()

    async with running_worker(interposed(store, between), quick, config=tuned(SELDOM, concurrency=1)) as (engine, _):
        start = asyncio.create_task(engine.start(quick, run_id="gone"))
        await asked.wait()
        start.cancel()
        await asyncio.wait({start})
        assert await (await engine.start(quick)).result("60s") == "done"
        stopped.set()
