"""Every door through which a run begins, under every rule about beginning one.

A row of the table is a door: a start, a child, an event, a schedule. A column is a rule: a bounded singleton is kept,
the run is in the namespace of what began it, in its trace, and under an id that only the engine makes.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import Batch, Singleton, workflow, workflow_definition
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.engine import Engine
from fastapi_durable.engine.upkeep.schedule import Schedule
from fastapi_durable.engine.upkeep.scheduler import Scheduler
from fastapi_durable.engine.worker import Worker
from fastapi_durable.errors import (
    InputValidationError,
    RunStateError,
    SingletonQueueFullError,
    WorkflowNotRegisteredError,
)
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.records import LIVE_STATUSES, Run, RunQuery, RunStatus
from fastapi_durable.model.reserved import PREFIXES
from fastapi_durable.observe.prometheus import ProcessMetrics
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.testing import HandClock
from fastapi_durable.transport.in_process import InProcessTransport
from tests.support.engine_rig import FAST, NothingInjected, run_has, running_engine, tuned, until
from tests.support.stores import on_databases_slowly

CONFIG = tuned(FAST, namespace="orders", max_recovery_attempts=1, lease=timedelta(minutes=5))
TRACE = "00-0000000000000000000000000000abcd-000000000000ef01-01"
SPAN = NonRecordingSpan(SpanContext(0xABCD, 0xEF01, is_remote=False, trace_flags=TraceFlags(1)))

ACCUMULATOR = "__evtacc__@6.orders:settled"
ONLY = Singleton(key=lambda _: "k", max_queue_depth=0)


@workflow(name="one", singleton=ONLY, on_event="go")
async def one(ctx: WorkflowContext, value: Any) -> None:
    if value == "hold":
        await ctx.wait_for_signal("let go")


@workflow(name="settled", singleton=ONLY, on_event="settle", debounce="10ms")
async def settled_one(ctx: WorkflowContext, value: Any) -> None:
    if value == "hold":
        await ctx.wait_for_signal("let go")


@workflow(name="batched", singleton=ONLY, on_event="collect", batch=Batch(max_size=1, within="1h"))
async def batched(ctx: WorkflowContext, value: Any) -> None:
    if value == "hold":
        await ctx.wait_for_signal("let go")


@workflow
async def with_child(ctx: WorkflowContext) -> None:
    await ctx.child(one, 1)


@workflow
async def with_started_child(ctx: WorkflowContext) -> None:
    await ctx.start_child(one, 1)


@workflow
async def with_children(ctx: WorkflowContext) -> None:
    await ctx.all(one, [1])


@workflow(dead_letter="one")
async def poison(ctx: WorkflowContext) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A process, and the run that began before: `source` has ended."""

    engine: WorkflowService
    scheduler: Scheduler
    store: StateStore
    clock: HandClock


@dataclass(frozen=True, kw_only=True)
class Door:
    """A way in which a run begins.

    Attributes:
        begin: Goes through the door.
        workflow: What the run is of.
        raised: The caller is told of a refusal by an exception.
        parent: The run of this workflow fails with the refusal instead.
        trace: The run has the trace of the caller.
    """

    name: str
    begin: Callable[[Rig], Awaitable[object]]
    workflow: str = "one"
    raised: bool = False
    parent: str | None = None
    trace: bool = True


async def fire(rig: Rig) -> None:
    await rig.scheduler.fire()
    rig.clock.move(hours=1)
    await rig.scheduler.fire()


async def settle(rig: Rig) -> None:
    await rig.engine.publish_event("settle", 1)
    await until(run_has(rig.store, ACCUMULATOR, RunStatus.SUSPENDED))
    rig.clock.move(seconds=1)


async def bury(rig: Rig) -> None:
    now = rig.clock.now()
    await rig.store.create_run(
        Run(
            id="dead",
            workflow="poison",
            workflow_version="1",
            status=RunStatus.RUNNING,
            locked_by="gone",
            locked_until=now - timedelta(hours=1),
            recovery_attempts=5,
            namespace="orders",
            traceparent=TRACE,
            created_at=now,
            updated_at=now,
        )
    )
    await until(run_has(rig.store, "dead", RunStatus.DEAD))


DOORS = [
    Door(name="start", begin=lambda rig: rig.engine.start(one, 1), raised=True),
    Door(name="start by name", begin=lambda rig: rig.engine.start("one", 1), raised=True),
    Door(name="signal_with_start", begin=lambda rig: rig.engine.signal_with_start(one, 1, token="t"), raised=True),
    Door(name="child", begin=lambda rig: rig.engine.start(with_child), parent="with_child"),
    Door(name="start_child", begin=lambda rig: rig.engine.start(with_started_child), parent="with_started_child"),
    Door(name="all", begin=lambda rig: rig.engine.start(with_children), parent="with_children"),
    Door(name="event", begin=lambda rig: rig.engine.publish_event("go", 1)),
    Door(name="debounce", begin=settle, workflow="settled"),
    Door(name="batch", begin=lambda rig: rig.engine.publish_event("collect", 1), workflow="batched"),
    Door(name="schedule", begin=fire, trace=False),
    Door(name="schedule trigger", begin=lambda rig: rig.scheduler.trigger("hourly"), raised=True),
    Door(name="retry_with_input", begin=lambda rig: rig.engine.retry_with_input("source", 2), raised=True),
    Door(name="fork", begin=lambda rig: rig.engine.fork("source", from_step=0), raised=True),
    Door(name="dead letter", begin=bury),
]
every_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)


@asynccontextmanager
async def rig_on(store: StateStore) -> AsyncIterator[Rig]:
    clock = HandClock(SystemClock().now())
    machinery = Engine(
        store=store,
        workflows=[
            workflow_definition(each)
            for each in (one, settled_one, batched, with_child, with_started_child, with_children, poison)
        ],
        injector=NothingInjected(),
        transport=InProcessTransport(),
        config=CONFIG,
        clock=clock,
        codec=Codec(),
        schedules=[Schedule(key="hourly", workflow="one", input=1, every="1h")],
    )
    engine, worker = WorkflowService(machinery.kernel), Worker(machinery)
    await worker.start()
    try:
        with use_span(SPAN):
            await (await engine.start(one, 0, run_id="source")).result("60s")
        yield Rig(engine=engine, scheduler=machinery.scheduler, store=store, clock=clock)
    finally:
        await worker.stop()


async def runs_of(store: StateStore, name: str) -> list[Run]:
    return [run for run in await store.list_runs(RunQuery(workflow=name)) if run.id not in ("source", "first")]


@on_databases_slowly
@every_door
async def test_a_full_singleton_is_kept_whatever_begins_a_run(
    store: StateStore, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    """Who can be told is told with the code; what nobody waits for is logged, counted and visible."""
    async with rig_on(store) as rig:
        metrics = ProcessMetrics(rig.engine.events)
        list(metrics.text())
        await rig.engine.start(door.workflow, "hold", run_id="first")
        if door.raised:
            with pytest.raises(SingletonQueueFullError):
                await door.begin(rig)
        elif door.parent is not None:
            handle: Any = await door.begin(rig)
            await until(run_has(store, handle.run_id, RunStatus.FAILED))
            error = (await handle.run()).error
            codes = {each.code for each in (error, error.cause) if each is not None}
            assert "singleton_queue_full" in codes, error
        else:
            with caplog.at_level(logging.WARNING, "fastapi_durable"):
                published: Any = await door.begin(rig)
                await until(lambda: _counted(metrics, door.workflow))
            assert f"of workflow {door.workflow!r} was not started" in caplog.text
            if door.name == "event":
                assert published.refused
                assert not published.buffered
            if door.name == "schedule":
                (info,) = await rig.scheduler.listing()
                assert info.refusal is not None
                assert info.refusal.code == "singleton_queue_full"
        assert await runs_of(store, door.workflow) == []
        assert await store.count_runs(RunQuery(workflow=door.workflow, statuses=LIVE_STATUSES)) == 1


async def _counted(metrics: ProcessMetrics, name: str) -> bool:
    return f'durable_runs_refused_total{{workflow="{name}"}} 1' in list(metrics.text())


@every_door
async def test_a_run_is_in_the_namespace_and_the_trace_of_what_began_it(door: Door) -> None:
    store = MemoryStateStore()
    async with rig_on(store) as rig:
        with use_span(SPAN):
            await door.begin(rig)

        async def begun() -> bool:
            return bool(await runs_of(store, door.workflow))

        await until(begun)
        (run,) = await runs_of(store, door.workflow)
        assert run.namespace == "orders"
        assert run.traceparent == (TRACE if door.trace else None)


@every_door
async def test_no_caller_can_take_the_id_that_a_door_makes(door: Door) -> None:
    """What the engine named once, it alone may name; ids by chance, and children's, which are joined, aside."""
    store = MemoryStateStore()
    async with rig_on(store) as rig:
        await door.begin(rig)

        async def begun() -> bool:
            return bool(await runs_of(store, door.workflow))

        await until(begun)
        (run,) = await runs_of(store, door.workflow)
        if door.name.startswith(("start", "signal")) or run.parent_run_id is not None:
            return
        with pytest.raises(InputValidationError, match="run_id must not"):
            await rig.engine.start(poison, run_id=run.id)


RESERVED_IDS = [
    *(f"{prefix}x" for prefix in PREFIXES if prefix.of_runs),
    *(f"{prefix.word}@6.orders:x" for prefix in PREFIXES if prefix.of_runs),
    *(
        "a~1",
        "a~retry~12345678",
        "a~fork~12345678",
        "a~retry~12345678~3",
        "a.child.0",
        "a.child.1.child.23",
        ".",
        "..",
        "stream",
        "facets",
        "a/stream",
        "a/values/b",
    ),
]


@workflow
async def asks_for_child(ctx: WorkflowContext, run_id: str) -> str:
    return await ctx.start_child(poison, run_id=run_id)


@pytest.mark.parametrize("run_id", RESERVED_IDS)
async def test_no_door_takes_a_reserved_id_of_a_caller(run_id: str) -> None:
    store = MemoryStateStore()
    async with rig_on(store) as rig:
        for begin in (
            rig.engine.start(poison, run_id=run_id),
            rig.engine.signal_with_start(poison, token="t", run_id=run_id),
        ):
            with pytest.raises(InputValidationError, match="run_id must not"):
                await begin
        assert await runs_of(store, "poison") == []


@pytest.mark.parametrize("token", [f"{prefix}x" for prefix in PREFIXES if prefix.of_tokens])
async def test_no_signal_is_sent_on_a_token_of_the_engine(token: str) -> None:
    """It would forge an operation of an entity, the end of a child, or an event that nobody published."""
    store = MemoryStateStore()
    async with rig_on(store) as rig:
        for send in (
            rig.engine.signal(token, 1),
            rig.engine.signal_waiting(token, 1, namespace="orders"),
            rig.engine.signal_with_start(poison, token=token),
        ):
            with pytest.raises(InputValidationError, match="token must not"):
                await send
        assert await store.take_buffered_signal(token) is None


@pytest.mark.parametrize("name", ["__entity", "__evt_debounce", "__evt_batch"])
async def test_no_caller_starts_a_workflow_of_the_engine(name: str) -> None:
    async with rig_on(MemoryStateStore()) as rig:
        with pytest.raises(WorkflowNotRegisteredError):
            await rig.engine.start(name, {})


async def test_a_run_of_the_engine_is_neither_forked_nor_retried_with_input() -> None:
    """A second run on one token would take what is meant for the first."""
    store = MemoryStateStore()
    async with rig_on(store) as rig:
        await rig.engine.publish_event("settle", 1)
        with pytest.raises(InputValidationError, match="belongs to the engine"):
            await rig.engine.fork(ACCUMULATOR, from_step=0)
        await rig.engine.cancel(ACCUMULATOR)
        with pytest.raises(InputValidationError, match="belongs to the engine"):
            await rig.engine.retry_with_input(ACCUMULATOR, {"target": "settled", "windowMs": 1})


@workflow
async def goes_on(ctx: WorkflowContext, hops: int) -> None:
    if hops:
        ctx.continue_as_new(hops - 1)
    await ctx.wait_for_signal("end")


@on_databases_slowly
async def test_the_work_of_a_chain_is_not_done_twice_though_a_run_in_its_middle_was_deleted(store: StateStore) -> None:
    async with running_engine(store, goes_on) as engine:
        await engine.start(goes_on, 2, run_id="poll")
        await until(run_has(store, "poll~2", RunStatus.SUSPENDED))
        await engine.delete_run("poll~1")
        with pytest.raises(RunStateError, match="'poll~2' is suspended"):
            await engine.retry_with_input("poll", 0)
        assert {run.id for run in await store.list_runs(RunQuery())} == {"poll", "poll~2"}


@on_databases_slowly
async def test_a_chain_that_an_operator_revived_is_found_by_each_of_its_ids(store: StateStore) -> None:
    fails = True

    @workflow
    async def goes_on_and_fails(ctx: WorkflowContext, hops: int) -> None:
        if hops:
            ctx.continue_as_new(hops - 1)
        if fails:
            raise ValueError("as asked")
        await ctx.wait_for_signal("end")

    async with running_engine(store, goes_on_and_fails) as engine:
        await engine.start(goes_on_and_fails, 2, run_id="poll")
        await until(run_has(store, "poll~2", RunStatus.FAILED))
        await engine.delete_run("poll~1")
        fails = False
        await engine.retry("poll~2")
        await until(run_has(store, "poll~2", RunStatus.SUSPENDED))
        with pytest.raises(RunStateError, match="'poll~2' is suspended"):
            await engine.retry_with_input("poll", 0)
        assert (await engine.cancel("poll")).id == "poll~2"
    assert await store.list_signal_waiters() == []


@on_databases_slowly
async def test_the_work_of_a_chain_is_not_done_twice_while_it_lives(store: StateStore) -> None:
    """An earlier run of the chain has ended; what it went on as has not."""
    async with running_engine(store, goes_on) as engine:
        handle = await engine.start(goes_on, 1, run_id="poll")
        await until(run_has(store, "poll~1", RunStatus.SUSPENDED))
        with pytest.raises(RunStateError, match="'poll~1' is suspended"):
            await engine.retry_with_input("poll", 0)
        await engine.signal("end")
        await handle.result("60s")
        assert (await engine.retry_with_input("poll", 0)).id.startswith("poll~retry~")
        await engine.signal("end")
