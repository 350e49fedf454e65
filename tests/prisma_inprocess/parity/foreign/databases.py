"""The clients of the foreign schemas, and for each provider two databases with equal tables."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prisma_inprocess import generate
from tests.prisma_inprocess.workbench import MODULES, PROVIDERS, Rich
from tests.support.postgres import PostgresServer, postgres_server

_SCHEMAS: Final = Path(__file__).parent / "schemas"


@dataclass(frozen=True)
class Pair:
    """A schema's text, and its client with a database for this engine and one for the official runtime."""

    schema: str
    here: Rich
    official: Rich


@contextlib.contextmanager
def databases(root: Path) -> Iterator[list[Pair]]:
    """Make a pair for each provider, and drop the databases at the end. `root` is put on the import path."""
    app = root / "foreign_app"
    app.mkdir()
    (app / "__init__.py").touch()
    sys.path.insert(0, str(root))
    with postgres_server() as server:
        names = [f"foreign_{uuid.uuid4().hex[:12]}" for _ in range(2)]
        urls = {
            "postgresql": [server.create_database(name) for name in names],
            "sqlite": [f"file:{root}/foreign_{side}.db" for side in ("here", "official")],
        }
        try:
            yield [_pair(app, provider, *urls[provider]) for provider in PROVIDERS]
        finally:
            for name in names:
                server.drop_database(name)


def rows(rich: Rich) -> dict[str, list[str]]:
    """Return every row of every table as text, read without a client; the time of the last change is left out."""
    return _postgres_rows(rich.url) if rich.provider == "postgresql" else _sqlite_rows(rich.url)


def _pair(app: Path, provider: str, here: str, official: str) -> Pair:
    text = f"""\
generator client {{
  provider             = "prisma_inprocess"
  output               = "./{provider}"
  recursive_type_depth = -1

  enable_experimental_decimal = true
}}

datasource db {{
  provider = "{provider}"
  url      = env("DATABASE_URL")
}}

{(_SCHEMAS / "blog.prisma").read_text()}
{(_SCHEMAS / f"types.{provider}.prisma").read_text()}"""
    schema = app / f"{provider}.prisma"
    schema.write_text(text)
    generate(schema, wasm_dir=MODULES)
    package = importlib.import_module(f"foreign_app.{provider}")
    for url in (here, official):
        _create_tables(schema, url)
    return Pair(text, Rich(provider, package, here), Rich(provider, package, official))


def _create_tables(schema: Path, url: str) -> None:
    command = [sys.executable, "-m", "prisma_inprocess", "db", "push", "--skip-generate", "--schema", str(schema)]
    command += ["--wasm-dir", str(MODULES)]
    done = subprocess.run(
        command, env=os.environ | {"DATABASE_URL": url}, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"the tables were not created:\n{done.stdout}{done.stderr}")


def _sqlite_rows(url: str) -> dict[str, list[str]]:
    connection = sqlite3.connect(url.removeprefix("file:"))
    connection.row_factory = sqlite3.Row
    try:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return {name: _sorted(connection.execute(f'SELECT * FROM "{name}"')) for (name,) in names.fetchall()}
    finally:
        connection.close()


def _sorted(found: Any) -> list[str]:
    texts = ({key: repr(row[key]) for key in row.keys() if key != "updated"} for row in found)  # noqa: SIM118
    return sorted(json.dumps(row) for row in texts)


def _postgres_rows(url: str) -> dict[str, list[str]]:
    server = PostgresServer(url)
    names = server.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").splitlines()
    return {
        name: sorted(server.sql(f"""SELECT to_jsonb(t) - 'updated' FROM "{name}" t""").splitlines()) for name in names
    }
