"""Tables that are altered while a client holds prepared statements for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from prisma_inprocess import Fault
from tests.prisma_inprocess.conftest import only_postgres
from tests.prisma_inprocess.test_faults import LONG, failure, seen, step
from tests.prisma_inprocess.workbench import Rich

pytestmark = only_postgres

CHANGES = [
    "ALTER TABLE steps ADD COLUMN extra TEXT",
    "ALTER TABLE steps ALTER COLUMN seq TYPE BIGINT",
    "ALTER TABLE steps ALTER COLUMN step_name TYPE VARCHAR(400)",
]
changes = pytest.mark.parametrize("change", CHANGES, ids=["new column", "wider number", "other text"])
ALL = "SELECT * FROM steps ORDER BY seq"


@pytest.fixture(autouse=True)
async def put_back(rich: Rich) -> AsyncIterator[None]:
    """The table as it was, afterwards: the database is the session's."""
    yield
    async with rich.client("connection_limit=1") as client:
        await client.execute_raw("TRUNCATE steps")
        await client.execute_raw("ALTER TABLE steps DROP COLUMN IF EXISTS extra")
        await client.execute_raw("ALTER TABLE steps ALTER COLUMN seq TYPE INTEGER USING seq::integer")
        await client.execute_raw("ALTER TABLE steps ALTER COLUMN step_name TYPE TEXT")


async def know_everything(db: Any) -> None:
    """Let both connections of a pool prepare the statements of this module."""
    managers = [db.tx(timeout=LONG) for _ in range(2)]
    for manager in managers:
        tx = await manager.start()
        await tx.query_raw(ALL)
        await tx.step.find_many()
        await tx.step.create(data=step(1))
        await tx.query_raw("UPDATE steps SET output = $1 WHERE seq = 1 RETURNING *", {"a": 1})
        await manager.rollback()


@changes
async def test_outside_of_a_transaction_nobody_notices(rich: Rich, change: str) -> None:
    async with rich.client("connection_limit=2") as db, rich.client("connection_limit=1") as other:
        await know_everything(db)
        await other.execute_raw(change)
        for number in (1, 2, 3):
            created, rows, _ = await asyncio.gather(
                db.step.create(data=step(number)), db.query_raw(ALL), db.step.find_many()
            )
            assert created.seq == number
            assert isinstance(rows, list)
        updated = await db.query_raw("UPDATE steps SET output = $1 WHERE seq = 1 RETURNING *", {"a": 1})
        assert [row["seq"] for row in updated] == [1]
        assert [row.seq for row in await db.step.find_many(order={"seq": "asc"})] == [1, 2, 3]


@changes
async def test_transactions_of_the_clients_own_are_repeated(rich: Rich, change: str) -> None:
    async with rich.client("connection_limit=2") as db, rich.client("connection_limit=1") as other:
        await know_everything(db)
        await other.execute_raw(change)
        async with db.batch_() as batch:
            batch.step.create(step(1))
            batch.step.create(step(2))
        assert await db.step.count() == 2


@pytest.mark.parametrize(
    ("change", "statement"),
    [*((change, "raw") for change in CHANGES), *((change, "planned") for change in CHANGES[1:])],
)
async def test_in_a_transaction_it_is_told_and_one_repetition_is_enough(
    rich: Rich, change: str, statement: str
) -> None:
    """Also where the repetition meets another connection, whose statements are as old."""

    async def read(tx: Any) -> None:
        await (tx.query_raw(ALL) if statement == "raw" else tx.step.create(data=step(9)))

    async with rich.client("connection_limit=2") as db, rich.client("connection_limit=1") as other:
        await know_everything(db)
        await other.execute_raw(change)
        first = db.tx(timeout=LONG)
        error = await failure(read(await first.start()))
        assert seen(error)[1:] == (Fault.PLAN_CHANGED, True, False)
        assert error.database_code == "0A000"
        second = db.tx(timeout=LONG)  # on the other connection, as the first one still holds its own
        await read(await second.start())
        assert seen(await failure(first.commit())) == ("P2028", Fault.PLAN_CHANGED, True, False)
        await second.rollback()
        for _ in range(3):
            async with db.tx(timeout=LONG) as tx:
                await tx.query_raw(ALL)
                await tx.step.find_many()


async def test_a_statement_that_the_server_has_forgotten_is_prepared_anew(rich: Rich) -> None:
    async with rich.client("connection_limit=1") as db:
        await know_everything(db)
        await db.execute_raw("DEALLOCATE ALL")
        assert await db.query_raw(ALL) == []
        assert await db.step.find_many() == []
        await db.execute_raw("DEALLOCATE ALL")
        tx = await db.tx(timeout=LONG).start()
        assert seen(await failure(tx.query_raw(ALL))) == ("P2010", Fault.PLAN_CHANGED, True, False)


async def test_a_column_of_another_kind_does_not_fail_for_ever(rich: Rich) -> None:
    """What the parameters of a prepared statement are is not asked again, so it is forgotten once it fails."""
    sql = "SELECT seq FROM steps WHERE seq = $1"
    async with rich.client("connection_limit=1") as db, rich.client("connection_limit=1") as other:
        assert await db.query_raw(sql, 1) == []
        await other.execute_raw("ALTER TABLE steps ALTER COLUMN seq TYPE TEXT")
        assert (await failure(db.query_raw(sql, 1))).fault is None
        assert await db.query_raw(sql, "1") == []
        assert await db.query_raw(sql, "1") == []


async def test_an_altered_type_is_read_anew(rich: Rich) -> None:
    async with rich.client("connection_limit=1") as db, rich.client("connection_limit=1") as other:
        await other.execute_raw("CREATE TYPE pair AS (a INT, b INT)")
        try:
            sql = "SELECT row_to_json(ROW(1, 2)::pair) AS x, (ROW(1, 2)::pair) AS y"
            before = await db.query_raw(sql)
            assert before[0]["x"] == {"a": 1, "b": 2}
            await other.execute_raw("ALTER TYPE pair DROP ATTRIBUTE b, ADD ATTRIBUTE c TEXT")
            sql = "SELECT (ROW(1, 'two')::pair) AS y"
            outcomes = [await asyncio.gather(db.query_raw(sql), return_exceptions=True) for _ in range(2)]
            assert "two" in str(outcomes[1][0])
        finally:
            await other.execute_raw("DROP TYPE pair")
