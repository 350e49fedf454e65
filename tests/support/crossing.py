"""Transactions that meet: each is held at its place until the others have come to theirs, or wait for a lock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg

from fastapi_durable.model.errors import StoreConflictError
from fastapi_durable.model.records import TERMINAL_STATUSES
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.prisma.store import PrismaTransaction
from tests.support.engine_rig import until
from tests.support.interposed_store import interposed

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


class Crossing:
    """Lets transactions of a PostgreSQL database go on when all of them have come as far as they can together.

    Nobody else may wait for a lock in the database meanwhile.

    Attributes:
        came: How many came to their places.
        waited: How many waited for a lock instead, at the most.
    """

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", transactions: int) -> None:
        self.came = 0
        self.waited = 0
        self._connection = connection
        self._transactions = transactions
        self._looking = asyncio.Lock()

    async def come(self) -> None:
        """The transaction is at its place."""
        self.came += 1
        await until(self._all_have_come)

    async def has_begun(self) -> bool:
        """Whether one has come."""
        return self.came > 0

    async def _all_have_come(self) -> bool:
        async with self._looking:
            waiting = int(await self._connection.fetchval(_WAITING))
        self.waited = max(self.waited, waiting)
        return self.came + waiting >= self._transactions


@asynccontextmanager
async def crossing(url: str, transactions: int) -> AsyncIterator[Crossing]:
    """A crossing of so many transactions of the database of this URL."""
    connection = await asyncpg.connect(url)
    try:
        yield Crossing(connection, transactions)
    finally:
        await connection.close()


class Held:
    """Holds one transaction behind the first of its calls that fits, in each of two processes, until both are there."""

    def __init__(self, meeting: Crossing) -> None:
        self.armed = False
        self.conflicts: list[StoreConflictError] = []
        self._meeting = meeting

    def behind(self, store: StateStore, place: Callable[[str, "partial[Awaitable[Any]]"], bool]) -> StateStore:
        """`store`, as a process has it whose transaction is held behind the call of `place`."""
        held = False

        async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
            nonlocal held
            try:
                answer = await call()
            except StoreConflictError as error:
                self.conflicts.append(error)
                raise
            if self.armed and not held and place(name, call):
                held = True
                await self._meeting.come()
            return answer

        return interposed(store, between)


def locks(run_id: str) -> Callable[[str, "partial[Awaitable[Any]]"], bool]:
    return lambda name, call: name == "lock_run" and call.args == (run_id,)


def ends(run_id: str) -> Callable[[str, "partial[Awaitable[Any]]"], bool]:
    return lambda name, call: (
        name == "update_run" and call.args[0] == run_id and call.args[1].get("status") in TERMINAL_STATUSES
    )


def looks_at(run_id: str) -> Callable[[str, "partial[Awaitable[Any]]"], bool]:
    """Whether the lock is taken or forgotten; not what looks at the run outside of a transaction."""
    return lambda _, call: (
        call.args == (run_id,) and isinstance(getattr(call.func, "__self__", None), PrismaTransaction)
    )
