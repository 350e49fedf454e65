"""Interactive transactions: what is seen, what stays, and what happens when a caller goes away."""

# ruff: noqa: PT012 (what is raised comes out of the `async with` of the transaction, so that is what the block holds)

from __future__ import annotations

import asyncio
import datetime as dt
import random
from typing import Any

import pytest

from prisma_inprocess.errors import EngineError
from tests.prisma_inprocess.conftest import only_postgres
from tests.prisma_inprocess.workbench import Rich

LONG = dt.timedelta(seconds=30)


def step(number: int, name: str | None = None) -> dict[str, Any]:
    return {"runId": "r", "seq": number, "name": name or f"s{number}"}


async def test_a_transaction_is_seen_outside_only_after_it_commits(db: Any) -> None:
    async with db.tx() as tx:
        await tx.step.create(data=step(1))
        assert await tx.step.count() == 1
        assert await db.step.count() == 0
    assert await db.step.count() == 1


async def test_an_error_rolls_everything_back(db: Any) -> None:
    with pytest.raises(KeyError):
        async with db.tx() as tx:
            await tx.step.create(data=step(1))
            await tx.execute_raw("UPDATE steps SET step_name = 'x'")
            raise KeyError
    assert await db.step.count() == 0


async def test_an_expired_transaction_refuses_more_and_keeps_nothing(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.TransactionExpiredError, match="100 ms"):
        async with db.tx(timeout=dt.timedelta(milliseconds=100)) as tx:
            await tx.step.create(data=step(1))
            await asyncio.sleep(0.3)
            await tx.step.create(data=step(2))
    assert await db.step.count() == 0
    await db.step.create(data=step(3))


async def test_committing_after_the_time_is_up_is_an_error(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.TransactionError):
        async with db.tx(timeout=dt.timedelta(milliseconds=100)) as tx:
            await tx.step.create(data=step(1))
            await asyncio.sleep(0.3)
    assert await db.step.count() == 0


async def test_a_transaction_that_cannot_start_in_time_says_so(rich: Rich) -> None:
    async with rich.client("connection_limit=1") as db, db.tx(timeout=LONG):
        with pytest.raises(rich.errors.TransactionError):
            await db.tx(max_wait=dt.timedelta(milliseconds=100)).start()


async def test_a_failed_statement_leaves_the_transaction_unable_to_lie(db: Any, rich: Rich) -> None:
    """On PostgreSQL the whole transaction is lost, and committing it says so; on SQLite only the statement is."""

    async def swallow() -> None:
        async with db.tx() as tx:
            await tx.step.create(data=step(1))
            with pytest.raises(rich.errors.UniqueViolationError):
                await tx.step.create(data=step(1))

    if rich.provider == "postgresql":
        with pytest.raises(rich.errors.TransactionError):
            await swallow()
        assert await db.step.count() == 0
    else:
        await swallow()
        assert await db.step.count() == 1


async def test_nested_writes_and_batches_join_the_transaction(db: Any, rich: Rich) -> None:
    with pytest.raises(KeyError):
        async with db.tx() as tx:
            await tx.user.create(data={"email": "a", "settings": rich.json({}), "posts": {"create": [{"title": "p"}]}})
            async with tx.batch_() as batch:
                batch.step.create(step(1))
                batch.step.create(step(2))
            assert await tx.step.count() == 2
            raise KeyError
    assert (await db.user.count(), await db.post.count(), await db.step.count()) == (0, 0, 0)


async def test_statements_of_one_transaction_may_be_started_together(db: Any) -> None:
    async with db.tx() as tx:
        await asyncio.gather(*(tx.step.create(data=step(number)) for number in range(10)))
        assert await tx.step.count() == 10
    assert await db.step.count() == 10


async def test_writes_outside_wait_for_a_transaction_and_then_happen(db: Any, rich: Rich) -> None:
    async with db.tx(timeout=LONG) as tx:
        await tx.step.create(data=step(1))
        outside = asyncio.create_task(db.step.create(data=step(2)))
        if rich.provider == "postgresql":
            await outside
        else:
            done, _ = await asyncio.wait([outside], timeout=0.2)
            assert not done
    await outside
    assert await db.step.count() == 2


async def test_increments_from_many_transactions_are_not_lost(db: Any) -> None:
    await db.step.create(data={"runId": "counter", "seq": 0, "name": "0"})
    counter = {"runId_name": {"runId": "counter", "name": "0"}}

    async def add() -> None:
        async with db.tx(max_wait=LONG, timeout=LONG) as tx:
            await tx.step.update(where=counter, data={"seq": {"increment": 1}})

    await asyncio.gather(*(add() for _ in range(64)))
    assert (await db.step.find_unique(where=counter)).seq == 64


async def test_cancellation_at_any_moment_loses_no_connection_and_no_update(rich: Rich) -> None:
    """What a caller was told had happened has happened; what was cancelled has happened whole or not at all."""
    chance = random.Random(7)
    async with rich.client("connection_limit=3") as db:
        await db.step.create(data={"runId": "counter", "seq": 0, "name": "0"})
        counter = {"runId_name": {"runId": "counter", "name": "0"}}
        done: list[int] = []
        unknown: list[int] = []

        async def work() -> None:
            async with db.tx(max_wait=LONG, timeout=LONG) as tx:
                await tx.step.update(where=counter, data={"seq": {"increment": 1}})
                await tx.step.update(where=counter, data={"seq": {"increment": 1}})

        async def one() -> None:
            task = asyncio.create_task(work())
            await asyncio.sleep(chance.random() * 0.03)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                unknown.append(2)
            else:
                done.append(2)

        for _ in range(15):
            await asyncio.gather(*(one() for _ in range(8)))
        value = (await db.step.find_unique(where=counter)).seq
        assert value % 2 == 0
        assert sum(done) <= value <= sum(done) + sum(unknown)
        # All connections are still there: as many transactions at once as the pool has, and each may write.
        for _ in range(4):
            async with db.tx(max_wait=dt.timedelta(seconds=10), timeout=LONG) as tx:
                await tx.step.update(where=counter, data={"seq": {"increment": 2}})
        assert (await db.step.find_unique(where=counter)).seq == value + 8


def slow_statement(rich: Rich) -> str:
    if rich.provider == "postgresql":
        return "SELECT pg_sleep(30)"
    return "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_a_statement_does_not_outlive_its_transactions_time(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.TransactionExpiredError):
        async with asyncio.timeout(60), db.tx(timeout=dt.timedelta(milliseconds=200)) as tx:
            await tx.step.create(data=step(1))
            await tx.query_raw(slow_statement(rich))
    async with asyncio.timeout(60):
        await db.step.create(data=step(1))
    if rich.provider == "postgresql":
        running = (
            "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
            " AND query LIKE 'SELECT pg_sleep(30)%'"
        )
        async with asyncio.timeout(60):
            while (await db.query_raw(running))[0]["n"]:  # noqa: ASYNC110 (the server does not call back)
                await asyncio.sleep(0.05)


async def test_a_cancelled_statement_ends_its_transaction(db: Any, rich: Rich) -> None:
    manager = db.tx(timeout=LONG)
    tx = await manager.start()
    await tx.step.create(data=step(1))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await tx.query_raw(slow_statement(rich))
    with pytest.raises(rich.errors.TransactionError):
        await tx.step.create(data=step(2))
    with pytest.raises(rich.errors.TransactionError):
        await manager.commit()
    assert await db.step.count() == 0
    await db.step.create(data=step(3))


async def test_a_statement_on_its_way_when_its_transaction_is_rolled_back_is_not_executed(db: Any) -> None:
    """The connection is in the pool again, where it would be executed outside every transaction."""
    await db.step.create(data=step(1))
    manager = db.tx(timeout=LONG)
    await manager.start()
    (opened,) = db._engine._transactions._open.values()
    await manager.rollback()
    with pytest.raises(EngineError):
        await opened.transaction.execute_raw("DELETE FROM steps", [])
    assert await db.step.count() == 1


async def test_an_isolation_level_can_be_asked_for(db: Any, rich: Rich) -> None:
    async with db.tx(isolation_level="Serializable") as tx:
        await tx.step.create(data=step(1))
        if rich.provider == "postgresql":
            assert await tx.query_raw("SHOW transaction_isolation") == [{"transaction_isolation": "serializable"}]
    assert await db.step.count() == 1
    if rich.provider == "sqlite":
        with pytest.raises(rich.errors.DataError, match="ReadCommitted"):
            await db.tx(isolation_level="ReadCommitted").start()


@only_postgres
async def test_a_serialisation_failure_says_to_try_again(db: Any, rich: Rich) -> None:
    await db.step.create(data=step(1))
    key = {"runId_seq": {"runId": "r", "seq": 1}}
    with pytest.raises(rich.errors.DataError) as failure:
        async with db.tx(isolation_level="RepeatableRead") as tx:
            await tx.step.count()
            await db.step.update(where=key, data={"name": "outside"})
            await tx.step.update(where=key, data={"name": "inside"})
    assert failure.value.code == "P2034"
    assert (await db.step.find_unique(where=key)).name == "outside"


async def test_the_end_of_a_transaction_is_told_with_whether_it_was_committed(db: Any) -> None:
    told: list[tuple[str, bool]] = []

    def teller(name: str) -> Any:
        return lambda committed: told.append((name, committed))

    async with db.tx() as tx:
        tx._engine.when_transaction_ended(tx._tx_id, teller("committed"))
        assert told == []
    with pytest.raises(KeyError):
        async with db.tx() as tx:
            tx._engine.when_transaction_ended(tx._tx_id, teller("undone"))
            raise KeyError
    with pytest.raises(Exception, match="Transaction already closed"):
        async with db.tx(timeout=dt.timedelta(milliseconds=50)) as tx:
            tx._engine.when_transaction_ended(tx._tx_id, teller("expired"))
            await asyncio.sleep(0.3)
    assert told == [("committed", True), ("undone", False), ("expired", False)]
    with pytest.raises(Exception, match="Transaction already closed"):
        tx._engine.when_transaction_ended(tx._tx_id, teller("too late"))
