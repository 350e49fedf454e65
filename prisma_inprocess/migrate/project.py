"""The project of a migration command: a schema, its database, its folder of migrations."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prisma_inprocess.datasource import Datasource, Setting, read_datasource, strip_urls
from prisma_inprocess.errors import ConfigurationError, MigrationError
from prisma_inprocess.migrate.database import Database
from prisma_inprocess.migrate.engine import MigrationEngine
from prisma_inprocess.migrate.folder import MigrationsFolder
from prisma_inprocess.url import PostgresUrl, parse_postgres_url, parse_sqlite_url
from prisma_inprocess.wasm.files import SCHEMA_ENGINE, find

LOCK_TIMEOUT: Final = 60.0
"""Seconds that a command waits for another process that migrates the same database."""


@dataclass(slots=True, frozen=True)
class Project:
    """A schema with its migrations and its environment.

    Attributes:
        schema: The schema's file.
        text: Its text.
        datasource: Its datasource block.
        migrations: The folder of its migrations.
        environment: Environment variables, and those of the `.env` file beside the schema.
        wasm_file: The schema engine.
    """

    schema: Path
    text: str = field(repr=False)  # it may have URLs, as the environment has
    datasource: Datasource
    migrations: MigrationsFolder
    environment: Mapping[str, str] = field(repr=False)
    wasm_file: Path

    @property
    def files(self) -> list[tuple[str, str]]:
        """Name and text of the schema, without the URLs that the engine refuses."""
        return [(self.schema.name, strip_urls(self.text)[0])]


@dataclass(slots=True, frozen=True)
class Session:
    """An open database, and the engine on it."""

    project: Project
    database: Database
    engine: MigrationEngine


def load_project(
    schema: Path = Path("schema.prisma"), *, migrations: Path | None = None, wasm_dir: Path | None = None
) -> Project:
    """Read a schema, and find its migrations and its environment.

    Args:
        schema: The schema's file.
        migrations: The folder of migrations. Default: `migrations` beside the schema.
        wasm_dir: The `node_modules` folder with Prisma's wasm packages. Default: the files of this package, or those
            of the nearest folder above the schema or the current folder.

    Returns:
        The project.

    Raises:
        MigrationError: the schema cannot be read.
        ConfigurationError: its datasource cannot be used.
        GenerationError: the engine's wasm file is missing.
    """
    schema = schema.resolve()
    text = read_schema(schema)
    return Project(
        schema=schema,
        text=text,
        datasource=read_datasource(text),
        migrations=MigrationsFolder((migrations or schema.parent / "migrations").resolve()),
        environment={**_read_env_file(schema.parent / ".env"), **os.environ},
        wasm_file=find(SCHEMA_ENGINE, wasm_dir=wasm_dir, near=[schema.parent]),
    )


@asynccontextmanager
async def open_session(
    project: Project, *, create: bool = False, lock_timeout: float | None = None
) -> AsyncIterator[Session]:
    """Open the database of a project.

    Args:
        project: The project.
        create: Whether a database that does not exist is created.
        lock_timeout: Seconds to wait for another process that migrates the database. None: nothing is written, so no
            lock is needed.

    Raises:
        MigrationError: the database cannot be opened (P1xxx), or another process kept the lock (P1002).
        ConfigurationError: its URL cannot be used.
    """
    database = await _open(project, create=create)
    try:
        if lock_timeout is not None:
            await database.lock(lock_timeout)
        engine = MigrationEngine(project.wasm_file, database, project.files)
        try:
            yield Session(project, database, engine)
        finally:
            await engine.close()
    finally:
        await database.close()


async def _open(project: Project, *, create: bool) -> Database:
    source = project.datasource
    url = (source.direct_url or source.url).resolve(project.environment)
    # Each brings a driver whose import takes a while.
    if source.provider == "sqlite":
        from prisma_inprocess.migrate.sqlite import SqliteDatabase

        return await SqliteDatabase.open(parse_sqlite_url(url), create=create)
    from prisma_inprocess.migrate.postgresql import PostgresDatabase

    return await PostgresDatabase.open(
        parse_postgres_url(url),
        create=create,
        shadow_url=_shadow_url(source.shadow_database_url, project.environment),
        schemas=source.schemas,
    )


def _shadow_url(setting: Setting | None, environment: Mapping[str, str]) -> PostgresUrl | None:
    # Production has no shadow database, and no variable for it.
    if setting is None or (setting.variable is not None and not environment.get(setting.variable)):
        return None
    try:
        return parse_postgres_url(setting.resolve(environment))
    except ConfigurationError as error:
        raise ConfigurationError(f"shadowDatabaseUrl cannot be used: {error}") from error


def read_schema(schema: Path) -> str:
    """The text of a schema file. Raises: MigrationError, it cannot be read."""
    if schema.is_dir():
        raise MigrationError(f"{schema} is a folder. Name one schema file with --schema")
    try:
        return schema.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MigrationError(f"there is no schema file {schema}. Name it with --schema") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationError(f"the schema file {schema} cannot be read: {error}") from error


def _read_env_file(path: Path) -> dict[str, str]:
    """The variables of a `.env` file: `NAME=value` lines, a value perhaps in quotes."""
    found: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return found
    for line in lines:
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        if not separator or name.startswith("#"):
            continue
        value = value.strip()
        if value[:1] in ("'", '"') and value.find(value[0], 1) > 0:
            value = value[1 : value.find(value[0], 1)]
        else:
            value = value.partition(" #")[0].strip()
        found[name.strip()] = value
    return found
