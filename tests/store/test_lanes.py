"""How many of a pool's connections the store takes: leases are renewed however much there is to do."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from example_app.clients.postgresql import Prisma as PostgresPrisma
from example_app.clients.sqlite import Prisma as SqlitePrisma
from fastapi_durable.model.errors import StoreUnavailableError
from fastapi_durable.model.records import Lease, RunStatus, WorkerRecord
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import T0, a_run, at, create, existing
from fastapi_durable.store.prisma import PrismaStateStore
from fastapi_durable.store.prisma.client import connections_of
from fastapi_durable.store.prisma.lanes import Lane, Lanes

LONG = timedelta(seconds=60)
SOON = 20
"""Seconds in which what does not wait has ended, on any machine."""


async def held(lanes: Lanes, *, transaction: bool = False) -> "asyncio.Task[Lane]":
    """A call that asks for a place, as far as it comes."""
    call = asyncio.create_task(lanes.enter(LONG, transaction=transaction))
    await settled()
    return call


async def settled() -> None:
    """Let every task come as far as it can."""
    for _ in range(9):
        await asyncio.sleep(0)


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[StateStore]:
    url = f"{postgres_url}?connection_limit=5&pool_timeout=1"
    async with PostgresPrisma(datasource={"url": url}) as client:
        yield PrismaStateStore(client)


@pytest.mark.postgres
async def test_leases_are_renewed_and_workers_beat_while_every_other_connection_is_taken(store: StateStore) -> None:
    """By transactions, and by statements that wait for what the transactions have locked."""
    await create(store, a_run("held", status=RunStatus.RUNNING, locked_by="mine"), *(a_run(f"r{n}") for n in range(9)))
    done = asyncio.Event()
    locked = asyncio.Semaphore(0)

    async def lock(number: int) -> None:
        async with store.transaction(timeout=LONG) as transaction:
            await transaction.lock_run(f"r{number % 3}")
            locked.release()
            await done.wait()

    holding = [asyncio.create_task(lock(number)) for number in range(20)]
    for _ in range(3):
        await locked.acquire()
    waiting = [asyncio.create_task(store.update_run(f"r{n % 3}", {"output": n})) for n in range(20)]
    worker = WorkerRecord(
        id="w", host="h", pid=1, version="1", concurrency=1, in_flight=0, started_at=T0, beat_at=at(1)
    )
    async with asyncio.timeout(SOON):
        for number in range(5):
            assert await store.renew_leases([Lease("held", "mine")], until=at(number)) == {"held": False}
            await store.save_worker(worker)
    assert not any(each.done() for each in (*holding, *waiting))
    done.set()
    await asyncio.gather(*holding, *waiting)
    assert (await existing(store, "held")).locked_until == at(4)


@pytest.mark.postgres
async def test_single_statements_go_on_beside_any_number_of_transactions(store: StateStore) -> None:
    await create(store, a_run())
    done = asyncio.Event()
    opened = 0
    all_lanes = asyncio.Event()

    async def hold() -> None:
        nonlocal opened
        async with store.transaction(timeout=LONG):
            opened += 1
            if opened == 3:
                all_lanes.set()
            await done.wait()

    holding = [asyncio.create_task(hold()) for _ in range(50)]
    async with asyncio.timeout(SOON):
        await all_lanes.wait()
        for _ in range(9):
            await store.find_run("run-1")
            assert await store.update_run("run-1", {"output": 1})
    assert opened == 3
    done.set()
    await asyncio.gather(*holding)
    assert opened == 50


async def test_a_queue_that_moves_is_no_outage_however_long_it_is() -> None:
    lanes = Lanes(1, 1)
    limit = timedelta(seconds=2.5)

    async def work() -> None:
        lane = await lanes.enter(limit)
        await asyncio.sleep(0.05)
        lanes.leave(lane)

    await asyncio.gather(*(work() for _ in range(60)))


async def test_a_queue_that_does_not_move_is_one() -> None:
    lanes = Lanes(1, 1)
    first = await lanes.enter(LONG)
    for transaction in (False, True):
        with pytest.raises(StoreUnavailableError, match="1 calls that may be under way"):
            await lanes.enter(timedelta(milliseconds=50), transaction=transaction)
    lanes.leave(first)
    lanes.leave(await lanes.enter(LONG))


async def test_places_go_to_those_who_waited_longest() -> None:
    lanes = Lanes(2, 1)
    first = await lanes.enter(LONG, transaction=True)
    second = await lanes.enter(LONG)
    transaction = await held(lanes, transaction=True)
    statement = await held(lanes)
    later = await held(lanes)
    # Of transactions there may be one only, so the statement behind it does not wait for it.
    lanes.leave(second)
    await settled()
    assert (transaction.done(), statement.done(), later.done()) == (False, True, False)
    lanes.leave(first)
    await settled()
    assert (transaction.done(), later.done()) == (True, False)
    lanes.leave(await transaction)
    lanes.leave(await later)


@pytest.mark.parametrize("moment", ["while it waits", "when it was admitted"])
async def test_a_call_that_is_cancelled_gives_its_place_back(moment: str) -> None:
    lanes = Lanes(1, 1)
    first = await lanes.enter(LONG)
    call = await held(lanes)
    if moment == "when it was admitted":
        lanes.leave(first)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    if moment == "while it waits":
        lanes.leave(first)
    lanes.leave(await lanes.enter(timedelta(milliseconds=50)))


def test_calls_of_an_event_loop_that_was_closed_hold_no_places() -> None:
    lanes = Lanes(1, 1)

    async def enter() -> Lane:
        return await lanes.enter(timedelta(milliseconds=50))

    old = asyncio.run(enter())
    new = asyncio.run(enter())
    lanes.leave(old)
    lanes.leave(new)
    assert asyncio.run(enter()) is not None


@pytest.mark.parametrize(
    ("connections", "calls", "transactions"), [(1, 1, 1), (2, 1, 1), (3, 2, 2), (5, 4, 3), (20, 19, 18)]
)
async def test_one_connection_is_left_of_a_pool(connections: int, calls: int, transactions: int) -> None:
    """If there are two; and another one that is not for transactions, if there are four."""
    for transaction, most in ((False, calls), (True, transactions)):
        lanes = Lanes.of_pool(connections)
        entered = [await held(lanes, transaction=transaction) for _ in range(connections + 1)]
        assert sum(each.done() for each in entered) == most
        for each in entered:
            each.cancel()


@pytest.mark.parametrize("prisma", [PostgresPrisma, SqlitePrisma])
def test_the_size_of_the_pool_is_what_the_urls_say(prisma: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that the client was given, or that of the environment; Prisma's own default otherwise."""
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert connections_of(prisma(datasource={"url": "postgresql://u:p@h/d?schema=x&connection_limit=7"})) == 7
    assert connections_of(prisma(datasource={"url": "postgresql://u:p@h/d"})) == 17
    assert connections_of(prisma(datasource={"url": "postgresql://u:p@h/d?connection_limit=many"})) == 17
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h/d?connection_limit=3")
    assert connections_of(prisma()) == 3
    monkeypatch.delenv("DATABASE_URL")
    assert connections_of(prisma()) == 17
    assert connections_of(object()) == 17
