"""What the store asks of a Prisma client.

A client is generated for each schema, so no library can import one. Any class that fits will do: a client of Prisma
Client Python on its native engine, one of `prisma_inprocess`, or a subclass of either.
"""

import inspect
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit


class PrismaClient(Protocol):
    """A connected client whose schema holds the durable models; the statements are the store's own."""

    def tx(self, *, max_wait: timedelta, timeout: timedelta) -> AbstractAsyncContextManager[Any]: ...

    async def query_raw(self, query: Any, *args: Any) -> Any: ...

    async def execute_raw(self, query: Any, *args: Any) -> int: ...


ConnectableClient = AbstractAsyncContextManager[PrismaClient]
"""A client that connects as its block begins, and disconnects as it ends."""


def unconnected_twin(client: object) -> ConnectableClient | None:
    """A client of the same class and data source with connections of its own; None if none can be made."""
    construct: Callable[..., object] = type(client)
    names = {
        "datasource": "_datasource",
        "http": "_http_config",
        "log_queries": "_log_queries",
        "connect_timeout": "_connect_timeout",
    }
    try:
        settings = {name: getattr(client, attribute) for name, attribute in names.items()}
        if ":memory:" in str((settings["datasource"] or {}).get("url", "")):
            return None  # a database that its connection takes along
        # First, since the generated class complains of an instance whose construction ends half-way.
        inspect.signature(construct).bind(use_dotenv=False, **settings)
        twin = construct(use_dotenv=False, **settings)
    except Exception:  # an application's own class may ask for anything
        return None
    return twin if isinstance(twin, AbstractAsyncContextManager) else None


def connections_of(client: object) -> int:
    """How many connections the client's pool has at most: what its URL says, or Prisma's own default."""
    try:
        # The client was given a URL, or reads the environment variable that its schema names.
        source = getattr(client, "_datasource", None) or getattr(client, "_default_datasource", None) or {}
        options = dict(parse_qsl(urlsplit(str(source.get("url"))).query))
        return int(options["connection_limit"])
    except (KeyError, ValueError, AttributeError, RuntimeError):
        return (os.cpu_count() or 1) * 2 + 1
