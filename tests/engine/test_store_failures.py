"""Bad days of the database: nothing is lost, the others go on, and the worker says how it is."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.retry import NO_DELAY
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.upkeep.expiry import cancel_expired
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import StepFailedError, StoreConflictError, StoreError, StoreUnavailableError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import (
    FAST,
    build_engine,
    has_status,
    is_idle,
    running_engine,
    running_worker,
    tuned,
    until,
)
from tests.support.interposed_store import interposed

QUICK = tuned(FAST, lease=timedelta(milliseconds=300), poll_interval=timedelta(milliseconds=2))

_executions: Counter[str] = Counter()

_NOT_OF_THE_RUN = frozenset(
    {
        "claim_runs",
        "renew_leases",
        "find_run",
        "list_expired_runs",
        "save_worker",
        "remove_worker",
        "list_workers",
        "list_schedules",
        "list_runs",
    }
)
"""What a worker calls whatever a run does, when it happens to: the n-th call is to be the same one every time."""


class Outage:
    """A database that fails in the way that it is told, while it is told."""

    def __init__(self, error: type[Exception] = StoreUnavailableError) -> None:
        self.on = False
        self.failed: Counter[str] = Counter()
        self._error = error

    async def between(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        if self.on:
            self.failed[name] += 1
            raise self._error(f"{name} failed")
        return await call()


class FailsOnce:
    """A database of which one single call fails: the n-th, before or after it took effect."""

    def __init__(self, at: int, moment: str, error: type[Exception]) -> None:
        self.calls = 0
        self.failed: str | None = None
        self._at = at
        self._moment = moment
        self._error = error

    async def between(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name in _NOT_OF_THE_RUN:
            return await call()
        self.calls += 1
        mine = self.calls == self._at
        if mine and self._moment == "before":
            self.failed = name
            raise self._error(name)
        result = await call()
        if mine:
            self.failed = name
            raise self._error(name)
        return result


@step
async def count(key: str) -> int:
    _executions[key] += 1
    return _executions[key]


@step
async def fail(key: str) -> None:
    raise ValueError(key)


async def book(tx: object, key: str) -> str:
    return key


@workflow
async def everything(ctx: WorkflowContext, key: str) -> list[object]:
    counted = await ctx.step(count, key)
    # An unknown error while it commits may be the body's fault (a deferred constraint), so it counts as an attempt.
    booked = await ctx.transaction(book, key, max_attempts=2, backoff=NO_DELAY)
    failed = "nothing"
    try:
        await ctx.step(fail, key)
    except StepFailedError as error:
        failed = error.error.message
    await ctx.sleep("20 ms")
    signalled = await ctx.wait_for_signal(f"go:{key}", int, timeout="1h")
    return [counted, booked, failed, signalled]


@pytest.mark.parametrize("error", [StoreUnavailableError, StoreConflictError, RuntimeError])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_run_survives_the_failure_of_any_one_call(moment: str, error: type[Exception]) -> None:
    """For every n: the n-th call to the store fails, before or after it took effect; the run ends as it should.

    No step is repeated whose result the worker knew: an outage is waited out. Only an error that nobody can make sense
    of gives the turn up, and then the lease has to expire.
    """
    at, failed = 1, True
    seen: set[str] = set()
    config = tuned(QUICK, lease=timedelta(milliseconds=25))
    while failed:
        key = f"{moment}-{error.__name__}-{at}"
        store, fault = MemoryStateStore(), FailsOnce(at, moment, error)
        outside = build_engine(store, everything)
        await outside.signal(f"go:{key}", 7)
        handle = await outside.start(everything, key)
        async with running_engine(interposed(store, fault.between), everything, config=config) as engine:
            counted, *rest = await engine.handle(handle.run_id).result("60s")
        assert rest == [key, key, 7]
        assert counted == 1 or error is RuntimeError
        failed = fault.failed is not None
        seen.add(str(fault.failed))
        at += 1
    assert {"read_history", "record_prepared", "transaction", "commit", "update_run"} <= seen


async def test_an_outage_in_the_middle_loses_nothing_and_is_over_when_it_is_over(store: StateStore) -> None:
    """Steps that are done are recorded when the database is back; runs that wait are looked for again."""
    entered, go_on = asyncio.Event(), asyncio.Event()
    executions = 0

    @step
    async def work() -> int:
        nonlocal executions
        executions += 1
        entered.set()
        await go_on.wait()
        return executions

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.step(work)

    outage = Outage()
    config = tuned(QUICK, lease=timedelta(seconds=30))
    async with running_worker(interposed(store, outage.between), flow, everything, config=config) as (engine, worker):
        handle = await engine.start(flow)
        await entered.wait()
        sleeping = await engine.start(everything, "sleeping")
        await until(lambda: store.find_signal_waiter("go:sleeping"))
        await until(lambda: has_status(sleeping, RunStatus.SUSPENDED))
        outage.on = True
        go_on.set()
        await until(lambda: _true(outage.failed["update_run"] >= 2 and outage.failed["claim_runs"] >= 2))
        health = worker.health()
        assert health.alive
        assert health.last_error is not None
        assert "claim_runs failed" in health.last_error
        with pytest.raises(StoreUnavailableError):
            await engine.signal("go:sleeping", 1)
        with pytest.raises(StoreUnavailableError):
            await engine.start(flow)
        outage.on = False
        assert await handle.result("60s") == 1
        await engine.signal("go:sleeping", 1)
        assert (await sleeping.result("60s"))[-1] == 1
        await until(lambda: _true(worker.health().last_error is None))
    assert executions == 1


async def _true(condition: bool) -> bool:
    return condition


async def test_the_worker_backs_off_while_the_database_is_away(store: StateStore) -> None:
    outage = Outage(RuntimeError)
    outage.on = True
    config = tuned(FAST, poll_interval=timedelta(milliseconds=4))
    async with running_worker(interposed(store, outage.between), everything, config=config) as (_, worker):
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await until(lambda: _true(outage.failed["claim_runs"] >= 5))
        # Waits of 8, 16, 32 and 64 ms, each with up to half taken off as jitter.
        assert loop.time() - begin >= 0.06
        assert worker.health().last_poll_at is None
        outage.on = False
        await until(lambda: _true(worker.health().last_poll_at is not None))


async def test_an_outage_that_outlasts_the_lease_repeats_the_step_once_it_is_over(store: StateStore) -> None:
    """Somebody else may have the run by then, so the turn ends; no writer goes on in the background."""
    entered, go_on = asyncio.Event(), asyncio.Event()
    executions = 0

    @step
    async def work() -> int:
        nonlocal executions
        executions += 1
        entered.set()
        await go_on.wait()
        return executions

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.step(work)

    outage = Outage()
    config = tuned(QUICK, lease=timedelta(milliseconds=60), show_running_after=timedelta(0))
    async with running_worker(interposed(store, outage.between), flow, config=config) as (engine, worker):
        handle = await engine.start(flow)
        await entered.wait()
        outage.on = True
        go_on.set()
        await until(lambda: is_idle(worker))
        outage.on = False
        assert await handle.result("60s") == 2


async def test_a_store_that_cannot_end_one_run_does_not_keep_the_others_from_ending(store: StateStore) -> None:
    bad: set[str] = set()

    async def refuse(name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "update_run" and call.args[0] in bad:
            raise RuntimeError("a trigger refuses this row")
        return await call()

    @workflow
    async def flow(ctx: WorkflowContext, number: int) -> int:
        return number

    config = tuned(QUICK, lease=timedelta(milliseconds=40))
    async with running_worker(interposed(store, refuse), flow, config=config) as (engine, worker):
        bad.add("bad")
        refused = await engine.start(flow, -1, run_id="bad")
        handles = [await engine.start(flow, number) for number in range(5)]
        assert [await handle.result("60s") for handle in handles] == [0, 1, 2, 3, 4]
        assert worker.health().alive
        bad.clear()
        assert await refused.result("60s") == -1


async def test_an_outage_while_a_history_is_read_costs_no_lease() -> None:
    """The run goes on under the claim that it has, so nothing counts it as crashed."""
    store, outages = MemoryStateStore(), 2

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal outages
        if name == "read_history" and outages:
            outages -= 1
            raise StoreUnavailableError(name)
        return await call()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return "read"

    # Started by another process, since a worker does not read the history of a run that it starts itself.
    await build_engine(store, flow).start(flow, run_id="r")
    async with running_engine(
        interposed(store, between), flow, config=tuned(QUICK, lease=timedelta(minutes=1))
    ) as engine:
        assert await engine.handle("r", flow).result("60s") == "read"
    run = await store.find_run("r")
    assert run is not None
    assert (outages, run.recovery_attempts) == (0, None)


async def test_expired_runs_that_cannot_be_cancelled_are_no_reason_to_look_again_at_once() -> None:
    """A full batch of them would keep the worker asking the database without a pause."""
    refused = 3

    async def refuse(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal refused
        if name == "lock_run" and refused:
            refused -= 1
            raise StoreError("its row is broken")
        return await call()

    @workflow(execution_timeout="1ms")
    async def brief(ctx: WorkflowContext) -> None: ...

    store = MemoryStateStore()
    engine = build_engine(interposed(store, refuse), brief)
    for _ in range(100):
        await engine.start(brief)
    await until(lambda: has_expired(store, 100))
    assert await cancel_expired(engine._kernel) == 97
    assert await cancel_expired(engine._kernel) == 3
    assert await cancel_expired(engine._kernel) == 0


async def has_expired(store: StateStore, number: int) -> bool:
    return len(await store.list_expired_runs(SystemClock().now(), limit=number)) == number
