"""A small project with a schema, migrations and an empty database, for tests of the commands."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from prisma_inprocess.__main__ import main
from prisma_inprocess.migrate import Project, load_project
from tests.support.migrations import REPOSITORY

USERS = """
model User {
  id    Int    @id
  email String @unique
}
"""
USERS_WITH_NAMES = USERS.replace("}", "  name  String?\n}")
CREATE_USERS = """CREATE TABLE "User" ("id" INTEGER NOT NULL PRIMARY KEY, "email" TEXT NOT NULL);
CREATE UNIQUE INDEX "User_email_key" ON "User"("email");
"""
FIRST, SECOND = "20260101000000_first", "20260102000000_second"
WASM = REPOSITORY / "node_modules"


@dataclass
class Workshop:
    """A project folder and its database.

    Attributes:
        root: The project's folder.
        provider: `sqlite` or `postgresql`.
        url: The database's URL.
    """

    root: Path
    provider: str
    url: str

    @property
    def migrations(self) -> Path:
        return self.root / "migrations"

    def write_schema(self, models: str, extra: str = "") -> None:
        """Write the schema: these models, and lines for the datasource block."""
        (self.root / "schema.prisma").write_text(
            f'datasource db {{\n  provider = "{self.provider}"\n  url      = env("DATABASE_URL")\n{extra}}}\n{models}'
        )

    def write_migration(self, name: str, sql: str) -> None:
        """Write a migration, and the lock file."""
        self.migrations.mkdir(exist_ok=True)
        (self.migrations / "migration_lock.toml").write_text(f'provider = "{self.provider}"\n')
        (self.migrations / name).mkdir()
        (self.migrations / name / "migration.sql").write_text(sql)

    def project(self) -> Project:
        return load_project(self.root / "schema.prisma", wasm_dir=WASM)

    def run(self, *arguments: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
        """Run a command in this process, and return what it prints, errors included."""
        status = main([*arguments, *self.options(arguments)])
        output = capsys.readouterr()
        text = output.out + output.err
        assert status == code, text
        return text

    def report(self, *arguments: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
        """Run a command with `--json`, and return its report."""
        status = main([*arguments, "--json", *self.options(arguments)])
        output = capsys.readouterr()
        assert status == code, output.out + output.err
        return json.loads(output.out)

    def options(self, arguments: Sequence[str]) -> list[str]:
        return ["--schema", str(self.root / "schema.prisma"), "--wasm-dir", str(WASM)]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own, as from a terminal."""
        # What a shell starts in the background ignores SIGINT, and so do the processes that it starts.
        ours = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "prisma_inprocess", *arguments, *self.options(arguments)],
                cwd=self.root,
                env={**os.environ, "DATABASE_URL": self.url, "PYTHONPATH": str(REPOSITORY)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        finally:
            signal.signal(signal.SIGINT, ours)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement outside of everything that is tested, and return its rows."""
        if self.provider == "sqlite":
            with closing(sqlite3.connect(self.url.removeprefix("file:"))) as connection, connection:
                return connection.execute(statement).fetchall()
        return asyncio.run(self._postgres_rows(statement))

    async def _postgres_rows(self, statement: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.url)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    def tables(self) -> set[str]:
        """The names of the tables, without Prisma's own."""
        if self.provider == "sqlite":
            rows = self.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        else:
            rows = self.sql("SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'")
        return {row[0] for row in rows} - {"_prisma_migrations"}

    def history(self) -> list[tuple[str, bool, bool]]:
        """Name, whether finished, whether rolled back, of every row of Prisma's history."""
        rows = self.sql(
            "SELECT migration_name, finished_at IS NOT NULL, rolled_back_at IS NOT NULL FROM _prisma_migrations "
            "ORDER BY started_at"
        )
        return [(name, bool(finished), bool(rolled_back)) for name, finished, rolled_back in rows]
