"""The memory store: operations on the tables, alone or in a transaction."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Self

from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.model.records import Run, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory.checkpoints import CheckpointOperations
from fastapi_durable.store.memory.leases import LeaseOperations
from fastapi_durable.store.memory.queues import QueueOperations
from fastapi_durable.store.memory.runs import RunOperations
from fastapi_durable.store.memory.session import Gate, Session
from fastapi_durable.store.memory.signals import SignalOperations
from fastapi_durable.store.memory.streams import StreamOperations
from fastapi_durable.store.memory.tables import Tables
from fastapi_durable.store.memory.upkeep import UpkeepOperations


class _Operations(
    RunOperations,
    LeaseOperations,
    QueueOperations,
    CheckpointOperations,
    SignalOperations,
    StreamOperations,
    UpkeepOperations,
):
    """The operations that the store and a transaction share. `_access` waits until they may use the tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._scope: str | None = None

    async def ensure_schema(self) -> None:
        """Do nothing, because there is no schema."""

    async def ping(self) -> None:
        async with self._access():
            pass

    def with_timeout(self, limit: timedelta) -> Self:  # noqa: ARG002 - nothing is far away
        return self

    def with_scope(self, namespace: str) -> Self:
        if self._scope not in (None, namespace):
            raise ValueError(f"namespace must be {self._scope!r}, to which this store is confined, got {namespace!r}")
        scoped = copy.copy(self)
        scoped._scope = namespace
        return scoped

    def separate_connection(self) -> AbstractAsyncContextManager[StateStore] | None:
        """Return None: the tables belong to one event loop, and no other process can take a lease meanwhile."""
        return None


class MemoryStateStore(_Operations):
    """A state store in the memory of this process, for tests and first steps.

    A transaction is exclusive: every other call waits while it is open.
    """

    def __init__(self) -> None:
        super().__init__(Tables())
        self._gate = Gate(self._tables)

    def _access(self) -> AbstractAsyncContextManager[Tables]:
        return self._gate

    def within(self, client: object) -> "MemoryTransaction":
        """Return the transaction that the current task has open. Its client is None."""
        session = self._gate.session_of_caller()
        if client is not None or session is None:
            raise ConfigurationError(
                "the memory store has no database, so no client can be in its transaction. Use `async with "
                "workflows.transaction() as tx`"
            )
        return MemoryTransaction(session, self._scope)

    @asynccontextmanager
    async def transaction(self, *, timeout: timedelta = timedelta(seconds=10)) -> AsyncIterator["MemoryTransaction"]:
        session = await self._gate.close_for_others()
        expiry = asyncio.get_running_loop().call_later(timeout.total_seconds(), session.expire, timeout)
        try:
            yield MemoryTransaction(session, self._scope)
            session.commit()
        finally:
            expiry.cancel()
            session.roll_back()


class MemoryTransaction(_Operations):
    """The memory store within a transaction."""

    def __init__(self, session: Session, scope: str | None) -> None:
        super().__init__(session.tables)
        self._session = session
        self._scope = scope

    def _access(self) -> AbstractAsyncContextManager[Tables]:
        return self._session

    @property
    def client(self) -> object:
        """None, because there is no database."""
        return None

    def within(self, client: object) -> "MemoryTransaction":  # noqa: ARG002 - there is one transaction
        return self

    def after_commit(self, call: Callable[[], None]) -> None:
        self._session.parts.after_commit(call)

    async def lock_name(self, name: str) -> None:  # noqa: ARG002 - no other client can be in a transaction
        async with self._access():
            pass

    async def lock_run(self, run_id: str) -> Run | None:
        return await self.find_run(run_id)

    async def wake_run(self, run_id: str, *, now: datetime) -> bool:
        async with self._access() as tables:
            row = self._visible(tables, run_id)
            if row is None or row.status.is_terminal:
                return False
            wake_at = now if row.status in (RunStatus.SUSPENDED, RunStatus.BLOCKED) else row.wake_at
            tables.runs.put(run_id, replace(row, wake_count=row.wake_count + 1, wake_at=wake_at))
            return True

    @asynccontextmanager
    async def transaction(
        self,
        *,
        timeout: timedelta = timedelta(seconds=10),  # noqa: ARG002 - the outer one's holds
    ) -> AsyncIterator["MemoryTransaction"]:
        """Open a part of this transaction. If the block raises, only the part is undone."""
        async with self._session.part():
            yield self
