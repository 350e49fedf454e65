"""The memory store keeps the contract."""

import asyncio

import pytest

from fastapi_durable.model.errors import SerializationError, StoreError
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.store import contract
from tests.store.contract.builders import a_run, create


@pytest.fixture
def store() -> StateStore:
    return MemoryStateStore()


@pytest.fixture
def other_store(store: StateStore) -> StateStore:
    return store


class TestActivity(contract.ActivityContract): ...


class TestAttributes(contract.AttributesContract): ...


class TestCheckpoints(contract.CheckpointsContract): ...


class TestClaims(contract.ClaimsContract): ...


class TestEvents(contract.EventsContract): ...


class TestLeases(contract.LeasesContract): ...


class TestQueries(contract.QueriesContract): ...


class TestQueues(contract.QueuesContract): ...


class TestRaces(contract.RacesContract): ...


class TestRetention(contract.RetentionContract): ...


class TestRuns(contract.RunsContract): ...


class TestScope(contract.ScopeContract): ...


class TestSignals(contract.SignalsContract): ...


class TestTransactions(contract.TransactionsContract): ...


class TestUpkeep(contract.UpkeepContract): ...


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
