"""PostgreSQL under the schema engine: asyncpg, on one connection."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import asyncpg

from prisma_inprocess.drivers.postgresql_connection import CLOSE_LIMIT, connect
from prisma_inprocess.drivers.postgresql_errors import DATABASE_ERRORS, connection_error
from prisma_inprocess.drivers.postgresql_values import raw_parameters
from prisma_inprocess.errors import MigrationError
from prisma_inprocess.migrate import database as kinds
from prisma_inprocess.migrate.database import DatabaseFailure, ResultSet
from prisma_inprocess.migrate.postgresql_results import failure_of, result_set
from prisma_inprocess.url import PostgresUrl

# Prisma's own number, so that this package and the Prisma CLI wait for each other.
_ADVISORY_LOCK: Final = 72707369
_LOOK_EVERY: Final = 0.05  # seconds
_LOOK_FOR_CLIENT_EVERY: Final = 2000  # milliseconds
_SHADOW_PREFIX: Final = "prisma_inprocess_shadow_"
_SHADOW_LIMIT: Final = 60.0  # seconds to wait for another process with the same shadow database
_ABANDONED_AFTER: Final = 3600  # seconds; a shadow database lives for seconds
_EXISTS_ALREADY: Final = ("42P04", "23505")


class _NoWrapper:
    """The engine sends plain values: it has no `Json` or `Base64` of a generated client."""


class PostgresDatabase:
    """A PostgreSQL database that is open to be migrated."""

    provider = "postgres"

    def __init__(
        self,
        url: PostgresUrl,
        connection: PostgresConnection,
        *,
        shadow_url: PostgresUrl | None = None,
        schemas: Sequence[str] = (),
    ) -> None:
        self.place = f"{url.database} at {url.address}"
        self.schema_name: str | None = _schema_of(url)
        self.connection = connection
        self._url = url
        self._shadow_url = shadow_url
        self._schemas = list(schemas) or [_schema_of(url)]

    @classmethod
    async def open(
        cls, url: PostgresUrl, *, create: bool, shadow_url: PostgresUrl | None = None, schemas: Sequence[str] = ()
    ) -> PostgresDatabase:
        """Open a database.

        Args:
            url: The database.
            create: Whether a database or schema that does not exist is created.
            shadow_url: A database that may be emptied at will, or None: one is created for the purpose, and dropped.
            schemas: All schemas that the Prisma schema uses, or empty: the one of the URL.

        Raises:
            MigrationError: there is no such database, server or user (P1xxx).
        """
        url = _for_migrations(url)
        try:
            connection = await _connect(url)
        except MigrationError as error:
            if not create or error.code != "P1003":
                raise
            await _create_database(url)
            connection = await _connect(url)
        database = cls(
            url, connection, shadow_url=None if shadow_url is None else _for_migrations(shadow_url), schemas=schemas
        )
        if create:
            try:
                await _create_schema(connection, _schema_of(url))
            except DatabaseFailure as failure:
                await connection.close()
                raise MigrationError(
                    f"the schema {_schema_of(url)} cannot be created: {failure.message}. Create it, or give the user "
                    "the right to"
                ) from failure
        return database

    async def open_shadow(self) -> PostgresConnection:
        if self._shadow_url is not None:
            return await self._open_given_shadow(self._shadow_url)
        await self._drop_abandoned_shadows()
        # Databases of killed processes are recognised by their age. Their names cannot be guessed or used by chance.
        name = f"{_SHADOW_PREFIX}{int(time.time())}_{secrets.token_hex(16)}"
        try:
            await self.connection.execute(f"CREATE DATABASE {_quoted(name)} TEMPLATE template0", ())
        except DatabaseFailure as failure:
            raise MigrationError(
                f"a shadow database cannot be created: {failure.message}. Give the user the right to create databases, "
                "or name an empty database as shadowDatabaseUrl in the schema's datasource",
                "P3014",
            ) from failure
        real = self.connection

        async def drop() -> None:
            await real.execute(f"DROP DATABASE IF EXISTS {_quoted(name)}", ())

        try:
            shadow = await _connect(replace(self._url, database=name))
        except BaseException:
            await drop()
            raise
        shadow.on_close = drop
        try:
            await _create_schema(shadow, _schema_of(self._url))
        except BaseException:
            await shadow.close()
            raise
        return shadow

    async def _drop_abandoned_shadows(self) -> None:
        found = await self.connection.query(
            "SELECT datname::text FROM pg_database WHERE datname LIKE $1", [_SHADOW_PREFIX.replace("_", r"\_") + "%"]
        )
        for (name,) in found.rows:
            made_at = re.match(rf"{_SHADOW_PREFIX}(\d+)_", name)
            if made_at and time.time() - int(made_at[1]) > _ABANDONED_AFTER:
                with contextlib.suppress(DatabaseFailure):  # still in use, or another user's
                    await self.connection.execute(f"DROP DATABASE IF EXISTS {_quoted(name)}", ())

    async def _open_given_shadow(self, url: PostgresUrl) -> PostgresConnection:
        """Return the database of `shadowDatabaseUrl`, emptied, if it is certain that its contents are not needed."""
        shadow = await _connect(url)
        try:
            await self._refuse_real_database(shadow)
            await _acquire_lock(shadow, _SHADOW_LIMIT)
            await _empty(shadow, self._schemas)
        except BaseException:
            await shadow.close()
            raise
        return shadow

    async def _refuse_real_database(self, shadow: PostgresConnection) -> None:
        # Two URLs may name one database in many ways. A lock is known to its own database only.
        key = secrets.randbelow(2**62)
        await self.connection.query("SELECT pg_advisory_lock($1)::text", [key])
        try:
            found = await shadow.query("SELECT pg_try_advisory_lock($1)", [key])
        finally:
            await self.connection.query("SELECT pg_advisory_unlock($1)", [key])
        if found.rows != [[True]]:
            raise MigrationError(
                "shadowDatabaseUrl must not name the database that is migrated, because a shadow database is "
                "emptied. Name another one, or leave shadowDatabaseUrl out",
                "P3016",
            )
        found = await shadow.query("SELECT EXISTS (SELECT FROM pg_class WHERE relname = '_prisma_migrations')", [])
        if found.rows != [[False]]:
            raise MigrationError(
                "the database of shadowDatabaseUrl has a table _prisma_migrations, so it is in use, and a shadow "
                "database is emptied. Name an empty database",
                "P3016",
            )

    async def lock(self, limit: float) -> None:
        # If this process is killed during a long statement, the server continues it and keeps the lock, until it checks
        # whether the client still exists.
        with contextlib.suppress(DatabaseFailure):
            await self.connection.run_script(f"SET client_connection_check_interval = {_LOOK_FOR_CLIENT_EVERY}")
        await _acquire_lock(self.connection, limit)

    async def has_history(self) -> bool:
        table = f"{_quoted(_schema_of(self._url))}._prisma_migrations"
        found = await self.connection.query("SELECT to_regclass($1) IS NOT NULL", [table])
        return found.rows == [[True]]

    async def prepare_history(self) -> None:
        """The engine does so."""

    async def empty(self) -> None:
        await _empty(self.connection, self._schemas)

    async def close(self) -> None:
        await self.connection.close()


class PostgresConnection:
    """One connection."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._raw = connection
        self.on_close: Any = None

    async def query(self, sql: str, arguments: Sequence[Any]) -> ResultSet:
        try:
            statement = await self._raw.prepare(sql)
            expected = [str(kind.name) for kind in statement.get_parameters()]
            rows = await statement.fetch(*raw_parameters(arguments, expected, _NoWrapper, _NoWrapper))
        except DATABASE_ERRORS as error:
            raise failure_of(error) from error
        return result_set(statement.get_attributes(), rows)

    async def execute(self, sql: str, arguments: Sequence[Any]) -> int:
        if arguments:
            await self.query(sql, arguments)
            return 0
        await self.run_script(sql)
        return 0

    async def run_script(self, script: str) -> None:
        # In one message, so that PostgreSQL makes one transaction of it, unless it says otherwise itself.
        try:
            await self._raw.execute(script)
            if self._raw.is_in_transaction():
                raise asyncpg.InvalidTransactionTerminationError(kinds.LEFT_OPEN)
        except DATABASE_ERRORS as error:
            raise failure_of(error, script) from error
        finally:
            # What follows must not become part of the script's own transaction, or be lost with it.
            if not self._raw.is_closed() and self._raw.is_in_transaction():
                await self._raw.execute("ROLLBACK")

    async def close(self) -> None:
        try:
            await self._raw.close(timeout=CLOSE_LIMIT)
        except DATABASE_ERRORS:
            self._raw.terminate()
        if self.on_close is not None:
            await self.on_close()


def _for_migrations(url: PostgresUrl) -> PostgresUrl:
    # Statements are prepared once, tables change between them, and a migration may take its time.
    return replace(url, statement_cache_size=0, statement_timeout=None)


def _schema_of(url: PostgresUrl) -> str:
    return url.schema or "public"


async def _create_database(url: PostgresUrl) -> None:
    server = await _connect(replace(url, database="postgres", schema=None))
    try:
        await server.run_script(f"CREATE DATABASE {_quoted(url.database)}")
    except DatabaseFailure as failure:
        if failure.state not in _EXISTS_ALREADY:  # another process was first
            raise MigrationError(
                f"the database {url.database} does not exist, and cannot be created: {failure.message}. Create it, or "
                "give the user the right to",
                "P1003",
            ) from failure
    finally:
        await server.close()


async def _create_schema(connection: PostgresConnection, name: str) -> None:
    # CREATE SCHEMA IF NOT EXISTS needs a permission that the user of an existing schema may not have.
    found = await connection.query("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", [name])
    if found.rows != [[True]]:
        await connection.run_script(f"CREATE SCHEMA IF NOT EXISTS {_quoted(name)}")


async def _connect(url: PostgresUrl) -> PostgresConnection:
    try:
        return PostgresConnection(await connect(url))
    except DATABASE_ERRORS as error:
        failure = connection_error(error, url)
        raise MigrationError(f"{failure}. Check the connection URL and the server", failure.code) from error


async def _acquire_lock(connection: PostgresConnection, limit: float) -> None:
    # Not waited for in a statement: that would hold a snapshot, for which CREATE INDEX CONCURRENTLY of the process that
    # holds the lock would wait in turn.
    deadline = time.monotonic() + limit
    while (await connection.query("SELECT pg_try_advisory_lock($1)", [_ADVISORY_LOCK])).rows != [[True]]:
        if time.monotonic() > deadline:
            raise kinds.lock_timeout(limit)
        await asyncio.sleep(_LOOK_EVERY)


async def _empty(connection: PostgresConnection, schemas: Sequence[str]) -> None:
    statements = [
        statement
        for schema in schemas
        for statement in (f"DROP SCHEMA IF EXISTS {_quoted(schema)} CASCADE", f"CREATE SCHEMA {_quoted(schema)}")
    ]
    await connection.run_script("; ".join(statements))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
