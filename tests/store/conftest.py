"""One database for all tests of a module, emptied before each: a database of its own for each would take minutes."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import PostgresServer

TABLES = [
    "durable_run_attributes",
    "durable_workflow_runs",
    "durable_step_checkpoints",
    "durable_signal_waiters",
    "durable_buffered_signals",
    "durable_buffered_events",
    "durable_schedules",
    "durable_workers",
    "durable_queues",
]


@pytest.fixture(scope="module")
def module_sqlite_url(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a migrated SQLite file."""
    path = tmp_path_factory.mktemp("store") / "store.db"
    shutil.copyfile(_sqlite_template, path)
    return f"file:{path}"


@pytest.fixture(scope="module")
def module_postgres_url(postgres_server: PostgresServer, _postgres_template: str) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database."""
    name = f"durable_store_{uuid.uuid4().hex}"
    yield postgres_server.create_database(name, template=_postgres_template)
    postgres_server.drop_database(name)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def module_url(request: pytest.FixtureRequest) -> str:
    """Either: the module's tests run once on SQLite and once on PostgreSQL."""
    name = "module_sqlite_url" if request.param == "sqlite" else "module_postgres_url"
    url: str = request.getfixturevalue(name)
    return url
