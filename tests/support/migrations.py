"""Migrations as set-up and users run them, and the Prisma CLI to compare them with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]

_PRISMA: Final = REPOSITORY / "node_modules" / "prisma" / "build" / "index.js"


def prisma_inprocess(*arguments: str, database_url: str, cwd: Path = REPOSITORY) -> str:
    """Run a command of `prisma_inprocess` and return what it prints; what it says when it fails is in the error."""
    return _output([sys.executable, "-m", "prisma_inprocess", *arguments], database_url, cwd)


def migrate(database_url: str) -> None:
    """Bring a database to the newest migration."""
    prisma_inprocess("migrate", "deploy", *project_of(database_url), database_url=database_url)


def project_of(database_url: str) -> list[str]:
    """The options that name the schema and the migrations for a database."""
    if database_url.startswith("file:"):
        return ["--schema", "schema.prisma", "--migrations", "migrations/sqlite"]
    return ["--schema", "schema.postgresql.prisma", "--migrations", "migrations/postgresql"]


def prisma_cli(*arguments: str, database_url: str, cwd: Path = REPOSITORY) -> str:
    """Run the Prisma CLI, which needs Node.js, and return what it prints."""
    beside_python = Path(sys.executable).parent / "node"
    node = shutil.which("node") or str(beside_python)
    if not _PRISMA.exists() or not Path(node).exists():
        raise RuntimeError("the Prisma CLI is not installed: run `make setup`")
    return _output([node, str(_PRISMA), *arguments], database_url, cwd)


def _output(command: list[str], database_url: str, cwd: Path) -> str:
    environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout
