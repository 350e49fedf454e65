"""The store itself, and the store within a transaction."""

import copy
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from typing import Self

from fastapi_durable.model.records import Run
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.prisma.activity import ActivityOperations
from fastapi_durable.store.prisma.bulk import BulkCalls
from fastapi_durable.store.prisma.checkpoints import CheckpointOperations
from fastapi_durable.store.prisma.client import ConnectableClient, PrismaClient, database_of, unconnected_twin
from fastapi_durable.store.prisma.database import Database, DatabaseTransaction
from fastapi_durable.store.prisma.events import EventOperations
from fastapi_durable.store.prisma.foreign_transaction import open_transaction
from fastapi_durable.store.prisma.leases import LeaseOperations
from fastapi_durable.store.prisma.queries import QueryOperations
from fastapi_durable.store.prisma.queues import QueueOperations
from fastapi_durable.store.prisma.retention import RetentionOperations
from fastapi_durable.store.prisma.runs import RunOperations
from fastapi_durable.store.prisma.schema_check import check_models, check_tables
from fastapi_durable.store.prisma.signals import SignalOperations
from fastapi_durable.store.prisma.sql.predicates import where
from fastapi_durable.store.prisma.sql.statements import wake_run
from fastapi_durable.store.prisma.streams import StreamOperations
from fastapi_durable.store.prisma.tables import RUNS
from fastapi_durable.store.prisma.upkeep import UpkeepOperations

_log = logging.getLogger("fastapi_durable")


class _AllOperations(
    RunOperations,
    QueryOperations,
    ActivityOperations,
    LeaseOperations,
    CheckpointOperations,
    SignalOperations,
    EventOperations,
    StreamOperations,
    RetentionOperations,
    UpkeepOperations,
    QueueOperations,
):
    async def ensure_schema(self) -> None:
        await check_tables(self._database, database_of(self._database.client))

    async def ping(self) -> None:
        sql = await self._database.sql()
        await self._database.query(sql, "SELECT 1 AS pong")

    def separate_connection(self) -> AbstractAsyncContextManager[StateStore] | None:
        """Return None, because a transaction is bound to one connection."""
        return None

    @asynccontextmanager
    async def transaction(self, *, timeout: timedelta = timedelta(seconds=10)) -> AsyncIterator["PrismaTransaction"]:
        async with self._database.transaction(timeout) as database:
            yield PrismaTransaction(database, self._scope)


class PrismaStateStore(_AllOperations):
    """The state store in the application's own database, through its own Prisma client.

    Prisma Migrate creates the tables. `ensure_schema` checks them, and creates nothing. Connect the client before the
    first operation.

    Args:
        client: Instance of a generated client, on PostgreSQL or SQLite, whose schema holds the durable models.

    Raises:
        SchemaMismatchError: the client lacks a model or a field. The message names it.
    """

    def __init__(self, client: PrismaClient) -> None:
        check_models(client)
        database = Database(client)
        super().__init__(database, bulk=BulkCalls(database))

    def within(self, client: object) -> "PrismaTransaction":
        return PrismaTransaction(open_transaction(self._database, client), self._scope)

    def separate_connection(self) -> AbstractAsyncContextManager[StateStore] | None:
        client = self._database.client
        twin = unconnected_twin(client)
        if twin is None:
            _log.warning(
                "the client %s.%s cannot be constructed a second time: leases are renewed in the event loop alone, "
                "so other workers take over the runs of this process while a step blocks it for longer than "
                "`lease`. Its class must accept the arguments of the generated client, and its database must not be "
                "`:memory:`",
                type(client).__module__,
                type(client).__qualname__,
            )
            return None
        return self._connected(twin)

    @asynccontextmanager
    async def _connected(self, twin: ConnectableClient) -> AsyncIterator[StateStore]:
        async with twin as client:
            store = PrismaStateStore(client)
            yield store if self._scope is None else store.with_scope(self._scope)

    def with_timeout(self, limit: timedelta) -> Self:
        limited = copy.copy(self)
        limited._database = self._database.limited(limit)
        limited._bulk = BulkCalls(limited._database)
        return limited


class PrismaTransaction(_AllOperations):
    """The store within a transaction."""

    def __init__(self, database: DatabaseTransaction, scope: str | None) -> None:
        super().__init__(database, scope)
        self._transaction = database

    def with_timeout(self, limit: timedelta) -> Self:  # noqa: ARG002 - it began under a limit, and has one of its own
        return self

    @property
    def client(self) -> object:
        """The client bound to this transaction."""
        return self._database.client

    def within(self, client: object) -> "PrismaTransaction":
        """Return the same transaction, or another open one."""
        return PrismaTransaction(open_transaction(self._database, client), self._scope)

    def after_commit(self, call: Callable[[], None]) -> None:
        self._transaction.parts.after_commit(call)

    async def lock_name(self, name: str) -> None:
        sql = await self._database.sql()
        await self._database.query(sql, sql.lock_name(name))

    async def lock_run(self, run_id: str) -> Run | None:
        sql = await self._database.sql()
        return await self._first_row(RUNS, sql, sql.lock_run(run_id, self._in_scope))

    async def wake_run(self, run_id: str, *, now: datetime) -> bool:
        sql = await self._database.sql()
        text = wake_run(sql, now) + where([f"r.id = {sql.text(run_id)}", *self._in_scope(sql)])
        return await self._database.execute(sql, text) > 0
