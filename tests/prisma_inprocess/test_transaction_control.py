"""No raw statement begins or ends a transaction behind the client's back."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from prisma_inprocess import EngineError
from prisma_inprocess.drivers import sqlite_connection
from prisma_inprocess.transaction_control import refuse_control
from prisma_inprocess.url import parse_sqlite_url
from tests.prisma_inprocess.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.test_faults import LONG, failure, seen, step
from tests.prisma_inprocess.workbench import Rich

BOUNDARIES = [
    "BEGIN",
    "begin immediate",
    "BEGIN;",
    "START TRANSACTION",
    "start /* a */ transaction isolation level serializable",
    "COMMIT",
    "  \n\tcommit work",
    "-- done\nCOMMIT",
    "/* done */ COMMIT AND CHAIN",
    "; COMMIT",
    "END",
    "ABORT",
    "ROLLBACK",
    "ROLLBACK TRANSACTION",
    "ROLLBACK WORK AND CHAIN",
    "PREPARE TRANSACTION 'x'",
]
OTHERS = [
    "SELECT 1",
    "ENDPOINTS",
    "UPDATE begin SET a = 1",
    "-- COMMIT\nSELECT 1",
    "/* ROLLBACK */ SELECT 1",
    "PREPARE transactional AS SELECT 1",
    "COMMIT PREPARED 'x'",
    "ROLLBACK PREPARED 'x'",
    "START_OVER",
    "/* a */ SELECT '*/ COMMIT'",
]
SAVEPOINTS = [
    "SAVEPOINT a",
    "RELEASE a",
    "RELEASE SAVEPOINT a",
    "ROLLBACK TO a",
    "rollback to savepoint a",
    "ROLLBACK TRANSACTION TO a",
    "ROLLBACK /* a */ WORK TO -- b\n SAVEPOINT a",
]


@pytest.mark.parametrize("in_transaction", [True, False])
def test_boundaries_are_recognised_however_they_are_written(in_transaction: bool) -> None:
    for sql in BOUNDARIES:
        with pytest.raises(EngineError) as refused:
            refuse_control(sql, in_transaction=in_transaction)
        assert (refused.value.code, refused.value.meta["code"]) == ("P2010", "25000"), sql
    for sql in OTHERS:
        refuse_control(sql, in_transaction=in_transaction)


def test_many_comments_before_a_statement_cost_no_time() -> None:
    comments = "/* a */ -- b\n" * 10_000
    refuse_control(f"{comments}SELECT 1", in_transaction=True)
    refuse_control(f"{comments}ROLLBACK {comments}TO a", in_transaction=True)
    with pytest.raises(EngineError):
        refuse_control(f"{comments}COMMIT", in_transaction=True)


def test_savepoints_are_for_transactions() -> None:
    for sql in SAVEPOINTS:
        refuse_control(sql, in_transaction=True)
        with pytest.raises(EngineError, match=r"outside of `tx\(\)`"):
            refuse_control(sql, in_transaction=False)


@pytest.mark.parametrize("sql", ["COMMIT", "ROLLBACK", "BEGIN", "END"])
async def test_a_body_cannot_end_its_transaction_with_a_raw_statement(db: Any, rich: Rich, sql: str) -> None:
    """The refusal comes before the statement is sent: the transaction goes on as if it had not been there."""
    for send in ("query_raw", "execute_raw"):
        manager = db.tx(timeout=LONG)
        tx = await manager.start()
        await tx.step.create(data=step(1))
        error = await failure(getattr(tx, send)(sql))
        assert isinstance(error, rich.errors.RawQueryError)
        assert seen(error) == ("P2010", None, False, False)
        assert sql in str(error)
        await tx.step.create(data=step(2))
        await manager.rollback()
        assert await db.step.count() == 0
    async with db.tx(timeout=LONG) as tx:
        await failure(tx.execute_raw(sql))
        await tx.step.create(data=step(1))
    assert await db.step.count() == 1


@pytest.mark.parametrize("sql", ["BEGIN", "SAVEPOINT a", "/* one */ BEGIN"])
async def test_a_raw_begin_outside_of_a_transaction_is_refused(db: Any, sql: str) -> None:
    for _ in range(8):  # more often than there are connections
        assert seen(await failure(db.execute_raw(sql))) == ("P2010", None, False, False)
    await db.step.create(data=step(1))
    async with db.tx() as tx:
        await tx.step.create(data=step(2))
    assert await db.step.count() == 2


async def test_a_savepoint_undoes_a_part_of_a_transaction(db: Any, rich: Rich) -> None:
    async with db.tx(timeout=LONG) as tx:
        await tx.step.create(data=step(1))
        await tx.execute_raw("SAVEPOINT a")
        await tx.step.create(data=step(2))
        with pytest.raises(rich.errors.UniqueViolationError):
            await tx.step.create(data=step(1))
        await tx.execute_raw("ROLLBACK TO a")
        await tx.step.create(data=step(3))
        await tx.execute_raw("RELEASE a")
    assert [row.seq for row in await db.step.find_many(order={"seq": "asc"})] == [1, 3]


@only_postgres
async def test_several_statements_at_once_cannot_hide_a_commit(db: Any) -> None:
    manager = db.tx(timeout=LONG)
    tx = await manager.start()
    await tx.step.create(data=step(1))
    assert (await failure(tx.execute_raw("SELECT 1; COMMIT; BEGIN"))).code == "P2010"
    await manager.rollback()
    assert await db.step.count() == 0
    # One statement may end with a semicolon, and outside of a transaction there may be several.
    async with db.tx() as tx:
        assert await tx.execute_raw("DELETE FROM steps;\n") == 0
    await db.execute_raw("SELECT 1; SELECT 2")


@only_postgres
async def test_a_transaction_that_is_ended_by_unknown_words_is_over(db: Any) -> None:
    """PostgreSQL's comments nest, and ours do not."""
    hidden = "/* a /* b */ c */ COMMIT"
    manager = db.tx(timeout=LONG)
    tx = await manager.start()
    assert seen(await failure(tx.execute_raw(hidden)))[0] == "P2028"
    assert seen(await failure(tx.step.create(data=step(1))))[0] == "P2028"
    assert seen(await failure(manager.commit()))[0] == "P2028"
    assert await db.step.count() == 0


@only_postgres
async def test_a_transaction_that_is_begun_by_unknown_words_is_rolled_back(rich: Rich) -> None:
    async with rich.client("connection_limit=1") as db:
        for sql in ("/* a /* b */ c */ BEGIN", "SELECT 1; BEGIN; INSERT INTO steps VALUES ('r', 1, 'n')"):
            assert seen(await failure(db.execute_raw(sql))) == ("P2010", None, False, False)
            assert await db.step.count() == 0
            await db.step.create(data=step(1))
            await db.step.delete_many()


@only_sqlite
async def test_what_a_statement_leaves_open_on_the_writer_is_rolled_back(rich: Rich) -> None:
    connection = sqlite_connection.open_connection(parse_sqlite_url(rich.url), read_only=False)

    def leave_open(opened: sqlite3.Connection) -> None:
        opened.execute("BEGIN")
        opened.execute("INSERT INTO steps (run_id, seq, step_name) VALUES ('r', 1, 'n')")

    def leave_open_and_fail(opened: sqlite3.Connection) -> None:
        leave_open(opened)
        raise KeyError

    def count(opened: sqlite3.Connection) -> int:
        return len(sqlite_connection.fetch(opened, "SELECT * FROM steps", ()))

    with pytest.raises(EngineError, match="rolled back"):
        sqlite_connection.alone(connection, leave_open)
    assert not connection.in_transaction
    with pytest.raises(KeyError):
        sqlite_connection.alone(connection, leave_open_and_fail)
    assert not connection.in_transaction
    # And what nobody could roll back then does not reach the next caller.
    leave_open(connection)
    assert sqlite_connection.alone(connection, count) == 0
    leave_open(connection)
    sqlite_connection.begin(connection)
    assert count(connection) == 0
    connection.close()
