"""Sagas and cancellation: what was done is undone once, in reverse order."""

import asyncio

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.retry import fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.errors import RunCancelledError, RunFailedError
from fastapi_durable.model.records import CheckpointStatus, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import build_engine, has_status, is_idle, running_engine, running_worker, until
from tests.support.stores import on_every_store

log: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    log.clear()


@step
async def book(item: str) -> str:
    log.append(f"book {item}")
    return f"booking of {item}"


@step(max_attempts=3, backoff=fixed("1ms"))
async def cancel_booking(undo: Undo[str, str]) -> None:
    log.append(f"cancel {undo.input}: {undo.output}")
    if undo.input == "stubborn":
        raise RuntimeError("cannot be undone")


@step
async def explode() -> None:
    raise RuntimeError("boom")


@workflow
async def trip(ctx: WorkflowContext, items: list[str]) -> None:
    for item in items:
        await ctx.step(book, item, compensate=cancel_booking)
    await ctx.step(explode)


@workflow
async def waiting_trip(ctx: WorkflowContext, items: list[str]) -> str:
    for item in items:
        await ctx.step(book, item, compensate=cancel_booking)
    await ctx.wait_for_signal("go")
    return "gone"


async def test_a_failing_run_undoes_its_steps_in_reverse_order() -> None:
    store = MemoryStateStore()
    async with running_engine(store, trip) as engine:
        handle = await engine.start(trip, ["hotel", "flight"])
        with pytest.raises(RunFailedError, match="boom"):
            await handle.result("60s")
    assert log == ["book hotel", "book flight", "cancel flight: booking of flight", "cancel hotel: booking of hotel"]
    rows = [row for row in await store.list_checkpoints(handle.run_id) if row.seq < 0]
    assert [(row.seq, row.name, row.status) for row in rows] == [
        (-2, "compensate:book", CheckpointStatus.COMPLETED),
        (-1, "compensate:book", CheckpointStatus.COMPLETED),
    ]


async def test_what_came_after_branches_is_undone_before_them() -> None:
    """All of it may happen in one millisecond, and branches have positions of their own."""

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async def branch(item: str) -> None:
            await ctx.step(book, f"{item} 1", compensate=cancel_booking)
            await ctx.step(book, f"{item} 2", compensate=cancel_booking)

        await ctx.step(book, "first", compensate=cancel_booking)
        await ctx.gather(branch("a"), branch("b"))
        await ctx.step(book, "last", compensate=cancel_booking)
        await ctx.sleep("1ms")
        await ctx.step(explode)

    async with running_engine(MemoryStateStore(), flow) as engine:
        with pytest.raises(RunFailedError):
            await engine.execute(flow, timeout="60s")
    order = [line.removeprefix("cancel ").partition(":")[0] for line in log if line.startswith("cancel")]
    assert (order[0], order[-1], len(order)) == ("last", "first", 6)
    assert order.index("a 2") < order.index("a 1")
    assert order.index("b 2") < order.index("b 1")


async def test_an_undo_that_fails_for_good_is_recorded_and_does_not_keep_the_others() -> None:
    store = MemoryStateStore()
    async with running_engine(store, trip) as engine:
        handle = await engine.start(trip, ["hotel", "stubborn"])
        with pytest.raises(RunFailedError, match="boom"):
            await handle.result("60s")
    assert log.count("cancel stubborn: booking of stubborn") == 3
    assert log[-1] == "cancel hotel: booking of hotel"
    stubborn = await store.find_checkpoint(handle.run_id, -2)
    assert stubborn is not None
    assert (stubborn.status, stubborn.attempts) == (CheckpointStatus.FAILED, 3)


async def test_a_cancel_with_compensation_undoes_and_then_ends_as_cancelled() -> None:
    store = MemoryStateStore()
    async with running_engine(store, waiting_trip) as engine:
        handle = await engine.start(waiting_trip, ["hotel", "flight"])
        await until(lambda: store.find_signal_waiter("go"))
        assert (await engine.cancel(handle.run_id, compensate=True)).status is RunStatus.CANCELLING
        with pytest.raises(RunCancelledError):
            await handle.result("60s")
    assert log[2:] == ["cancel flight: booking of flight", "cancel hotel: booking of hotel"]
    assert await store.list_signal_waiters() == []


async def test_a_plain_cancel_undoes_nothing() -> None:
    store = MemoryStateStore()
    async with running_engine(store, waiting_trip) as engine:
        handle = await engine.start(waiting_trip, ["hotel"])
        await until(lambda: store.find_signal_waiter("go"))
        await engine.cancel(handle.run_id)
        with pytest.raises(RunCancelledError):
            await handle.result("60s")
    assert log == ["book hotel"]


@pytest.mark.parametrize("compensate", [False, True])
async def test_a_run_is_cancelled_while_a_step_is_executing(compensate: bool) -> None:
    started = asyncio.Event()

    @step
    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(book, "hotel", compensate=cancel_booking)
        await ctx.step(hang)

    async with running_engine(MemoryStateStore(), flow) as engine:
        handle = await engine.start(flow)
        await started.wait()
        await engine.cancel(handle.run_id, compensate=compensate)
        with pytest.raises(RunCancelledError):
            await handle.result("60s")
    assert log == ["book hotel", *(["cancel hotel: booking of hotel"] if compensate else [])]


@pytest.mark.parametrize(
    ("behind", "compensate"),
    [("another step", False), ("a wait", False), ("a wait", True), ("the end", False), ("the end", True)],
)
async def test_what_was_cancelled_elsewhere_neither_begins_another_step_nor_completes(
    behind: str, compensate: bool
) -> None:
    """Whatever stands behind the step that was under way, and that the other process cannot interrupt at once."""
    started, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def slow() -> None:
        started.set()
        await go_on.wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.step(book, "hotel", compensate=cancel_booking)
        await ctx.step(slow)
        if behind == "another step":
            await ctx.step(book, "flight", compensate=cancel_booking)
        if behind == "a wait":
            await ctx.wait_for_signal("never")
        return "done"

    store = MemoryStateStore()
    async with running_worker(store, flow) as (engine, worker), running_engine(store) as other:
        handle = await engine.start(flow)
        await started.wait()
        await other.cancel(handle.run_id, compensate=compensate)
        go_on.set()
        await until(lambda: is_idle(worker))
        await until(lambda: has_status(handle, RunStatus.CANCELLED))
        assert (await handle.run()).output is None
    assert log == ["book hotel", *(["cancel hotel: booking of hotel"] if compensate else [])]


@on_every_store
@pytest.mark.parametrize("compensate", [False, True])
async def test_a_cancel_from_another_process_ends_the_step_under_way_with_the_next_renewal(
    store: StateStore, compensate: bool
) -> None:
    """Also where no process hears of another: a step may take hours, and more of them may follow."""
    started, cut_off, heard = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @step
    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(book, "hotel", compensate=cancel_booking)
        await ctx.step(endless)

    async with running_engine(store, flow) as engine:
        engine.on_cancel(lambda run_id: heard.set())
        handle = await engine.start(flow)
        await started.wait()
        await build_engine(store, flow).cancel(handle.run_id, compensate=compensate)
        async with asyncio.timeout(60):
            await cut_off.wait()
            await heard.wait()
        await until(lambda: has_status(handle, RunStatus.CANCELLED))
    assert log == ["book hotel", *(["cancel hotel: booking of hotel"] if compensate else [])]


async def test_a_finished_run_is_not_cancelled() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return 1

    async with running_engine(MemoryStateStore(), flow) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == 1
        assert (await engine.cancel(handle.run_id)).status is RunStatus.COMPLETED
        assert await handle.result() == 1
