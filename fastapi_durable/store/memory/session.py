"""Who may touch the tables, and when: one operation or one transaction at a time."""

import asyncio
from datetime import timedelta

from fastapi_durable.model.errors import StoreError, TransactionExpiredError
from fastapi_durable.store.memory.tables import Tables


class Gate:
    """Lets one operation or transaction at a time to the tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[object] | None = None

    async def __aenter__(self) -> Tables:
        # A database would let other tasks run here too; code that relies on the contrary should fail in tests.
        await asyncio.sleep(0)
        self._refuse_self_deadlock()
        await self._lock.acquire()
        return self._tables

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()

    async def close_for_others(self) -> None:
        self._refuse_self_deadlock()
        await self._lock.acquire()
        self._owner = asyncio.current_task()

    def open_again(self) -> None:
        self._owner = None
        self._lock.release()

    def _refuse_self_deadlock(self) -> None:
        if self._owner is not None and self._owner is asyncio.current_task():
            raise StoreError("the store was used inside its own transaction: use what the transaction block yields")


class Session:
    """One transaction's access to the tables, until it is over."""

    def __init__(self, tables: Tables, gate: Gate) -> None:
        self.tables = tables
        self.doomed = False
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

    def commit(self) -> None:
        if self._ended_by is not None:
            raise self._ended_by
        if self.doomed:
            raise StoreError("a transaction that was joined failed, so this one is undone as well")
        self.tables.journal.keep()
        self._end(StoreError("the transaction is over: it was committed"))

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
