"""Singletons: at most `limit` runs of one key at a time, exactly, whoever starts and drives them."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from fastapi_durable.declare.definition import Singleton, step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import (
    DefinitionError,
    InputValidationError,
    RunCancelledError,
    RunFailedError,
    SingletonQueueFullError,
)
from fastapi_durable.model.records import Run, RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.crashing_store import Fuse, ProcessDied, crashing
from tests.support.engine_rig import (
    FAST,
    build_engine,
    build_machinery,
    has_status,
    killed_worker,
    running_engine,
    tuned,
    until,
)
from tests.support.stores import on_databases_slowly

under_way: Counter[str] = Counter()
most: Counter[str] = Counter()
order: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    under_way.clear()
    most.clear()
    order.clear()


@step
async def enter(name: str) -> None:
    key = name.partition("/")[0]
    order.append(name)
    under_way[key] += 1
    most[key] = max(most[key], under_way[key])


@step
async def leave(name: str) -> None:
    under_way[name.partition("/")[0]] -= 1


def key_of(name: str) -> str:
    return name.partition("/")[0]


@workflow(singleton=Singleton(key=key_of))
async def alone(ctx: WorkflowContext, name: str) -> str:
    """Holds its slot over a suspension."""
    await ctx.step(enter, name)
    await ctx.sleep("1ms")
    await ctx.step(leave, name)
    return name


@workflow(singleton=Singleton(key=key_of, limit=3))
async def three_at_a_time(ctx: WorkflowContext, name: str) -> str:
    await ctx.step(enter, name)
    await ctx.sleep("1ms")
    await ctx.step(leave, name)
    return name


@workflow(singleton=Singleton(key=key_of, max_queue_depth=2))
async def bounded(ctx: WorkflowContext, name: str) -> None:
    await ctx.wait_for_signal(f"go:{name}")


@workflow(singleton=Singleton(key=key_of))
async def holding(ctx: WorkflowContext, name: str) -> str:
    if name.endswith("fails") or await ctx.wait_for_signal(f"go:{name}") == "fail":
        raise ValueError(name)
    return name


@workflow(singleton=Singleton(key=key_of))
async def hopping(ctx: WorkflowContext, name: str) -> str:
    """Goes on as a new run once, and keeps its slot."""
    if not name.endswith("!"):
        await ctx.step(enter, name)
        ctx.continue_as_new(f"{name}!")
    await ctx.sleep("1ms")
    await ctx.step(leave, name)
    return name


@on_databases_slowly
@pytest.mark.parametrize(("flow", "limit"), [(alone, 1), (three_at_a_time, 3), (hopping, 1)])
async def test_never_more_than_the_limit_are_under_way(
    store: StateStore, flow: Callable[..., object], limit: int
) -> None:
    """Two workers drive runs of two keys, started all at once."""
    async with running_engine(store, flow) as engine, running_engine(store, flow):
        handles = await asyncio.gather(*[engine.start(flow.__name__, f"{key}/{n}") for n in range(12) for key in "ab"])
        await asyncio.gather(*[handle.result("60s") for handle in handles])
    assert most == {"a": limit, "b": limit} if limit == 1 else max(most.values()) <= limit
    assert under_way == {"a": 0, "b": 0}
    assert await store.list_signal_waiters() == []


async def test_runs_of_one_key_come_in_the_order_of_their_creation() -> None:
    store = MemoryStateStore()
    outside = build_engine(store, holding)
    handles = []
    async with running_engine(store, holding) as engine:
        for number in range(4):
            handles.append(await outside.start(holding, f"k/{number}", run_id=f"r{number}"))
            await until(lambda: _queued_or_waiting(store, f"r{number}"))  # noqa: B023 (awaited at once)
        for number in range(4):
            token = f"go:k/{number}"
            await until(lambda: store.find_signal_waiter(token))  # noqa: B023 (awaited at once)
            waiting = [waiter.token for waiter in await store.list_signal_waiters(prefix="go:")]
            assert waiting == [token]
            await engine.signal(token)
            await handles[number].result("60s")


async def _queued_or_waiting(store: StateStore, run_id: str) -> bool:
    run = await store.find_run(run_id)
    return run is not None and run.status is RunStatus.SUSPENDED


@on_databases_slowly
async def test_a_later_run_that_is_picked_up_first_does_not_break_the_limit(store: StateStore) -> None:
    """Priorities let the newer run begin first; the older one then waits for it."""
    outside = build_engine(store, alone)
    older = await outside.start(alone, "k/older")
    newer = await outside.start(alone, "k/newer", priority=9)
    async with running_engine(store, alone, config=tuned(FAST, concurrency=1)):
        await older.result("60s")
        await newer.result("60s")
    assert most["k"] == 1


@on_databases_slowly
@pytest.mark.parametrize("ending", ["failed", "cancelled", "cancelled with compensation", "died"])
async def test_a_slot_is_free_however_its_run_ends(store: StateStore, ending: str) -> None:
    if ending == "died":
        async with killed_worker(store, holding) as first:
            await first.start(holding, "k/first", run_id="first")
            await until(lambda: store.find_signal_waiter("go:k/first"))
    async with running_engine(store, holding) as engine:
        first_run = await engine.start(holding, "k/first", run_id="first")
        await until(lambda: store.find_signal_waiter("go:k/first"))
        second = await engine.start(holding, "k/second", run_id="second")
        match ending:
            case "cancelled" | "cancelled with compensation":
                await engine.cancel("first", compensate=ending != "cancelled")
                with pytest.raises(RunCancelledError):
                    await first_run.result("60s")
            case "failed":
                await engine.signal("go:k/first", "fail")
                with pytest.raises(RunFailedError):
                    await first_run.result("60s")
            case _:
                await engine.signal("go:k/first")
                await first_run.result("60s")
        await until(lambda: store.find_signal_waiter("go:k/second"))
        await engine.signal("go:k/second")
        assert await second.result("60s") == "k/second"
    assert await store.list_signal_waiters() == []


async def test_a_waiting_run_that_is_cancelled_leaves_the_queue() -> None:
    store = MemoryStateStore()
    async with running_engine(store, holding) as engine:
        await engine.start(holding, "k/1", run_id="r1")
        await until(lambda: store.find_signal_waiter("go:k/1"))
        second = await engine.start(holding, "k/2", run_id="r2")
        await until(lambda: has_status(second, RunStatus.SUSPENDED))
        third = await engine.start(holding, "k/3", run_id="r3")
        await until(lambda: has_status(third, RunStatus.SUSPENDED))
        await engine.cancel("r2")
        await engine.signal("go:k/1")
        await until(lambda: store.find_signal_waiter("go:k/3"))
        await engine.signal("go:k/3")
        assert await third.result("60s") == "k/3"


@on_databases_slowly
async def test_a_full_queue_refuses_exactly_the_rest_however_many_start_at_once(store: StateStore) -> None:
    engines = [build_engine(store, bounded) for _ in range(3)]
    starts = [engines[n % 3].start(bounded, f"k/{n}", run_id=f"r{n}") for n in range(9)]
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, SingletonQueueFullError)]
    assert len(refused) == 6
    assert await store.count_runs(RunQuery()) == 3
    taken = (await store.list_runs(RunQuery()))[0]
    assert not (await engines[0].start(bounded, str(taken.input), run_id=taken.id)).created
    assert (await engines[0].start(bounded, "other/1")).created


@workflow(singleton=Singleton(key=key_of, limit=2))
async def two_at_a_time(ctx: WorkflowContext, name: str) -> None:
    await ctx.wait_for_signal(f"go:{name}")


async def _is_under_way(store: StateStore, *names: str) -> bool:
    waiting = await store.list_signal_waiters(prefix="go:")
    return [waiter.token for waiter in waiting] == [f"go:{name}" for name in names]


async def _fill_and_queue(
    store: StateStore, engine: WorkflowService, flow: Callable[..., object], names: str, places: int
) -> None:
    """Start a run for each name in turn; as many as there are places are under way, and the others sleep."""
    for number, name in enumerate(names):
        handle = await engine.start(flow.__name__, f"k/{name}", run_id=name)
        if number < places:
            await until(lambda: store.find_signal_waiter(f"go:k/{name}"))  # noqa: B023 (awaited at once)
        else:
            await until(lambda: has_status(handle, RunStatus.SUSPENDED))  # noqa: B023 (awaited at once)


@on_databases_slowly
async def test_two_slots_that_become_free_at_once_wake_two_runs(store: StateStore) -> None:
    """No worker claims a run between the two endings."""
    async with running_engine(store, two_at_a_time) as engine:
        await _fill_and_queue(store, engine, two_at_a_time, "abcd", 2)
    await build_engine(store, two_at_a_time).cancel("a")
    await build_engine(store, two_at_a_time).cancel("b")
    async with running_engine(store, two_at_a_time):
        await until(lambda: _is_under_way(store, "k/c", "k/d"))


@on_databases_slowly
async def test_a_woken_run_that_is_cancelled_passes_its_slot_on(store: StateStore) -> None:
    async with running_engine(store, two_at_a_time) as engine:
        await _fill_and_queue(store, engine, two_at_a_time, "abcde", 2)
    for name in "abc":
        await build_engine(store, two_at_a_time).cancel(name)
    async with running_engine(store, two_at_a_time):
        await until(lambda: _is_under_way(store, "k/d", "k/e"))


@on_databases_slowly
async def test_a_deploy_that_raises_the_limit_fills_every_slot_at_the_next_ending(store: StateStore) -> None:
    @workflow(name="growing", singleton=Singleton(key=key_of))
    async def one(ctx: WorkflowContext, name: str) -> None:
        await ctx.wait_for_signal(f"go:{name}")

    @workflow(name="growing", singleton=Singleton(key=key_of, limit=3))
    async def three(ctx: WorkflowContext, name: str) -> None:
        await ctx.wait_for_signal(f"go:{name}")

    async with running_engine(store, one) as engine:
        for number, name in enumerate("abcd"):
            handle = await engine.start(one, f"k/{name}", run_id=name)
            if number:
                await until(lambda: has_status(handle, RunStatus.SUSPENDED))  # noqa: B023 (awaited at once)
            else:
                await until(lambda: store.find_signal_waiter("go:k/a"))
    async with running_engine(store, three) as engine:
        await engine.signal("go:k/a")
        await until(lambda: _is_under_way(store, "k/b", "k/c", "k/d"))


@on_databases_slowly
async def test_a_blocked_run_in_the_queue_does_not_keep_a_slot_empty(store: StateStore) -> None:
    async with running_engine(store, holding) as engine:
        await _fill_and_queue(store, engine, holding, "abc", 1)
    await store.update_run("b", {"status": RunStatus.BLOCKED, "wake_at": None})
    async with running_engine(store, holding) as engine:
        await engine.signal("go:k/a")
        await until(lambda: _is_under_way(store, "k/c"))


@workflow(singleton=Singleton(key=key_of))
async def moving(ctx: WorkflowContext, name: str) -> None:
    """Goes on with another key on `go`, and ends on the next one."""
    await ctx.wait_for_signal(f"go:{name}")
    if name == "k/moves":
        ctx.continue_as_new("other/moved")
    if name == "k/keeps":
        ctx.continue_as_new("k/kept")
    if name == "k/breaks":
        ctx.continue_as_new("/without a key")


@on_databases_slowly
async def test_a_run_that_goes_on_with_another_key_leaves_its_slot_and_waits_for_one_of_the_new(
    store: StateStore,
) -> None:
    async with running_engine(store, moving) as engine:
        await engine.start(moving, "k/moves", run_id="r", tags=["mine"])
        await until(lambda: store.find_signal_waiter("go:k/moves"))
        await engine.start(moving, "other/first")
        await until(lambda: store.find_signal_waiter("go:other/first"))
        waits = await engine.start(moving, "k/waits")
        await until(lambda: has_status(waits, RunStatus.SUSPENDED))
        await engine.signal("go:k/moves")
        await until(lambda: _is_under_way(store, "k/waits", "other/first"))
        await until(lambda: has_status(engine.handle("r~1"), RunStatus.SUSPENDED))
        assert (await engine.handle("r~1").run()).tags == ("mine", "singleton:other")
        await engine.signal("go:other/first")
        await until(lambda: _is_under_way(store, "k/waits", "other/moved"))
        await engine.signal("go:other/moved")
        await engine.handle("r").result("60s")
        await engine.signal("go:k/waits")
        await waits.result("60s")
    assert await store.list_signal_waiters() == []


@on_databases_slowly
async def test_a_run_that_goes_on_with_the_same_key_keeps_its_slot_ahead_of_those_that_wait(store: StateStore) -> None:
    async with running_engine(store, moving) as engine:
        await engine.start(moving, "k/keeps", run_id="r")
        await until(lambda: store.find_signal_waiter("go:k/keeps"))
        waits = await engine.start(moving, "k/waits")
        await until(lambda: has_status(waits, RunStatus.SUSPENDED))
        await engine.signal("go:k/keeps")
        await until(lambda: _is_under_way(store, "k/kept"))


async def test_going_on_with_an_input_that_has_no_key_fails_where_it_is_asked_for(store: StateStore) -> None:
    async with running_engine(store, moving) as engine:
        handle = await engine.start(moving, "k/breaks")
        await engine.signal("go:k/breaks")
        with pytest.raises(RunFailedError, match="singleton key"):
            await handle.result("60s")


@on_databases_slowly
async def test_a_run_that_dies_while_it_goes_on_with_another_key_has_one_slot_at_most(store: StateStore) -> None:
    """At every write: afterwards the chain has the new key, and a run of the old one has its slot."""
    for number in itertools.count(1):
        fuse = Fuse(number, "before")
        outside = build_engine(store, moving)
        await outside.start(moving, "k/moves", run_id=f"r{number}")
        await outside.signal("go:k/moves")
        now = SystemClock().now()
        (run,) = await store.claim_runs("t", now=now, until=now, limit=1)
        with suppress(ProcessDied):
            await build_machinery(crashing(store, fuse), moving).driver(run, "t").drive()
        async with running_engine(store, moving) as engine:
            await until(lambda: _is_under_way(store, "other/moved"))
            slots = await store.list_signal_waiters(prefix="singleton:")
            assert [(waiter.run_id, "other" in waiter.token) for waiter in slots] == [(f"r{number}~1", True)]
            await engine.signal("go:other/moved")
            await engine.handle(f"r{number}").result("60s")
        if not fuse.blown:
            break
    assert number > 3


async def test_the_key_is_a_tag_of_the_run() -> None:
    store = MemoryStateStore()
    handle = await build_engine(store, alone).start(alone, "k/1", tags=["mine"])
    assert (await handle.run()).tags == ("mine", "singleton:k")


async def test_keys_of_different_workflows_and_namespaces_do_not_meet() -> None:
    store = MemoryStateStore()
    other = tuned(FAST, namespace="other")
    async with (
        running_engine(store, holding, alone) as engine,
        running_engine(store, holding, alone, config=other) as elsewhere,
    ):
        await engine.start(holding, "k/1")
        await until(lambda: store.find_signal_waiter("go:k/1"))
        await (await engine.start(alone, "k/2")).result("60s")
        await elsewhere.start(holding, "k/3")
        await until(lambda: store.find_signal_waiter("go:k/3"))


async def test_children_are_singletons_too() -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> list[str]:
        return await ctx.all(alone, [f"k/{number}" for number in range(5)])

    async with running_engine(MemoryStateStore(), parent, alone) as engine:
        assert len(await (await engine.start(parent)).result("60s")) == 5
    assert most["k"] == 1


@on_databases_slowly
async def test_a_retried_run_queues_again(store: StateStore) -> None:
    fails = True

    @workflow(singleton=Singleton(key=lambda name: "one"))
    async def flow(ctx: WorkflowContext, name: str) -> str:
        if name == "first" and fails:
            raise ValueError(name)
        return await ctx.wait_for_signal(f"go:{name}", str)

    async with running_engine(store, flow) as engine:
        first = await engine.start(flow, "first")
        with pytest.raises(RunFailedError):
            await first.result("60s")
        await engine.start(flow, "second")
        await until(lambda: store.find_signal_waiter("go:second"))
        fails = False
        await engine.retry(first.run_id)
        await until(lambda: has_status(first, RunStatus.SUSPENDED))
        assert await store.find_signal_waiter("go:first") is None
        await engine.signal("go:second", "x")
        await until(lambda: store.find_signal_waiter("go:first"))


async def test_a_retry_with_input_has_the_key_of_its_own_input() -> None:
    store = MemoryStateStore()
    async with running_engine(store, holding) as engine:
        handle = await engine.start(holding, "k/fails")
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        retried: Run = await engine.retry_with_input(handle.run_id, "other/fails")
        assert retried.tags == ("singleton:other",)


async def test_a_key_that_cannot_be_made_starts_nothing() -> None:
    @workflow(singleton=Singleton(key=lambda value: value["customer"]))
    async def flow(ctx: WorkflowContext, value: dict[str, str]) -> None: ...

    store = MemoryStateStore()
    for value in ({}, {"customer": ""}, {"customer": "x" * 201}):
        with pytest.raises(InputValidationError, match="singleton key"):
            await build_engine(store, flow).start(flow, value)
    assert await store.count_runs(RunQuery()) == 0


@pytest.mark.parametrize("options", [{"limit": 0}, {"max_queue_depth": -1}, {"key": "customer"}])
def test_a_singleton_that_cannot_work_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(DefinitionError):
        Singleton(**{"key": key_of, **options})  # type: ignore[arg-type]
