"""A server, or the network before it, that says nothing more: no reset, no end, only silence."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from prisma_inprocess import EngineError, Fault
from tests.prisma_inprocess.conftest import only_postgres
from tests.prisma_inprocess.proxy import Proxy, proxy_before
from tests.prisma_inprocess.test_faults import LONG, end_statements, failure, outcome, seen, step
from tests.prisma_inprocess.workbench import Rich

pytestmark = [only_postgres, pytest.mark.slow]


@asynccontextmanager
async def behind_proxy(rich: Rich, options: str) -> AsyncIterator[tuple[Proxy, Any]]:
    """A client that reaches the database through a proxy, and has one connection open."""
    async with proxy_before(rich.url) as proxy:
        client = Rich(rich.provider, rich.package, proxy.url).client(options)
        await client.connect()
        try:
            yield proxy, client
        finally:
            proxy.cut()
            await client.disconnect()


@contextmanager
def takes_less_than(seconds: float) -> Iterator[None]:
    """Generous: what it tells apart is a limit from no limit."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


NO_ANSWER = ("P1008", Fault.NO_ANSWER, True, False)
UNKNOWN = ("P1008", Fault.NO_ANSWER, False, True)


async def test_a_statement_is_given_up_at_its_limit_and_its_connection_not_used_again(rich: Rich) -> None:
    async with behind_proxy(rich, "connection_limit=1&socket_timeout=0.3") as (proxy, db):
        proxy.silence_open()
        with takes_less_than(10):
            assert seen(await failure(db.step.find_many())) == NO_ANSWER
            assert await db.step.count() == 0
        proxy.silence_open()
        with takes_less_than(10):
            assert seen(await failure(db.step.create(data=step(1)))) == UNKNOWN
            assert await db.step.count() == 0


async def test_a_transaction_that_is_not_answered_is_over(rich: Rich) -> None:
    async with behind_proxy(rich, "connection_limit=1&socket_timeout=0.3") as (proxy, db):
        manager = db.tx(timeout=LONG)
        tx = await manager.start()
        await tx.step.create(data=step(1))
        proxy.silence_open()
        with takes_less_than(10):
            assert seen(await failure(tx.step.create(data=step(2)))) == NO_ANSWER
            assert seen(await failure(tx.step.count())) == NO_ANSWER
            assert seen(await failure(manager.commit())) == NO_ANSWER
            assert await db.step.count() == 0


async def test_a_commit_that_is_not_answered_is_in_doubt(rich: Rich) -> None:
    async with behind_proxy(rich, "connection_limit=1&socket_timeout=0.3") as (proxy, db):
        manager = db.tx(timeout=LONG)
        tx = await manager.start()
        await tx.step.create(data=step(1))
        proxy.silence_open()
        with takes_less_than(10):
            assert seen(await failure(manager.commit())) == UNKNOWN


async def test_a_commit_has_a_limit_though_statements_have_none(rich: Rich) -> None:
    async with behind_proxy(rich, "connection_limit=1") as (proxy, db):
        transaction = await db._engine._driver.begin()
        proxy.silence_open()
        with takes_less_than(10), pytest.raises(EngineError) as error:
            await transaction.commit(within=0.3)
        assert seen(error.value) == UNKNOWN


async def test_beginning_and_rolling_back_have_limits_though_statements_have_none(rich: Rich) -> None:
    async with behind_proxy(rich, "connection_limit=1&connect_timeout=0.5") as (proxy, db):
        proxy.silence_open()
        with takes_less_than(10):
            assert seen(await failure(db.tx(timeout=LONG).start())) == NO_ANSWER
        manager = db.tx(timeout=LONG)
        await manager.start()
        proxy.silence_open()
        with takes_less_than(10):
            await manager.rollback()
            assert await db.step.count() == 0


async def test_one_silent_connection_stops_nobody_else(rich: Rich) -> None:
    async with behind_proxy(rich, "connection_limit=3&socket_timeout=2") as (proxy, db):
        await asyncio.gather(*(db.query_raw("SELECT pg_sleep(0.05)") for _ in range(3)))
        proxy.silence_open(first=1)
        counts = [asyncio.create_task(outcome(db.step.count())) for _ in range(30)]
        with takes_less_than(20):
            outcomes = [await count for count in counts]
        failed = [each for each in outcomes if isinstance(each, BaseException)]
        assert [seen(error) for error in failed] in ([], [NO_ANSWER])
        assert outcomes.count(0) == 30 - len(failed)


async def test_when_all_are_silent_everybody_is_told_in_time_and_goes_on_afterwards(rich: Rich) -> None:
    async with behind_proxy(rich, "connection_limit=2&socket_timeout=0.3&pool_timeout=0.5&connect_timeout=0.5") as (
        proxy,
        db,
    ):
        proxy.silence()
        with takes_less_than(20):
            errors = await asyncio.gather(*(failure(db.step.find_many()) for _ in range(8)))
        told = {Fault.NO_ANSWER, Fault.UNREACHABLE, Fault.POOL_TIMEOUT}
        assert {error.fault for error in errors} <= told
        assert all(error.retryable for error in errors)
        proxy.speak()
        with takes_less_than(20):
            assert await db.step.count() == 0


async def test_a_full_pool_of_silent_connections_does_not_hold_its_waiters(rich: Rich) -> None:
    async with behind_proxy(rich, "connection_limit=1&pool_timeout=0.3") as (proxy, db):
        proxy.silence_open()
        stuck = asyncio.create_task(outcome(db.step.count()))
        await asyncio.sleep(0)
        with takes_less_than(10):
            assert seen(await failure(db.step.count())) == ("P2024", Fault.POOL_TIMEOUT, True, False)
        stuck.cancel()
        with takes_less_than(10):
            await asyncio.gather(stuck, return_exceptions=True)
            assert await db.step.count() == 0


async def test_the_time_of_a_transaction_ends_in_silence_too(rich: Rich) -> None:
    async with behind_proxy(rich, "connection_limit=1&connect_timeout=1") as (proxy, db):
        for while_a_statement_runs in (True, False):
            tx = await db.tx(timeout=dt.timedelta(seconds=1)).start()
            proxy.silence()
            with takes_less_than(15):
                if not while_a_statement_runs:
                    await asyncio.sleep(1.1)
                assert seen(await failure(tx.step.count()))[:2] == ("P2028", Fault.TRANSACTION_EXPIRED)
            proxy.speak()
            with takes_less_than(15):
                assert await db.step.count() == 0


async def test_a_statement_that_arrives_after_its_transaction_was_given_up_is_stopped(rich: Rich) -> None:
    async with behind_proxy(rich, "connection_limit=2") as (proxy, db):
        tx = await db.tx(timeout=dt.timedelta(milliseconds=300)).start()
        arrived = proxy.delay_open()
        late = asyncio.create_task(failure(tx.query_raw("SELECT pg_sleep(300)")))
        await asyncio.sleep(0.6)
        arrived.set()
        assert seen(await late)[:2] == ("P2028", Fault.TRANSACTION_EXPIRED)
        async with rich.client("connection_limit=1") as other, asyncio.timeout(60):
            held = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(300)%'"
            while (await other.query_raw(held))[0]["n"]:  # noqa: ASYNC110 (the server does not call back)
                await asyncio.sleep(0.05)


async def test_disconnecting_does_not_wait_for_a_silent_server(rich: Rich) -> None:
    async with proxy_before(rich.url) as proxy:
        client = Rich(rich.provider, rich.package, proxy.url).client("connection_limit=4")
        await client.connect()
        transactions = [await client.tx(timeout=LONG).start() for _ in range(3)]
        running = asyncio.create_task(failure(transactions[0].query_raw("SELECT pg_sleep(30)")))
        stuck = asyncio.create_task(outcome(client.step.count()))
        await asyncio.sleep(0.1)
        proxy.silence()
        with takes_less_than(15):
            await client.disconnect()
            assert seen(await running) == ("P1017", Fault.NOT_CONNECTED, True, False)
        proxy.cut()
        await stuck
        # Nothing that the client sent reached the server, which goes on.
        await end_statements(rich, "SELECT pg_sleep(30)%")


async def test_connecting_to_a_silent_server_leaves_nothing_behind(rich: Rich) -> None:
    async with proxy_before(rich.url) as proxy:
        client = Rich(rich.provider, rich.package, proxy.url).client("application_name=left_behind")
        task = asyncio.create_task(client.connect(timeout=dt.timedelta(milliseconds=1)))
        assert seen(await failure(task))[:2] == ("P1001", Fault.UNREACHABLE)
        async with rich.client("connection_limit=1") as other, asyncio.timeout(60):
            held = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'left_behind'"
            await asyncio.sleep(0.3)  # the connection may still be on its way
            while (await other.query_raw(held))[0]["n"]:  # noqa: ASYNC110 (the server does not call back)
                await asyncio.sleep(0.05)


async def test_the_kernel_watches_connections(rich: Rich) -> None:
    async with rich.client("keepalives_idle=7&keepalives_interval=3&keepalives_count=2&tcp_user_timeout=4500") as db:
        link = await socket_of(db)
        assert link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        values = [link.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in options]
        assert values == [7, 3, 2, 4500]
    async with rich.client("keepalives=0&tcp_user_timeout=0") as db:
        assert (await socket_of(db)).getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


async def socket_of(db: Any) -> Any:
    pool = db._engine._driver._pool
    connection = await pool.acquire(1)
    pool.give_back(connection)
    return connection.raw._transport.get_extra_info("socket")
