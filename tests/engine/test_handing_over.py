"""The short way: what is started or woken in a process with a free place goes on there, without a look for work."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import workflow
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.errors import StoreUnavailableError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
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

# Nothing is found by polling.
SELDOM = tuned(FAST, poll_interval=timedelta(hours=1), lease=timedelta(hours=1))
ONE_PLACE = tuned(SELDOM, concurrency=1)


@workflow
async def signalled(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal("go", str)


@workflow
async def updated(ctx: WorkflowContext) -> str:
    return await ctx.on_update("go", str)


@workflow
async def tasked(ctx: WorkflowContext) -> str:
    return await ctx.task("go", _dispatched, str)


async def _dispatched(ticket: TaskTicket) -> None:
    """The outside ends the task."""


async def send_signal(engine: WorkflowService, run_id: str) -> object:
    return await engine.signal("go", "on")


async def send_update(engine: WorkflowService, run_id: str) -> object:
    return await engine.update(run_id, "go", "on")


async def end_task(engine: WorkflowService, run_id: str) -> object:
    return await engine.complete_task(run_id, "go", "on")


class Counted:
    """How often the store was asked for work."""

    def __init__(self) -> None:
        self.claims = 0

    async def has_looked(self) -> bool:
        return self.claims > 0

    def store(self) -> StateStore:
        async def between(name: str, call: "partial[Any]") -> Any:
            self.claims += name == "claim_runs"
            return await call()

        return interposed(MemoryStateStore(), between)


async def has_place(worker: Worker) -> bool:
    reservation = worker.reserve()
    if reservation is not None:
        worker.give_back(reservation)
    return reservation is not None


async def waiting(engine: WorkflowService, body: Callable[..., Any], **options: Any) -> RunHandle[Any]:
    handle = await engine.start(body, **options)
    await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    return handle


@pytest.mark.parametrize(
    ("body", "deliver"),
    [(signalled, send_signal), (updated, send_update), (tasked, end_task)],
    ids=lambda each: each.__name__,
)
async def test_the_run_goes_on_without_a_look_for_work(body: Any, deliver: Any) -> None:
    counted = Counted()
    async with running_engine(counted.store(), body, config=SELDOM) as engine:
        handle = await waiting(engine, body)
        before = counted.claims
        await deliver(engine, handle.run_id)
        assert await handle.result("60s") == "on"
        assert counted.claims == before


async def test_a_run_of_another_workflow_is_left_to_those_who_know_it() -> None:
    store = MemoryStateStore()
    async with running_engine(store, signalled, config=SELDOM) as knowing:
        handle = await waiting(knowing, signalled)
        async with running_engine(store, updated, config=SELDOM) as ignorant:
            await ignorant.signal("go", "on")
            assert await handle.status() is RunStatus.SUSPENDED, "woken, and nobody's yet"
        knowing._kernel.notifications.work_available()
        assert await handle.result("60s") == "on"


async def test_a_run_in_a_queue_waits_for_its_turn_in_the_queue() -> None:
    claimed: list[str] = []

    async def note_claims(name: str, call: "partial[Awaitable[Any]]") -> Any:
        answer = await call()
        if name == "claim_queued_runs":
            claimed.extend(run.id for run in answer.runs)
        return answer

    store = interposed(MemoryStateStore(), note_claims)
    queues = [Queue("narrow", concurrency=1)]
    async with running_engine(store, signalled, config=FAST, queues=queues) as engine:
        handle = await waiting(engine, signalled, queue="narrow")
        await engine.signal("go", "on")
        assert await handle.result("60s") == "on"
    assert claimed == [handle.run_id] * 2, "the queue gave it a place at its start, and again when it was woken"


async def test_a_full_worker_takes_the_run_when_it_has_a_place() -> None:
    holding = asyncio.Event()

    @workflow
    async def busy(ctx: WorkflowContext) -> None:
        await ctx.local_step("hold", holding.wait)

    async with running_engine(MemoryStateStore(), signalled, busy, config=ONE_PLACE) as engine:
        handle = await waiting(engine, signalled)
        other = await engine.start(busy)
        await until(lambda: has_status(other, RunStatus.RUNNING))
        await engine.signal("go", "on")
        assert await handle.status() is RunStatus.SUSPENDED
        holding.set()
        assert await handle.result("60s") == "on"


async def test_more_runs_than_the_worker_has_places_are_worked_off_without_a_poll() -> None:
    """A look that found as many as there was room for is no sign that there are no more."""

    @workflow
    async def brief(ctx: WorkflowContext) -> None:
        await ctx.side_effect(lambda: 1, int)

    store = MemoryStateStore()
    outside = build_engine(store, brief)
    handles = [await outside.start(brief) for _ in range(5)]
    async with running_engine(store, brief, config=ONE_PLACE):
        for handle in handles:
            await handle.result("60s")


every_way = pytest.mark.parametrize(
    ("flow", "deliver", "write"),
    [(signalled, send_signal, "update_run"), (updated, send_update, "commit")],
    ids=["in one statement", "in a transaction"],
)


@every_way
async def test_a_delivery_that_is_not_committed_gives_its_place_back_and_drives_nothing(
    flow: Any, deliver: Any, write: str
) -> None:
    inner, fails = MemoryStateStore(), [True]

    async def between(name: str, call: "partial[Any]") -> Any:
        if name == write and fails and fails.pop():
            raise StoreUnavailableError("the database was away at the commit")
        return await call()

    outside = build_engine(interposed(inner, between), flow, config=ONE_PLACE)
    async with running_worker(inner, flow, config=ONE_PLACE) as (engine, worker):
        handle = await waiting(engine, flow)
        await until(lambda: is_idle(worker))
        outside._kernel.local_worker.dispatcher = worker
        with pytest.raises(StoreUnavailableError):
            await deliver(outside, handle.run_id)
        await until(lambda: has_place(worker))
        run = await handle.run()
        assert (run.status, run.locked_by, worker.health().in_flight) == (RunStatus.SUSPENDED, None, 0)
        await deliver(outside, handle.run_id)
        assert await handle.result("60s") == "on"


async def test_the_delivery_counts_as_one_so_that_nobody_ends_the_run_who_has_not_seen_it() -> None:
    store = MemoryStateStore()
    async with running_engine(store, signalled, config=SELDOM) as engine:
        handle = await waiting(engine, signalled)
        before = (await handle.run()).wake_count
        await engine.signal("go", "on")
        await handle.result("60s")
        assert (await handle.run()).wake_count == before + 1


async def test_a_new_run_whose_commit_was_not_heard_of_is_driven_all_the_same() -> None:
    """Else it would stand under a lease that nobody renews, and count as lost by a crash when that is over."""
    inner, unheard = MemoryStateStore(), [False]

    async def between(name: str, call: "partial[Any]") -> Any:
        answer = await call()
        if unheard[0] and name == "create_run":
            unheard[0] = False
            raise StoreUnavailableError("the connection broke before the answer came")
        return answer

    async with running_engine(interposed(inner, between), signalled, config=SELDOM) as engine:
        await engine.signal("go", "on")
        unheard[0] = True
        with pytest.raises(StoreUnavailableError):
            await engine.start(signalled, run_id="unheard")
        handle = engine.handle("unheard", signalled)
        assert await handle.result("60s") == "on"
        assert not (await handle.run()).recovery_attempts


@every_way
async def test_a_woken_run_whose_commit_was_not_heard_of_is_driven_all_the_same(
    flow: Any, deliver: Any, write: str
) -> None:
    inner, unheard = MemoryStateStore(), [False]
    committed = "after commit" if write == "commit" else write

    async def between(name: str, call: "partial[Any]") -> Any:
        answer = await call()
        if unheard[0] and name == committed:
            unheard[0] = False
            raise StoreUnavailableError("the connection broke before the answer came")
        return answer

    async with running_engine(interposed(inner, between), flow, config=SELDOM) as engine:
        handle = await waiting(engine, flow)
        unheard[0] = True
        with pytest.raises(StoreUnavailableError):
            await deliver(engine, handle.run_id)
        assert await handle.result("60s") == "on"
        assert not (await handle.run()).recovery_attempts


async def test_whoever_has_a_result_finds_the_place_of_its_run_free() -> None:
    """With one place for all runs, each next one would else wait for a look for work."""
    counted = Counted()

    @workflow
    async def quick(ctx: WorkflowContext) -> str:
        return "done"

    async with running_engine(counted.store(), quick, config=ONE_PLACE) as engine:
        await until(counted.has_looked)
        assert [await engine.execute(quick) for _ in range(5)] == ["done"] * 5
        assert counted.claims == 1


class Look:
    """Looks for work are answered when the test wants it."""

    def __init__(self) -> None:
        self.looks = 0
        self.begun = asyncio.Event()
        self.answer = asyncio.Event()

    async def between(self, name: str, call: "partial[Any]") -> Any:
        if name == "claim_runs":
            self.looks += 1
            self.begun.set()
            await self.answer.wait()
        return await call()


class Driven:
    """How many bodies are executed at a time."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.most = 0
        self.now = 0

    async def count(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.go_on.wait()
        self.now -= 1


async def test_runs_that_begin_while_a_worker_looks_for_work_do_not_overfill_its_places() -> None:
    store, look, driven = MemoryStateStore(), Look(), Driven()

    @workflow
    async def counted(ctx: WorkflowContext) -> str:
        await ctx.local_step("count", driven.count)
        return "done"

    outside = build_engine(store, counted)
    found = [await outside.start(counted) for _ in range(4)]
    config = tuned(SELDOM, concurrency=4)
    async with running_worker(interposed(store, look.between), counted, config=config) as (engine, worker):
        await look.begun.wait()
        begun = [await engine.start(counted) for _ in range(4)]
        look.answer.set()
        await until(lambda: _holds(driven.now == 4))
        assert worker.health().in_flight == 4
        driven.go_on.set()
        for handle in found + begun:
            assert await engine.handle(handle.run_id).result("60s") == "done"
    assert driven.most == 4


async def test_what_begins_while_a_worker_looks_for_work_needs_no_look_of_its_own() -> None:
    look = Look()
    store = interposed(MemoryStateStore(), look.between)
    async with running_engine(store, signalled, config=ONE_PLACE) as engine:
        await engine.signal("go", "on")
        await look.begun.wait()
        assert await engine.execute(signalled, timeout="60s") == "on"
        assert look.looks == 1
        look.answer.set()


async def test_what_a_look_finds_too_much_is_handed_back_and_has_its_place_at_the_next_one() -> None:
    """Else runs that begin in the process could take each place before a look has its answer."""
    store, look, holding = MemoryStateStore(), Look(), asyncio.Event()

    @workflow
    async def busy(ctx: WorkflowContext) -> None:
        await ctx.local_step("hold", holding.wait)

    found = await build_engine(store, busy).start(busy)
    async with running_engine(interposed(store, look.between), busy, config=ONE_PLACE) as engine:
        await look.begun.wait()
        first = await engine.start(busy)
        look.answer.set()
        await until(lambda: _is_handed_back(found))
        look.answer.clear()
        holding.set()
        await first.result("60s")
        holding.clear()
        await until(lambda: _holds(look.looks == 2))
        second = await engine.start(busy)
        assert await second.status() is RunStatus.PENDING, "the place is kept for what the look finds"
        look.answer.set()
        await until(lambda: has_status(found, RunStatus.RUNNING))
        assert await second.status() is RunStatus.PENDING
        holding.set()
        await engine.handle(found.run_id).result("60s")
        await second.result("60s")
        assert not (await found.run()).recovery_attempts, "a hand-back is no crash"


async def _is_handed_back(handle: RunHandle[Any]) -> bool:
    run = await handle.run()
    return (run.status, run.locked_by) == (RunStatus.PENDING, None) and run.updated_at > run.created_at


async def _holds(condition: bool) -> bool:
    return condition
