"""Write the next migration for both databases: `make migration NAME=add_something`.

The step goes from the schemas of the last commit that touched `migrations/` to the schemas as they are now.
`migrate diff` writes the SQL; a throw-away PostgreSQL server answers the questions it has for one.
"""

import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.support.migrations import REPOSITORY, prisma_inprocess
from tests.support.postgres import postgres_server

SCHEMAS = {"sqlite": "schema.prisma", "postgresql": "schema.postgresql.prisma"}


def main(name: str) -> int:
    """Write the migrations, and return the exit code."""
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name):
        print("name the migration in lower-case words joined by underscores: make migration NAME=add_something")
        return 2
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    with tempfile.TemporaryDirectory() as directory, postgres_server() as server:
        scratch = Path(directory) / "scratch.db"
        scratch.touch()
        urls = {"sqlite": f"file:{scratch}", "postgresql": server.url}
        for provider, schema in SCHEMAS.items():
            before = Path(directory) / schema
            before.write_text(_migrated_schema(provider, schema), encoding="utf-8")
            sql = prisma_inprocess(
                *("migrate", "diff", "--script", "--schema", schema),
                *("--from-schema", str(before), "--to-schema", schema),
                database_url=urls[provider],
            )
            if "empty migration" in sql:
                print(f"{schema} has not changed since its last migration")
                continue
            migration = REPOSITORY / "migrations" / provider / f"{stamp}_{name}" / "migration.sql"
            migration.parent.mkdir()
            migration.write_text(sql, encoding="utf-8")
            print(f"wrote {migration.relative_to(REPOSITORY)}")
    return 0


def _migrated_schema(provider: str, schema: str) -> str:
    last = _git("log", "-1", "--format=%H", "--", f"migrations/{provider}").strip()
    return _git("show", f"{last}:{schema}")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
