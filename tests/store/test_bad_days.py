"""What the store does when the database is locked, in conflict, or gone."""

import asyncio
import sqlite3
from datetime import timedelta
from typing import Any

import pytest

from example_app.clients.postgresql import Prisma as PostgresPrisma
from example_app.clients.sqlite import Prisma as SqlitePrisma
from fastapi_durable.model.errors import SerializationError, StoreConflictError, StoreError, StoreUnavailableError
from fastapi_durable.model.records import Lease, RunStatus
from fastapi_durable.store.contract.suite.builders import a_run, at, create, existing
from fastapi_durable.store.prisma import PrismaStateStore
from tests.store.conftest import prisma_of
from tests.support.migrations import migrate
from tests.support.postgres import LocalPostgresServer

pytestmark = pytest.mark.slow


async def test_a_client_that_is_not_connected_is_reported_as_unavailable(sqlite_url: str) -> None:
    store = PrismaStateStore(SqlitePrisma(datasource={"url": sqlite_url}))
    with pytest.raises(StoreUnavailableError):
        await store.ping()
    with pytest.raises(StoreUnavailableError):
        async with store.transaction():
            pass


@pytest.mark.postgres
async def test_a_store_works_again_when_its_database_is_back(stoppable_postgres: LocalPostgresServer) -> None:
    """While it is gone every operation says so, chained to the client's error and without the password."""
    url = stoppable_postgres.create_database("app").replace("postgres@", "postgres:secret-word@")
    migrate(url)
    async with PostgresPrisma(datasource={"url": f"{url}?connect_timeout=2&pool_timeout=2"}) as client:
        store = PrismaStateStore(client)
        await create(store, a_run())
        stoppable_postgres.stop()
        for operation in (
            store.ping,
            lambda: store.find_run("run-1"),
            lambda: store.create_run(a_run("run-2", search_attributes={"k": 1})),
            lambda: store.claim_runs("t", now=at(0), until=at(9), limit=1),
            lambda: store.renew_leases([Lease("run-1", "t")], until=at(9)),
        ):
            with pytest.raises(StoreUnavailableError) as unavailable:
                await operation()
            assert unavailable.value.__cause__ is not None
            assert "secret-word" not in f"{unavailable.value} {unavailable.value.__cause__}"
        stoppable_postgres.start()
        assert (await existing(store)).id == "run-1"
        assert await store.find_run("run-2") is None


async def test_a_short_lock_by_another_process_is_waited_out(sqlite_url: str) -> None:
    """SQLite has one writer; a store that stands alone tries again when it was turned away."""
    async with SqlitePrisma(datasource={"url": f"{sqlite_url}?socket_timeout=0.01"}) as client:
        store = PrismaStateStore(client)
        await store.ping()
        other = sqlite3.connect(sqlite_url.removeprefix("file:"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        single = asyncio.create_task(store.create_run(a_run("run-1")))
        several = asyncio.create_task(store.create_run(a_run("run-2", search_attributes={"k": 1})))
        await asyncio.sleep(0.1)
        assert not single.done()
        other.execute("COMMIT")
        other.close()
        assert (await single).created
        assert (await several).created


async def test_a_lock_that_does_not_end_is_a_conflict(sqlite_url: str) -> None:
    """After a bounded number of attempts."""
    async with SqlitePrisma(datasource={"url": f"{sqlite_url}?socket_timeout=0.01"}) as client:
        store = PrismaStateStore(client)
        other = sqlite3.connect(sqlite_url.removeprefix("file:"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreConflictError):
            await store.create_run(a_run())
        with pytest.raises(StoreConflictError):
            async with store.transaction():
                pass
        other.execute("COMMIT")
        other.close()
        assert (await store.create_run(a_run())).created


@pytest.mark.postgres
async def test_a_deadlock_of_two_transactions_undoes_one_as_a_conflict(postgres_url: str) -> None:
    """The other one commits, and running the block again succeeds."""
    async with PostgresPrisma(datasource={"url": postgres_url}) as client:
        store = PrismaStateStore(client)
        await create(store, a_run("a"), a_run("b"))
        both_hold_one = asyncio.Barrier(2)

        async def swap(first: str, second: str) -> None:
            async with store.transaction() as transaction:
                await transaction.update_run(first, {"output": first})
                await both_hold_one.wait()
                await transaction.update_run(second, {"output": first})

        results = await asyncio.gather(swap("a", "b"), swap("b", "a"), return_exceptions=True)
        conflicts = [result for result in results if result is not None]
        assert [type(conflict) for conflict in conflicts] == [StoreConflictError]
        winner = "a" if results[0] is None else "b"
        assert (await existing(store, "a")).output == winner
        assert (await existing(store, "b")).output == winner


@pytest.mark.postgres
async def test_a_conflict_in_the_callers_own_statement_is_one_as_well(postgres_url: str) -> None:
    """`ctx.transaction` bodies talk to the client themselves."""
    async with PostgresPrisma(datasource={"url": postgres_url}) as client:
        store = PrismaStateStore(client)
        await create(store, a_run("a"), a_run("b"))
        both_hold_one = asyncio.Barrier(2)
        attempts = 0

        async def swap(first: str, second: str) -> None:
            nonlocal attempts
            async with store.transaction() as transaction:
                attempts += 1
                own: Any = transaction.client
                await own.durableworkflowrun.update({"output": None}, where={"id": first})
                if attempts <= 2:
                    await both_hold_one.wait()
                await own.durableworkflowrun.update({"output": None}, where={"id": second})

        results = await asyncio.gather(swap("a", "b"), swap("b", "a"), return_exceptions=True)
        (conflict,) = [result for result in results if result is not None]
        assert isinstance(conflict, StoreConflictError)
        await swap("a", "b")


@pytest.mark.postgres
async def test_a_value_that_the_database_cannot_hold_is_refused(postgres_url: str) -> None:
    """PostgreSQL has no NUL character; nothing is written."""
    async with PostgresPrisma(datasource={"url": postgres_url}) as client:
        store = PrismaStateStore(client)
        for run in (a_run(input="nul \0"), a_run(workflow="nul \0"), a_run(input={"surrogate": "\ud800"})):
            with pytest.raises(SerializationError):
                await store.create_run(run)
        assert await store.find_run("run-1") is None


async def test_a_value_without_json_form_is_refused(sqlite_url: str) -> None:
    async with SqlitePrisma(datasource={"url": sqlite_url}) as client:
        store = PrismaStateStore(client)
        for value in (object(), float("nan"), {1, 2}, "\ud800"):
            with pytest.raises(SerializationError):
                await store.create_run(a_run(input=value))
        assert await store.find_run("run-1") is None


@pytest.mark.postgres
async def test_an_error_of_the_database_that_was_caught_still_undoes_the_transaction(postgres_url: str) -> None:
    """PostgreSQL gives up the whole transaction; the end of the block must not pretend otherwise."""
    async with PostgresPrisma(datasource={"url": postgres_url}) as client:
        store = PrismaStateStore(client)

        async def block() -> None:
            async with store.transaction(timeout=timedelta(seconds=5)) as transaction:
                await transaction.create_run(a_run())
                with pytest.raises(SerializationError):
                    await transaction.create_run(a_run("run-2", input="\0"))

        with pytest.raises(StoreError, match="transaction is over"):
            await block()
        assert await store.find_run("run-1") is None


async def test_an_error_of_the_callers_own_keeps_its_type(database_url: str) -> None:
    """Only what the database did is translated."""
    async with prisma_of(database_url)(datasource={"url": database_url}) as client:
        store = PrismaStateStore(client)
        for error in (KeyError("k"), ConnectionError("to the card gateway"), TimeoutError(), asyncio.CancelledError()):

            async def block(error: BaseException = error) -> None:
                async with store.transaction() as transaction:
                    await transaction.create_run(a_run())
                    raise error

            with pytest.raises(type(error)) as raised:
                await block()
            assert raised.value is error
        assert await store.find_run("run-1") is None
        await create(store, a_run(status=RunStatus.RUNNING))
