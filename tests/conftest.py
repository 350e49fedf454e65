"""Databases, migrated as in production: empty for every test, or for all tests of a module together.

Migrating takes a few seconds, so it happens once a session, on a template of which others are copies. All of pytest's
workers share the SQLite template. Each has a PostgreSQL server of its own, and restores there what one of them has
migrated.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.made_once import made_once
from tests.support.migrations import migrate
from tests.support.postgres import LocalPostgresServer, PostgresServer, local_postgres
from tests.support.postgres import postgres_server as run_postgres_server
from tests.support.reused_databases import ReusedDatabases


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's PostgreSQL server."""
    with run_postgres_server() as server:
        yield server


@pytest.fixture
def stoppable_postgres() -> Iterator[LocalPostgresServer]:
    """A PostgreSQL server of the test's own, with no tables, that it may stop and start."""
    with local_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    name = f"durable_template_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    url = postgres_server.create_database(name)
    if isinstance(postgres_server, LocalPostgresServer):

        def migrate_and_dump(path: Path) -> None:
            migrate(url)
            postgres_server.dump(name, path)

        dump = made_once(tmp_path_factory, "migrated.sql", migrate_and_dump)
        if not postgres_server.sql("SELECT to_regclass('_prisma_migrations')", name):
            postgres_server.restore(name, dump)
    else:
        migrate(url)
    yield name
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def _reused_databases(postgres_server: PostgresServer, _postgres_template: str) -> Iterator[ReusedDatabases]:
    databases = ReusedDatabases(postgres_server, _postgres_template)
    yield databases
    databases.drop_all()


@pytest.fixture
def postgres_url(_reused_databases: ReusedDatabases) -> Iterator[str]:
    """The URL of an empty, migrated PostgreSQL database."""
    with _reused_databases.lent() as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a PostgreSQL database without tables."""
    name = f"durable_test_{uuid.uuid4().hex}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "migrated.db", lambda path: migrate(f"file:{path}"))


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a fresh, migrated SQLite file."""
    path = tmp_path / "test.db"
    shutil.copyfile(_sqlite_template, path)
    return f"file:{path}"


@pytest.fixture(scope="module")
def module_sqlite_url(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a migrated SQLite file that the module's tests share."""
    path = tmp_path_factory.mktemp("module") / "module.db"
    shutil.copyfile(_sqlite_template, path)
    return f"file:{path}"


@pytest.fixture(scope="module")
def module_postgres_url(postgres_server: PostgresServer, _postgres_template: str) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database that the module's tests share."""
    name = f"durable_module_{uuid.uuid4().hex}"
    yield postgres_server.create_database(name, template=_postgres_template)
    postgres_server.drop_database(name)


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that does not exist yet."""
    return f"file:{tmp_path / 'empty.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, migrated database: the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database without tables: the test runs once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue("empty_sqlite_url" if request.param == "sqlite" else "empty_postgres_url")
    return url
