"""A database whose transactions have another isolation level by default: the store says its own."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from example_app.clients.postgresql import Prisma
from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import a_waiter, at
from fastapi_durable.store.prisma import PrismaStateStore
from tests.support.engine_rig import FAST, running_engine, tuned
from tests.support.postgres import PostgresServer

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

LEVELS = ["repeatable read", "serializable"]
MANY = 300 if os.environ.get("DURABLE_CRASHES") == "all" else 100


class PlainPrisma(Prisma):
    """As Prisma Client Python on its native engine, whose transactions know no level."""

    def tx(self, *, max_wait: Any, timeout: Any) -> Any:  # type: ignore[override]
        return super().tx(max_wait=max_wait, timeout=timeout)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, postgres_url: str, postgres_server: PostgresServer) -> str:
    """The default of the database behind `postgres_url`."""
    name = postgres_url.rpartition("/")[2]
    postgres_server.sql(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = '{request.param}'", name)
    return str(request.param)


@pytest.fixture(params=[Prisma, PlainPrisma])
async def client(request: pytest.FixtureRequest, postgres_url: str, level: str) -> AsyncIterator[Any]:
    async with request.param(datasource={"url": f"{postgres_url}?connection_limit=5"}) as client:
        yield client


@pytest.fixture
def store(client: Any) -> StateStore:
    return PrismaStateStore(client)


async def test_whoever_waited_for_a_name_sees_what_its_last_holder_committed(store: StateStore) -> None:
    """A signal and the wait for it, crossed on purpose: the wait has asked for the name before the signal is stored."""
    waiting = asyncio.Event()

    async def wait_for_signal() -> bool:
        async with store.transaction() as transaction:
            waiting.set()
            await transaction.lock_name("signal:t")
            return await transaction.take_buffered_signal("t") is not None

    async with store.transaction() as transaction:
        await transaction.lock_name("signal:t")
        wait = asyncio.create_task(wait_for_signal())
        await waiting.wait()
        done, _ = await asyncio.wait([wait], timeout=0.2)
        assert not done
        await transaction.buffer_signal("t", 1, now=at(0))
    assert await wait


async def test_the_level_is_said_once_a_transaction_and_changes_nothing_else(client: Any, level: str) -> None:
    store = PrismaStateStore(client)
    for _ in range(2):
        async with store.transaction() as transaction:
            await transaction.put_signal_waiter(a_waiter("t"))
            rows = await transaction.client.query_raw("SHOW transaction_isolation")  # type: ignore[attr-defined]
            assert rows == [{"transaction_isolation": "read committed"}]
    # The application's own statements keep what its database says.
    assert await client.query_raw("SHOW transaction_isolation") == [{"transaction_isolation": level}]


@workflow
async def answered(ctx: WorkflowContext, number: int) -> int:
    return await ctx.wait_for_signal(f"answer:{number}", int)


async def test_no_signal_misses_the_run_that_waits_for_it(store: StateStore, caplog: pytest.LogCaptureFixture) -> None:
    """Each is sent while its run comes to the wait; none is stranded, and no turn fails on the way."""
    config = tuned(FAST, lease=timedelta(seconds=30), concurrency=64)
    caplog.set_level(logging.INFO, "fastapi_durable")
    async with running_engine(store, answered, config=config) as engine:

        async def converse(number: int) -> int:
            handle = await engine.start(answered, number)
            await asyncio.sleep((number % 7) / 1000)
            await engine.signal(f"answer:{number}", number)
            return await handle.result("60s")

        assert await asyncio.gather(*(converse(number) for number in range(MANY))) == list(range(MANY))
    assert [record.getMessage() for record in caplog.records if "driving run" in record.getMessage()] == []
