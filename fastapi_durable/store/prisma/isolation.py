"""Transactions at READ COMMITTED, whatever the default of the database or the role is.

The store's transactions wait for each other's locks, and then read what the other one has committed. At REPEATABLE
READ, the statement that waits for the lock takes its snapshot before the wait. So a signal and the wait for it would
miss each other. At SERIALIZABLE, they would conflict again and again.
"""

from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

from fastapi_durable.store.prisma.client import PrismaClient

DEFAULT_ISOLATION = "SELECT current_setting('default_transaction_isolation') AS level"
LEVEL = "SELECT current_setting('transaction_isolation') AS level"
READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"


class ReadCommitted:
    """Begins transactions at READ COMMITTED for a client on PostgreSQL."""

    def __init__(self, client: PrismaClient) -> None:
        self._client: Any = client
        self._takes_level = True
        self._is_default: bool | None = None

    def begun(self, *, max_wait: timedelta, timeout: timedelta) -> AbstractAsyncContextManager[Any]:
        """Begin a transaction of the client, with the isolation level if the client has an argument for it."""
        if self._takes_level:
            try:
                manager: AbstractAsyncContextManager[Any] = self._client.tx(
                    max_wait=max_wait, timeout=timeout, isolation_level="ReadCommitted"
                )
            except TypeError:
                # Prisma Client Python on its native engine does not have this argument.
                self._takes_level = False
            else:
                return manager
        return self._client.tx(max_wait=max_wait, timeout=timeout)  # type: ignore[no-any-return]

    async def must_be_said(self) -> bool:
        """Return whether `READ_COMMITTED` must be the first statement of a transaction that `begun` returned."""
        if self._takes_level:
            return False
        if self._is_default is None:
            rows = await self._client.query_raw(DEFAULT_ISOLATION)
            self._is_default = rows[0]["level"] == "read committed"
        return not self._is_default
