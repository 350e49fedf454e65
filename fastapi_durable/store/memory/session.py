"""Access to the tables: one operation or one transaction at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi_durable.model.errors import StoreError, TransactionExpiredError
from fastapi_durable.store.memory.tables import Tables
from fastapi_durable.store.parts import Parts


class Gate:
    """Gives one operation or transaction at a time access to the tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[object] | None = None
        self._session: Session | None = None

    async def __aenter__(self) -> Tables:
        # A database call lets other tasks run. So do the same here: code that relies on the contrary should fail in
        # tests.
        await asyncio.sleep(0)
        self._refuse_self_deadlock()
        await self._lock.acquire()
        return self._tables

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()

    async def close_for_others(self) -> "Session":
        """Begin a transaction, and keep all other calls waiting until it is over."""
        self._refuse_self_deadlock()
        await self._lock.acquire()
        self._owner = asyncio.current_task()
        self._session = Session(self._tables, self)
        return self._session

    def session_of_caller(self) -> "Session | None":
        """Return the transaction that the current task has open."""
        return self._session if self._owner is asyncio.current_task() else None

    def open_again(self) -> None:
        self._owner = self._session = None
        self._lock.release()

    def _refuse_self_deadlock(self) -> None:
        if self._owner is not None and self._owner is asyncio.current_task():
            raise StoreError(
                "the store was used inside its own transaction. Use the object that the transaction block yields"
            )


class Session:
    """One transaction's access to the tables, until it is over."""

    def __init__(self, tables: Tables, gate: Gate) -> None:
        self.tables = tables
        self.parts = Parts()
        self._gate = gate
        self._ended_by: Exception | None = None
        tables.journal.open()

    async def __aenter__(self) -> Tables:
        await asyncio.sleep(0)
        if self._ended_by is not None:
            raise self._ended_by
        return self.tables

    async def __aexit__(self, *_: object) -> None:
        pass

    @asynccontextmanager
    async def part(self) -> AsyncIterator[None]:
        """Undo what is done in the block, and nothing else, if the block raises."""
        async with self.parts.part():
            length = self.tables.journal.length
            try:
                yield
            except BaseException:
                if self._ended_by is None:
                    self.tables.journal.undo_from(length)
                raise

    def commit(self) -> None:
        if self._ended_by is not None:
            raise self._ended_by
        self.tables.journal.keep()
        self._end(StoreError("the transaction is over: it was committed"))
        self.parts.committed()

    def roll_back(self) -> None:
        """Undo everything, unless the transaction is over already."""
        if self._ended_by is None:
            self.tables.journal.undo()
            self._end(StoreError("the transaction is over: it was undone"))

    def expire(self, timeout: timedelta) -> None:
        self.roll_back()
        self._ended_by = TransactionExpiredError(timeout)

    def _end(self, reason: Exception) -> None:
        self._ended_by = reason
        self._gate.open_again()
