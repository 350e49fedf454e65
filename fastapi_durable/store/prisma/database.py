"""Runs statements: the database's dialect, the translation of errors, retries, transactions."""

import asyncio
import copy
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar

from fastapi_durable.model.errors import (
    ConfigurationError,
    SchemaMismatchError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
    TransactionExpiredError,
)
from fastapi_durable.store.parts import Parts
from fastapi_durable.store.prisma.client import PrismaClient, batching, connections_of
from fastapi_durable.store.prisma.failures import fault_of_database, is_transaction_over, translate_call
from fastapi_durable.store.prisma.isolation import READ_COMMITTED, ReadCommitted
from fastapi_durable.store.prisma.lanes import Lanes
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.postgresql import PostgresSql
from fastapi_durable.store.prisma.sql.sqlite import SqliteMillisecondsSql, SqliteSql
from fastapi_durable.store.prisma.sql.statements import DIALECT_QUESTION, MOMENT_QUESTION, probe

T = TypeVar("T")
Work = Callable[["Database"], Awaitable[T]]
Rows = list[dict[str, Any]]
Statement = tuple[str, list[Any]]
"""A text and its parameters."""
logger = logging.getLogger(__name__)

_SQLITE, _POSTGRES = 2, 3
_OWN_TRANSACTION = timedelta(seconds=30)
_PART = "durable_part"
_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
DEFAULT_LIMIT = timedelta(seconds=10)
"""A third of the default lease; see `StateStore.with_timeout`."""


class _Learnt:
    """What is known of a client and its database. All limits of the client's calls share it.

    Attributes:
        dialect: The SQL dialect. None until the first request.
        lanes: The places for calls. None until the first call that needs one.
        open: The open transactions, by the id of their client.
        inside: The tasks that have opened a transaction here.
    """

    def __init__(self, client: PrismaClient, dialect: type[Sql] | None = None) -> None:
        self.isolation = ReadCommitted(client)
        self.dialect = dialect
        self.lanes: Lanes | None = None
        self.open: dict[int, DatabaseTransaction] = {}
        self.inside: set[asyncio.Task[Any] | None] = set()

    @contextmanager
    def holding(self, transaction: "DatabaseTransaction") -> Iterator[None]:
        """Register an open transaction and its task while the block is open."""
        key, task = id(transaction.client), asyncio.current_task()
        self.open[key] = transaction
        self.inside.add(task)
        try:
            yield
        finally:
            self.inside.discard(task)
            del self.open[key]

    def lanes_for(self, sql: Sql, client: PrismaClient) -> Lanes:
        if self.lanes is None:
            self.lanes = Lanes.of_one_writer() if sql.one_writer else Lanes.of_pool(connections_of(client))
        return self.lanes


class Database:
    """A client, or a client bound to a transaction.

    Outside a transaction, a statement that the database undid because of a conflict is repeated a few times. Inside
    one, only the whole transaction can be repeated, so the caller gets the conflict.

    Args:
        limit: How long a statement may stay without an answer.
    """

    attempts: ClassVar[int] = 6
    first_pause: ClassVar[timedelta] = timedelta(milliseconds=10)

    def __init__(
        self, client: PrismaClient, limit: timedelta = DEFAULT_LIMIT, dialect: type[Sql] | None = None
    ) -> None:
        self.client = client
        self.limit = limit
        self._learnt = _Learnt(client, dialect)

    def limited(self, limit: timedelta) -> "Database":
        """Return the same database, with the same places for calls, but another limit."""
        limited = copy.copy(self)
        limited.limit = limit
        return limited

    async def sql(self) -> Sql:
        """Return a new statement in the database's dialect. The dialect is requested once."""
        if self._learnt.dialect is None:
            self._learnt.dialect = await self._ask_for_dialect()
        return self._learnt.dialect()

    @property
    def known_dialect(self) -> type[Sql] | None:
        """The database's dialect, if it is known already."""
        return self._learnt.dialect

    async def query(self, sql: Sql, text: str, *, urgent: bool = False) -> Rows:
        """Run a statement and return its rows.

        Args:
            urgent: Whether it skips the wait for a place.
        """
        return await self._run((text, sql.parameters), urgent=urgent)

    async def execute(self, sql: Sql, text: str, *, urgent: bool = False) -> int:
        """Run a statement and return the number of rows it changed; `urgent` as for `query`."""
        return await self._attempt(lambda: self.client.execute_raw(text, *sql.parameters), urgent=urgent)

    async def atomically(self, work: Work[T]) -> T:
        """Run several statements in a transaction of their own."""

        async def in_transaction() -> T:
            async with self.transaction(_OWN_TRANSACTION) as database:
                return await work(database)

        return await self._retry(in_transaction)

    async def query_then(self, first: Statement, *then: Callable[[Any], Statement]) -> Rows:
        """Run a statement, and others that need its rows, in one transaction. Return the rows of the first.

        With a batching client, this is one call. Otherwise it is a transaction.

        Args:
            then: Functions that build a statement from a parameter with the rows, as the text of a JSON list.
        """
        client = batching(self.client)
        if client is not None:
            statements = [first, *(each(client.rows_of(0)) for each in then)]
            batch = [(text, *parameters) for text, parameters in statements]
            rows, *_ = await self._attempt(lambda: client.query_raw_batch(*batch))
            return rows

        async def one_after_the_other(database: Database) -> Rows:
            rows = await database._run(first)
            for each in then if rows else ():
                await database._run(each(json.dumps(rows)))
            return rows

        return await self.atomically(one_after_the_other)

    @asynccontextmanager
    async def transaction(self, timeout: timedelta) -> AsyncIterator["DatabaseTransaction"]:
        """Open a transaction, commit it at the end of the block, and undo it if the block raises."""
        self.refuse_inside_own()
        lanes = await self._places()
        lane = await lanes.enter(self.limit, transaction=True)
        try:
            manager, transaction, must_be_said = await self._begin(timeout)
            with self.holding(transaction):
                try:
                    if must_be_said:
                        await transaction.execute(await transaction.sql(), READ_COMMITTED)
                    yield transaction
                    transaction.raise_if_doomed()
                except BaseException as error:
                    await self._roll_back(manager, error)
                    if isinstance(error, StoreConflictError):
                        error.undid_outer = False
                    failure = transaction.over(error) or fault_of_database(error)
                    if failure is None:
                        raise
                    raise failure from error
                await transaction.commit(manager)
            transaction.parts.committed()
        finally:
            lanes.leave(lane)

    def find_open(self, client: object) -> "DatabaseTransaction | None":
        """Return the open transaction of a client, if it is registered here."""
        return self._learnt.open.get(id(client))

    def holding(self, transaction: "DatabaseTransaction") -> AbstractContextManager[None]:
        """Register an open transaction, and the current task inside it, while the block is open."""
        return self._learnt.holding(transaction)

    def refuse_inside_own(self) -> None:
        """Refuse a call outside the transaction that its own task has open: the call could wait for the end of that
        transaction.

        Raises:
            StoreError: the current task has an open transaction.
        """
        if self._learnt.inside and asyncio.current_task() in self._learnt.inside:
            raise StoreError(
                "the store was used inside its own transaction: a call outside the transaction may wait for its "
                "end. Call the object that the block yields: tx.start(...) instead of workflows.start(...)"
            )

    async def _begin(self, timeout: timedelta) -> "tuple[AbstractAsyncContextManager[Any], DatabaseTransaction, bool]":
        """Return the client's transaction, ours, and whether its isolation level must still be set."""
        sql = await self.sql()
        max_wait = min(timeout, self.limit)
        if sql.one_writer:
            must_be_said = False
            manager = self.client.tx(max_wait=max_wait, timeout=timeout)
        else:
            manager = self._learnt.isolation.begun(max_wait=max_wait, timeout=timeout)
            must_be_said = await self._learnt.isolation.must_be_said()
        try:
            client = await answered(manager.__aenter__, self.limit)
        except StoreError as error:
            if error.__cause__ is None or not is_transaction_over(error.__cause__):
                raise
            raise StoreUnavailableError(
                f"no transaction could start within {max_wait.total_seconds():g} s: {error.__cause__}"
            ) from error.__cause__
        deadline = asyncio.get_running_loop().time() + timeout.total_seconds()
        transaction = DatabaseTransaction(client, self.limit, type(sql), timeout, deadline)
        return manager, transaction, must_be_said

    async def _roll_back(self, manager: AbstractAsyncContextManager[Any], error: BaseException) -> None:
        try:
            async with asyncio.timeout(self.limit.total_seconds()):
                await manager.__aexit__(type(error), error, error.__traceback__)
        except Exception as failure:
            # The cause may also have closed the connection. Then the database undoes the transaction. Raise the error
            # of the block.
            logger.debug("a transaction could not be rolled back: %s: %s", type(failure).__name__, failure)

    async def _run(self, statement: Statement, *, urgent: bool = False) -> Rows:
        text, parameters = statement
        rows: Rows = await self._attempt(lambda: self.client.query_raw(text, *parameters), urgent=urgent)
        return rows

    async def _attempt(self, operation: Callable[[], Awaitable[T]], *, urgent: bool = False) -> T:
        return await self._retry(lambda: self._asked(operation, urgent=urgent))

    async def _asked(self, operation: Callable[[], Awaitable[T]], *, urgent: bool) -> T:
        if urgent:
            return await answered(operation, self.limit)
        self.refuse_inside_own()
        lanes = await self._places()
        lane = await lanes.enter(self.limit)
        try:
            return await answered(operation, self.limit)
        finally:
            lanes.leave(lane)

    async def _retry(self, operation: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(self.attempts - 1):
            try:
                return await operation()
            except StoreConflictError:
                await asyncio.sleep(self.first_pause.total_seconds() * 2**attempt)
        return await operation()

    async def _places(self) -> Lanes:
        return self._learnt.lanes or self._learnt.lanes_for(await self.sql(), self.client)

    async def _ask_for_dialect(self) -> type[Sql]:
        answer = int(await self._answer(DIALECT_QUESTION))
        if answer == _POSTGRES:
            return PostgresSql
        if answer == _SQLITE:
            moment = await self._answer(MOMENT_QUESTION, _ANY_MOMENT)
            return SqliteMillisecondsSql if moment == "integer" else SqliteSql
        raise ConfigurationError("the client's database must be PostgreSQL or SQLite, got another one")

    async def _answer(self, question: str, *parameters: Any) -> Any:
        rows = await self._attempt(lambda: self.client.query_raw(question, *parameters), urgent=True)
        return rows[0]["answer"]

    async def has(self, table: str, columns: str) -> bool:
        """Return whether the table and its columns exist."""
        try:
            await self._attempt(lambda: self.client.query_raw(probe(table, columns)))
        except SchemaMismatchError:
            return False
        return True


class DatabaseTransaction(Database):
    """Statements of one transaction, which has its connection already."""

    attempts = 1

    def __init__(
        self, client: PrismaClient, limit: timedelta, dialect: type[Sql] | None, timeout: timedelta, deadline: float
    ) -> None:
        super().__init__(client, limit, dialect)
        self.parts = Parts()
        self._timeout = timeout
        self._deadline = deadline
        self._doomed_by: StoreError | None = None

    async def commit(self, manager: AbstractAsyncContextManager[Any]) -> None:
        await self._attempt(lambda: manager.__aexit__(None, None, None))

    def over(self, error: BaseException | None) -> StoreError | None:
        """Return why the client has ended the transaction: its time was up, or a statement failed. None for other
        errors.
        """
        if error is None or not is_transaction_over(error):
            return None
        if asyncio.get_running_loop().time() >= self._deadline:
            return TransactionExpiredError(self._timeout)
        return StoreError(f"the transaction is over: {error}")

    def raise_if_doomed(self) -> None:
        """Refuse to continue, or to commit, after a failure that only the end of the whole transaction can undo."""
        if isinstance(self._doomed_by, StoreConflictError):
            raise StoreConflictError(*self._doomed_by.args) from self._doomed_by
        if self._doomed_by is not None:
            raise StoreError(
                f"the transaction cannot continue, because a part of it failed: {self._doomed_by}"
            ) from self._doomed_by

    async def atomically(self, work: Work[T]) -> T:
        return await work(self)

    @asynccontextmanager
    async def transaction(self, timeout: timedelta) -> AsyncIterator["DatabaseTransaction"]:  # noqa: ARG002 - the outer one's holds
        """Open a part of this transaction. If the block raises, only the part is undone. A conflict undoes the whole
        transaction.
        """
        self.raise_if_doomed()
        async with self.parts.part():
            await self.execute(await self.sql(), f"SAVEPOINT {_PART}")
            try:
                yield self
            except StoreConflictError as conflict:
                # The database has undone more than this part, or locks of the whole transaction block another one.
                self._doomed_by = conflict
                conflict.undid_outer = True
                raise
            except BaseException:
                await self._undo_part()
                raise
            await self.execute(await self.sql(), f"RELEASE SAVEPOINT {_PART}")

    async def _undo_part(self) -> None:
        try:
            for statement in ("ROLLBACK TO SAVEPOINT", "RELEASE SAVEPOINT"):
                await self.execute(await self.sql(), f"{statement} {_PART}")
        except StoreError as failure:
            # The connection is lost, or an abandoned statement ended the transaction. Raise the error of the part. If
            # the caller continues, the next call or the commit raises.
            self._doomed_by = failure

    async def _asked(self, operation: Callable[[], Awaitable[T]], *, urgent: bool) -> T:  # noqa: ARG002 - no place is needed
        try:
            return await answered(operation, self.limit)
        except StoreError as error:
            failure = self.over(error.__cause__)
            if failure is None:
                raise
            raise failure from error.__cause__


async def answered(operation: Callable[[], Awaitable[T]], limit: timedelta) -> T:
    """Return the client's answer. Raise one of our errors for its error, or if no answer comes within the limit."""
    try:
        async with asyncio.timeout(limit.total_seconds()) as clock:
            return await operation()
    except Exception as error:
        if clock.expired():
            raise StoreUnavailableError(
                f"the database gave no answer within {limit.total_seconds():g} s. Whether it did what was asked is "
                "unknown; the connection was given up"
            ) from error
        failure = translate_call(error)
        if failure is None:
            raise
        raise failure from error
