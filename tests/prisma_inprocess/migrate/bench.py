"""How long `migrate deploy` takes on an empty database: `python -m tests.prisma_inprocess.migrate.bench`.

Each time is that of a whole process, Python's start included, with the engine's serialised form in its cache. The
processor's share is printed beside it: on a busy machine the difference is the others'.
"""

# ruff: noqa: T201 (a script talks to its user)

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.migrations import REPOSITORY, project_of
from tests.support.postgres import PostgresServer, local_postgres

GOALS: Final = {"sqlite": 1.0, "postgresql": 2.0}
"""Seconds."""
ROUNDS: Final = 5


@contextmanager
def _empty(provider: str, server: PostgresServer, folder: Path) -> Iterator[str]:
    name = f"deploy_{uuid.uuid4().hex[:12]}"
    if provider == "sqlite":
        yield f"file:{folder / name}.db"
        return
    yield server.create_database(name)
    server.drop_database(name)


def _deploy(url: str) -> tuple[float, float]:
    """Seconds of a deploy, and of the processor's work for it."""
    command = [sys.executable, "-m", "prisma_inprocess", "migrate", "deploy", *project_of(url)]
    used, started = _processor_time(), time.perf_counter()
    subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, "DATABASE_URL": url}, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - started, _processor_time() - used


def _processor_time() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, local_postgres(durable=True) as server:
        for provider, goal in GOALS.items():
            times: list[tuple[float, float]] = []
            for _ in range(ROUNDS + 1):
                with _empty(provider, server, Path(folder)) as url:
                    times.append(_deploy(url))
            whole, processor = (statistics.median(column) for column in zip(*times[1:], strict=True))
            print(
                f"{provider:12} migrate deploy of an empty database: {whole:.2f} s, processor {processor:.2f} s "
                f"(goal: below {goal:.0f} s)"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
