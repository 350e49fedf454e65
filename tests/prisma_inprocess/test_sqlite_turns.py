"""Who has the one SQLite connection that writes, when, and what a statement meets that comes too late."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from prisma_inprocess import EngineError, Fault
from prisma_inprocess.drivers.sqlite_thread import SqliteThread
from tests.prisma_inprocess.conftest import only_sqlite
from tests.prisma_inprocess.test_faults import LONG, failure, outcome, seen, slow_statement, step
from tests.prisma_inprocess.workbench import Rich

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
async def thread() -> AsyncIterator[SqliteThread]:
    started = await SqliteThread.start(
        lambda: sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    )
    yield started
    await started.close()


class Job:
    """A function that runs in the thread until it is let go, or fails."""

    def __init__(self, sql: str | None = None) -> None:
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()
        self._sql = sql

    def __call__(self, connection: sqlite3.Connection) -> str:
        self.has_begun.set()
        assert self.may_go_on.wait(20)
        if self._sql is not None:
            connection.execute(self._sql).fetchall()
        return "done"

    async def begun(self) -> None:
        assert await asyncio.to_thread(self.has_begun.wait, 20)


async def test_a_function_whose_caller_left_before_its_turn_is_left_out(thread: SqliteThread) -> None:
    first, second = Job(), Job()
    running = asyncio.create_task(thread.run(first))
    await first.begun()
    waiting = asyncio.create_task(thread.run(second))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    first.may_go_on.set()
    assert await running == "done"  # nothing interrupted it
    assert await thread.run(lambda _: "next") == "next"
    assert not second.has_begun.is_set()


async def test_a_cancelled_statement_is_stopped_even_if_it_has_yet_to_begin(thread: SqliteThread) -> None:
    """SQLite forgets an interruption that comes between two statements."""
    job = Job(ENDLESS)
    running = asyncio.create_task(thread.run(job))
    await job.begun()
    running.cancel()
    await asyncio.sleep(0.01)
    job.may_go_on.set()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await thread.run(lambda _: "next") == "next"


async def test_what_is_urgent_stops_everything_before_it(thread: SqliteThread) -> None:
    first, second = Job(ENDLESS), Job(ENDLESS)
    runs = [asyncio.create_task(outcome(thread.run(job))) for job in (first, second)]
    await first.begun()
    urgent = asyncio.create_task(thread.run(lambda _: "urgent", urgent=True))
    await asyncio.sleep(0.01)
    first.may_go_on.set()
    second.may_go_on.set()
    async with asyncio.timeout(60):
        assert await urgent == "urgent"
        assert [type(each) for each in await asyncio.gather(*runs)] == [sqlite3.OperationalError] * 2
    # It stops nothing that comes after it.
    assert await thread.run(lambda connection: _count(connection, 300_000)) == 300_000


async def test_a_late_interruption_does_not_hit_the_next_one(thread: SqliteThread) -> None:
    for _ in range(20):
        job = Job()
        running = asyncio.create_task(thread.run(job))
        await job.begun()
        running.cancel()
        job.may_go_on.set()
        await asyncio.gather(running, return_exceptions=True)
        assert await thread.run(lambda connection: _count(connection, 30_000)) == 30_000


def _count(connection: sqlite3.Connection, most: int) -> int:
    series = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {most})"
    return int(connection.execute(f"{series} SELECT count(*) FROM n").fetchone()[0])


async def test_what_must_not_be_interrupted_is_done_though_its_caller_left(thread: SqliteThread) -> None:
    first, second = Job(), Job()
    runs = [asyncio.create_task(thread.run(job, interruptible=False)) for job in (first, second)]
    await first.begun()
    for run in runs:
        run.cancel()
    await asyncio.sleep(0.01)
    for run in runs:
        run.cancel()  # twice does not help either
    await asyncio.sleep(0.01)
    assert not any(run.done() for run in runs)
    first.may_go_on.set()
    second.may_go_on.set()
    results = await asyncio.gather(*runs, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
    assert second.has_begun.is_set()


async def test_closing_stops_what_runs_and_waits_within_a_limit() -> None:
    thread = await SqliteThread.start(lambda: sqlite3.connect(":memory:", check_same_thread=False))
    job = Job(ENDLESS)
    job.may_go_on.set()
    running = asyncio.create_task(outcome(thread.run(job)))
    await job.begun()
    await asyncio.sleep(0.05)
    started = time.monotonic()
    await asyncio.gather(thread.close(), thread.close())
    assert time.monotonic() - started < 15
    assert isinstance(await running, sqlite3.OperationalError)
    with pytest.raises(EngineError) as refused:
        await thread.run(job)
    assert refused.value.fault is Fault.NOT_CONNECTED
    assert not thread.usable()


@only_sqlite
async def test_statements_that_wait_in_a_transaction_end_with_its_time(db: Any, rich: Rich) -> None:
    """Two that take for ever: the second has its turn only when the first was stopped, and must not take it."""
    # Long enough for the first statement on a busy machine.
    manager = db.tx(timeout=dt.timedelta(seconds=2))
    tx = await manager.start()
    await tx.step.create(data=step(1))
    async with asyncio.timeout(60):
        errors = await asyncio.gather(
            failure(tx.query_raw(slow_statement(rich))),
            failure(tx.query_raw(slow_statement(rich))),
            failure(tx.step.create(data=step(2))),
        )
        assert {error.fault for error in errors} == {Fault.TRANSACTION_EXPIRED}
        assert seen(await failure(manager.commit()))[1] is Fault.TRANSACTION_EXPIRED
        assert await db.step.count() == 0
        await db.step.create(data=step(3))


@only_sqlite
async def test_a_write_that_waits_for_an_expiring_transaction_is_done_after_it(db: Any) -> None:
    tx = await db.tx(timeout=dt.timedelta(milliseconds=200)).start()
    await tx.step.create(data=step(1))
    outside = asyncio.create_task(db.step.create(data=step(2)))
    async with asyncio.timeout(60):
        assert (await outside).seq == 2
    assert [row.seq for row in await db.step.find_many()] == [2]


@only_sqlite
async def test_cancelling_one_statement_stops_the_others_of_its_transaction(db: Any, rich: Rich) -> None:
    manager = db.tx(timeout=LONG)
    tx = await manager.start()
    first = asyncio.create_task(failure(tx.query_raw(slow_statement(rich))))
    second = asyncio.create_task(tx.query_raw(slow_statement(rich)))
    await asyncio.sleep(0.05)
    second.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await second
        assert seen(await first)[1] is Fault.TRANSACTION_CLOSED
        await db.step.create(data=step(1))
    assert seen(await failure(manager.commit()))[1] is Fault.TRANSACTION_CLOSED


@only_sqlite
async def test_statements_that_were_started_before_the_commit_are_part_of_it(db: Any) -> None:
    manager = db.tx(timeout=LONG)
    tx = await manager.start()
    started = [asyncio.create_task(tx.step.create(data=step(number))) for number in range(5)]
    await tx.step.count()
    await asyncio.gather(manager.commit(), *started)
    assert await db.step.count() == 5


@only_sqlite
async def test_a_transaction_that_sqlite_gave_up_is_over(db: Any) -> None:
    """`OR ROLLBACK` ends the whole transaction; what comes after it must not happen outside."""
    await db.step.create(data=step(1))
    manager = db.tx(timeout=LONG)
    tx = await manager.start()
    await tx.step.create(data=step(2))
    conflict = "INSERT OR ROLLBACK INTO steps (run_id, seq, step_name) VALUES ('r', 1, 'n')"
    assert seen(await failure(tx.execute_raw(conflict))) == ("P2010", None, False, False)
    gone = ("P2028", Fault.TRANSACTION_FAILED, False, False)
    assert seen(await failure(tx.step.create(data=step(3)))) == gone
    assert seen(await failure(manager.commit())) == gone
    assert [row.seq for row in await db.step.find_many()] == [1]
