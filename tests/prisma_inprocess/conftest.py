"""Clients of a rich schema, generated once a session, and their databases."""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from prisma_inprocess import generate
from tests.support.postgres import PostgresServer

SCHEMAS = Path(__file__).parent / "schemas"
PROVIDERS = ("sqlite", "postgresql")
TABLES = ("_PostToTag", "Tag", "Post", "Profile", "User", "steps", "Identifier")


only_sqlite = pytest.mark.parametrize("rich", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("rich", ["postgresql"], indirect=True)


@dataclass(frozen=True)
class Rich:
    """The generated client package of the rich schema for one provider, and a database with its tables."""

    provider: str
    package: ModuleType
    url: str

    @property
    def errors(self) -> Any:
        return importlib.import_module(f"{self.package.__name__}.errors")

    @property
    def models(self) -> Any:
        return self.package.models

    def json(self, data: object) -> Any:
        return self.package.Json(data)

    def client(self, options: str = "", **arguments: Any) -> Any:
        """A client of its own, not yet connected; `options` are added to the URL."""
        joiner = "&" if "?" in self.url else "?"
        url = f"{self.url}{joiner}{options}" if options else self.url
        return self.package.Prisma(datasource={"url": url}, use_dotenv=False, **arguments)

    def parameter(self, number: int) -> str:
        return f"${number}" if self.provider == "postgresql" else "?"


@pytest.fixture(scope="session")
def generated_packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """The rich clients, generated into a package inside a package, as an app would have them."""
    root = tmp_path_factory.mktemp("generated")
    app = root / "rich_app"
    app.mkdir()
    (app / "__init__.py").touch()
    sys.path.insert(0, str(root))
    packages = {}
    for provider in PROVIDERS:
        source = SCHEMAS / f"rich.{provider}.prisma"
        schema = app / source.name
        schema.write_text(source.read_text())
        generate(schema, wasm_dir=Path("node_modules").resolve())
        packages[provider] = importlib.import_module(f"rich_app.clients.rich_{provider}")
    yield packages
    sys.path.remove(str(root))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("rich") / "template.db"
    connection = sqlite3.connect(path)
    connection.executescript((SCHEMAS / "rich.sqlite.sql").read_text())
    connection.close()
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
