"""What tests and scripts of this package share: the rich schema's clients and empty databases for them."""

from __future__ import annotations

import importlib
import sqlite3
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from prisma_inprocess import generate
from tests.support.postgres import postgres_server

SCHEMAS: Final = Path(__file__).parent / "schemas"
MODULES: Final = Path("node_modules").resolve()
PROVIDERS: Final = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Rich:
    """The generated client package of a schema for one provider, and a database with its tables."""

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


def generate_rich_packages(root: Path) -> dict[str, ModuleType]:
    """Generate the rich clients into a package inside a package, as an app would have them, and import them.

    `root` is put on the import path.
    """
    app = root / "rich_app"
    app.mkdir()
    (app / "__init__.py").touch()
    sys.path.insert(0, str(root))
    packages = {}
    for provider in PROVIDERS:
        source = SCHEMAS / f"rich.{provider}.prisma"
        schema = app / source.name
        schema.write_text(source.read_text())
        generate(schema, wasm_dir=MODULES)
        packages[provider] = importlib.import_module(f"rich_app.clients.rich_{provider}")
    return packages


def create_sqlite_file(path: Path) -> None:
    """Create a SQLite file with the rich schema's tables."""
    connection = sqlite3.connect(path)
    connection.executescript((SCHEMAS / "rich.sqlite.sql").read_text())
    connection.close()


@contextmanager
def rich_databases(root: Path) -> Iterator[list[Rich]]:
    """Both rich clients, each with a database of its own, for a script."""
    packages = generate_rich_packages(root)
    path = root / "rich.db"
    create_sqlite_file(path)
    with postgres_server() as server:
        name = f"rich_{uuid.uuid4().hex[:12]}"
        url = server.create_database(name)
        server.sql((SCHEMAS / "rich.postgresql.sql").read_text(), name)
        try:
            yield [Rich("sqlite", packages["sqlite"], f"file:{path}"), Rich("postgresql", packages["postgresql"], url)]
        finally:
            server.drop_database(name)
