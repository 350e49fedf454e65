"""The statements of the hot path go through indexes on a table with a long past."""

import asyncio
from typing import Any

import pytest

from fastapi_durable.model import Lease, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.prisma import PrismaStateStore
from tests.store.contract.builders import a_checkpoint, a_run, at

PAST = 20_000
MANY = 16


async def fill(client: Any, *, sqlite: bool) -> None:
    """Finished runs with one checkpoint each."""
    if sqlite:
        series = "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {})"
        moment = "'2026-01-01T00:00:00.000+00:00'"
        source = f"{series.format(PAST)} INSERT INTO {{}} SELECT {{}} FROM series"
    else:
        moment = "timestamp '2026-01-01'"
        source = f"INSERT INTO {{}} SELECT {{}} FROM generate_series(1, {PAST}) AS n"
    run = (
        "durable_workflow_runs (id, workflow, workflow_version, status, namespace, created_at, updated_at)",
        f"'past-' || n, 'checkout', '1', 'completed', 'default', {moment}, {moment}",
    )
    checkpoint = (
        "durable_step_checkpoints (run_id, seq, name, kind, step_id, status, attempts, started_at, finished_at)",
        f"'past-' || n, 0, 'step', 'local', 'past', 'completed', 1, {moment}, {moment}",
    )
    await client.execute_raw(source.format(*run))
    await client.execute_raw(source.format(*checkpoint))
    if not sqlite:
        # The server does so by itself before long; SQLite only when it is asked.
        await client.execute_raw("ANALYZE")


async def hot_path(store: StateStore) -> None:
    """Everything that a busy worker asks, alone and in batches."""
    runs = [a_run(f"run-{n}", status=RunStatus.RUNNING, locked_by="t") for n in range(MANY)]
    await store.create_run(a_run("waiting"))
    await asyncio.gather(*(store.create_run(run) for run in runs))
    await asyncio.gather(*(store.record_checkpoint(a_checkpoint(0, run_id=run.id), token="t") for run in runs))
    await asyncio.gather(*(store.find_run(run.id) for run in runs))
    await asyncio.gather(*(store.list_checkpoints(run.id) for run in runs))
    await store.renew_leases([Lease(run.id, "t") for run in runs], until=at(60))
    await asyncio.gather(
        *(
            store.update_run(
                run.id, {"status": RunStatus.COMPLETED}, statuses=[RunStatus.RUNNING], token="t", wake_count=0
            )
            for run in runs
        )
    )
    await store.claim_runs("u", now=at(1), until=at(60), limit=8, workflows=[("checkout", "1")], namespace="default")
    await store.claim_runs("u", now=at(1), until=at(60), limit=8)
    await store.next_wake_at()


@pytest.mark.slow
async def test_no_statement_of_the_hot_path_reads_a_whole_table(client: Any, database_url: str) -> None:
    sqlite = database_url.startswith("file:")
    await fill(client, sqlite=sqlite)
    store = PrismaStateStore(client)
    await store.ping()
    client.asked.clear()
    await hot_path(store)
    asked = {text: parameters for text, parameters in client.asked if "durable_" in text}
    assert len(asked) >= 12
    scans, detours = [], []
    for text, parameters in asked.items():
        rows = await client.query_raw(f"EXPLAIN {'QUERY PLAN ' if sqlite else ''}{text}", *parameters)
        plan = [str(row["detail"] if sqlite else row["QUERY PLAN"]) for row in rows]
        scans += [(text, line) for line in plan if is_scan(line, sqlite=sqlite)]
        # A claim is what has to find runs by their status.
        if "r.id = " in text and "picked" not in text:
            detours += [(text, line) for line in plan if is_search_by_status(line, sqlite=sqlite)]
    assert scans == []
    assert detours == []


def is_search_by_status(line: str, *, sqlite: bool) -> bool:
    """Whether a line of a plan goes through all runs of a status, although their ids were given."""
    return "(status=?" in line if sqlite else "Index Cond: (status" in line


def is_scan(line: str, *, sqlite: bool) -> bool:
    """Whether a line of a plan reads all rows of one of our tables."""
    if sqlite:
        # A scan of a virtual table is the reading of a parameter; one of a subquery, of what was found before.
        return (
            line.startswith("SCAN") and line.split()[1] in ("r", "c", "durable_workflow_runs") and "VIRTUAL" not in line
        )
    return "Seq Scan on durable_" in line
