"""One database for all tests of a module, emptied before each: a database of its own for each would take minutes."""

from typing import Any

import pytest

from example_app.clients.postgresql import Prisma as PostgresPrisma
from example_app.clients.sqlite import Prisma as SqlitePrisma
from fastapi_durable.store.prisma import PrismaStateStore

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
    "durable_stream_items",
]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def module_url(request: pytest.FixtureRequest) -> str:
    """Either: the module's tests run once on SQLite and once on PostgreSQL."""
    name = "module_sqlite_url" if request.param == "sqlite" else "module_postgres_url"
    url: str = request.getfixturevalue(name)
    return url


def prisma_of(url: str) -> type[Any]:
    """The class of the client for a database."""
    return SqlitePrisma if url.startswith("file:") else PostgresPrisma


async def emptied(client: Any) -> PrismaStateStore:
    """The store of a client, with nothing in it."""
    for table in TABLES:
        await client.execute_raw(f"DELETE FROM {table}")
    return PrismaStateStore(client)
