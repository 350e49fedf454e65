"""What runs leave in a database: its growth, what was written for it, and dead row versions. Standard library only.

PostgreSQL is asked with its own `psql`, so that every environment can ask. A checkpoint before each look makes the
write-ahead log's images of whole pages fall on every system alike.
"""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

_ASK: Final = """SELECT pg_database_size(current_database()), pg_current_wal_lsn() - '0/0'::pg_lsn,
(SELECT coalesce(sum(n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables)"""
_REPORT_EVERY: Final = 1.1
"""Seconds. A connection reports its counts with a commit, once a second at most."""
_PAGES: Final = ("page_count", "freelist_count", "page_size")

_LONG = 10
"""Steps of the runs that tell what a step leaves, beside one."""
_AT_A_TIME = 16


async def footprint(system: Any, url: str, operations: int) -> dict[str, float]:
    """Bytes and row versions a run of one step, and bytes a further step if the system has steps."""
    await _spread(_AT_A_TIME, lambda: _one_step(system))
    before = await _look_when_reported(system, url)
    await _spread(operations - _AT_A_TIME, lambda: _one_step(system))
    after = await _look_when_reported(system, url)
    found = {name: (after[name] - before[name]) / operations for name in after}
    if hasattr(system, "steps"):
        runs = operations // _LONG
        await _spread(runs, lambda: system.steps(1 + _LONG))
        longer = (await _look(url))["bytes"] - after["bytes"]
        found["step_bytes"] = (longer / runs - found["bytes"]) / _LONG
    return found


async def _one_step(system: Any) -> None:
    assert await system.one_step(1) == 2


async def _spread(operations: int, call: Callable[[], Awaitable[Any]]) -> None:
    left = iter(range(operations))

    async def caller() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(caller() for _ in range(_AT_A_TIME)))


async def _look_when_reported(system: Any, url: str) -> dict[str, float]:
    await asyncio.sleep(_REPORT_EVERY)
    await _spread(_AT_A_TIME, lambda: _one_step(system))
    return await _look(url)


async def _look(url: str) -> dict[str, float]:
    return await asyncio.to_thread(_sqlite if url.startswith("file:") else _postgresql, url)


def _sqlite(url: str) -> dict[str, float]:
    # What this process has handed to the operating system: the log, and the database when it is checkpointed.
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    with contextlib.closing(sqlite3.connect(url.removeprefix("file:"), timeout=30)) as connection:
        pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _PAGES)
    return {"bytes": (pages - free) * size, "written_bytes": float(counts["wchar"])}


def _postgresql(url: str) -> dict[str, float]:
    psql = [os.environ["BENCHMARK_PSQL"], "--no-psqlrc", "-qAt", "-F", " ", url, "-c"]
    for statement in ("CHECKPOINT", _ASK):
        answer = subprocess.run([*psql, statement], capture_output=True, text=True, check=True)
    size, log, dead = map(float, answer.stdout.split())
    return {"bytes": size, "written_bytes": log, "dead_rows": dead}
