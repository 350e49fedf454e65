"""Whether a database has every migration of this repository: `make run` then leaves Prisma Migrate, and Node, alone.

Says no whenever it cannot tell: Prisma Migrate, which is run then, decides.
"""

import asyncio
import hashlib
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

_MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
_APPLIED = "SELECT checksum FROM _prisma_migrations WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL"


def main(url: str) -> int:
    """0 if nothing is to be done."""
    try:
        if url.startswith("file:"):
            folder, applied = _MIGRATIONS / "sqlite", _of_file(url.removeprefix("file:").partition("?")[0])
        elif urlsplit(url).query:
            return 1  # the tables may be in a schema of their own
        else:
            folder, applied = _MIGRATIONS / "postgresql", asyncio.run(_of_server(url))
    except Exception:  # no file, no table, no server
        return 1
    wanted = {hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*/migration.sql")}
    return 0 if wanted == applied else 1


def _of_file(path: str) -> set[str]:
    with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        return {row[0] for row in connection.execute(_APPLIED)}


async def _of_server(url: str) -> set[str]:
    import asyncpg

    connection = await asyncpg.connect(url, timeout=5)
    try:
        return {row["checksum"] for row in await connection.fetch(_APPLIED)}
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
