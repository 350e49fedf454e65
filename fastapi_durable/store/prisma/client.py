"""What the store asks of a Prisma client.

A client is generated for each schema, so no library can import one. Any class that fits will do: a client of Prisma
Client Python on its native engine, one of `prisma_inprocess`, or a subclass of either.
"""

import inspect
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from fastapi_durable.model.errors import ConfigurationError


class PrismaClient(Protocol):
    """A connected client whose schema holds the durable models; the statements are the store's own."""

    def tx(self, *, max_wait: timedelta, timeout: timedelta) -> AbstractAsyncContextManager[Any]: ...

    async def query_raw(self, query: Any, *args: Any) -> Any: ...

    async def execute_raw(self, query: Any, *args: Any) -> int: ...


class BatchingClient(PrismaClient, Protocol):
    """A client that runs several statements of a transaction in one call, as those of `prisma_inprocess` do."""

    async def query_raw_batch(self, *statements: tuple[Any, ...]) -> list[list[dict[str, Any]]]: ...

    def rows_of(self, statement: int) -> Any: ...


def batching(client: PrismaClient) -> BatchingClient | None:
    """The same client, if it is such a one."""
    return cast(BatchingClient, client) if hasattr(client, "query_raw_batch") else None


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


TellEnd = Callable[[Callable[[bool], None]], None]
"""Takes a function to call when a transaction is over, with whether it was committed."""


def end_of_transaction(client: object) -> TellEnd:
    """How one learns of the end of the open transaction to which a client is bound.

    Raises:
        ConfigurationError: it is bound to none, or is no client of `prisma_inprocess`.
    """
    transaction_id = getattr(client, "_tx_id", None)
    if transaction_id is None:
        raise ConfigurationError(
            "the client is not in a transaction. Pass the one that `async with prisma.tx() as tx` yields, or use "
            "`async with workflows.transaction() as tx`"
        )
    when_ended = getattr(getattr(client, "_engine", None), "when_transaction_ended", None)
    if when_ended is None:
        raise ConfigurationError(
            "the client does not report when its transaction commits. Use a client of prisma_inprocess, or `async "
            "with workflows.transaction() as tx`, and tx.client in it"
        )
    return partial(when_ended, transaction_id)


def connections_of(client: object) -> int:
    """How many connections the client's pool has at most: what its URL says, or Prisma's own default."""
    try:
        options = dict(parse_qsl(urlsplit(_url_of(client)).query))
        return int(options["connection_limit"])
    except (KeyError, ValueError, AttributeError, RuntimeError):
        return (os.cpu_count() or 1) * 2 + 1


def database_of(client: object) -> str:
    """Return which database the client uses, for a message: a file, or a name and a server. It contains no
    password.
    """
    try:
        url = urlsplit(_url_of(client))
        if url.scheme in ("file", "sqlite"):
            path = url.path[1:] if _url_of(client).startswith("sqlite:///") else url.path
            return "the SQLite database" if ":memory:" in path else f"the SQLite file {Path(path).absolute()}"
        if url.scheme in ("postgresql", "postgres"):
            options = dict(parse_qsl(url.query))
            host = options.get("host") or url.hostname or "localhost"
            schema = f" (schema {options['schema']!r})" if "schema" in options else ""
            return f"the database {unquote(url.path).strip('/')!r}{schema} on {host}:{url.port or 5432}"
    except (ValueError, AttributeError, RuntimeError):
        pass
    return "the database"


def _url_of(client: object) -> str:
    # The client was given a URL, or reads the environment variable that its schema names.
    source = getattr(client, "_datasource", None) or getattr(client, "_default_datasource", None) or {}
    return str(source.get("url"))
