"""Several raw statements in one call: all of them or none, with the rows of one in another."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from typing import Any

import pytest

from prisma_inprocess import Fault
from prisma_inprocess.drivers.sqlite_thread import SqliteThread
from tests.prisma_inprocess.conftest import only_postgres, only_sqlite
from tests.prisma_inprocess.proxy import proxy_before
from tests.prisma_inprocess.test_faults import LONG, failure, seen, slow_statement, step
from tests.prisma_inprocess.workbench import Rich

COUNTER = {"runId_name": {"runId": "counter", "name": "0"}}
ADD = "UPDATE steps SET seq = seq + 1 WHERE run_id = 'counter' RETURNING seq"
INSERT = "INSERT INTO steps (run_id, seq, step_name) VALUES ('r', 1, 's1') RETURNING step_name"


def log_of(rich: Rich) -> str:
    """Insert a row for each row that an earlier statement returned."""
    if rich.provider == "postgresql":
        names = "SELECT each ->> 'step_name' FROM jsonb_array_elements($1::jsonb) AS each"
        return f"INSERT INTO steps (run_id, seq, step_name) SELECT name, 0, 'log' FROM ({names}) AS names(name)"
    names = "SELECT json_extract(value, '$.step_name') AS name FROM json_each(?)"
    return f"INSERT INTO steps (run_id, seq, step_name) SELECT name, 0, 'log' FROM ({names})"


async def counter(db: Any) -> int:
    row = await db.step.find_unique(where=COUNTER)
    return int(row.seq)


async def test_every_statement_gives_its_rows(db: Any, rich: Rich) -> None:
    one = f"SELECT CAST({rich.parameter(1)} AS INTEGER) AS number"
    assert await db.query_raw_batch((INSERT,), (one, 5), (ADD,)) == [[{"step_name": "s1"}], [{"number": 5}], []]
    assert await db.query_raw_batch() == []
    assert await db.step.count() == 1


async def test_a_statement_works_on_the_rows_of_an_earlier_one(db: Any, rich: Rich) -> None:
    await db.step.create_many(data=[step(number) for number in range(4)])
    update = "UPDATE steps SET seq = seq + 100 WHERE seq IN (1, 2) RETURNING step_name"
    updated, logged = await db.query_raw_batch((update,), (log_of(rich), db.rows_of(0)))
    assert sorted(row["step_name"] for row in updated) == ["s1", "s2"]
    assert logged == []
    rows = await db.step.find_many(where={"name": "log"}, order={"runId": "asc"})
    assert [row.runId for row in rows] == ["s1", "s2"]
    # The same update changes nothing now, so nothing is logged.
    assert await db.query_raw_batch((update,), (log_of(rich), db.rows_of(0))) == [[], []]
    assert await db.step.count(where={"name": "log"}) == 2


@pytest.mark.parametrize("statement", [0, 1, 2])
async def test_a_statement_that_fails_undoes_those_before_it(db: Any, rich: Rich, statement: int) -> None:
    statements: list[tuple[Any, ...]] = [(ADD,), (ADD,)]
    statements.insert(statement, ("SELECT nope",))
    await db.step.create(data={"runId": "counter", "seq": 0, "name": "0"})
    assert seen(await failure(db.query_raw_batch(*statements))) == ("P2010", None, False, False)
    unfit = object() if rich.provider == "sqlite" else "no number"
    refused = (f"SELECT CAST({rich.parameter(1)} AS INTEGER)", unfit)
    await failure(db.query_raw_batch((ADD,), refused))
    assert await counter(db) == 0
    assert await db.query_raw_batch((ADD,), (ADD,)) == [[{"seq": 1}], [{"seq": 2}]]


@only_sqlite
async def test_it_is_one_trip_to_the_thread_of_sqlite(rich: Rich, monkeypatch: pytest.MonkeyPatch) -> None:
    went = 0
    run = SqliteThread.run

    async def counted(thread: SqliteThread, *arguments: Any, **options: Any) -> Any:
        nonlocal went
        went += 1
        return await run(thread, *arguments, **options)

    async with rich.client() as db:
        monkeypatch.setattr(SqliteThread, "run", counted)
        await db.query_raw_batch((INSERT,), (log_of(rich), db.rows_of(0)))
        assert went == 1


@only_sqlite
async def test_a_batch_waits_for_the_transaction_that_is_open(rich: Rich) -> None:
    async with rich.client() as db:
        async with db.tx(timeout=LONG) as tx:
            outside = asyncio.create_task(db.query_raw_batch((INSERT,), (ADD,)))
            done, _ = await asyncio.wait([outside], timeout=0.1)
            assert not done
            assert await tx.step.count() == 0
        assert await outside == [[{"step_name": "s1"}], []]


async def test_in_a_transaction_it_is_a_part_of_it(db: Any, rich: Rich) -> None:
    async def undone() -> None:
        async with db.tx(timeout=LONG) as tx:
            await tx.query_raw_batch((INSERT,), (log_of(rich), tx.rows_of(0)))
            assert await tx.step.count() == 2
            raise KeyError

    with pytest.raises(KeyError):
        await undone()
    assert await db.step.count() == 0


async def test_no_statement_begins_or_ends_a_transaction(db: Any) -> None:
    for control in ("COMMIT", "ROLLBACK", "BEGIN", "; COMMIT", "SAVEPOINT a"):
        error = await failure(db.query_raw_batch((INSERT,), (control,)))
        assert (error.code, error.meta["code"]) == ("P2010", "25000"), control
    assert await db.step.count() == 0


async def test_what_is_no_batch_is_refused(db: Any) -> None:
    for wrong in (INSERT, (), (5,), None):
        with pytest.raises(TypeError, match="statement 1 of a batch must be a tuple"):
            await db.query_raw_batch((INSERT,), wrong)
    for number in (-1, 1, 2):
        with pytest.raises(
            ValueError, match=f"in statement 1 must name an earlier statement of the batch, got {number}"
        ):
            await db.query_raw_batch((INSERT,), ("SELECT 1", db.rows_of(number)))
    assert await db.step.count() == 0


async def test_a_cancelled_batch_happens_whole_or_not_at_all(rich: Rich) -> None:
    """At any moment: while it waits for its turn, runs or commits. The connection goes on."""
    chance = random.Random(7)
    async with rich.client("connection_limit=3") as db:
        await db.step.create(data={"runId": "counter", "seq": 0, "name": "0"})
        outcomes: list[bool] = []

        async def one() -> None:
            task = asyncio.create_task(db.query_raw_batch((ADD,), (ADD,)))
            await asyncio.sleep(chance.random() * 0.01)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                outcomes.append(False)
            else:
                outcomes.append(True)

        for _ in range(25):
            await asyncio.gather(*(one() for _ in range(8)))
        value = await counter(db)
        assert value % 2 == 0
        assert 2 * sum(outcomes) <= value <= 2 * len(outcomes)
        assert await db.query_raw_batch((ADD,), (ADD,)) == [[{"seq": value + 1}], [{"seq": value + 2}]]


async def test_a_batch_that_takes_too_long_is_stopped_and_undone(db: Any, rich: Rich) -> None:
    await db.step.create(data={"runId": "counter", "seq": 0, "name": "0"})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await db.query_raw_batch((ADD,), (slow_statement(rich),), (ADD,))
    async with asyncio.timeout(60):
        assert await db.query_raw_batch((ADD,), (ADD,)) == [[{"seq": 1}], [{"seq": 2}]]


async def test_the_time_limit_of_a_transaction_stops_a_batch_in_it(db: Any, rich: Rich) -> None:
    with pytest.raises(rich.errors.TransactionExpiredError):
        async with asyncio.timeout(60), db.tx(timeout=dt.timedelta(milliseconds=200)) as tx:
            await tx.query_raw_batch((INSERT,), (slow_statement(rich),))
    assert await db.step.count() == 0


@only_sqlite
async def test_a_batch_that_runs_when_its_client_is_closed_is_undone(rich: Rich) -> None:
    db = rich.client()
    await db.connect()
    running = asyncio.create_task(failure(db.query_raw_batch((INSERT,), (slow_statement(rich),))))
    await asyncio.sleep(0.1)
    await db.disconnect()
    async with asyncio.timeout(60):
        await running
    async with rich.client() as other:
        assert await other.step.count() == 0


async def test_a_closed_client_runs_no_batch(rich: Rich) -> None:
    db = rich.client()
    await db.connect()
    await db.disconnect()
    with pytest.raises(rich.errors.PrismaError):
        await db.query_raw_batch((INSERT,))


@only_postgres
async def test_a_commit_without_an_answer_is_in_doubt(rich: Rich) -> None:
    async with proxy_before(rich.url) as proxy, Rich(rich.provider, rich.package, proxy.url).client() as db:
        await db.step.count()
        proxy.lose_answer_to(b"COMMIT")
        error = await failure(db.query_raw_batch((INSERT,), (log_of(rich), db.rows_of(0))))
        assert seen(error) == ("P1017", Fault.CONNECTION_LOST, False, True)
        assert await db.step.count() in (0, 2)


@only_postgres
async def test_a_table_that_was_altered_meanwhile_costs_one_repetition(rich: Rich) -> None:
    async with rich.client("connection_limit=1") as db, rich.client() as other:
        select = "SELECT * FROM steps"
        await db.query_raw_batch((INSERT,), (select,))
        await other.execute_raw("ALTER TABLE steps ADD COLUMN further integer")
        try:
            rows = await db.query_raw_batch((ADD,), (select,))
            assert [row["further"] for row in rows[1]] == [None]
        finally:
            await other.execute_raw("ALTER TABLE steps DROP COLUMN further")
