"""A run's ending on a client that runs several statements in one call, and on one that does not."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import a_checkpoint, a_run, create
from fastapi_durable.store.contract.suite.prepared import prepared
from fastapi_durable.store.prisma import PrismaStateStore
from tests.store.conftest import prisma_of
from tests.store.interposed_client import interposed_client


class ConnectionLostError(Exception):
    pass


@pytest.fixture(params=["one call", "a transaction"])
def in_one_call(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "one call")


@pytest_asyncio.fixture
async def client(database_url: str, in_one_call: bool) -> AsyncIterator[Any]:
    prisma: Any = interposed_client(prisma_of(database_url))
    if not in_one_call:

        class WithoutBatches(prisma):  # type: ignore[misc]
            """As a client of Prisma's native engine is."""

            @property
            def query_raw_batch(self) -> Any:
                raise AttributeError("query_raw_batch")

        prisma = WithoutBatches
    async with prisma(datasource={"url": database_url}) as client:
        yield client


async def end(store: StateStore) -> bool:
    ready = prepared(store, a_checkpoint(0), a_checkpoint(1))
    return await store.update_run("run-1", {"status": RunStatus.COMPLETED}, token="mine", checkpoints=ready)


async def lose_connection() -> None:
    raise ConnectionLostError


async def test_an_ending_writes_the_run_and_its_checkpoints(client: Any) -> None:
    store = PrismaStateStore(client)
    await create(store, a_run(status=RunStatus.RUNNING, locked_by="mine"))
    assert await end(store)
    run = await store.find_run("run-1")
    assert run is not None
    assert run.status is RunStatus.COMPLETED
    assert [row.seq for row in await store.list_checkpoints("run-1")] == [0, 1]


async def test_an_ending_without_its_lease_writes_nothing(client: Any) -> None:
    store = PrismaStateStore(client)
    await create(store, a_run(status=RunStatus.RUNNING, locked_by="another"))
    assert not await end(store)
    assert await store.list_checkpoints("run-1") == []


async def test_an_ending_whose_checkpoints_cannot_be_written_leaves_the_run_as_it_was(client: Any) -> None:
    store = PrismaStateStore(client)
    await create(store, a_run(status=RunStatus.RUNNING, locked_by="mine"))
    client.interruption.plan("INSERT INTO durable_step_checkpoints", lose_connection, times=9)
    with pytest.raises(ConnectionLostError):
        await end(store)
    client.interruption.plan("", lose_connection, times=0)
    run = await store.find_run("run-1")
    assert run is not None
    assert run.status is RunStatus.RUNNING
    assert await store.list_checkpoints("run-1") == []
