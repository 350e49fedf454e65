"""Queues, driven: limits over several workers, and what gives a place back."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.queue import Queue, QueueState
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.runs.queues import declare_queues
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import DefinitionError, InputValidationError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.testing import HandClock
from tests.support.engine_rig import FAST, build_engine, has_status, run_has, running_engine, tuned, until
from tests.support.interposed_store import interposed

under_way: list[str] = []
most: list[int] = []
order: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    under_way.clear()
    most.clear()
    order.clear()


@step
async def work(name: str) -> str:
    order.append(name)
    under_way.append(name)
    most.append(len(under_way))
    await asyncio.sleep(0.005)
    under_way.remove(name)
    return name


@workflow
async def working(ctx: WorkflowContext, name: str) -> str:
    await ctx.step(work, name)
    await ctx.sleep("1ms")
    return await ctx.step(work, name)


@workflow
async def working_once(ctx: WorkflowContext, name: str) -> str:
    return await ctx.step(work, name)


@workflow
async def waiting(ctx: WorkflowContext, name: str) -> str:
    await ctx.step(work, name)
    await ctx.wait_for_signal(f"go:{name}")
    return name


@workflow
async def hopping(ctx: WorkflowContext, left: int) -> int:
    if left:
        ctx.continue_as_new(left - 1)
    return left


async def test_two_workers_together_never_drive_more_than_the_queue_allows(
    stores: tuple[StateStore, StateStore],
) -> None:
    """Runs that suspend give their places back in between, and take new ones to go on."""
    queues = [Queue("q", concurrency=2)]
    async with running_engine(stores[0], working, queues=queues) as engine:
        async with running_engine(stores[1], working, queues=queues):
            handles = await asyncio.gather(*[engine.start(working, str(n), queue="q") for n in range(8)])
            results = await asyncio.gather(*[handle.result("60s") for handle in handles])
    assert results == [str(n) for n in range(8)]
    assert max(most) <= 2


async def test_as_many_are_driven_at_a_time_as_the_queue_allows() -> None:
    both = asyncio.Barrier(2)

    @workflow
    async def meeting(ctx: WorkflowContext) -> None:
        await ctx.local_step("meet", both.wait)

    async with running_engine(MemoryStateStore(), meeting, queues=[Queue("q", concurrency=2)]) as engine:
        handles = [await engine.start(meeting, queue="q") for _ in range(4)]
        for handle in handles:
            await handle.result("60s")


async def test_a_run_that_waits_for_a_signal_is_in_nobodys_way() -> None:
    store = MemoryStateStore()
    async with running_engine(store, waiting, queues=[Queue("q", concurrency=1)]) as engine:
        first = await engine.start(waiting, "first", queue="q")
        await until(lambda: has_status(first, RunStatus.SUSPENDED))
        second = await engine.start(waiting, "second", queue="q")
        await until(lambda: has_status(second, RunStatus.SUSPENDED))
        for name, handle in (("first", first), ("second", second)):
            await engine.signal(f"go:{name}")
            assert await handle.result("60s") == name


async def test_the_place_of_a_killed_worker_is_free_after_its_lease(stores: tuple[StateStore, StateStore]) -> None:
    """And not before, however often another worker looks."""
    clock, looks = HandClock(), 0
    queues, lease = [Queue("q", concurrency=1)], timedelta(minutes=1)

    async def between(name: str, call: "partial[Any]") -> Any:
        nonlocal looks
        answer = await call()
        looks += name == "claim_queued_runs"
        return answer

    async def has_looked_again(before: int) -> bool:
        return looks > before

    killed = build_engine(stores[0], working_once, queues=queues, clock=clock)
    await declare_queues(killed._kernel)
    crashed = await killed.start(working_once, "crashed", queue="q")
    claim = await stores[0].claim_queued_runs("dead", now=clock.now(), until=clock.now() + lease, limit=1)
    assert [run.id for run in claim.runs] == [crashed.run_id]
    watched, config = interposed(stores[1], between), tuned(FAST, lease=lease)
    async with running_engine(watched, working_once, queues=queues, clock=clock, config=config) as engine:
        next_run = await engine.start(working_once, "next", queue="q")
        before = looks
        # The first of them may have begun before the run was there.
        await until(lambda: has_looked_again(before + 1))
        assert order == []
        clock.move(minutes=1)
        for handle in (next_run, crashed):
            await until(run_has(stores[1], handle.run_id, RunStatus.COMPLETED))
    assert max(most) == 1


async def test_a_rate_limit_spreads_the_beginnings() -> None:
    store = MemoryStateStore()
    queues = [Queue("q", rate_limit=2, rate_period="300ms")]
    async with running_engine(store, working, queues=queues, config=tuned(FAST, concurrency=9)) as engine:
        started = engine._kernel.clock.now()
        handles = [await engine.start(working, str(n), queue="q") for n in range(5)]
        await asyncio.gather(*[handle.result("60s") for handle in handles])
        assert engine._kernel.clock.now() - started >= timedelta(milliseconds=600)


async def test_a_rate_that_is_used_up_for_long_keeps_no_sleeper_from_being_woken_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That the queue opens in an hour is noted once, not at every look; what a process notes of wakes is bounded."""
    monkeypatch.setattr("fastapi_durable.engine.core.notifications._PLANNED_WAKES", 3)
    queues = [Queue("q", rate_limit=1, rate_period="1h")]
    patient = tuned(FAST, poll_interval=timedelta(minutes=1), lease=timedelta(minutes=1))
    async with running_engine(MemoryStateStore(), working, working_once, queues=queues, config=patient) as engine:
        for name in ("begins", "has to wait"):
            await engine.start(working_once, name, queue="q")
        for number in range(9):
            # Each of them sleeps for a moment, so the worker looks again each time.
            assert await engine.execute(working, str(number), timeout="60s") == str(number)


async def test_fairness_keys_take_turns() -> None:
    store = MemoryStateStore()
    queues = [Queue("q", concurrency=1)]
    engine = build_engine(store, working_once, queues=queues)
    loud = [await engine.start(working_once, f"loud{n}", queue="q", fairness_key="loud") for n in range(3)]
    quiet = await engine.start(working_once, "quiet", queue="q", fairness_key="quiet")
    async with running_engine(store, working_once, queues=queues):
        await asyncio.gather(*[handle.result("60s") for handle in (*loud, quiet)])
    assert order.index("quiet") == 1


@workflow
async def fanning_out(ctx: WorkflowContext, names: list[str]) -> list[str]:
    return await ctx.all(working_once, names, queue="q")


async def test_of_many_children_in_a_queue_no_more_run_at_a_time_than_it_allows(
    stores: tuple[StateStore, StateStore],
) -> None:
    """The parent, which waits in the same queue, gives its place back while it waits for them."""
    queues, names = [Queue("q", concurrency=1)], [str(n) for n in range(6)]
    async with running_engine(stores[0], fanning_out, working_once, queues=queues) as engine:
        async with running_engine(stores[1], fanning_out, working_once, queues=queues):
            assert await engine.execute(fanning_out, names, queue="q", timeout="60s") == names
    assert max(most) == 1


@workflow
async def delegating(ctx: WorkflowContext, name: str) -> str:
    child = await ctx.start_child(working_once, name, run_id=f"{name}-child", queue="q", fairness_key="k")
    return await ctx.child(working_once, name, run_id=child)


async def test_a_child_waits_in_a_queue_of_its_parents_namespace(stores: tuple[StateStore, StateStore]) -> None:
    """Though no process of that namespace ever declared it, and the worker is one of all namespaces."""
    abroad = build_engine(stores[0], delegating, working_once, config=tuned(FAST, namespace="abroad"))
    async with running_engine(stores[1], delegating, working_once, queues=[Queue("q", concurrency=1)]):
        assert await abroad.execute(delegating, "a", timeout="60s") == "a"
    child = await stores[0].find_run("a-child")
    assert child is not None
    assert (child.namespace, child.queue, child.fairness_key) == ("abroad", "q", "k")


@workflow
async def misnaming(ctx: WorkflowContext, name: str) -> str:
    try:
        await ctx.start_child(working_once, name, queue="other")
    except InputValidationError as error:
        return str(error)
    return "started"


async def test_a_child_in_a_queue_that_nobody_declared_is_refused() -> None:
    store = MemoryStateStore()
    async with running_engine(store, misnaming, working_once, queues=[Queue("q")]) as engine:
        assert "declared: 'q'" in await engine.execute(misnaming, "a", timeout="60s")


@workflow
async def delegating_a_wait(ctx: WorkflowContext, name: str) -> str:
    both = await asyncio.gather(ctx.child(waiting, name, queue="q"), ctx.wait_for_signal(f"nudge:{name}", str))
    return " ".join(both)


async def test_a_queue_that_is_given_up_fails_no_run_whose_child_waits_in_it() -> None:
    store = MemoryStateStore()
    async with running_engine(store, delegating_a_wait, waiting, queues=[Queue("q")]) as engine:
        handle = await engine.start(delegating_a_wait, "a")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, delegating_a_wait, waiting, queues=[Queue("r")]) as engine:
        await engine.signal("nudge:a", "now")

        async def has_looked_again() -> bool:
            run = await store.find_run(handle.run_id)
            return run is not None and run.locked_by is None and run.wake_at is None

        await until(has_looked_again)
        await engine.signal("go:a")
        assert await engine.handle(handle.run_id, delegating_a_wait).result("60s") == "a now"


async def test_a_run_in_a_queue_whose_process_dies_again_and_again_is_dead_in_the_end() -> None:
    """Its place is taken back before it is claimed anew; that counts as a crash all the same."""
    store, queues = MemoryStateStore(), [Queue("q", concurrency=1)]
    config = tuned(FAST, max_recovery_attempts=2, lease=timedelta(milliseconds=20))
    engine = build_engine(store, working, queues=queues, config=config)
    await declare_queues(engine._kernel)
    handle = await engine.start(working, "poison", queue="q")
    for _ in range(3):

        async def claimed() -> bool:
            now = engine._kernel.clock.now()
            return bool((await store.claim_queued_runs("dead", now=now, until=now + config.lease, limit=1)).runs)

        await until(claimed)
    async with running_engine(store, working, queues=queues, config=config):
        await until(lambda: has_status(handle, RunStatus.DEAD))
    assert order == []


async def test_a_run_that_goes_on_as_a_new_one_stays_in_its_queue() -> None:
    store = MemoryStateStore()
    async with running_engine(store, hopping, queues=[Queue("q", concurrency=1)]) as engine:
        await (await engine.start(hopping, 2, run_id="hop", queue="q", fairness_key="k")).result("60s")
        await until(lambda: has_status(engine.handle("hop~2"), RunStatus.COMPLETED))
    last = await store.find_run("hop~2")
    assert last is not None
    assert (last.queue, last.fairness_key) == ("q", "k")


async def test_cancelling_a_run_that_waits_for_its_turn_leaves_nothing_behind() -> None:
    store = MemoryStateStore()
    async with running_engine(store, waiting, queues=[Queue("q", concurrency=1)]) as engine:
        engine_outside = build_engine(store, waiting, queues=[Queue("q", concurrency=1)])
        handle = await engine_outside.start(waiting, "never", queue="q")
        await engine.cancel(handle.run_id)
        await until(lambda: has_status(handle, RunStatus.CANCELLED))
        (load,) = await engine.queues()
        assert (load.running, load.waiting) == (0, 0)


@pytest.mark.parametrize("with_signal", [False, True])
async def test_a_queue_is_there_before_its_first_run_whoever_starts_it(with_signal: bool) -> None:
    """Also an engine that was never started with a worker, in a namespace that nobody else serves."""
    store = MemoryStateStore()
    caller = build_engine(store, waiting, queues=[Queue("q")], config=tuned(FAST, namespace="shop"))
    if with_signal:
        await caller.signal_with_start(waiting, "a", token="go:a", run_id="a", queue="q")
    else:
        await caller.start(waiting, "a", run_id="a", queue="q")
        await caller.signal("go:a")
    async with running_engine(store, waiting, queues=[Queue("other")]) as engine:
        assert await engine.handle("a", waiting).result("60s") == "a"


async def test_an_older_process_that_starts_a_run_does_not_bring_its_limits_back(
    stores: tuple[StateStore, StateStore],
) -> None:
    async with running_engine(stores[0], waiting, queues=[Queue("q", concurrency=7)]) as engine:
        older = build_engine(stores[1], waiting, queues=[Queue("q", concurrency=3), Queue("dropped")])
        await older.start(waiting, "a", run_id="a", queue="q")
        assert {load.queue.name: load.queue.concurrency for load in await engine.queues()} == {"q": 7, "dropped": None}


async def test_bad_starts_are_refused() -> None:
    engine = build_engine(MemoryStateStore(), waiting, queues=[Queue("q")])
    with pytest.raises(InputValidationError, match="declared: 'q'"):
        await engine.start(waiting, "x", queue="other")
    with pytest.raises(InputValidationError, match="together with queue"):
        await engine.start(waiting, "x", fairness_key="k")
    with pytest.raises(InputValidationError, match="printable text of 1-200 bytes"):
        await engine.start(waiting, "x", queue="q", fairness_key="k" * 201)


def test_bad_queues_are_refused() -> None:
    with pytest.raises(DefinitionError, match="concurrency"):
        Queue("q", concurrency=0)
    with pytest.raises(DefinitionError, match="must be given together"):
        Queue("q", rate_limit=1)
    with pytest.raises(DefinitionError, match="must be unique"):
        build_engine(MemoryStateStore(), queues=[Queue("q"), Queue("q", concurrency=1)])


async def test_a_first_start_leaves_limits_alone_that_a_newer_worker_sets_at_that_moment() -> None:
    """Nor does it look at what else there is in the queues, however much that be."""
    store, asked = MemoryStateStore(), list[str]()
    newer = QueueState(id="q", namespace="default", name="q", concurrency=9, updated_at=SystemClock().now())

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        asked.append(name)
        if name.endswith("_queue"):
            await store.save_queue(newer)
        return await call()

    engine = build_engine(interposed(store, between), working, queues=[Queue("q", concurrency=1)])
    await engine.start(working, "first", queue="q")
    await engine.start(working, "second", queue="q")
    assert [load.queue.concurrency for load in await store.list_queues(engine._kernel.clock.now())] == [9]
    assert asked == ["add_queue", "create_run", "create_run"]
