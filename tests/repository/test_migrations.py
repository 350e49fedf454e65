"""The migrations and the schemas say the same."""

import sqlite3
from pathlib import Path

import pytest

from fastapi_durable.schema import durable_managed_tables
from tests.support.migrations import REPOSITORY, prisma_inprocess
from tests.support.postgres import PostgresServer

_POSTGRES_CATALOG = """
    SELECT table_name || '.' || column_name || ' ' || udt_name || coalesce(datetime_precision::text, '')
        || ' ' || is_nullable || ' ' || coalesce(column_default, '') AS line
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    ORDER BY line
"""


def _postgres_catalog(server: PostgresServer, url: str) -> list[str]:
    lines = server.sql(_POSTGRES_CATALOG, database=url.rpartition("/")[2]).splitlines()
    return [line for line in lines if "_prisma_migrations" not in line]


def _sqlite_catalog(url: str) -> list[str]:
    connection = sqlite3.connect(url.removeprefix("file:"))
    try:
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name != "_prisma_migrations" and not name.startswith("sqlite_")
        ]
        lines: list[str] = []
        for table in tables:
            lines += [f"{table} column {row[1:]}" for row in connection.execute(f"PRAGMA table_info('{table}')")]
            lines += [
                f"{table} reference {row[2:]}" for row in connection.execute(f"PRAGMA foreign_key_list('{table}')")
            ]
            for _, index, unique, *_ in connection.execute(f"PRAGMA index_list('{table}')").fetchall():
                columns = [row[2] for row in connection.execute(f"PRAGMA index_info('{index}')")]
                lines.append(f"{table} index {index} unique={unique} {columns}")
        return sorted(lines)
    finally:
        connection.close()


def _script_of(schema: str, url: str) -> str:
    options = ("--schema", schema, "--from-empty", "--to-schema", schema, "--script")
    return prisma_inprocess("migrate", "diff", *options, database_url=url)


@pytest.mark.postgres
def test_migrating_postgresql_step_by_step_gives_the_tables_of_the_schema(
    postgres_server: PostgresServer, postgres_url: str, empty_postgres_url: str
) -> None:
    """A database migrated step by step equals one made at once from schema.postgresql.prisma."""
    script = _script_of("schema.postgresql.prisma", empty_postgres_url)
    postgres_server.sql(script, database=empty_postgres_url.rpartition("/")[2])
    assert _postgres_catalog(postgres_server, postgres_url) == _postgres_catalog(postgres_server, empty_postgres_url)


def test_migrating_sqlite_step_by_step_gives_the_tables_of_the_schema(sqlite_url: str, empty_sqlite_url: str) -> None:
    """A file migrated step by step equals one made at once from schema.prisma."""
    connection = sqlite3.connect(empty_sqlite_url.removeprefix("file:"))
    connection.executescript(_script_of("schema.prisma", empty_sqlite_url))
    connection.close()
    assert _sqlite_catalog(sqlite_url) == _sqlite_catalog(empty_sqlite_url)


def test_the_migrations_create_every_durable_table(sqlite_url: str) -> None:
    """What durable_managed_tables() names is what Prisma Migrate creates."""
    connection = sqlite3.connect(sqlite_url.removeprefix("file:"))
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert {table for table in tables if table.startswith("durable_")} == set(durable_managed_tables())


@pytest.mark.parametrize("provider", ["sqlite", "postgresql"])
def test_each_folder_of_migrations_is_locked_to_its_provider(provider: str) -> None:
    """Prisma refuses to run one database's migrations on the other."""
    lock = Path(REPOSITORY, "migrations", provider, "migration_lock.toml").read_text(encoding="utf-8")
    assert f'provider = "{provider}"' in lock
