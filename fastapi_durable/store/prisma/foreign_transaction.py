"""A transaction that the application opened on its own client, and in which the store takes part."""

import math
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from fastapi_durable.model.errors import ConfigurationError, StoreError
from fastapi_durable.store.prisma.client import end_of_transaction
from fastapi_durable.store.prisma.database import Database, DatabaseTransaction, answered
from fastapi_durable.store.prisma.failures import translate
from fastapi_durable.store.prisma.isolation import LEVEL
from fastapi_durable.store.prisma.sql.builder import Sql

_UNKNOWN_LIMIT = timedelta(0)


def open_transaction(database: Database, client: Any) -> DatabaseTransaction:
    """Return the open transaction of a client, even if other code opened it.

    Raises:
        ConfigurationError: the client is not in an open transaction, or cannot report its end.
        StoreError: the transaction is over.
    """
    known = database.find_open(client)
    if known is not None:
        return known
    when_ended = end_of_transaction(client)
    transaction = _ForeignTransaction(client, database)
    held = ExitStack()

    def ended(committed: bool) -> None:
        held.close()
        if committed:
            transaction.parts.committed()

    try:
        when_ended(ended)
    except Exception as error:
        raise translate(error) or StoreError(f"the transaction is over: {error}") from error
    held.enter_context(database.holding(transaction))
    return transaction


class _ForeignTransaction(DatabaseTransaction):
    """Statements of a transaction that other code began, with unknown options."""

    def __init__(self, client: Any, outer: Database) -> None:
        # The client enforces the transaction's own limit, and reports when it is over.
        super().__init__(client, outer.limit, None, _UNKNOWN_LIMIT, math.inf)
        self._outer = outer
        self._is_checked = False

    async def sql(self) -> Sql:
        if not self._is_checked:
            self._learnt.dialect = type(await self._outer.sql())
            if not self._learnt.dialect.one_writer:
                await self._require_read_committed()
            self._is_checked = True
        return await super().sql()

    async def _require_read_committed(self) -> None:
        rows: Any = await answered(lambda: self.client.query_raw(LEVEL), self.limit)
        level = str(rows[0]["level"])
        if level != "read committed":
            raise ConfigurationError(
                f"the transaction must be at READ COMMITTED, got {level.upper()}: at another level it does not see "
                "what others committed while it waited for them. Open it with isolation_level='ReadCommitted'"
            )
