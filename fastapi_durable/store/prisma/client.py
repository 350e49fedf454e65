"""What the store asks of a Prisma client, and how it finds out that a client cannot give it.

A client is generated for each schema, so no library can import one. Any class that fits will do: a client of Prisma
Client Python on its native engine, one of `prisma_inprocess`, or a subclass of either.
"""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from fastapi_durable.model.errors import SchemaMismatchError
from fastapi_durable.store.prisma.tables import TABLES


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


def check_models(client: object) -> None:
    """Refuse a client whose schema lacks a model or a field.

    Raises:
        SchemaMismatchError: it names what is missing, and the commands that add it.
    """
    missing = sorted(_missing_from(_models_of(client), client))
    if missing:
        raise SchemaMismatchError(
            f"the Prisma client {_name(client)} lacks {', '.join(missing)}. Paste what `python -m fastapi_durable "
            "schema` prints into your schema.prisma, then run `prisma generate` (or `python -m prisma_inprocess "
            "generate`) and migrate the database.",
            missing,
        )


def connections_of(client: object) -> int:
    """How many connections the client's pool has at most: what its URL says, or Prisma's own default."""
    try:
        # The client was given a URL, or reads the environment variable that its schema names.
        source = getattr(client, "_datasource", None) or getattr(client, "_default_datasource", None) or {}
        options = dict(parse_qsl(urlsplit(str(source.get("url"))).query))
        return int(options["connection_limit"])
    except (KeyError, ValueError, AttributeError, RuntimeError):
        return (os.cpu_count() or 1) * 2 + 1


def _models_of(client: object) -> ModuleType:
    """The `models` module of the generated package that defines the client's class, or a class that it extends."""
    for cls in type(client).__mro__:
        for package in (cls.__module__, cls.__module__.rpartition(".")[0]):
            if package and package != "builtins":
                try:
                    return import_module(f"{package}.models")
                except ImportError:
                    continue
    raise SchemaMismatchError(
        f"{_name(client)} is no generated Prisma client: no class that it extends comes from a package with models. "
        "Pass the client itself (an instance of the `Prisma` class that `prisma generate` wrote, or of a subclass)."
    )


def _missing_from(models: ModuleType, client: object) -> Iterator[str]:
    for table in TABLES:
        model = getattr(models, table.model, None)
        fields: Mapping[str, object] | None = getattr(model, "model_fields", None)
        if fields is None or not hasattr(client, table.model.lower()):
            yield table.model
            continue
        yield from (f"{table.model}.{column.field}" for column in table.columns if column.field not in fields)


def _name(client: object) -> str:
    return f"{type(client).__module__}.{type(client).__qualname__}"
