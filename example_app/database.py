"""The Prisma client: generated from schema.prisma, one instance for the whole application."""

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends

from example_app.settings import SettingsDep
from fastapi_durable import app_scoped

# Your application has one client, and one import here. The order desk runs on two databases, so it has two; they are
# generated from the same models, and the types of the one hold for the other.
if TYPE_CHECKING or not os.environ.get("DATABASE_URL", "").startswith("postgres"):
    from example_app.clients.sqlite import Json, Prisma
    from example_app.clients.sqlite.errors import DataError
else:
    from example_app.clients.postgresql import Json, Prisma
    from example_app.clients.postgresql.errors import DataError

__all__ = ["DataError", "Json", "Prisma", "PrismaDep", "get_prisma"]


@app_scoped
async def get_prisma(settings: SettingsDep) -> AsyncIterator[Prisma]:
    """Connected when the application starts, disconnected when it ends."""
    client = Prisma(datasource={"url": settings.database_url})
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


PrismaDep = Annotated[Prisma, Depends(get_prisma)]
