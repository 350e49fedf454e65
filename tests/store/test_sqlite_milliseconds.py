"""PrismaStateStore keeps the contract on a SQLite file whose dates are integers, as Prisma's native engine has them."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from example_app.clients.sqlite import Prisma
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract import StateStoreContract
from fastapi_durable.store.prisma import PrismaStateStore
from fastapi_durable.store.prisma.tables import TABLES
from tests.store.conftest import emptied

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(module_sqlite_url: str) -> AsyncIterator[Prisma]:
    async with Prisma(datasource={"url": f"{module_sqlite_url}?timestampFormat=unixepoch-ms"}) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other_client(module_sqlite_url: str) -> AsyncIterator[Prisma]:
    async with Prisma(datasource={"url": f"{module_sqlite_url}?timestampFormat=unixepoch-ms"}) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def store(client: Prisma) -> AsyncIterator[StateStore]:
    """The store; after each test no table may hold a time as text."""
    yield await emptied(client)
    for table in TABLES:
        for column in await client.query_raw(
            "SELECT name FROM pragma_table_info(?) WHERE type = 'DATETIME'", table.name
        ):
            name = column["name"]
            rows = await client.query_raw(f"SELECT 1 AS one FROM {table.name} WHERE typeof({name}) = 'text' LIMIT 1")
            assert not rows, f"{table.name}.{name}"


class TestPrismaOnSqliteMilliseconds(StateStoreContract):
    @pytest.fixture
    def other_store(self, other_client: Prisma) -> StateStore:
        return PrismaStateStore(other_client)
