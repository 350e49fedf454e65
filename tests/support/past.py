"""Fills the tables with a long past: finished runs with one checkpoint each."""

from typing import Any

_BATCH = 50_000


async def add_finished_runs(client: Any, number: int, *, sqlite: bool, waiters: bool = False) -> None:
    """Add so many, a batch at a time, one a second; they are called `past-1`, `past-2`, ...

    Args:
        waiters: As many signal waiters besides.
    """
    moment = (
        "strftime('%Y-%m-%dT%H:%M:%f+00:00', 1735689600 + n, 'unixepoch')"
        if sqlite
        else "timestamp '2025-01-01' + n * interval '1 second'"
    )
    run = (
        "durable_workflow_runs (id, workflow, workflow_version, status, namespace, created_at, updated_at)",
        f"'past-' || n, 'checkout', '1', 'completed', 'default', {moment}, {moment}",
    )
    checkpoint = (
        "durable_step_checkpoints (run_id, seq, name, kind, step_id, status, attempts, started_at, finished_at)",
        f"'past-' || n, 0, 'step', 'local', 'past', 'completed', 1, {moment}, {moment}",
    )
    waiter = ("durable_signal_waiters (token, run_id, seq)", "'token-' || n, 'past-' || n, 0")
    for first in range(1, number + 1, _BATCH):
        last = min(number, first + _BATCH - 1)
        for table, values in (run, checkpoint, waiter) if waiters else (run, checkpoint):
            await client.execute_raw(_insert(table, values, first, last, sqlite=sqlite))
    if not sqlite:
        # The server does so by itself before long; SQLite only when it is asked.
        await client.execute_raw("ANALYZE")


def _insert(table: str, values: str, first: int, last: int, *, sqlite: bool) -> str:
    if sqlite:
        series = f"WITH RECURSIVE series(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM series WHERE n < {last})"
        return f"{series} INSERT INTO {table} SELECT {values} FROM series"
    return f"INSERT INTO {table} SELECT {values} FROM generate_series({first}, {last}) AS n"
