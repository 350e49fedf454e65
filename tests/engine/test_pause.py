"""`pause` and `resume`: an operator holds a run, in whatever state it is, and nothing that comes meanwhile is lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import Singleton, step, workflow
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.errors import InputValidationError, RunNotFoundError, RunStateError
from fastapi_durable.model.records import PAUSED_TAG, Run, RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.service.waiting import Waiting
from fastapi_durable.store.base import StateStore
from fastapi_durable.testing import HandClock
from tests.support.engine_rig import (
    FAST,
    build_engine,
    is_idle,
    killed_worker,
    run_has,
    running_engine,
    running_worker,
    tuned,
    until,
)
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

pytestmark = pytest.mark.usefixtures("locks_are_kept")


class Steps:
    """Steps that are in the middle until they are told to go on."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.done = asyncio.Event(), asyncio.Event(), list[str]()

        @step
        async def first() -> str:
            self.begun.set()
            await self.go_on.wait()
            self.done.append("first")
            return "first"

        @step
        async def second() -> str:
            self.done.append("second")
            return "second"

        @workflow
        async def two_steps(ctx: WorkflowContext) -> list[str]:
            return [await ctx.step(first), await ctx.step(second)]

        @workflow
        async def one_step(ctx: WorkflowContext) -> str:
            return await ctx.step(first)

        self.two_steps, self.one_step = two_steps, one_step


@workflow
async def waiting(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal(f"said:{ctx.run_id}", str)


@workflow
async def sleeping(ctx: WorkflowContext) -> str:
    await ctx.sleep("1h")
    return "awake"


@workflow
async def quick(ctx: WorkflowContext) -> str:
    return "done"


@workflow(execution_timeout="2h")
async def limited(ctx: WorkflowContext) -> None:
    await ctx.wait_for_signal("never")


@workflow(singleton=Singleton(key=lambda _: "k"))
async def alone(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal(f"said:{ctx.run_id}", str)


@workflow
async def parent(ctx: WorkflowContext) -> str:
    return await ctx.child(waiting)


def rests_paused(store: StateStore, run_id: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        run = await store.find_run(run_id)
        return run is not None and run.is_paused and run.status is RunStatus.SUSPENDED and run.wake_at is None

    return check


async def existing(store: StateStore, run_id: str) -> Run:
    run = await store.find_run(run_id)
    assert run is not None
    return run


@on_every_store
async def test_a_running_run_finishes_its_step_and_makes_no_further_call(store: StateStore) -> None:
    steps = Steps()
    async with running_engine(store, steps.two_steps) as engine:
        handle = await engine.start(steps.two_steps, run_id="r")
        await steps.begun.wait()
        paused = await engine.pause("r")
        assert (paused.status, paused.is_paused) == (RunStatus.RUNNING, True)
        steps.go_on.set()
        await until(rests_paused(store, "r"))
        assert steps.done == ["first"]
        (row,) = [row for row in await store.list_checkpoints("r") if row.seq == 0]
        assert row.output == "first"
        assert (await engine.resume("r")).is_paused is False
        assert await handle.result("60s") == ["first", "second"]
        assert steps.done == ["first", "second"]


@on_every_store
async def test_a_run_that_has_no_further_call_ends_when_it_is_resumed(store: StateStore) -> None:
    steps = Steps()
    async with running_engine(store, steps.one_step) as engine:
        handle = await engine.start(steps.one_step, run_id="r")
        await steps.begun.wait()
        await engine.pause("r")
        steps.go_on.set()
        await until(rests_paused(store, "r"))
        await engine.resume("r")
        assert await handle.result("60s") == "first"
        assert steps.done == ["first"]


@on_every_store
async def test_a_run_that_is_resumed_before_it_has_stopped_goes_on(store: StateStore) -> None:
    steps = Steps()
    async with running_engine(store, steps.two_steps) as engine:
        handle = await engine.start(steps.two_steps, run_id="r")
        await steps.begun.wait()
        await engine.pause("r")
        await engine.resume("r")
        steps.go_on.set()
        assert await handle.result("60s") == ["first", "second"]
        assert steps.done == ["first", "second"]


async def test_another_process_stops_its_run_by_the_renewal_of_the_lease_though_nobody_tells_it(
    stores: tuple[StateStore, StateStore],
) -> None:
    steps, (here, there) = Steps(), stores
    async with running_worker(there, steps.two_steps, config=tuned(FAST, lease="6s")) as (_, worker):
        asking = build_engine(here, steps.two_steps)
        await asking.start(steps.two_steps, run_id="r")
        await steps.begun.wait()
        await asking.pause("r")
        (driver,) = worker._drivers.values()

        async def is_told() -> bool:
            return driver._is_stopping()

        await until(is_told)
        steps.go_on.set()
        await until(rests_paused(here, "r"))
        assert steps.done == ["first"]


@on_every_store
async def test_a_signal_to_a_paused_run_is_kept_and_does_not_wake_it(store: StateStore) -> None:
    async with running_worker(store, waiting) as (engine, worker):
        handle = await engine.start(waiting, run_id="r")
        await until(run_has(store, "r", RunStatus.SUSPENDED))
        await engine.pause("r")
        assert await engine.waiting_for(["r"]) == {"r": Waiting("pause", "an operator")}
        assert await engine.signal("said:r", "kept")
        await until(rests_paused(store, "r"))
        await until(partial(is_idle, worker))
        await until(rests_paused(store, "r"))
        await engine.resume("r")
        assert await handle.result("60s") == "kept"
        names = [row.name for row in await store.list_checkpoints("r") if row.seq < 0]
        assert names == ["operator:resume", "operator:pause"]


@on_every_store
async def test_a_sleep_that_is_over_meanwhile_ends_when_the_run_is_resumed(store: StateStore) -> None:
    clock = HandClock()
    async with running_worker(store, sleeping, quick, clock=clock) as (engine, worker):
        short = await engine.start(sleeping, run_id="short")
        long = await engine.start(sleeping, run_id="long")
        for handle in (short, long):
            await until(run_has(store, handle.run_id, RunStatus.SUSPENDED))
            await engine.pause(handle.run_id)
        clock.move(minutes=30)
        await engine.resume("long")
        clock.move(minutes=29)
        await engine.execute(quick)
        await until(partial(is_idle, worker))
        assert await long.status() is RunStatus.SUSPENDED, "its hour is not over"
        clock.move(hours=1)
        assert await long.result("60s") == "awake"
        await engine.execute(quick)
        assert await short.status() is RunStatus.SUSPENDED
        await engine.resume("short")
        assert await short.result("60s") == "awake"


@on_every_store
async def test_a_run_that_never_began_does_not_begin_and_keeps_its_moment(store: StateStore) -> None:
    clock = HandClock()
    asking = build_engine(store, quick, clock=clock, config=tuned(FAST, max_delayed_starts=1))
    await asking.start(quick, run_id="pending")
    await asking.start(quick, run_id="later", delay="1h")
    moment = (await existing(store, "later")).wake_at
    await asking.pause("pending")
    await asking.pause("later")
    assert await store.count_runs(RunQuery(never_driven=True, status=RunStatus.SUSPENDED)) == 1
    clock.move(minutes=10)
    async with running_engine(store, quick, clock=clock) as engine:
        await until(rests_paused(store, "pending"))
        assert (await engine.resume("later")).wake_at == moment
        await engine.pause("later")
        clock.move(hours=2)
        await engine.execute(quick)
        assert await store.list_checkpoints("pending") != []
        assert (await existing(store, "later")).status is RunStatus.SUSPENDED
        await engine.resume("later")
        await engine.resume("pending")
        for run_id in ("later", "pending"):
            await until(run_has(store, run_id, RunStatus.COMPLETED))


@on_every_store
async def test_a_paused_run_is_cancelled_and_its_deadline_counts_on(store: StateStore) -> None:
    clock = HandClock()
    async with running_engine(store, waiting, limited, clock=clock) as engine:
        await engine.start(waiting, run_id="cancelled")
        await engine.start(waiting, run_id="undone")
        await engine.start(limited, run_id="late")
        for run_id in ("cancelled", "undone", "late"):
            await until(run_has(store, run_id, RunStatus.SUSPENDED))
            await engine.pause(run_id)
        assert (await engine.cancel("cancelled")).status is RunStatus.CANCELLED
        await engine.cancel("undone", compensate=True)
        await until(run_has(store, "undone", RunStatus.CANCELLED))
        clock.move(hours=3)
        await until(run_has(store, "late", RunStatus.CANCELLED))
        for run_id in ("cancelled", "undone", "late"):
            assert not (await existing(store, run_id)).is_paused
            with pytest.raises(RunStateError, match="ended"):
                await engine.resume(run_id)


@on_every_store
async def test_a_paused_parent_takes_what_its_child_came_to_when_it_is_resumed(store: StateStore) -> None:
    async with running_engine(store, parent, waiting) as engine:
        handle = await engine.start(parent, run_id="r")
        await until(run_has(store, "r", RunStatus.SUSPENDED))
        (child,) = await store.list_runs(RunQuery(parent_run_id="r"))
        await engine.pause("r")
        await engine.signal(f"said:{child.id}", "done")
        await until(run_has(store, child.id, RunStatus.COMPLETED))
        await until(rests_paused(store, "r"))
        await engine.resume("r")
        assert await handle.result("60s") == "done"


@on_every_store
async def test_a_paused_run_keeps_its_place_among_singletons_and_holds_up_nobody_in_the_line(store: StateStore) -> None:
    async with running_engine(store, alone) as engine:
        for run_id in ("first", "second", "third"):
            await engine.start(alone, run_id=run_id)
            await until(run_has(store, run_id, RunStatus.SUSPENDED))
        await engine.pause("first")
        await engine.signal("said:first", "one")
        await engine.pause("second")
        await until(rests_paused(store, "first"))
        assert await store.find_signal_waiter("said:third") is None, "the place is the first one's"
        await engine.resume("first")
        await until(run_has(store, "first", RunStatus.COMPLETED))

        async def third_has_its_turn() -> bool:
            return await store.find_signal_waiter("said:third") is not None

        await until(third_has_its_turn)
        await engine.signal("said:third", "three")
        await until(run_has(store, "third", RunStatus.COMPLETED))
        await engine.resume("second")
        await engine.signal("said:second", "two")
        await until(run_has(store, "second", RunStatus.COMPLETED))


@on_every_store
async def test_a_paused_run_leaves_its_place_in_a_queue_to_others(store: StateStore) -> None:
    queues = [Queue("line", concurrency=1)]
    steps = Steps()
    async with running_engine(store, steps.two_steps, quick, queues=queues) as engine:
        handle = await engine.start(steps.two_steps, run_id="r", queue="line")
        await steps.begun.wait()
        await engine.pause("r")
        other = await engine.start(quick, run_id="other", queue="line")
        assert await other.status() is RunStatus.PENDING, "the first still executes its step"
        steps.go_on.set()
        assert await other.result("60s") == "done"
        await engine.resume("r")
        assert await handle.result("60s") == ["first", "second"]


@on_every_store
async def test_the_run_of_a_dead_process_stays_paused(store: StateStore) -> None:
    steps = Steps()
    async with killed_worker(store, steps.two_steps) as doomed:
        await doomed.start(steps.two_steps, run_id="r")
        await steps.begun.wait()
        await doomed.pause("r")
    async with running_engine(store, steps.two_steps) as engine:
        await until(rests_paused(store, "r"))
        assert steps.done == []
        steps.go_on.set()
        await engine.resume("r")
        await until(run_has(store, "r", RunStatus.COMPLETED))


async def test_it_is_the_live_run_of_a_chain_that_is_paused(store: StateStore) -> None:
    @workflow
    async def hopping(ctx: WorkflowContext, hops: int) -> str:
        await ctx.wait_for_signal(f"go:{ctx.run_id}")
        if hops:
            ctx.continue_as_new(hops - 1)
        return ctx.run_id

    async with running_engine(store, hopping) as engine:
        handle = await engine.start(hopping, 1, run_id="r")
        await engine.signal("go:r")
        await until(run_has(store, "r~1", RunStatus.SUSPENDED))
        assert (await engine.pause("r")).id == "r~1"
        await engine.signal("go:r~1")
        await until(rests_paused(store, "r~1"))
        assert (await engine.resume("r")).id == "r~1"
        assert await handle.result("60s") == "r~1"


@on_every_store
async def test_a_fork_of_a_paused_run_is_not_paused(store: StateStore) -> None:
    async with running_engine(store, waiting) as engine:
        await engine.start(waiting, run_id="r", tags=["mine"])
        await until(run_has(store, "r", RunStatus.SUSPENDED))
        await engine.pause("r")
        assert [each.run.id for each in await engine.list_runs(RunQuery(tag=PAUSED_TAG))] == ["r"]
        fork = await engine.fork("r", from_step=0)
        assert fork.tags == ("mine",)


async def test_pausing_and_resuming_twice_is_the_same_as_once(store: StateStore) -> None:
    async with running_engine(store, waiting) as engine:
        await engine.start(waiting, run_id="r")
        await until(run_has(store, "r", RunStatus.SUSPENDED))
        assert (await engine.resume("r")).status is RunStatus.SUSPENDED
        await asyncio.gather(*(engine.pause("r") for _ in range(3)))
        await engine.pause("r")
        assert (await existing(store, "r")).tags == (PAUSED_TAG,)
        await asyncio.gather(*(engine.resume("r") for _ in range(3)))
        assert (await existing(store, "r")).tags == ()
        rows = [row.name for row in await store.list_checkpoints("r") if row.seq < 0]
        assert rows == ["operator:resume", "operator:pause"]


async def test_what_cannot_be_paused_is_refused(store: StateStore) -> None:
    async with running_engine(store, quick, waiting) as engine:
        await engine.execute(quick, run_id="ended")
        for call in (engine.pause, engine.resume):
            with pytest.raises(RunStateError):
                await call("ended")
            with pytest.raises(RunNotFoundError):
                await call("nobody")
        with pytest.raises(InputValidationError, match="pause"):
            await engine.start(quick, tags=[PAUSED_TAG])
        other = build_engine(store, waiting, config=tuned(FAST, namespace="other"))
        await engine.start(waiting, run_id="mine")
        with pytest.raises(RunNotFoundError):
            await other.pause("mine")


async def test_a_run_that_is_being_undone_is_not_paused(store: StateStore) -> None:
    asking: WorkflowService = build_engine(store, waiting)
    async with running_engine(store, waiting):
        await asking.start(waiting, run_id="r")
        await until(run_has(store, "r", RunStatus.SUSPENDED))
    await asking.cancel("r", compensate=True)
    with pytest.raises(RunStateError, match="cancelling"):
        await asking.pause("r")


@workflow
async def signalled(ctx: WorkflowContext) -> str:
    word = await ctx.wait_for_signal("go", str)
    return await ctx.local_step("after the signal", lambda: word)


@asynccontextmanager
async def _sender_into(
    store: StateStore, at_the_write: Callable[[], Awaitable[object]]
) -> AsyncIterator[tuple[WorkflowService, WorkflowService, Worker]]:
    """A caller that looks who waits, and writes its delivery after something else has happened; and the worker here."""
    left = [at_the_write]

    async def between(name: str, call: "partial[Any]") -> Any:
        if name == "update_run" and left:
            await left.pop()()
        return await call()

    sender = build_engine(interposed(store, between), signalled)
    async with running_worker(store, signalled) as (engine, worker):
        sender._kernel.local_worker.dispatcher = worker
        yield engine, sender, worker


@on_every_store
async def test_a_run_that_is_paused_while_a_signal_is_delivered_does_not_execute(store: StateStore) -> None:
    run_id = "paused meanwhile"
    async with _sender_into(store, lambda: engine.pause(run_id)) as (engine, sender, worker):
        handle = await engine.start(signalled, run_id=run_id)
        await until(lambda: rests(engine, run_id))
        await sender.signal("go", "on")
        await until(lambda: rests(engine, run_id))
        await until(lambda: is_idle(worker))
        assert [row.name for row in await store.list_checkpoints(run_id) if row.seq > 0] == []
        await engine.resume(run_id)
        assert await handle.result("60s") == "on"


@on_every_store
async def test_a_run_that_is_resumed_while_a_signal_is_delivered_continues_with_it(store: StateStore) -> None:
    """Else the delivery would put it to rest, as paused, and no one would wake it."""
    run_id = "resumed meanwhile"
    async with _sender_into(store, lambda: engine.resume(run_id)) as (engine, sender, _):
        handle = await engine.start(signalled, run_id=run_id)
        await until(lambda: rests(engine, run_id))
        await engine.pause(run_id)
        await sender.signal("go", "on")
        assert await handle.result("60s") == "on"


async def rests(engine: WorkflowService, run_id: str) -> bool:
    run = await engine.handle(run_id).run()
    return run.status is RunStatus.SUSPENDED and run.locked_by is None
