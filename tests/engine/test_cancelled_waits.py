"""A wait that the body cancels gives up its waiter, and what is sent afterwards is for the next who waits."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.task import TaskTicket, task_token
from fastapi_durable.model.errors import FatalError, RunFailedError, StepFailedError
from fastapi_durable.model.records import CheckpointStatus, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import build_engine, has_status, running_engine, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

broken: set[str] = set()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    broken.clear()
    broken.add("it")


@step
async def fails() -> str:
    if broken:
        raise FatalError("no")
    return "worked"


@step
async def hand_out(ticket: TaskTicket) -> str:
    return ticket.token


@workflow
async def other(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal("end of the other", str)


@dataclass(frozen=True)
class Kind:
    """A kind of wait, and what answers it from outside; `answer` says whether it was received at once."""

    name: str
    wait: Callable[[WorkflowContext], Any]
    answer: Callable[[WorkflowService, str], Awaitable[bool]]

    def __str__(self) -> str:
        return self.name


async def _signal(engine: WorkflowService, run_id: str) -> bool:
    return await engine.signal("answer", 7)


async def _event(engine: WorkflowService, run_id: str) -> bool:
    return bool((await engine.publish_event("answer", 7)).receivers)


async def _update(engine: WorkflowService, run_id: str) -> bool:
    return (await engine.update(run_id, "answer", 7)).received


KINDS = [
    Kind("signal", lambda ctx: ctx.wait_for_signal("answer", int), _signal),
    Kind("signal in time", lambda ctx: ctx.wait_for_signal("answer", int, timeout="1h"), _signal),
    Kind("event", lambda ctx: ctx.wait_for_event("answer", int), _event),
    Kind("event in time", lambda ctx: ctx.wait_for_event("answer", int, timeout="1h"), _event),
    Kind("update", lambda ctx: ctx.on_update("answer", int), _update),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


async def by_a_cancel(ctx: WorkflowContext, wait: Any, *, at: str | None = None) -> None:
    """Cancel the wait after a moment, or when the signal `at` comes."""
    task = asyncio.create_task(wait)
    await (ctx.sleep("50ms") if at is None else ctx.wait_for_signal(at))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_a_failing_sibling(ctx: WorkflowContext, wait: Any) -> None:
    failed = False
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait)
            group.create_task(ctx.step(fails))
    except* StepFailedError:
        failed = True
    assert failed


every_way = pytest.mark.parametrize("cancelled", [by_a_cancel, by_a_failing_sibling])


@every_kind
@every_way
@on_every_store
async def test_what_comes_after_the_cancel_is_for_the_next_wait(store: StateStore, kind: Kind, cancelled: Any) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        await cancelled(ctx, kind.wait(ctx))
        await ctx.wait_for_signal("between")
        received: int = await kind.wait(ctx)
        # Each delivery was received once, also by a replay.
        await ctx.wait_for_signal("last")
        return received

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("between"))
        assert not await kind.answer(engine, handle.run_id), "nobody waits for it now"
        await engine.signal("between")
        await until(lambda: store.find_signal_waiter("last"))
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, flow) as engine:
        await engine.signal("last")
        assert await engine.handle(handle.run_id).result("60s") == 7
    assert await store.list_signal_waiters() == []


@on_every_store
async def test_another_run_may_wait_for_what_a_cancelled_wait_gave_up(store: StateStore) -> None:
    @workflow
    async def holder(ctx: WorkflowContext) -> None:
        await by_a_cancel(ctx, ctx.wait_for_signal("answer", int))
        await ctx.wait_for_signal("end")

    @workflow
    async def next_one(ctx: WorkflowContext) -> int:
        return await ctx.wait_for_signal("answer", int)

    async with running_engine(store, holder, next_one) as engine:
        first = await engine.start(holder)
        await until(lambda: store.find_signal_waiter("end"))
        second = await engine.start(next_one)
        await until(lambda: store.find_signal_waiter("answer"))
        assert await engine.signal("answer", 7)
        assert await second.result("60s") == 7
        await engine.signal("end")
        await first.result("60s")


@on_every_store
async def test_a_child_whose_wait_was_cancelled_goes_on_and_can_be_joined(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await by_a_cancel(ctx, ctx.child(other, run_id="the other"), at="the child exists")
        await ctx.wait_for_signal("between")
        return await ctx.child(other, run_id="the other")

    async with running_engine(store, flow, other) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("end of the other"))
        await engine.signal("the child exists")
        await until(lambda: store.find_signal_waiter("between"))
        await engine.signal("between")
        await engine.signal("end of the other", "ended")
        assert await handle.result("60s") == "ended"


@on_every_store
async def test_an_operator_lets_the_run_go_on_from_where_it_stands_now(store: StateStore) -> None:
    """A breakpoint that was cancelled stands no more, so it does not swallow the word."""

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await by_a_cancel(ctx, ctx.breakpoint("check"))
        await ctx.breakpoint("check")
        return "went on"

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)

        async def stands() -> bool:
            rows = await store.list_checkpoints_by_name_prefix(handle.run_id, ["breakpoint"])
            return [row.status for row in rows] == [CheckpointStatus.FAILED, CheckpointStatus.PENDING]

        await until(stands)
        assert await engine.continue_run(handle.run_id)
        assert await handle.result("60s") == "went on"


async def test_a_task_whose_wait_was_cancelled_cannot_be_reported_any_more(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await by_a_cancel(ctx, ctx.task("ship", hand_out), at="it waits")
        return await ctx.wait_for_signal("go", str)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter(task_token(handle.run_id, "ship")))
        await engine.signal("it waits")
        await until(lambda: store.find_signal_waiter("go"))
        assert not await engine.complete_task(handle.run_id, "ship", 1)
        await engine.signal("go", "on")
        assert await handle.result("60s") == "on"


@every_kind
@on_every_store
async def test_what_comes_between_the_cancel_and_the_giving_up_is_kept(store: StateStore, kind: Kind) -> None:
    """It was delivered to the waiter, and the body never read it."""
    outside = build_engine(store)
    run_id, answered = "the run", False

    async def answer_first(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal answered
        # The first transaction after the cancel is the one that gives the wait up.
        if name == "transaction" and cancelled.is_set() and not answered:
            answered = True
            assert await kind.answer(outside, run_id), "its waiter was still there"
        return await call()

    cancelled = asyncio.Event()

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        task = asyncio.create_task(kind.wait(ctx))
        await ctx.step(until_it_waits)
        cancelled.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        received: int = await kind.wait(ctx)
        await ctx.wait_for_signal("last")
        return [received]

    @step
    async def until_it_waits() -> None:
        await until(lambda: store.list_signal_waiters(run_ids=[run_id]))

    async with running_engine(interposed(store, answer_first), flow) as engine:
        handle = await engine.start(flow, run_id=run_id)
        await until(lambda: store.find_signal_waiter("last"))
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, flow) as engine:
        await engine.signal("last")
        assert await engine.handle(run_id).result("60s") == [7]
    assert await store.list_signal_waiters() == []


async def test_a_delivery_that_was_kept_first_is_received_first(store: StateStore) -> None:
    """One that comes back from a cancelled wait was sent before those that were kept meanwhile."""
    outside = build_engine(store)
    sent = False
    cancelled = asyncio.Event()

    async def send_first(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal sent
        if name == "transaction" and cancelled.is_set() and not sent:
            sent = True
            assert await outside.signal("answer", 1)
            assert not await outside.signal("answer", 2)
        return await call()

    @step
    async def until_it_waits() -> None:
        await until(lambda: store.find_signal_waiter("answer"))

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        task = asyncio.create_task(ctx.wait_for_signal("answer", int))
        await ctx.step(until_it_waits)
        cancelled.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [await ctx.wait_for_signal("answer", int) for _ in range(2)]

    async with running_engine(interposed(store, send_first), flow) as engine:
        assert sorted(await (await engine.start(flow)).result("60s")) == [1, 2]


@pytest.mark.parametrize("sent_at", ["before the winner ended", "after the winner ended"])
@on_every_store
async def test_a_signal_that_comes_while_a_race_is_decided_is_never_lost(store: StateStore, sent_at: str) -> None:
    """It wins if it came first; if it came later, it is kept for the next who waits."""
    outside = build_engine(store)
    sent = False

    async def send_at_verdict(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal sent
        if name == "transaction" and is_decided.is_set() and not sent:
            sent = True
            await asyncio.sleep(0.005)  # times are whole milliseconds
            assert await outside.signal("answer", 7)
        return await call()

    is_decided = asyncio.Event()

    @step
    async def quick() -> str:
        await until(lambda: store.find_signal_waiter("answer"))
        if sent_at.startswith("before"):
            # By a process of which this one hears nothing.
            assert await outside.signal("answer", 7)
            await asyncio.sleep(0.005)
        else:
            is_decided.set()
        return "quick"

    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        winner = await ctx.race(ctx.wait_for_signal("answer", int), ctx.step(quick))
        if winner.index == 1:
            return ["quick", await ctx.wait_for_signal("answer", int)]
        return [winner.value]

    async with running_engine(interposed(store, send_at_verdict), flow) as engine:
        result = await (await engine.start(flow)).result("60s")
    assert result == ([7] if sent_at.startswith("before") else ["quick", 7])
    assert await store.take_buffered_signal("answer") is None


@every_kind
async def test_a_retry_of_the_failure_that_cancelled_a_wait_waits_again(store: StateStore, kind: Kind) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        async with asyncio.TaskGroup() as group:
            waits = group.create_task(kind.wait(ctx))
            works = group.create_task(ctx.step(fails))
        return [waits.result(), works.result()]

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        broken.clear()
        await engine.retry(handle.run_id)
        await until(lambda: store.list_signal_waiters(run_ids=[handle.run_id]))
        assert await kind.answer(engine, handle.run_id)
        assert await engine.handle(handle.run_id).result("60s") == [7, "worked"]


async def test_a_wait_that_was_cancelled_before_another_failure_stays_so_on_a_retry(store: StateStore) -> None:
    """What is kept meanwhile is not taken by it."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        await by_a_cancel(ctx, ctx.wait_for_signal("answer", int))
        worked = await ctx.step(fails)
        return [worked, await ctx.wait_for_signal("answer", int)]

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        assert not await engine.signal("answer", 7)
        broken.clear()
        await engine.retry(handle.run_id)
        assert await engine.handle(handle.run_id).result("60s") == ["worked", 7]


async def test_a_cancelled_wait_that_is_not_cancelled_again_ends_all_the_same(store: StateStore) -> None:
    """The body of a new version no longer cancels it; it is cancelled when nothing else is left to do."""

    @workflow(name="flow")
    async def before(ctx: WorkflowContext) -> str:
        await by_a_cancel(ctx, ctx.wait_for_signal("answer"))
        return await ctx.wait_for_signal("go", str)

    @workflow(name="flow")
    async def after(ctx: WorkflowContext) -> str:
        task = asyncio.create_task(ctx.wait_for_signal("answer"))
        await ctx.sleep("1ms")
        with pytest.raises(asyncio.CancelledError):
            await task
        return await ctx.wait_for_signal("go", str)

    async with running_engine(store, before) as engine:
        handle = await engine.start(before)
        await until(lambda: store.find_signal_waiter("go"))
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, after) as engine:
        await engine.signal("go", "on")
        assert await engine.handle(handle.run_id).result("60s") == "on"


async def test_a_second_cancel_does_not_leave_the_waiter(store: StateStore) -> None:
    cancelled, given_up = asyncio.Event(), asyncio.Event()

    async def slow(name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "remove_signal_waiter" and cancelled.is_set():
            given_up.set()
            await asyncio.sleep(0.02)
        return await call()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        task = asyncio.create_task(ctx.wait_for_signal("answer"))
        await ctx.sleep("1ms")
        cancelled.set()
        task.cancel()
        await given_up.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await ctx.wait_for_signal("go", str)

    async with running_engine(interposed(store, slow), flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("go"))
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        assert await store.find_signal_waiter("answer") is None
        await engine.signal("go", "on")
        assert await handle.result("60s") == "on"
