"""Checks at the start whether a client and its database fit the schema of the store."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType

from fastapi_durable.model.errors import SchemaMismatchError
from fastapi_durable.store.prisma.database import Database
from fastapi_durable.store.prisma.tables import TABLES


def check_models(client: object) -> None:
    """Refuse a client whose schema lacks a model or a field.

    Raises:
        SchemaMismatchError: something is missing. The message names it, and the commands that add it.
    """
    missing = sorted(_missing_from(_models_of(client), client))
    if missing:
        raise SchemaMismatchError(
            f"the Prisma client {_name(client)} lacks {', '.join(missing)}. Paste what `python -m fastapi_durable "
            "schema` prints into your schema.prisma, then run `fastapi-durable migrate dev`, which generates the "
            "client, too.",
            missing,
        )


async def check_tables(database: Database, where: str) -> None:
    """Refuse a database that lacks a table or a column.

    Args:
        database: The database.
        where: Name of the database in messages.

    Raises:
        SchemaMismatchError: something is missing. The message names it, the database, and the command that adds it.
    """
    missing: list[str] = []
    for table in TABLES:
        if not await database.has(table.name, ", ".join(table.names)):
            if not await database.has(table.name, "1"):
                missing.append(table.name)
            else:
                missing += [f"{table.name}.{name}" for name in table.names if not await database.has(table.name, name)]
    if missing == [table.name for table in TABLES]:
        raise SchemaMismatchError(
            f"{where} has none of the durable tables ({', '.join(missing)}). Check that it is the right database, "
            "and run `fastapi-durable migrate deploy` (or `prisma migrate deploy`). If no migration creates the "
            "tables yet, `fastapi-durable migrate dev` writes one. (The store creates no tables itself.)",
            missing,
        )
    if missing:
        raise SchemaMismatchError(
            f"{where} lacks {', '.join(missing)}. Its migrations are behind the Prisma schema: run "
            "`fastapi-durable migrate deploy` (or `prisma migrate deploy`). (The store creates no tables itself; "
            "`auto_schema` has no effect on it.)",
            missing,
        )


def _models_of(client: object) -> ModuleType:
    """Return the `models` module of the generated package that defines the client's class or one of its bases."""
    for cls in type(client).__mro__:
        for package in (cls.__module__, cls.__module__.rpartition(".")[0]):
            if package and package != "builtins":
                try:
                    return import_module(f"{package}.models")
                except ImportError:
                    continue
    raise SchemaMismatchError(
        f"{_name(client)} is not a generated Prisma client: none of its base classes comes from a package with "
        "models. Pass an instance of the `Prisma` class that `fastapi-durable generate` or `prisma generate` wrote, "
        "or of a subclass."
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
