"""The memory store keeps the contract."""

import asyncio

import pytest

from fastapi_durable.model.errors import SerializationError, StoreError
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract import StateStoreContract
from fastapi_durable.store.contract.suite.builders import a_run, create
from fastapi_durable.store.memory import MemoryStateStore


@pytest.fixture
def store() -> StateStore:
    return MemoryStateStore()


class TestMemory(StateStoreContract): ...


async def test_others_wait_while_a_transaction_is_open(store: StateStore) -> None:
    async with store.transaction() as transaction:
        await transaction.create_run(a_run())
        outside = asyncio.create_task(store.find_run("run-1"))
        done, _ = await asyncio.wait([outside], timeout=0.05)
        assert not done
        await transaction.delete_run("run-1")
    assert await outside is None


async def test_using_the_store_inside_its_own_transaction_is_an_error_and_not_a_deadlock(store: StateStore) -> None:
    async with store.transaction():
        with pytest.raises(StoreError, match="inside its own transaction"):
            await store.find_run("run-1")
        with pytest.raises(StoreError, match="inside its own transaction"):
            async with store.transaction():
                pass


async def test_a_transaction_is_over_after_its_block(store: StateStore) -> None:
    async with store.transaction() as transaction:
        pass
    with pytest.raises(StoreError, match="is over"):
        await transaction.find_run("run-1")


async def test_a_value_without_json_form_is_refused(store: StateStore) -> None:
    for value in (object(), float("nan"), {1, 2}, "\ud800"):
        with pytest.raises(SerializationError):
            await create(store, a_run(input=value))
    assert await store.find_run("run-1") is None
