"""Running statements: the database's dialect, errors in our terms, retries, transactions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from fastapi_durable.model.errors import (
    ConfigurationError,
    SchemaMismatchError,
    StoreConflictError,
    StoreError,
    TransactionExpiredError,
)
from fastapi_durable.store.prisma.client import PrismaClient
from fastapi_durable.store.prisma.failures import is_transaction_over, translate, translate_call
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.postgresql import PostgresSql
from fastapi_durable.store.prisma.sql.sqlite import SqliteSql
from fastapi_durable.store.prisma.sql.statements import DIALECT_QUESTION, probe
from fastapi_durable.store.prisma.tables import TABLES

T = TypeVar("T")
Work = Callable[["Database"], Awaitable[T]]

_DIALECTS: dict[int, type[Sql]] = {2: SqliteSql, 3: PostgresSql}
_OWN_TRANSACTION = timedelta(seconds=30)


class Database:
    """A client, or a client bound to a transaction.

    Outside a transaction, what the database undid because of a conflict is tried again a few times. Inside, only the
    whole transaction can be, so the conflict goes to the caller.
    """

    attempts: ClassVar[int] = 6
    first_pause: ClassVar[timedelta] = timedelta(milliseconds=10)

    def __init__(self, client: PrismaClient) -> None:
        self.client = client
        self._dialect: type[Sql] | None = None

    async def sql(self) -> Sql:
        """A new statement in the database's dialect, which is asked for once."""
        if self._dialect is None:
            self._dialect = await self._ask_for_dialect()
        return self._dialect()

    def known_sql(self) -> Sql | None:
        """The same, if the dialect is known already."""
        return None if self._dialect is None else self._dialect()

    async def query(self, sql: Sql, text: str) -> list[dict[str, Any]]:
        """Run a statement and return its rows."""
        rows: list[dict[str, Any]] = await self._attempt(lambda: self.client.query_raw(text, *sql.parameters))
        return rows

    async def execute(self, sql: Sql, text: str) -> int:
        """Run a statement and return the number of rows it changed."""
        return await self._attempt(lambda: self.client.execute_raw(text, *sql.parameters))

    async def atomically(self, work: Work[T]) -> T:
        """Run several statements as one: in a transaction of their own."""

        async def in_transaction() -> T:
            async with self.transaction(_OWN_TRANSACTION) as database:
                return await work(database)

        return await self._retry(in_transaction)

    @asynccontextmanager
    async def transaction(self, timeout: timedelta) -> AsyncIterator["DatabaseTransaction"]:
        """Open a transaction, commit it at the end of the block, and undo it if the block raises."""
        manager = self.client.tx(max_wait=timeout, timeout=timeout)
        deadline = asyncio.get_running_loop().time() + timeout.total_seconds()
        client = await _translated(manager.__aenter__)
        transaction = DatabaseTransaction(client, self._dialect, timeout, deadline)
        try:
            yield transaction
            transaction.raise_if_doomed()
        except BaseException as error:
            await manager.__aexit__(type(error), error, error.__traceback__)
            # The body may have used the client itself: a conflict there undid this transaction like any other.
            failure = transaction.over(error) or translate(error)
            if failure is None:
                raise
            raise failure from error
        await transaction.commit(manager)
        self._dialect = self._dialect or transaction.known_dialect

    async def _attempt(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await self._retry(lambda: _translated(operation))

    async def _retry(self, operation: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(self.attempts - 1):
            try:
                return await operation()
            except StoreConflictError:
                await asyncio.sleep(self.first_pause.total_seconds() * 2**attempt)
        return await operation()

    async def _ask_for_dialect(self) -> type[Sql]:
        rows = await self._attempt(lambda: self.client.query_raw(DIALECT_QUESTION))
        answer = int(rows[0]["answer"])
        if answer not in _DIALECTS:
            raise ConfigurationError(
                "PrismaStateStore works on PostgreSQL and SQLite; the client's database is neither"
            )
        return _DIALECTS[answer]

    async def check_tables(self) -> None:
        """Refuse a database that lacks a table or a column.

        Raises:
            SchemaMismatchError: it names what is missing and the command that adds it.
        """
        missing: list[str] = []
        for table in TABLES:
            if not await self._has(table.name, ", ".join(table.names)):
                if not await self._has(table.name, "1"):
                    missing.append(table.name)
                else:
                    missing += [f"{table.name}.{name}" for name in table.names if not await self._has(table.name, name)]
        if missing == [table.name for table in TABLES]:
            raise SchemaMismatchError(
                f"the database has none of the durable tables ({', '.join(missing)}). Either it is not the one that is "
                "meant, or `prisma migrate deploy` was not run on it, or no migration creates them yet, which `prisma "
                "migrate diff` and `migrate dev` write. (The store creates no tables itself.)",
                missing,
            )
        if missing:
            raise SchemaMismatchError(
                f"the database lacks {', '.join(missing)}. Its migrations are behind the Prisma schema: run "
                "`prisma migrate deploy`. (The store creates no tables itself; `auto_schema` has no effect on it.)",
                missing,
            )

    async def _has(self, table: str, columns: str) -> bool:
        try:
            await self._attempt(lambda: self.client.query_raw(probe(table, columns)))
        except SchemaMismatchError:
            return False
        return True


class DatabaseTransaction(Database):
    """Statements of one transaction."""

    attempts = 1

    def __init__(self, client: PrismaClient, dialect: type[Sql] | None, timeout: timedelta, deadline: float) -> None:
        super().__init__(client)
        self._dialect = dialect
        self._timeout = timeout
        self._deadline = deadline
        self._doomed = False

    @property
    def known_dialect(self) -> type[Sql] | None:
        return self._dialect

    async def commit(self, manager: AbstractAsyncContextManager[Any]) -> None:
        await self._attempt(lambda: manager.__aexit__(None, None, None))

    def over(self, error: BaseException | None) -> StoreError | None:
        """Why the client has ended the transaction: its time was up, or a statement failed. None for other errors."""
        if error is None or not is_transaction_over(error):
            return None
        if asyncio.get_running_loop().time() >= self._deadline:
            return TransactionExpiredError(self._timeout)
        return StoreError(f"the transaction is over: {error}")

    def raise_if_doomed(self) -> None:
        if self._doomed:
            raise StoreError("a transaction that was joined failed, so this one is undone as well")

    async def atomically(self, work: Work[T]) -> T:
        return await work(self)

    @asynccontextmanager
    async def transaction(self, timeout: timedelta) -> AsyncIterator["DatabaseTransaction"]:  # noqa: ARG002 - the outer one's holds
        """Join this transaction. An exception that leaves the inner block dooms the whole."""
        try:
            yield self
        except BaseException:
            self._doomed = True
            raise

    async def _attempt(self, operation: Callable[[], Awaitable[T]]) -> T:
        try:
            return await super()._attempt(operation)
        except StoreError as error:
            failure = self.over(error.__cause__)
            if failure is None:
                raise
            raise failure from error.__cause__


async def _translated(operation: Callable[[], Awaitable[T]]) -> T:
    try:
        return await operation()
    except Exception as error:
        failure = translate_call(error)
        if failure is None:
            raise
        raise failure from error
