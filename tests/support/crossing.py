"""Transactions that meet: each is held at its place until the others have come to theirs, or wait for a lock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tests.support.engine_rig import until

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
