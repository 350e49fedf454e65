"""The functions that run on a SQLite connection, in its thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from prisma_inprocess.drivers.base import RawResult, RawStatement, Reader, Rows
from prisma_inprocess.drivers.lists import register_unpacking
from prisma_inprocess.drivers.private_sqlite import private_sqlite
from prisma_inprocess.drivers.sqlite_values import raw_result
from prisma_inprocess.raw_batch import with_rows
from prisma_inprocess.transaction_control import changes_and_returns, ended_by_statement, left_open
from prisma_inprocess.url import SqliteUrl

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]
_SAVEPOINT: Final = "prisma_inprocess_statement"


class RolledBack(Exception):
    """SQLite itself rolled the transaction back after an error in it."""


def open_connection(url: SqliteUrl, *, read_only: bool) -> sqlite3.Connection:
    """Open and configure a connection. Raises: one of `private_sqlite.ERRORS`."""
    connection: sqlite3.Connection = private_sqlite.connect(
        url.path,
        timeout=url.busy_timeout,
        isolation_level=None,  # the driver says itself when a transaction begins
        check_same_thread=False,  # `interrupt` comes from the event loop's thread
        detect_types=private_sqlite.PARSE_DECLTYPES,
        cached_statements=256,
    )
    try:
        connection.row_factory = _as_dict
        register_unpacking(connection)
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def alone(connection: sqlite3.Connection, job: Job[T]) -> T:
    """Run a statement that commits alone.

    A transaction that it leaves open is rolled back, because it would swallow the writes of all other callers.
    """
    roll_back(connection)  # a transaction that could not be rolled back before
    try:
        result = job(connection)
    except BaseException:
        roll_back(connection)
        raise
    if connection.in_transaction:
        roll_back(connection)
        raise left_open()
    return result


def begin(connection: sqlite3.Connection) -> None:
    roll_back(connection)
    connection.execute("BEGIN IMMEDIATE")


def commit(connection: sqlite3.Connection) -> None:
    if not connection.in_transaction:
        raise RolledBack
    connection.execute("COMMIT")


def atomically(connection: sqlite3.Connection, job: Job[T]) -> T:
    """Run several statements in a transaction of their own. An interruption undoes all of them, or comes too late."""
    begin(connection)
    try:
        result = job(connection)
        commit(connection)
    except BaseException:
        roll_back(connection)
        raise
    return result


def roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _undone_on_failure(connection: sqlite3.Connection, sql: str, run: Callable[[], T]) -> T:
    """Undo a change whose returned rows cannot be read, because a statement that raises must not have written anything.

    Outside a transaction a savepoint is one, which its release commits.
    """
    if not changes_and_returns(sql):
        return run()
    connection.execute(f"SAVEPOINT {_SAVEPOINT}")
    try:
        result = run()
    except BaseException:
        if connection.in_transaction:  # SQLite gives up the whole transaction after some errors
            connection.execute(f"ROLLBACK TO {_SAVEPOINT}")
            connection.execute(f"RELEASE {_SAVEPOINT}")
        raise
    connection.execute(f"RELEASE {_SAVEPOINT}")
    return result


def fetch(connection: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> Rows:
    return _undone_on_failure(connection, sql, lambda: read(connection, sql, arguments))


def read(connection: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> Rows:
    """Run a statement that changes nothing."""
    cursor = connection.cursor()
    cursor.row_factory = None
    rows = cursor.execute(sql, arguments).fetchall()
    return Rows(tuple([column[0] for column in cursor.description or ()]), rows)


def read_together(connection: sqlite3.Connection, work: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in the thread to its end. It awaits only statements, which are executed at once."""
    try:
        work(_OnConnection(connection)).send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a plan that only reads awaited something else than its statements")


class _OnConnection:
    """Runs statements in the connection's own thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Rows:
        return read(self._connection, sql, arguments)


def execute(connection: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> int:
    return _undone_on_failure(connection, sql, lambda: _execute(connection, sql, arguments))


def _execute(connection: sqlite3.Connection, sql: str, arguments: Sequence[Any]) -> int:
    cursor = connection.execute(sql, arguments)
    if cursor.description is not None:
        cursor.fetchall()  # a statement with RETURNING takes effect only when it has run to its end
    if cursor.rowcount >= 0:
        return cursor.rowcount
    if sql.lstrip()[:4].upper() == "WITH":
        return int(connection.execute("SELECT changes() AS n").fetchone()["n"])
    return 0


def fetch_raw(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
    return _undone_on_failure(connection, sql, lambda: _raw(connection, sql, parameters, for_model=for_model))


def fetch_raw_together(
    connection: sqlite3.Connection, statements: Sequence[RawStatement], encode: Callable[[Sequence[Any]], list[Any]]
) -> list[RawResult]:
    """Run the statements of a transaction. If one of them fails, the whole transaction is undone."""
    results: list[RawResult] = []
    for sql, parameters in statements:
        results.append(_raw(connection, sql, encode(with_rows(parameters, results)), for_model=False))
        if not connection.in_transaction:  # the following statements would commit alone
            raise ended_by_statement()
    return results


def _raw(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any], *, for_model: bool) -> RawResult:
    cursor = connection.cursor()
    cursor.row_factory = None
    rows = cursor.execute(sql, parameters).fetchall()
    columns = [column[0] for column in cursor.description or ()]
    return raw_result(columns, rows, for_model=for_model)


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}
