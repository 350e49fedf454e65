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
    """Remembers what was asked.

    `asked` holds each statement and its parameters. A transaction counts for its begin and its end, too; a batch
    does not: these are no calls of their own.
    `commits` holds what made the database commit a write: a statement by itself, a batch, or a transaction.
    `trips` holds what the caller waited for: a statement, a batch, and the begin and the end of a transaction.
    """
    prisma: Any = SqlitePrisma if database_url.startswith("file:") else PostgresPrisma

    class Remembering(prisma):  # type: ignore[misc]
        asked: list[tuple[str, tuple[Any, ...]]] = []  # noqa: RUF012 (one client)
        commits: list[str] = []  # noqa: RUF012
        trips: list[str] = []  # noqa: RUF012

        async def _execute(self, **options: Any) -> Any:
            arguments = options["arguments"]
            text = str(arguments.get("query", options["method"]))
            self.asked.append((text, tuple(arguments.get("parameters", ()))))
            self.trips.append(text)
            if not self.is_transaction() and not text.startswith("SELECT"):
                self.commits.append(text)
            return await super()._execute(**options)

        async def _execute_raw_batch(self, statements: Any) -> Any:
            self.asked += [(text, tuple(parameters)) for text, *parameters in statements]
            texts = "; ".join(text for text, *_ in statements)
            self.trips.append(texts)
            if not self.is_transaction():
                self.commits.append(texts)
            return await super()._execute_raw_batch(statements)

        def tx(self, **options: Any) -> Any:
            self.asked.extend((("BEGIN", ()), ("COMMIT", ())))
            self.trips.extend(("BEGIN", "COMMIT"))
            self.commits.append("COMMIT")
            return super().tx(**options)

    async with Remembering(datasource={"url": database_url}) as client:
        yield client


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, _postgres_template: str) -> Iterator[str]:
    """A database of the test's own: plans follow from statistics, which outlive the rows."""
    name = f"durable_plans_{uuid.uuid4().hex}"
    yield postgres_server.create_database(name, template=_postgres_template)
    postgres_server.drop_database(name)
