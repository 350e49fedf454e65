"""Rows of the application and runs in one transaction: both or neither, heard of after the commit and not before."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import Singleton, workflow
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import (
    ConfigurationError,
    RunNotCommittedError,
    RunNotFoundError,
    SerializationError,
    SingletonQueueFullError,
    StoreConflictError,
    StoreError,
    TransactionExpiredError,
)
from fastapi_durable.model.records import RunStatus, SignalWaiter
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.service.transactions import WorkflowTransaction
from fastapi_durable.store.base import StateStore
from fastapi_durable.wakeups.base import Topic, Wakeup
from tests.support.crashing_store import Fuse, Moment, ProcessDied, crashing
from tests.support.engine_rig import FAST, build_engine, has_status, run_has, running_engine, tuned, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

on_databases = pytest.mark.parametrize(
    "store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)
on_postgresql = pytest.mark.parametrize(
    "store", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)


@pytest.fixture
def locks_are_kept() -> None:
    """Not here: a block of the application locks in the order of its calls, and a conflict undoes it."""


class BodyError(Exception):
    pass


@workflow
async def greet(ctx: WorkflowContext, name: str) -> str:
    return f"hello {name}"


@workflow
async def count(ctx: WorkflowContext) -> int:
    return await ctx.wait_for_signal(f"number:{ctx.run_id}", int) + await ctx.on_update("more", int)


@workflow(singleton=Singleton(key=lambda _: "k", max_queue_depth=0))
async def lonely(ctx: WorkflowContext) -> None:
    await ctx.wait_for_signal("never")


@workflow(on_event="paid")
async def triggered(ctx: WorkflowContext, amount: int) -> int:
    return amount


def order(order_id: str) -> dict[str, Any]:
    return {
        "id": order_id,
        "customer": "Ada",
        "totalCents": 5,
        "status": "placed",
        "createdAt": datetime(2026, 1, 1, tzinfo=UTC),
    }


async def has_order(store: Any, order_id: str) -> bool:
    found = await client_of(store).order.find_unique(where={"id": order_id})
    return found is not None


def client_of(store: Any) -> Any:
    """The application's client, which is the store's."""
    return store._database.client


async def place(tx: WorkflowTransaction[Any], order_id: str) -> None:
    """An order and all that begins with it."""
    row = order(order_id)
    row["items"] = _json(tx.client, [])
    await tx.client.order.create(row)
    await tx.start(greet, "Ada", run_id=order_id)
    await tx.signal(f"placed:{order_id}", 7)


def _json(client: Any, value: Any) -> Any:
    """A value of the client's own type for JSON."""
    import sys

    return sys.modules[type(client).__module__.rpartition(".")[0]].Json(value)


@on_databases
async def test_a_row_and_a_run_are_committed_together_and_driven_at_once(store: StateStore) -> None:
    """At once: the poll is too slow to find the run in the time of the test."""
    config = tuned(FAST, poll_interval=timedelta(minutes=5))
    async with running_engine(store, greet, config=config) as service:
        async with service.transaction() as tx:
            await place(tx, "7")
        assert await service.handle("7", greet).result("30s") == "hello Ada"
    assert await has_order(store, "7")


@on_databases
async def test_an_error_in_the_block_leaves_neither(store: StateStore) -> None:
    service, told = build_engine(store, greet), list[Wakeup]()

    async def fail() -> None:
        async with service.transaction() as tx:
            await place(tx, "7")
            raise BodyError

    with service._kernel.notifications.joined_to(told.append), pytest.raises(BodyError):
        await fail()
    assert told == []
    assert not await has_order(store, "7")
    assert await store.find_run("7") is None
    assert await store.take_buffered_signal("placed:7") is None


@on_databases
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_crash_at_any_moment_leaves_both_or_neither(store: StateStore, moment: Moment) -> None:
    at, whole = 0, list[bool]()
    while True:
        at += 1
        fuse, name = Fuse(at, moment), f"order {at}"
        service = build_engine(crashing(store, fuse), greet)
        with suppress(ProcessDied):
            async with service.transaction() as tx:
                await place(tx, name)
        facts = [
            await has_order(store, name),
            await store.find_run(name) is not None,
            await store.take_buffered_signal(f"placed:{name}") is not None,
        ]
        assert facts in ([True] * 3, [False] * 3)
        whole.append(facts[0])
        if not fuse.blown:
            break
    # The run, the signal, the end of its part, and the commit of the whole.
    assert len(whole) >= 5
    assert True in whole
    assert False in whole


@on_databases
async def test_an_error_of_a_row_is_the_clients_own(store: StateStore) -> None:
    """On PostgreSQL it ended the transaction; neither the row nor the run is there."""
    service = build_engine(store, greet)
    async with service.transaction() as tx:
        await place(tx, "7")

    async def again() -> None:
        async with service.transaction() as tx:
            await tx.start(greet, "Bob", run_id="8")
            await place(tx, "7")

    with pytest.raises(Exception, match="Unique constraint failed") as caught:
        await again()
    assert type(caught.value).__name__ == "UniqueViolationError"
    assert await store.find_run("8") is None


@on_every_store
async def test_others_hear_of_it_after_the_commit(store: StateStore) -> None:
    service, told, seen = build_engine(store, greet, count), list[Wakeup](), list[str]()
    await service.start(count, run_id="waits")
    await service.start(count, run_id="driven")
    await store.update_run("driven", {"status": RunStatus.RUNNING, "locked_by": "a turn"})
    await store.put_signal_waiter(SignalWaiter(token="number:driven", run_id="driven", seq=0))
    with service._kernel.notifications.joined_to(told.append):
        service.events.listen(lambda event: seen.append(event.type))
        async with service.transaction() as tx:
            await tx.start(greet, "Ada")
            assert (await tx.cancel("waits")).status is RunStatus.CANCELLED
            assert await tx.signal("number:driven", 7)
            assert (told, seen) == ([], [])
        assert {word.topic for word in told} == {Topic.WORK, Topic.CANCELLED, Topic.DELIVERED}
        assert seen == ["run.cancelled"]


@on_every_store
async def test_it_cancels_no_run_of_another_namespace(store: StateStore) -> None:
    await build_engine(store, count).start(count, run_id="waits")
    confined = build_engine(store, count, config=tuned(FAST, namespace="acme"))
    async with confined.transaction() as tx:
        with pytest.raises(RunNotFoundError):
            await tx.cancel("waits")
    assert await has_status(build_engine(store).handle("waits"), RunStatus.PENDING)


@on_every_store
async def test_a_call_that_is_refused_has_done_nothing_and_the_rest_is_kept(store: StateStore) -> None:
    """What does not fit is not consumed: the run still waits, and the transaction goes on."""
    async with running_engine(store, greet, count, lonely) as service:
        handle = await service.start(count, run_id="counts")
        await until(run_has(store, "counts", RunStatus.SUSPENDED))
        await service.start(lonely)
        async with service.transaction() as tx:
            await tx.start(greet, "Ada", run_id="before")
            with pytest.raises(SerializationError):
                await tx.signal("number:counts", "seven")
            with pytest.raises(SerializationError):
                await tx.signal_with_start(greet, "Bob", token="number:counts", payload="seven", run_id="never")
            with pytest.raises(SingletonQueueFullError):
                await tx.start(lonely)
            with pytest.raises(RunNotFoundError):
                await tx.cancel("nobody")
            await tx.start(greet, "Ada", run_id="after")
        assert await store.find_run("never") is None
        assert [await service.handle(name, greet).result("30s") for name in ("before", "after")] == ["hello Ada"] * 2
        async with service.transaction() as tx:
            assert await tx.signal("number:counts", 7)

        async def waits_for_update() -> bool:
            return bool(await store.list_signal_waiters(prefix="update:counts"))

        await until(waits_for_update)
        async with service.transaction() as tx:
            assert not (await tx.update("counts", "more", "seven")).accepted
            await tx.start(greet, "Ada", run_id="beside")
        assert (await service.update("counts", "more", 1)).received
        assert await handle.result("30s") == 8
        assert await service.handle("beside", greet).result("30s") == "hello Ada"


@on_every_store
async def test_all_that_can_be_said_is_said_in_it(store: StateStore) -> None:
    queue = Queue("line", concurrency=1)
    async with running_engine(store, greet, count, triggered, queues=[queue]) as service:
        async with service.transaction() as tx:
            first = await tx.start(greet, "Ada", run_id="7", queue="line", priority=3, tags=["a"])
            assert first.created
            assert not (await tx.start(greet, "Bob", run_id="7")).created
            counted = await tx.signal_with_start(count, token="number:8", payload=7, run_id="8")
            published = await tx.publish_event("paid", 5, event_id="e")
            assert (await tx.update("8", "more", 1)).accepted
            for handle in (first, counted):
                with pytest.raises(RunNotCommittedError):
                    await handle.result()
        assert await first.result("30s") == "hello Ada"
        assert await counted.result("30s") == 8
        assert await service.handle(*published.started).result("30s") == 5
        run = await first.run()
        assert (run.queue, run.priority, run.tags) == ("line", 3, ("a",))


@on_every_store
async def test_a_queue_that_was_undone_is_declared_again(store: StateStore) -> None:
    """What a transaction wrote is not remembered before it is committed."""
    service = build_engine(store, greet, queues=[Queue("line", concurrency=1)])

    async def fail() -> None:
        async with service.transaction() as tx:
            await tx.start(greet, "Ada", queue="line")
            raise BodyError

    with pytest.raises(BodyError):
        await fail()
    assert await service.queues() == []
    await service.start(greet, "Ada", queue="line")
    assert [load.queue.name for load in await service.queues()] == ["line"]


@on_every_store
async def test_the_plain_service_inside_is_refused_at_once(store: StateStore) -> None:
    service = build_engine(store, greet)
    calls = (
        partial(service.start, greet, "Ada"),
        partial(service.signal, "t"),
        partial(service.publish_event, "e"),
        partial(_nested, service),
    )
    async with service.transaction() as tx:
        for call in calls:
            with pytest.raises(StoreError, match="inside its own transaction"):
                await call()
        await tx.start(greet, "Ada", run_id="7")
    assert await store.find_run("7") is not None


async def _nested(service: WorkflowService) -> None:
    async with service.transaction():
        pass


@on_every_store
async def test_after_its_end_it_takes_nothing_more(store: StateStore) -> None:
    service = build_engine(store, greet)
    async with service.transaction() as tx:
        pass
    with pytest.raises(StoreError, match="the transaction is over"):
        await tx.start(greet, "Ada", run_id="7")
    assert await store.find_run("7") is None


@on_every_store
async def test_a_block_over_its_time_is_undone(store: StateStore) -> None:
    service = build_engine(store, greet)

    async def dawdle() -> None:
        async with service.transaction(timeout="200ms") as tx:
            await tx.start(greet, "Ada", run_id="7")
            await asyncio.sleep(0.5)

    with pytest.raises(TransactionExpiredError):
        await dawdle()
    assert await store.find_run("7") is None


@on_databases
@pytest.mark.parametrize("caught", [True, False])
async def test_a_conflict_undoes_the_whole_and_says_so(store: StateStore, caught: bool) -> None:
    """It is met once: a part cannot be tried again, and a block that catches it cannot commit."""
    met = 0

    async def between(name: str, call: Any) -> Any:
        nonlocal met
        if name == "buffer_signal":
            met += 1
            raise StoreConflictError("another one was in the way")
        return await call()

    service = build_engine(interposed(store, between), greet)

    async def meet() -> None:
        async with service.transaction() as tx:
            await tx.start(greet, "Ada", run_id="7")
            with suppress(*[StoreConflictError] * caught):
                await tx.signal("t", 7)

    with pytest.raises(StoreConflictError) as conflict:
        await meet()
    assert await store.find_run("7") is None
    assert met == 1
    assert not conflict.value.undid_outer, "the whole can be tried again"


@on_postgresql
async def test_two_blocks_that_lock_each_other_out_end_as_a_conflict(store: StateStore) -> None:
    """One of them is undone by the database, and may be run again."""
    service, inside = build_engine(store, greet), [asyncio.Event(), asyncio.Event()]

    async def block(me: int, tokens: tuple[str, str]) -> None:
        async with service.transaction() as tx:
            await tx.signal(tokens[0], me, signal_id=f"{me}")
            inside[me].set()
            await inside[1 - me].wait()
            await tx.signal(tokens[1], me, signal_id=f"{me}")

    ends = await asyncio.gather(block(0, ("a", "b")), block(1, ("b", "a")), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["NoneType", "StoreConflictError"]
    winner = next(number for number, end in enumerate(ends) if end is None)
    kept = [await store.take_buffered_signal(token) for token in ("a", "b")]
    assert [signal and signal.payload for signal in kept] == [winner, winner]


@on_databases
async def test_it_takes_part_in_a_transaction_of_the_application(store: StateStore) -> None:
    config = tuned(FAST, poll_interval=timedelta(minutes=5))
    async with running_engine(store, greet, config=config) as service:
        async with client_of(store).tx() as tx:
            await place(service.within(tx), "7")
            handle = await service.within(tx).start(greet, "Bob", run_id="8")
            with pytest.raises(RunNotCommittedError):
                await handle.status()
        assert await handle.result("30s") == "hello Bob"
        assert await service.handle("7", greet).result("30s") == "hello Ada"
    assert await has_order(store, "7")


@on_databases
async def test_what_the_application_undoes_was_never_said(store: StateStore) -> None:
    service, told = build_engine(store, greet), list[Wakeup]()

    async def fail() -> None:
        async with client_of(store).tx() as tx:
            await place(service.within(tx), "7")
            raise BodyError

    with service._kernel.notifications.joined_to(told.append), pytest.raises(BodyError):
        await fail()
    assert told == []
    assert await store.find_run("7") is None
    # Nothing of it is remembered: the task is outside of any transaction again.
    await service.start(greet, "Ada", run_id="7")


@on_databases
async def test_a_client_that_is_in_no_transaction_is_refused(store: StateStore) -> None:
    service, client = build_engine(store, greet), client_of(store)
    with pytest.raises(ConfigurationError, match="not in a transaction"):
        service.within(client)
    async with client.tx() as tx:
        pass
    with pytest.raises(StoreError):
        service.within(tx)

    class OtherClient:
        _tx_id = "7"

    with pytest.raises(ConfigurationError, match="does not report when"):
        service.within(OtherClient())
    with pytest.raises(ConfigurationError, match="name the class that PrismaStateStore was given"):
        async with service.transaction(OtherClient):
            pass


@on_postgresql
async def test_a_transaction_of_another_isolation_level_is_refused(store: StateStore) -> None:
    service = build_engine(store, greet)
    async with client_of(store).tx(isolation_level="RepeatableRead") as tx:
        with pytest.raises(ConfigurationError, match="READ COMMITTED, got REPEATABLE READ"):
            await service.within(tx).start(greet, "Ada", run_id="7")
    assert await store.find_run("7") is None


async def test_the_memory_store_has_no_client(store: StateStore) -> None:
    service = build_engine(store, greet)
    async with service.transaction() as tx:
        with pytest.raises(ConfigurationError, match="no client"):
            tx.client  # noqa: B018
        await tx.start(greet, "Ada", run_id="7")
    with pytest.raises(ConfigurationError):
        service.within(None)
    assert await store.find_run("7") is not None


@on_every_store
async def test_a_transaction_of_a_workflow_starts_and_signals_with_its_checkpoint(store: StateStore) -> None:
    """A first attempt fails after its calls, and leaves nothing of them."""
    services: list[WorkflowService] = []
    attempts = 0

    async def hand_over(tx: Any, name: str) -> str:
        nonlocal attempts
        attempts += 1
        within = services[0].within(tx)
        handle = await within.start(greet, name, run_id=f"attempt {attempts}")
        await within.signal("number:8", attempts)
        if attempts == 1:
            raise BodyError
        return handle.run_id

    @workflow
    async def outer(ctx: WorkflowContext, name: str) -> str:
        return await ctx.transaction(hand_over, name, max_attempts=2)

    async with running_engine(store, greet, outer) as service:
        services.append(service)
        assert await service.execute(outer, "Ada", timeout="30s") == "attempt 2"
        assert await service.handle("attempt 2", greet).result("30s") == "hello Ada"
    assert await store.find_run("attempt 1") is None
    kept = await store.take_buffered_signal("number:8")
    assert kept is not None
    assert kept.payload == 2
    assert await store.take_buffered_signal("number:8") is None
