"""Races: who won is recorded, and what the losers were about leaves nothing behind."""

import asyncio
from collections import Counter

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.race import Winner
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.errors import DefinitionError, RunFailedError, StepFailedError
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.testing import HandClock
from tests.support.engine_rig import has_status, running_engine, until
from tests.support.stores import on_every_store

done: Counter[str] = Counter()
broken: set[str] = set()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    done.clear()
    broken.clear()


@step
async def work(name: str) -> str:
    done[name] += 1
    if name in broken:
        raise RuntimeError(f"{name} is broken")
    return name


@step
async def never(name: str) -> str:
    done[name] += 1
    await asyncio.Event().wait()
    return name


@step
async def take_back(undo: Undo[str, str]) -> None:
    done[f"undo {undo.input}"] += 1


async def _two(ctx: WorkflowContext, first: str, second: str) -> str:
    await ctx.step(work, first)
    return await ctx.step(work, second)


@on_every_store
async def test_the_winner_stays_the_winner_when_the_loser_ends_as_well(store: StateStore) -> None:
    """On a replay both results are there at once: the recorded verdict counts, not the order of the call."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        winner = await ctx.race(_slow(ctx), ctx.step(work, "quick"))
        await ctx.sleep("1ms")
        return [winner.index, winner.value, await ctx.wait_for_signal("go")]

    async def _slow(ctx: WorkflowContext) -> str:
        return await ctx.wait_for_signal("late", str)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("go"))
        # The loser waits no more: what is sent now is kept for somebody else.
        assert not await engine.signal("late", "too late")
    async with running_engine(store, flow) as engine:
        await engine.signal("go", 1)
        assert await engine.handle(handle.run_id).result("60s") == [1, "quick", 1]
    assert await store.list_signal_waiters() == []
    assert (await store.take_buffered_signal("late")) is not None


@on_every_store
async def test_a_wait_with_a_time_limit_of_any_kind(store: StateStore) -> None:
    @workflow
    async def patient(ctx: WorkflowContext) -> str:
        await ctx.wait_for_signal("never")
        return "never"

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return (await ctx.race(ctx.child(patient), ctx.sleep("1h"))).index

    clock = HandClock()
    async with running_engine(store, flow, patient, clock=clock) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("never"))
        # The child may wait before its parent has asked what time it is.
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        clock.move(hours=1)
        assert await handle.result("60s") == 1
        (child,) = await store.list_runs(RunQuery(parent_run_id=handle.run_id))
        await until(lambda: has_status(engine.handle(child.id), RunStatus.CANCELLED))
    assert await store.list_signal_waiters() == []


async def test_of_several_that_came_meanwhile_the_first_in_the_call_wins(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return (await ctx.race(ctx.wait_for_signal("a"), ctx.wait_for_signal("b"))).index

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("a"))
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, flow) as engine:
        await asyncio.gather(engine.signal("b"), engine.signal("a"))
        assert await engine.handle(handle.run_id).result("60s") in (0, 1)


async def test_what_comes_while_the_race_is_decided_is_looked_at_first(store: StateStore) -> None:
    """A signal was delivered to the first branch before the verdict: it is not thrown away for a step that ended."""
    delivered = asyncio.Event()

    @step
    async def deliver() -> None:
        done["delivered"] += 1
        await outside.signal("a", "here")
        delivered.set()

    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        winner = await ctx.race(ctx.wait_for_signal("a", str), _wait_then(ctx))
        return [winner.index, winner.value]

    async def _wait_then(ctx: WorkflowContext) -> None:
        # The waiter of the first branch is there by the time that this step runs.
        await ctx.step(work, "before")
        await ctx.step(deliver)

    async with running_engine(store, flow) as outside:
        handle = await outside.start(flow)
        assert await handle.result("60s") == [0, "here"]
    assert done["delivered"] == 1


async def test_what_the_winner_raises_is_raised_and_the_race_begins_anew_on_a_retry(store: StateStore) -> None:
    @workflow
    async def patient(ctx: WorkflowContext) -> str:
        return await ctx.wait_for_signal("go", str)

    @workflow
    async def flow(ctx: WorkflowContext) -> object:
        try:
            return (await ctx.race(ctx.step(work, "quick"), ctx.child(patient))).value
        except StepFailedError:
            await ctx.step(work, "notify")
            raise

    async with running_engine(store, flow, patient) as engine:
        broken.add("quick")
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError, match="quick is broken"):
            await handle.result("60s")
        broken.clear()
        await engine.retry(handle.run_id)
        assert await handle.result("60s") == "quick"
    assert done == {"quick": 2, "notify": 1}


async def test_what_a_loser_had_done_is_undone_with_the_rest(store: StateStore) -> None:
    """Also after a replay, in which the loser comes as far as it had come, and no further."""

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.race(_loser(ctx), _two(ctx, "one", "two"))
        await ctx.sleep("1ms")
        raise ValueError("the end")

    async def _loser(ctx: WorkflowContext) -> None:
        await ctx.step(work, "reserved", compensate=take_back)
        await ctx.wait_for_signal("never")
        await ctx.step(work, "not reached")

    async with running_engine(store, flow) as engine:
        with pytest.raises(RunFailedError, match="the end"):
            await (await engine.start(flow)).result("60s")
    assert done == {"reserved": 1, "one": 1, "two": 1, "undo reserved": 1}


async def test_a_step_that_lost_is_cancelled_and_not_begun_again(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        winner = await ctx.race(ctx.step(never, "slow"), ctx.step(work, "quick"))
        await ctx.sleep("1ms")
        return winner.value

    async with running_engine(store, flow) as engine:
        assert await (await engine.start(flow)).result("60s") == "quick"
    assert done == {"slow": 1, "quick": 1}


async def test_a_race_within_a_race(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        outer = await ctx.race(_inner(ctx, "left"), _inner(ctx, "right"))
        await ctx.sleep("1ms")
        return [outer.index, outer.value.index, outer.value.value]

    async def _inner(ctx: WorkflowContext, side: str) -> Winner[object]:
        return await ctx.race(ctx.wait_for_signal(f"never:{side}"), ctx.wait_for_signal(side, str))

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("right"))
        await engine.signal("right", "here")
        assert await handle.result("60s") == [1, 1, "here"]
    assert await store.list_signal_waiters() == []


async def test_a_race_of_none_is_refused(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.race()
        except DefinitionError as error:
            return str(error)
        return "won"

    async with running_engine(store, flow) as engine:
        assert await (await engine.start(flow)).result("60s") == "a race must have at least one branch, got none"
