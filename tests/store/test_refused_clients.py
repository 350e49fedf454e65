"""A client or a database that lacks something is refused: what is missing is named, and the command that adds it."""

import importlib
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from example_app.clients.postgresql import Prisma as PostgresPrisma
from example_app.clients.sqlite import Prisma as SqlitePrisma
from fastapi_durable.model.errors import SchemaMismatchError
from fastapi_durable.schema import durable_managed_tables
from fastapi_durable.store.prisma import PrismaStateStore
from fastapi_durable.store.prisma.client import database_of
from tests.store.conftest import prisma_of
from tests.support.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
Generate = Callable[[str], Any]


@pytest.fixture
def generate(tmp_path: Path) -> Iterator[Generate]:
    """Generate a client from a schema, and return its class."""
    package = f"generated_{tmp_path.name}"

    def generate(schema: str) -> Any:
        path = tmp_path / "schema.prisma"
        path.write_text(re.sub(r'output\s*= ".*"', f'output = "./{package}"', schema))
        command = [sys.executable, "-m", "prisma_inprocess", "generate", "--no-warm-up", "--schema", str(path)]
        subprocess.run([*command, "--wasm-dir", str(ROOT / "node_modules")], check=True, cwd=ROOT, capture_output=True)
        return importlib.import_module(package).Prisma

    sys.path.insert(0, str(tmp_path))
    yield generate
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def test_a_client_without_a_field_or_a_model_is_refused(generate: Generate) -> None:
    """At construction, and everything that is missing at once."""
    schema = (ROOT / "schema.prisma").read_text()
    schema = re.sub(r"\n  wakeCount .*", "", schema)
    schema = re.sub(r"\n  parallelGroup .*", "", schema)
    schema = re.sub(r"model DurableBufferedEvent \{.*?\n\}", "", schema, flags=re.DOTALL)
    prisma = generate(schema)
    with pytest.raises(SchemaMismatchError, match="python -m fastapi_durable schema") as refused:
        PrismaStateStore(prisma(datasource={"url": "file:never-opened.db"}))
    assert refused.value.missing == (
        "DurableBufferedEvent",
        "DurableSignalWaiter.parallelGroup",
        "DurableStepCheckpoint.parallelGroup",
        "DurableWorkflowRun.wakeCount",
    )
    for name in refused.value.missing:
        assert name in str(refused.value)


def test_what_is_no_client_is_refused() -> None:
    for thing in (object(), "postgresql://localhost/app", SqlitePrisma):
        with pytest.raises(SchemaMismatchError, match="not a generated Prisma client"):
            PrismaStateStore(thing)  # type: ignore[arg-type]


def test_a_subclass_of_a_client_is_accepted() -> None:
    class AppPrisma(SqlitePrisma):
        pass

    class TenantPrisma(AppPrisma):
        pass

    PrismaStateStore(TenantPrisma(datasource={"url": "file:never-opened.db"}))


async def test_a_sqlite_database_without_tables_is_refused(empty_sqlite_url: str) -> None:
    """Also after a deploy: where no migration creates the tables, it does nothing, and the error says so."""
    async with SqlitePrisma(datasource={"url": empty_sqlite_url}) as client:
        with pytest.raises(
            SchemaMismatchError, match=r"prisma migrate deploy.* no migration creates the tables"
        ) as refused:
            await PrismaStateStore(client).ensure_schema()
    assert set(refused.value.missing) == set(durable_managed_tables())
    assert str(refused.value).startswith(f"the SQLite file {empty_sqlite_url.removeprefix('file:')} has none of")


async def test_a_sqlite_database_that_lacks_a_column_is_refused(sqlite_url: str) -> None:
    with sqlite3.connect(sqlite_url.removeprefix("file:")) as connection:
        connection.execute("ALTER TABLE durable_workflow_runs DROP COLUMN traceparent")
        connection.execute("DROP TABLE durable_buffered_events")
    async with SqlitePrisma(datasource={"url": sqlite_url}) as client:
        with pytest.raises(SchemaMismatchError, match="prisma migrate deploy") as refused:
            await PrismaStateStore(client).ensure_schema()
    assert refused.value.missing == ("durable_workflow_runs.traceparent", "durable_buffered_events")


@pytest.mark.postgres
async def test_a_postgresql_database_without_tables_is_refused(empty_postgres_url: str) -> None:
    async with PostgresPrisma(datasource={"url": empty_postgres_url}) as client:
        with pytest.raises(SchemaMismatchError, match="prisma migrate deploy") as refused:
            await PrismaStateStore(client).ensure_schema()
        assert "durable_workflow_runs" in refused.value.missing
        assert str(refused.value).startswith(f"the database {empty_postgres_url.rpartition('/')[2]!r} on ")
        # An operation says the same, should nobody have asked.
        with pytest.raises(SchemaMismatchError, match="prisma migrate deploy"):
            await PrismaStateStore(client).find_run("run-1")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("file:/srv/shop.db?connection_limit=2", "the SQLite file /srv/shop.db"),
        ("sqlite:////srv/shop.db", "the SQLite file /srv/shop.db"),
        ("file::memory:", "the SQLite database"),
        (
            "postgresql://shop:s%40crt@db.internal/orders?schema=x",
            "the database 'orders' (schema 'x') on db.internal:5432",
        ),
        ("postgres://shop:secret@[::1]:6543/a%20b", "the database 'a b' on ::1:6543"),
        ("postgresql:///app?host=/run/postgresql", "the database 'app' on /run/postgresql:5432"),
        ("postgresql://shop:secret@h:port/app", "the database"),
    ],
)
def test_a_database_is_named_without_its_password(url: str, name: str) -> None:
    assert database_of(SqlitePrisma(datasource={"url": url})) == name


@pytest.mark.postgres
async def test_a_postgresql_database_that_lacks_a_column_is_refused(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres_server.sql("ALTER TABLE durable_buffered_signals DROP COLUMN signal_id", name)
    async with PostgresPrisma(datasource={"url": postgres_url}) as client:
        with pytest.raises(SchemaMismatchError, match="prisma migrate deploy") as refused:
            await PrismaStateStore(client).ensure_schema()
    assert refused.value.missing == ("durable_buffered_signals.signal_id",)


async def test_a_migrated_database_is_accepted(database_url: str) -> None:
    async with prisma_of(database_url)(datasource={"url": database_url}) as client:
        store = PrismaStateStore(client)
        await store.ensure_schema()
        await store.ping()
