"""The real Prisma Migrate, as set-up and users run it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]

_PRISMA: Final = REPOSITORY / "node_modules" / "prisma" / "build" / "index.js"


def prisma(*arguments: str, database_url: str) -> str:
    """Run the Prisma CLI on a database and return what it prints; what it says when it fails is in the error."""
    beside_python = Path(sys.executable).parent / "node"
    node = shutil.which("node") or str(beside_python)
    if not _PRISMA.exists() or not Path(node).exists():
        raise RuntimeError("the Prisma CLI is not installed: run `make setup`")
    done = subprocess.run(
        [node, _PRISMA, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"prisma {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def migrate(database_url: str) -> None:
    """Bring a database to the newest migration."""
    prisma("migrate", "deploy", database_url=database_url)
