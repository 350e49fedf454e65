"""A connection of its own on the same data, for another thread: what happens to the first one does not reach it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastapi_durable.model.records import RunQuery
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import a_run, create
from fastapi_durable.store.prisma import PrismaStateStore
from tests.store.conftest import emptied, prisma_of


@pytest.fixture
async def client(module_url: str) -> AsyncIterator[Any]:
    # One connection: whoever shares it has to wait for it.
    separator = "&" if "?" in module_url else "?"
    url = f"{module_url}{separator}connection_limit=1"
    async with prisma_of(module_url)(datasource={"url": url}) as client:
        yield client


@pytest.fixture
async def store(client: Any) -> PrismaStateStore:
    return await emptied(client)


async def _ids(store: StateStore, *, namespace: str | None = None) -> list[str]:
    """What a separate connection finds, opened in an event loop of another thread."""
    scoped = store if namespace is None else store.with_scope(namespace)
    connection = scoped.separate_connection()
    assert connection is not None

    async def look() -> list[str]:
        async with connection as separate:
            return sorted(run.id for run in await separate.list_runs(RunQuery(limit=9)))

    return await asyncio.to_thread(asyncio.run, look())


async def test_it_serves_another_event_loop_while_the_only_connection_is_taken(store: PrismaStateStore) -> None:
    await create(store, a_run("one"))
    async with store.transaction() as transaction:
        await transaction.create_run(a_run("not committed"))
        assert await _ids(store) == ["one"]
    assert await _ids(store) == ["not committed", "one"]


async def test_it_keeps_to_the_namespace_of_the_store(store: PrismaStateStore) -> None:
    await create(store, a_run("mine", namespace="mine"), a_run("theirs", namespace="theirs"))
    assert await _ids(store, namespace="mine") == ["mine"]


async def test_a_transaction_has_none(store: PrismaStateStore) -> None:
    async with store.transaction() as transaction:
        assert transaction.separate_connection() is None
