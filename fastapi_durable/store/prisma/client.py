"""What the store asks of a Prisma client.

A client is generated for each schema, so no library can import one. Any class that fits will do: a client of Prisma
Client Python on its native engine, one of `prisma_inprocess`, or a subclass of either.
"""

import os
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit


class PrismaClient(Protocol):
    """A connected client whose schema holds the durable models; the statements are the store's own."""

    def tx(self, *, max_wait: timedelta, timeout: timedelta) -> AbstractAsyncContextManager[Any]: ...

    async def query_raw(self, query: Any, *args: Any) -> Any: ...

    async def execute_raw(self, query: Any, *args: Any) -> int: ...


def connections_of(client: object) -> int:
    """How many connections the client's pool has at most: what its URL says, or Prisma's own default."""
    try:
        # The client was given a URL, or reads the environment variable that its schema names.
        source = getattr(client, "_datasource", None) or getattr(client, "_default_datasource", None) or {}
        options = dict(parse_qsl(urlsplit(str(source.get("url"))).query))
        return int(options["connection_limit"])
    except (KeyError, ValueError, AttributeError, RuntimeError):
        return (os.cpu_count() or 1) * 2 + 1
