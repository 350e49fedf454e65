"""A client that remembers what it was asked, on a fresh database of either kind."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from example_app.clients.postgresql import Prisma as PostgresPrisma
from example_app.clients.sqlite import Prisma as SqlitePrisma


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
