"""What went wrong with the database is told apart from what the operation did wrong, by attributes of the error."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from prisma_inprocess import Fault
from prisma_inprocess.drivers.sqlite_errors import query_error
from tests.prisma_inprocess.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.proxy import proxy_before
from tests.prisma_inprocess.workbench import Rich
from tests.support.postgres import PostgresServer

LONG = dt.timedelta(seconds=30)
KEY = {"runId_seq": {"runId": "r", "seq": 1}}


def step(number: int) -> dict[str, Any]:
    return {"runId": "r", "seq": number, "name": f"s{number}"}


def seen(error: BaseException) -> tuple[Any, ...]:
    """What a caller can tell errors apart by."""
    known: Any = error
    return known.code, known.fault, known.retryable, known.in_doubt


async def failure(operation: Any) -> Any:
    """The error of an operation that has to fail."""
    try:
        await operation
    except Exception as error:
        return error
    pytest.fail("it did not fail")


async def outcome(operation: Any) -> Any:
    try:
        return await operation
    except Exception as error:
        return error


async def test_an_error_of_the_operation_itself_has_no_fault(db: Any, rich: Rich) -> None:
    await db.step.create(data=step(1))
    assert seen(await failure(db.step.create(data=step(1)))) == ("P2002", None, False, False)
    assert seen(await failure(db.query_raw("SELECT nope"))) == ("P2010", None, False, False)
    assert seen(await failure(db.user.find_many(where={"nope": 1}))) == ("P2009", None, False, False)
    assert seen(rich.errors.PrismaError("made by somebody else")) == (None, None, False, False)


async def test_a_closed_transaction_is_told_from_an_expired_one(db: Any, rich: Rich) -> None:
    closed = ("P2028", Fault.TRANSACTION_CLOSED, False, False)
    manager = db.tx(timeout=LONG)
    tx = await manager.start()
    await manager.commit()
    assert seen(await failure(tx.step.count())) == closed
    assert seen(await failure(manager.commit())) == closed
    assert seen(await failure(manager.rollback())) == closed

    expired = ("P2028", Fault.TRANSACTION_EXPIRED, False, False)
    manager = db.tx(timeout=dt.timedelta(milliseconds=100))
    tx = await manager.start()
    slow = await failure(tx.query_raw(slow_statement(rich)))
    assert seen(slow) == expired
    error = await failure(tx.step.count())
    assert seen(error) == expired
    assert (type(error), error.meta["timeout"]) == (rich.errors.TransactionExpiredError, 100)
    assert seen(await failure(manager.commit())) == expired
    await manager.rollback()


def slow_statement(rich: Rich) -> str:
    if rich.provider == "postgresql":
        return "SELECT pg_sleep(30)"
    return "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_no_more_than_the_wait_for_a_connection_was_too_long(rich: Rich) -> None:
    async with rich.client("connection_limit=1&pool_timeout=0.1") as db, rich.client("connection_limit=1") as other:
        manager = db.tx(timeout=LONG)
        await asyncio.create_task(manager.start())  # by another task, so that this one holds nothing
        assert seen(await failure(db.step.create(data=step(1)))) == ("P2024", Fault.POOL_TIMEOUT, True, False)
        start = db.tx(max_wait=dt.timedelta(milliseconds=50)).start()
        error = await failure(start)
        assert seen(error) == ("P2028", Fault.POOL_TIMEOUT, True, False)
        assert isinstance(error, rich.errors.TransactionError)
        assert not isinstance(error, rich.errors.TransactionExpiredError)
        await manager.rollback()
        async with other.tx():  # another client's connections are its own
            await db.step.count()


async def test_a_caller_that_waits_for_its_own_connection_is_told_so(rich: Rich) -> None:
    waits = ("P2024", Fault.WAITS_FOR_ITSELF, False, False)
    async with rich.client("connection_limit=1&pool_timeout=0.1") as db:
        async with db.tx(timeout=LONG):
            error = await failure(db.step.create(data=step(1)))
            assert seen(error) == waits
            assert "tx" in str(error)
            # A task that comes from the holder waits for it, too.
            assert seen(await asyncio.create_task(failure(db.step.create(data=step(1))))) == waits
            started = await failure(db.tx(max_wait=dt.timedelta(milliseconds=50)).start())
            assert seen(started) == ("P2028", Fault.WAITS_FOR_ITSELF, False, False)
        # After its end it holds nothing, whoever else does.
        holder = db.tx(timeout=LONG)
        await asyncio.create_task(holder.start())
        assert seen(await failure(db.step.create(data=step(1))))[1] is Fault.POOL_TIMEOUT
        await holder.rollback()


@only_postgres
async def test_a_connection_that_is_cut_ends_its_transaction_and_says_so_to_the_end(rich: Rich) -> None:
    lost = ("P1017", Fault.CONNECTION_LOST, True, False)
    async with proxy_before(rich.url) as proxy, Rich(rich.provider, rich.package, proxy.url).client() as db:
        for cut_between_statements in (True, False):
            manager = db.tx(timeout=LONG)
            tx = await manager.start()
            await tx.step.create(data=step(1))
            if cut_between_statements:
                proxy.cut()
                assert seen(await failure(tx.step.create(data=step(2)))) == lost
            else:
                running = asyncio.create_task(failure(tx.query_raw("SELECT pg_sleep(30)")))
                await until_active(rich, "SELECT pg_sleep(30)%")
                proxy.cut()
                assert seen(await running) == lost
                # The server has not noticed: it goes on, until it wants to send something.
                await end_statements(rich, "SELECT pg_sleep(30)%")
            assert seen(await failure(tx.query_raw("SELECT 1"))) == lost
            assert seen(await failure(manager.commit())) == lost
            assert await db.step.count() == 0


async def end_statements(rich: Rich, query: str) -> None:
    """End those in the test's own database."""
    connection = await asyncpg.connect(rich.url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE $1"
        " AND pid <> pg_backend_pid()",
        query,
    )
    await connection.close()


async def until_active(rich: Rich, query: str) -> None:
    """Wait until the server executes a statement."""
    connection = await asyncpg.connect(rich.url)
    asked = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE $1"
        " AND state = 'active' AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(60):
        while not await connection.fetchval(asked, query):  # noqa: ASYNC110 (the server does not call back)
            await asyncio.sleep(0.02)
    await connection.close()


@only_postgres
@pytest.mark.parametrize("statement", ["create", "raw", "commit", "batch", "planned transaction"])
async def test_what_changes_something_and_is_not_answered_is_in_doubt(rich: Rich, statement: str) -> None:
    async with proxy_before(rich.url) as proxy, Rich(rich.provider, rich.package, proxy.url).client() as db:
        await db.step.count()
        if statement == "create":
            proxy.lose_answer_to(b"INSERT")
            error = await failure(db.step.create(data=step(1)))
        elif statement == "raw":
            proxy.lose_answer_to(b"INSERT")
            insert = "INSERT INTO steps (run_id, seq, step_name) VALUES ('r', 1, 's1')"
            error = await failure(db.execute_raw(insert))
        elif statement == "commit":
            proxy.lose_answer_to(b"COMMIT")
            manager = db.tx()
            tx = await manager.start()
            await tx.step.create(data=step(1))
            error = await failure(manager.commit())
            assert seen(await failure(manager.commit()))[1] is Fault.TRANSACTION_CLOSED
        elif statement == "batch":
            proxy.lose_answer_to(b"COMMIT")
            batch = db.batch_()
            batch.step.create(step(1))
            error = await failure(batch.commit())
        else:
            proxy.lose_answer_to(b"COMMIT")
            posts = {"create": [{"title": "p"}]}
            error = await failure(db.user.create(data={"email": "a", "settings": rich.json({}), "posts": posts}))
        assert seen(error) == ("P1017", Fault.CONNECTION_LOST, False, True)
        assert await db.step.count() + await db.user.count() in (0, 1)


@only_postgres
async def test_what_only_reads_or_is_part_of_a_transaction_is_never_in_doubt(rich: Rich) -> None:
    lost = ("P1017", Fault.CONNECTION_LOST, True, False)
    async with proxy_before(rich.url) as proxy, Rich(rich.provider, rich.package, proxy.url).client() as db:
        await db.step.count()
        proxy.lose_answer_to(b"SELECT")
        assert seen(await failure(db.step.find_many())) == lost
        tx = await db.tx(timeout=LONG).start()
        proxy.lose_answer_to(b"INSERT")
        assert seen(await failure(tx.step.create(data=step(1)))) == lost
        assert await db.step.count() == 0


@only_postgres
async def test_a_server_that_ends_a_connection_is_told_from_a_cut(db: Any, rich: Rich) -> None:
    async with rich.client() as other:
        for transaction in (True, False):
            tx = await db.tx(timeout=LONG).start() if transaction else db
            running = asyncio.create_task(failure(tx.query_raw("SELECT pg_sleep(30)")))
            await until_active(rich, "SELECT pg_sleep(30)%")
            await other.query_raw(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(30)%'"
            )
            error = await running
            assert seen(error) == ("P1017", Fault.SERVER_SHUTDOWN, transaction, not transaction)
            assert error.database_code == "57P01"
    # A time limit of the server's own ends the connection as well, in the middle of a transaction.
    manager = db.tx(timeout=LONG)
    tx = await manager.start()
    await tx.execute_raw("SET LOCAL idle_in_transaction_session_timeout = 50")
    await until_gone(rich, await own_process(tx))
    assert seen(await failure(tx.step.count())) == ("P1017", Fault.CONNECTION_LOST, True, False)
    assert seen(await failure(manager.commit())) == ("P1017", Fault.CONNECTION_LOST, True, False)


async def own_process(db: Any) -> int:
    return int((await db.query_raw("SELECT pg_backend_pid() AS pid"))[0]["pid"])


async def until_gone(rich: Rich, process: int) -> None:
    """Wait until the server has ended a connection."""
    connection = await asyncpg.connect(rich.url)
    async with asyncio.timeout(60):
        while await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", process):  # noqa: ASYNC110 (the server does not call back)
            await asyncio.sleep(0.02)
    await connection.close()


@only_postgres
async def test_a_cancelled_statement_says_so(db: Any) -> None:
    tx = await db.tx(timeout=LONG).start()
    await tx.execute_raw("SET LOCAL statement_timeout = 50")
    raw = await failure(tx.query_raw("SELECT pg_sleep(30)"))
    assert seen(raw) == ("P2010", Fault.STATEMENT_CANCELLED, True, False)
    assert raw.database_code == "57014"

    tx = await db.tx(timeout=LONG).start()
    body = "BEGIN PERFORM pg_sleep(30); RETURN NEW; END"
    await tx.execute_raw(f"CREATE FUNCTION pg_temp.slow() RETURNS trigger LANGUAGE plpgsql AS '{body}'")
    await tx.execute_raw("CREATE TRIGGER slow BEFORE INSERT ON steps FOR EACH ROW EXECUTE FUNCTION pg_temp.slow()")
    await tx.execute_raw("SET LOCAL statement_timeout = 50")
    assert seen(await failure(tx.step.create(data=step(1)))) == ("P1008", Fault.STATEMENT_CANCELLED, True, False)


@only_postgres
async def test_locks_and_conflicts_are_told_apart(db: Any, rich: Rich) -> None:
    await db.step.create_many(data=[step(1), step(2)])
    one = await db.tx(timeout=LONG).start()
    await one.step.update(where=KEY, data={"name": "one"})
    two = await db.tx(timeout=LONG).start()
    await two.execute_raw("SET LOCAL lock_timeout = 50")
    error = await failure(two.step.update(where=KEY, data={"name": "two"}))
    assert seen(error)[1:] == (Fault.LOCK_TIMEOUT, True, False)
    assert error.database_code == "55P03"
    three = await db.tx(timeout=LONG).start()
    raw = await failure(three.query_raw("SELECT 1 AS x FROM steps WHERE seq = 1 FOR UPDATE NOWAIT"))
    assert seen(raw) == ("P2010", Fault.LOCK_TIMEOUT, True, False)
    four = await db.tx(timeout=LONG).start()
    other = {"runId_seq": {"runId": "r", "seq": 2}}
    await four.execute_raw("UPDATE steps SET step_name = 'four' WHERE seq = 2")
    raw_update = "UPDATE steps SET step_name = 'four again' WHERE seq = 1"
    crossing = asyncio.create_task(outcome(four.execute_raw(raw_update)))
    await until_active(rich, f"{raw_update}%")
    crossed = await outcome(one.step.update(where=other, data={"name": "one again"}))
    if isinstance(crossed, BaseException):  # the server chooses which of the two it ends
        assert seen(crossed) == ("P2034", Fault.WRITE_CONFLICT, True, False)
        crossing.cancel()
    else:
        assert seen(await crossing) == ("P2010", Fault.WRITE_CONFLICT, True, False)


@only_postgres
async def test_a_fault_that_somebody_ignored_is_still_one_at_the_end(db: Any) -> None:
    """PostgreSQL refuses everything after a failed statement; what it was that failed decides."""
    await db.step.create(data=step(1))
    for own_fault, expected in (
        (True, ("P2028", Fault.TRANSACTION_FAILED, False, False)),
        (False, ("P2028", Fault.STATEMENT_CANCELLED, True, False)),
    ):
        manager = db.tx(timeout=LONG)
        tx = await manager.start()
        await tx.execute_raw("SET LOCAL statement_timeout = 50")
        await failure(tx.step.create(data=step(1)) if own_fault else tx.query_raw("SELECT pg_sleep(30)"))
        for later in (tx.step.count(), tx.query_raw("SELECT 1")):
            assert seen(await failure(later))[1:] == expected[1:]
        assert seen(await failure(manager.commit())) == expected


@only_postgres
async def test_a_read_only_server_is_left_for_another_one(rich: Rich) -> None:
    """All connections that were open lead to the server that was demoted; the next ones may lead elsewhere."""
    demote = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"
    async with rich.client("connection_limit=3") as db:
        managers = [db.tx(timeout=LONG) for _ in range(3)]
        for manager in managers:
            await (await manager.start()).execute_raw(demote)
        for manager in managers[1:]:
            await manager.commit()
        kept = managers[0]
        error = await failure(db.step.create(data=step(1)))
        assert seen(error)[1:] == (Fault.READ_ONLY, True, False)
        assert error.database_code == "25006"
        await kept.commit()  # this one was in use meanwhile
        await asyncio.gather(*(db.step.create(data=step(number)) for number in range(1, 7)))
        tx = await db.tx().start()
        await tx.execute_raw("SET TRANSACTION READ ONLY")
        raw = await failure(tx.execute_raw("DELETE FROM steps"))
        assert seen(raw) == ("P2010", Fault.READ_ONLY, True, False)


@only_postgres
async def test_a_server_without_a_free_place_says_so(rich: Rich, postgres_server: PostgresServer) -> None:
    database = rich.url.rsplit("/", 1)[1]
    postgres_server.sql("DROP ROLE IF EXISTS few")
    postgres_server.sql("CREATE ROLE few LOGIN CONNECTION LIMIT 1")
    url = postgres_server.database_url(database).replace("postgres@", "few@")
    async with Rich(rich.provider, rich.package, url).client("connection_limit=2") as db:
        manager = db.tx(timeout=LONG)
        await manager.start()
        error = await failure(db.query_raw("SELECT 1"))
        assert seen(error) == ("P2037", Fault.TOO_MANY_CONNECTIONS, True, False)
        assert error.database_code == "53300"
        await manager.rollback()
        assert await db.query_raw("SELECT 1 AS x") == [{"x": 1}]
    postgres_server.sql("DROP ROLE few")


async def test_a_server_that_starts_up_is_told_from_one_that_is_not_there(
    generated_packages: dict[str, ModuleType],
) -> None:
    package = generated_packages["postgresql"]
    fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
    refusal = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(refusal)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"postgresql://ada@127.0.0.1:{port}/orders?sslmode=disable"
    error = await failure(package.Prisma(datasource={"url": url}, use_dotenv=False).connect())
    assert seen(error) == ("P1001", Fault.SERVER_NOT_READY, True, False)
    assert error.database_code == "57P03"
    server.close()
    await server.wait_closed()
    error = await failure(package.Prisma(datasource={"url": url}, use_dotenv=False).connect())
    assert seen(error) == ("P1001", Fault.UNREACHABLE, True, False)


@only_postgres
async def test_a_missing_database_and_a_wrong_password_are_unreachable(rich: Rich) -> None:
    url = rich.url.rsplit("/", 1)[0] + "/no_such_database"
    error = await failure(rich.package.Prisma(datasource={"url": url}, use_dotenv=False).connect())
    assert seen(error) == ("P1003", Fault.UNREACHABLE, True, False)


@only_sqlite
async def test_a_file_that_another_process_keeps_locked_says_so(rich: Rich) -> None:
    other = sqlite3.connect(rich.url.removeprefix("file:"), isolation_level=None)
    async with rich.client("socket_timeout=0.1") as db:
        other.execute("BEGIN IMMEDIATE")
        assert seen(await failure(db.step.create(data=step(1)))) == ("P1008", Fault.LOCK_TIMEOUT, True, False)
        raw = await failure(db.execute_raw("DELETE FROM steps"))
        assert seen(raw) == ("P2010", Fault.LOCK_TIMEOUT, True, False)
        assert raw.database_code == "5"
        assert seen(await failure(db.tx().start())) == ("P1008", Fault.LOCK_TIMEOUT, True, False)
        other.execute("ROLLBACK")
        await db.step.create(data=step(1))
    other.close()


@only_sqlite
async def test_a_file_without_room_says_so_and_ends_the_transaction(rich: Rich) -> None:
    async with rich.client() as db:
        pages = (await db.query_raw("PRAGMA page_count"))[0]["page_count"]
        await db.query_raw(f"PRAGMA max_page_count = {pages}")
        big = rich.json("x" * 1_000_000)
        error = await failure(db.step.create(data={**step(1), "output": big}))
        assert seen(error)[1:] == (Fault.INSUFFICIENT_RESOURCES, True, False)
        manager = db.tx(timeout=LONG)
        tx = await manager.start()
        await tx.step.create(data=step(2))
        assert seen(await failure(tx.step.create(data={**step(1), "output": big})))[1] is Fault.INSUFFICIENT_RESOURCES
        # SQLite may give up the statement, or the transaction with it. The commit does not say what is not so.
        committed = not isinstance(await outcome(manager.commit()), BaseException)
        assert await db.step.count() == int(committed)


def test_a_disk_that_fails_in_a_commit_leaves_it_in_doubt() -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = 1034  # SQLITE_IOERR_FSYNC
    unknown = query_error(error, raw=False, committing=True)
    assert (unknown.fault, unknown.in_doubt, unknown.retryable) == (Fault.INSUFFICIENT_RESOURCES, True, False)
    assert query_error(error, raw=False).retryable
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert not query_error(error, raw=False, committing=True).in_doubt


async def test_a_client_that_is_not_connected_says_so(rich: Rich) -> None:
    client = rich.client()
    await client.connect()
    manager = client.tx(timeout=LONG)
    tx = await manager.start()
    waiting = asyncio.create_task(failure(tx.query_raw(slow_statement(rich))))
    await asyncio.sleep(0.05)
    await client.disconnect()
    assert seen(await waiting) == ("P1017", Fault.NOT_CONNECTED, True, False)
    assert seen(await failure(client.step.count()))[1:] == (Fault.NOT_CONNECTED, True, False)
