"""What is said to a run that goes on as a new one is said to the chain."""

import asyncio
import random

import pytest

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.runs.chain import earlier_ids
from fastapi_durable.model.errors import RunCancelledError, RunNotFoundError
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.model.run_ids import next_run_id, root_of
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.crashing_store import Fuse, Moment, ProcessDied, crashing
from tests.support.engine_rig import SHORT_LEASE, build_engine, has_status, killed_worker, running_engine, until
from tests.support.stores import on_every_store


@workflow(name="subscription")
async def subscription(ctx: WorkflowContext, hops: int) -> str:
    """Goes on when it is told to; only the last run of the chain looks at updates."""
    await ctx.set_value("hops left", hops)
    if hops == 2:
        await ctx.set_value("plan", "basic")
    if hops > 0:
        await ctx.wait_for_signal(f"go on:{ctx.run_id}")
        ctx.continue_as_new(hops - 1)
    return await ctx.on_update("address", str)


@workflow(name="collector")
async def collector(ctx: WorkflowContext, hops: int) -> list[int]:
    """Goes on at once, again and again, and receives all updates in the end."""
    if hops > 0:
        await ctx.now()
        ctx.continue_as_new(hops - 1)
    return sorted([await ctx.on_update("number", int) for _ in range(24)])


@on_every_store
async def test_an_update_that_was_accepted_is_received_by_the_run_that_the_chain_came_to(store: StateStore) -> None:
    async with running_engine(store, subscription) as engine:
        handle = await engine.start(subscription, 2, run_id="s")
        await until(lambda: store.find_signal_waiter("go on:s"))
        taken = await engine.update("s", "address", "Main Street")
        assert (taken.accepted, taken.received) == (True, False)
        await engine.signal("go on:s")
        await engine.signal("go on:s~1")
        assert await handle.result("60s") == "Main Street"
    assert await store.list_signal_waiters() == []


@on_every_store
async def test_an_earlier_run_is_an_address_of_the_one_that_lives_even_when_it_is_gone(store: StateStore) -> None:
    async with running_engine(store, subscription) as engine:
        await engine.start(subscription, 2, run_id="s")
        await engine.signal("go on:s")
        await engine.signal("go on:s~1")
        last = engine.handle("s~2")
        await until(lambda: store.find_signal_waiter("update:s:address"))
        assert await engine.get_value("s", "hops left", int) == 0
        assert await engine.get_value("s", "plan", str) == "basic", "set by an earlier run, and by no later one"
        assert await engine.get_value("s", "unknown") is None
        await engine.delete_run("s")
        assert await engine.get_value("s", "hops left", int) == 0
        with pytest.raises(RunNotFoundError):
            await engine.get_value("s~9", "hops left")
        taken = await engine.update("s~1", "address", "Side Street")
        assert (taken.accepted, taken.received) == (True, True)
        assert await last.result("60s") == "Side Street"
        refused = await engine.update("s~1", "address", "too late")
        assert refused.reason == "run 's~2' is completed and accepts no updates"


async def test_cancel_and_continue_mean_the_run_that_lives() -> None:
    @workflow
    async def halting(ctx: WorkflowContext, hops: int) -> None:
        if hops > 0:
            ctx.continue_as_new(hops - 1)
        await ctx.breakpoint()
        await ctx.wait_for_signal("never")

    store = MemoryStateStore()
    async with running_engine(store, halting) as engine:
        handle = await engine.start(halting, 2, run_id="h")
        await until(lambda: store.find_signal_waiter("bp:h~2:0"))
        assert await engine.continue_run("h")
        await until(lambda: store.find_signal_waiter("never"))
        cancelled = await engine.cancel("h")
        assert (cancelled.id, cancelled.status) == ("h~2", RunStatus.CANCELLED)
        with pytest.raises(RunCancelledError):
            await handle.result("60s")


async def test_updates_race_with_the_runs_of_a_chain_and_each_is_received_once(
    stores: tuple[StateStore, StateStore],
) -> None:
    """Every accepted one arrives, whether it met a run before, while or after it went on."""
    moments = random.Random(7)
    async with running_engine(stores[0], collector) as here, running_engine(stores[1], collector) as there:
        handle = await here.start(collector, 12, run_id="c")

        async def tell(number: int) -> None:
            await asyncio.sleep(moments.random() / 4)
            engine = moments.choice((here, there))
            assert (await engine.update(moments.choice(("c", "c~1", "c~3")), "number", number)).accepted

        await until(lambda: stores[0].find_run("c~3"))
        await asyncio.gather(*(tell(number) for number in range(24)))
        assert await handle.result("60s") == list(range(24))
    assert await stores[0].take_buffered_signal("update:c:number") is None


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_accepted_update_survives_a_death_at_every_write_of_the_chain(moment: Moment) -> None:
    at = 1
    while await _dies_at(at, moment):
        at += 1
    assert at > 12


async def _dies_at(at: int, moment: Moment) -> bool:
    store, fuse = MemoryStateStore(), Fuse(at, moment)
    outside = build_engine(store, subscription)
    await outside.start(subscription, 1, run_id="s")
    assert (await outside.update("s", "address", "Main Street")).accepted
    await outside.signal("go on:s")
    async with killed_worker(crashing(store, fuse), subscription, config=SHORT_LEASE):
        await until(lambda: _over(fuse, store))
        async with running_engine(store, subscription, config=SHORT_LEASE) as second:
            assert await second.handle("s").result("60s") == "Main Street"
    assert [run.id for run in await store.list_runs(RunQuery())] == ["s~1", "s"]
    assert await store.list_signal_waiters() == []
    assert await store.take_buffered_signal("update:s:address") is None
    return fuse.blown


async def _over(fuse: Fuse, store: StateStore) -> bool:
    last = await store.find_run("s~1")
    return fuse.blown or (last is not None and last.status.is_terminal)


async def test_a_cancelled_sibling_is_found_in_its_chain() -> None:
    """`fail_fast` knows the ids that it asked for; the child went on as another run meanwhile."""

    @workflow
    async def child(ctx: WorkflowContext, kind: str) -> None:
        if kind == "fails":
            await ctx.wait_for_signal("fail")
            raise ValueError(kind)
        if kind == "goes on":
            ctx.continue_as_new("waits")
        await ctx.wait_for_signal("never")

    @workflow
    async def parent(ctx: WorkflowContext) -> None:
        await ctx.all(child, ["fails", "goes on"], mode="fail_fast")

    store = MemoryStateStore()
    async with running_engine(store, parent, child) as engine:
        handle = await engine.start(parent, run_id="p")
        await until(lambda: store.find_signal_waiter("never"))
        await engine.signal("fail")
        await until(lambda: has_status(handle, RunStatus.FAILED))
        assert await engine.handle("p.all.0.1~1").status() is RunStatus.CANCELLED


def test_the_ids_of_a_chain_are_counted_and_those_of_retries_are_not() -> None:
    assert [next_run_id(run_id) for run_id in ("a", "a~1", "a~9", "a~0", "~1")] == [
        "a~1",
        "a~2",
        "a~10",
        "a~0~1",
        "~1~1",
    ]
    assert next_run_id("a~retry~12345678") == "a~retry~12345678~1"
    assert next_run_id("a~2~fork~12345678~1") == "a~2~fork~12345678~2"
    assert [root_of(run_id) for run_id in ("a", "a~3", "a~fork~12345678")] == ["a", "a", "a~fork~12345678"]
    assert (earlier_ids("a"), earlier_ids("a~2")) == ([], ["a~1", "a"])
    assert len(earlier_ids("a~1000")) == 100


async def test_a_process_that_died_is_no_longer_heard() -> None:
    """The crash test is worth something: its first process really stops."""
    store, fuse = MemoryStateStore(), Fuse(1, "before")
    engine = build_engine(crashing(store, fuse), subscription)
    with pytest.raises(ProcessDied):
        await engine.start(subscription, 1)
    assert fuse.blown
