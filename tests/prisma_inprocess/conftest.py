"""Clients of a rich schema, generated once a session, and their databases."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from tests.prisma_inprocess.workbench import PROVIDERS, SCHEMAS, Rich, create_sqlite_file, generate_rich_packages
from tests.support.postgres import PostgresServer

TABLES = ("_PostToTag", "Tag", "Post", "Profile", "User", "steps", "Identifier")

only_sqlite = pytest.mark.parametrize("rich", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("rich", ["postgresql"], indirect=True)


@pytest.fixture(scope="session")
def generated_packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """The rich clients, generated into a package inside a package, as an app would have them."""
    root = tmp_path_factory.mktemp("generated")
    yield generate_rich_packages(root)
    sys.path.remove(str(root))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("rich") / "template.db"
    create_sqlite_file(path)
    return path.read_bytes()


@pytest.fixture(scope="session")
def rich_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    name = f"rich_{uuid.uuid4().hex[:12]}"
    url = postgres_server.create_database(name)
    postgres_server.sql((SCHEMAS / "rich.postgresql.sql").read_text(), name)
    yield url
    postgres_server.drop_database(name)


@pytest.fixture(params=PROVIDERS)
async def rich(
    request: pytest.FixtureRequest, generated_packages: dict[str, ModuleType], tmp_path: Path
) -> AsyncIterator[Rich]:
    """Each provider's client and its database, with all tables empty."""
    provider: str = request.param
    if provider == "sqlite":
        template: bytes = request.getfixturevalue("sqlite_template")
        path = tmp_path / "rich.db"
        await asyncio.to_thread(path.write_bytes, template)
        yield Rich(provider, generated_packages[provider], f"file:{path}")
        return
    url: str = request.getfixturevalue("rich_postgres_url")
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE " + ", ".join(f'"{table}"' for table in TABLES))
    await connection.close()
    yield Rich(provider, generated_packages[provider], url)


@pytest.fixture
async def db(rich: Rich) -> AsyncIterator[Any]:
    """A connected client."""
    client = rich.client()
    await client.connect()
    yield client
    await client.disconnect()
