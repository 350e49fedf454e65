"""The interface of a Prisma client that the store needs.

A client is generated for each schema, so no library can import one. Any class with this interface is accepted: a client
of Prisma Client Python on its native engine, one of `prisma_inprocess`, or a subclass of either.
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
    """A connected client whose schema has the durable models. The store writes the statements itself."""

    def tx(self, *, max_wait: timedelta, timeout: timedelta) -> AbstractAsyncContextManager[Any]: ...

    async def query_raw(self, query: Any, *args: Any) -> Any: ...

    async def execute_raw(self, query: Any, *args: Any) -> int: ...


class BatchingClient(PrismaClient, Protocol):
    """A client that runs several statements of a transaction in one call, like the clients of `prisma_inprocess`."""

    async def query_raw_batch(self, *statements: tuple[Any, ...]) -> list[list[dict[str, Any]]]: ...

    def rows_of(self, statement: int) -> Any: ...


def batching(client: PrismaClient) -> BatchingClient | None:
    """Return the client, if it can do that. Otherwise None."""
    return cast(BatchingClient, client) if hasattr(client, "query_raw_batch") else None


ConnectableClient = AbstractAsyncContextManager[PrismaClient]
"""A client that connects at the start of its block, and disconnects at the end."""


def unconnected_twin(client: object) -> ConnectableClient | None:
    """Return a client of the same class and data source with its own connections. None if none can be created."""
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
            return None  # an in-memory database belongs to its connection
        # Set this first, because the generated class warns about an instance whose construction failed half-way.
        inspect.signature(construct).bind(use_dotenv=False, **settings)
        twin = construct(use_dotenv=False, **settings)
    except Exception:  # an application's class may require other arguments
        return None
    return twin if isinstance(twin, AbstractAsyncContextManager) else None


TellEnd = Callable[[Callable[[bool], None]], None]
"""Takes a function to call when a transaction is over, with whether it was committed."""


def end_of_transaction(client: object) -> TellEnd:
    """Return the function that registers callbacks for the end of the client's open transaction.

    Raises:
        ConfigurationError: the client is not in a transaction, or is not a client of `prisma_inprocess`.
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
    """Return the maximum size of the client's pool: the value in its URL, or Prisma's default."""
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
