"""PrismaStateStore keeps the contract on SQLite, on a client that was generated when the checkout was set up."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from example_app.clients.sqlite import Prisma
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract import StateStoreContract
from fastapi_durable.store.prisma import PrismaStateStore
from tests.store.conftest import emptied

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(module_sqlite_url: str) -> AsyncIterator[Prisma]:
    async with Prisma(datasource={"url": module_sqlite_url}) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other_client(module_sqlite_url: str) -> AsyncIterator[Prisma]:
    """Another client, with connections of its own, as another process would have."""
    async with Prisma(datasource={"url": module_sqlite_url}) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def store(client: Prisma) -> StateStore:
    return await emptied(client)


class TestPrismaOnSqlite(StateStoreContract):
    @pytest.fixture
    def other_store(self, other_client: Prisma) -> StateStore:
        return PrismaStateStore(other_client)
