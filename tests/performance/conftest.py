"""A client that remembers what it was asked, on a fresh database of either kind."""

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from example_app.clients.postgresql import Prisma as PostgresPrisma
from example_app.clients.sqlite import Prisma as SqlitePrisma
from tests.support.postgres import PostgresServer


@pytest_asyncio.fixture
async def client(database_url: str) -> AsyncIterator[Any]:
    """`asked` holds a statement and its parameters for each call; a transaction counts for its begin and its end."""
    prisma: Any = SqlitePrisma if database_url.startswith("file:") else PostgresPrisma

    class Remembering(prisma):  # type: ignore[misc]
        asked: list[tuple[str, tuple[Any, ...]]] = []  # noqa: RUF012 (one client)

        async def _execute(self, **options: Any) -> Any:
            arguments = options["arguments"]
            self.asked.append((str(arguments.get("query", options["method"])), tuple(arguments.get("parameters", ()))))
            return await super()._execute(**options)

        def tx(self, **options: Any) -> Any:
            self.asked.extend((("BEGIN", ()), ("COMMIT", ())))
            return super().tx(**options)

    async with Remembering(datasource={"url": database_url}) as client:
        yield client


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, _postgres_template: str) -> Iterator[str]:
    """A database of the test's own: plans follow from statistics, which outlive the rows."""
    name = f"durable_plans_{uuid.uuid4().hex}"
    yield postgres_server.create_database(name, template=_postgres_template)
    postgres_server.drop_database(name)
