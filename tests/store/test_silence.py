"""A database that stops to answer: nothing waits for it without a limit, and what it holds up is its own call."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from example_app.clients.postgresql import Prisma as PostgresPrisma
from fastapi_durable.model.errors import StoreUnavailableError
from fastapi_durable.model.records import Lease, RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import a_checkpoint, a_run, at, create, existing
from fastapi_durable.store.contract.suite.prepared import prepared
from fastapi_durable.store.prisma import PrismaStateStore
from tests.store.conftest import prisma_of
from tests.store.silence import Network, hanging
from tests.support.leap import leap

pytestmark = pytest.mark.slow

LIMIT = timedelta(seconds=60)
"""Longer than a slow machine needs for a statement. It passes only when a test leaps: what ends before a leap did not
wait for what hangs."""
REAL_LIMIT = timedelta(seconds=4)
"""For what hangs in the network: a leap would end every other limit of the client as well."""
MANY = 20
Call = Callable[[StateStore, int], Awaitable[Any]]


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Any]:
    prisma = hanging(prisma_of(database_url))
    options = "" if database_url.startswith("file:") else "?connection_limit=5"
    async with prisma(datasource={"url": database_url + options}) as client:
        yield client
        client.silence.end()


@pytest.fixture
async def store(client: Any) -> StateStore:
    store: StateStore = PrismaStateStore(client)
    await create(store, *(a_run(f"run-{n}", status=RunStatus.RUNNING, locked_by="mine") for n in range(MANY)))
    return store.with_timeout(LIMIT)


GATHERED: dict[str, Call] = {
    "create_run": lambda store, n: store.create_run(a_run(f"new-{n}")),
    "record_checkpoint": lambda store, n: store.record_checkpoint(a_checkpoint(0, f"run-{n}"), token="mine"),
    "record_prepared": lambda store, n: store.record_prepared(
        prepared(store, a_checkpoint(0, f"run-{n}")), token="mine"
    ),
    "update_run": lambda store, n: store.update_run(f"run-{n}", {"output": n}, token="mine"),
    "find_run": lambda store, n: store.find_run(f"run-{n}"),
    "read_history": lambda store, n: store.read_history(f"run-{n}"),
}


@pytest.mark.parametrize("hanging_calls", [1, 3], ids=["one call", "a call and two batches"])
@pytest.mark.parametrize("name", GATHERED)
async def test_calls_of_one_kind_go_on_while_one_of_them_hangs(
    name: str, hanging_calls: int, client: Any, store: StateStore
) -> None:
    """Those that were sent with it fail in the end, since nobody knows what became of them; the others have gone on."""
    call = GATHERED[name]
    client.silence.fall(times=hanging_calls)
    stuck = []
    for number in range(hanging_calls):
        stuck.append(asyncio.ensure_future(call(store, number)))
        await client.silence.has_begun(number + 1)
    others = [call(store, n) for n in range(hanging_calls, MANY)]
    await asyncio.gather(*others)
    assert not any(each.done() for each in stuck)
    leap(LIMIT)
    for each in await asyncio.gather(*stuck, return_exceptions=True):
        assert isinstance(each, StoreUnavailableError)
    # Whoever asks again learns how it is.
    assert len(await asyncio.gather(*(call(store, n) for n in range(MANY)))) == MANY


async def test_a_hanging_batch_fails_for_everybody_in_it_and_for_nobody_else(client: Any, store: StateStore) -> None:
    client.silence.fall(times=2)
    calls = [asyncio.ensure_future(GATHERED["find_run"](store, n)) for n in range(MANY)]
    await client.silence.has_begun(2)
    leap(LIMIT)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, StoreUnavailableError) for each in results)
    assert "unknown" in str(results[0])
    assert await GATHERED["find_run"](store, 0) is not None


async def test_calls_that_were_never_sent_are_told_so(client: Any, store: StateStore) -> None:
    """As many as may be under way hang: the others neither wait without a limit nor are in doubt."""
    impatient = store.with_timeout(timedelta(seconds=1))
    client.silence.fall(times=10**6)
    calls = []
    for number in range(4):
        calls.append(asyncio.ensure_future(GATHERED["create_run"](impatient, number)))
        await client.silence.has_begun(number + 1)
    calls.append(asyncio.ensure_future(GATHERED["create_run"](impatient, 999)))
    async with asyncio.timeout(LIMIT.total_seconds()):
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, StoreUnavailableError) for each in results)
    client.silence.end()
    assert await store.find_run("new-999") is None
    assert (await store.create_run(a_run("new-999"))).created


ALONE: dict[str, Callable[[StateStore], Awaitable[Any]]] = {
    "list_runs": lambda store: store.list_runs(RunQuery()),
    "count_runs": lambda store: store.count_runs(RunQuery()),
    "claim_runs": lambda store: store.claim_runs("t", now=at(0), until=at(9), limit=1),
    "renew_leases": lambda store: store.renew_leases([Lease("run-0", "mine")], until=at(9)),
    "list_checkpoints": lambda store: store.list_checkpoints("run-0"),
    "delete_run": lambda store: store.delete_run("run-0"),
    "ping": lambda store: store.ping(),
}


@pytest.mark.parametrize("name", ALONE)
async def test_every_call_has_a_limit(name: str, client: Any, store: StateStore) -> None:
    """The console's reads as well as the worker's writes."""
    client.silence.fall()
    call = asyncio.ensure_future(ALONE[name](store))
    await client.silence.has_begun(1)
    leap(LIMIT)
    with pytest.raises(StoreUnavailableError, match="no answer within 60 s"):
        await call
    await ALONE[name](store)


@pytest.mark.parametrize("statement", ["BEGIN", "SELECT", "COMMIT", "ROLLBACK"])
async def test_a_transaction_that_hangs_ends_and_gives_its_place_back(
    statement: str, client: Any, store: StateStore
) -> None:
    """Ten of them one after the other: more than there are connections."""

    async def block() -> None:
        async with store.transaction(timeout=LIMIT) as transaction:
            await transaction.find_run("run-0")
            if statement == "ROLLBACK":
                raise KeyError

    for _ in range(10):
        client.silence.fall(about=statement)
        attempt = asyncio.ensure_future(block())
        await client.silence.has_begun(1)
        leap(LIMIT)
        with pytest.raises(KeyError if statement == "ROLLBACK" else StoreUnavailableError):
            await attempt
    client.silence.end()
    async with store.transaction() as transaction:
        assert await transaction.find_run("run-0") is not None


@pytest.mark.postgres
async def test_one_half_open_connection_of_five_holds_up_nobody(postgres_url: str) -> None:
    """No reset, no refusal: what is sent on it is lost."""
    async with Network(postgres_url).open() as network:
        async with PostgresPrisma(datasource={"url": f"{network.url}?connection_limit=5"}) as client:
            store = PrismaStateStore(client)
            await asyncio.gather(*(store.list_runs(RunQuery()) for _ in range(4)))
            assert network.connections >= 2
            # The pool hands out first what was given back last.
            network.cut(network.last)
            store = store.with_timeout(REAL_LIMIT)
            calls = [asyncio.ensure_future(store.create_run(a_run(f"run-{n}"))) for n in range(30)]
            done, stuck = await asyncio.wait(calls, timeout=REAL_LIMIT.total_seconds() - 1)
            assert len(done) == 29
            assert all(each.result().created for each in done)
            (result,) = await asyncio.gather(*stuck, return_exceptions=True)
            assert isinstance(result, StoreUnavailableError)
            # The dead connection was closed.
            again = await asyncio.gather(*(store.create_run(a_run(f"again-{n}")) for n in range(30)))
            assert all(each.created for each in again)


@pytest.mark.postgres
async def test_a_store_works_again_when_a_silent_network_is_back(postgres_url: str) -> None:
    async with Network(postgres_url).open() as network:
        async with PostgresPrisma(datasource={"url": f"{network.url}?connection_limit=5&connect_timeout=1"}) as client:
            store = PrismaStateStore(client).with_timeout(timedelta(seconds=1))
            await create(store, a_run())
            network.cut()
            for _ in range(3):
                with pytest.raises(StoreUnavailableError):
                    await asyncio.gather(*(store.find_run("run-1") for _ in range(9)))
            network.mend()
            assert (await existing(store.with_timeout(REAL_LIMIT))).id == "run-1"
