"""The statements of the hot path go through indexes on a table with a long past."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable.declare.queue import QueueState
from fastapi_durable.model.activity import ActivityQuery
from fastapi_durable.model.records import (
    TERMINAL_STATUSES,
    AttributeFilter,
    Lease,
    RetentionPolicy,
    Run,
    RunChanges,
    RunQuery,
    RunStatus,
)
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import a_checkpoint, a_run, at
from fastapi_durable.store.contract.suite.prepared import prepared
from fastapi_durable.store.prisma import PrismaStateStore
from prisma_inprocess.raw_batch import RowsOf
from tests.support.past import add_finished_runs

PAST = 20_000
_FILLED = ("durable_workflow_runs", "durable_step_checkpoints", "durable_signal_waiters")
MANY = 16


async def hot_path(store: StateStore) -> None:
    """Everything that a busy worker asks, alone and in batches."""
    runs = [a_run(f"run-{n}", status=RunStatus.RUNNING, locked_by="t") for n in range(MANY)]
    await store.create_run(a_run("waiting"))
    await asyncio.gather(*(store.create_run(run) for run in runs))
    await asyncio.gather(*(store.record_checkpoint(a_checkpoint(0, run_id=run.id), token="t") for run in runs))
    rows = {run.id: prepared(store, a_checkpoint(1, run_id=run.id), a_checkpoint(2, run_id=run.id)) for run in runs}
    await store.record_prepared(rows["run-0"], token="t")
    await asyncio.gather(*(store.record_prepared(rows[run.id], token="t") for run in runs))
    await asyncio.gather(*(store.find_run(run.id) for run in runs))
    await asyncio.gather(*(store.list_checkpoints(run.id) for run in runs))
    await store.renew_leases([Lease(run.id, "t") for run in runs], until=at(60))
    for run in runs:
        rows[run.id] = prepared(store, a_checkpoint(3, run_id=run.id), a_checkpoint(4, run_id=run.id))

    async def change(run: Run) -> bool:
        changes: RunChanges = {"status": RunStatus.RUNNING, "updated_at": at(2)}
        return await store.update_run(
            run.id, changes, statuses=[RunStatus.RUNNING], token="t", wake_count=0, checkpoints=rows[run.id]
        )

    assert await change(runs[0])
    assert await asyncio.gather(*map(change, runs[1:])) == [True] * (MANY - 1)
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


async def queues(store: StateStore) -> None:
    """What workers ask of queues: with places and rates, with a place that was lost, and what is in them."""
    few = QueueState(id="few", namespace="default", name="few", updated_at=at(0), concurrency=3)
    slow = replace(few, id="slow", name="slow", concurrency=None, rate_limit=2, rate_period=timedelta(days=1))
    for queue in (few, slow):
        await store.save_queue(queue)
        for number in range(MANY):
            await store.create_run(a_run(f"{queue.name}-{number}", queue=queue.name, fairness_key=f"key-{number % 3}"))
    known = [("checkout", "1")]
    assert (await store.claim_queued_runs("u", now=at(1), until=at(2), limit=8, workflows=known)).runs
    assert (await store.claim_queued_runs("v", now=at(3), until=at(60), limit=8, namespace="default")).runs
    await store.claim_queued_runs("v", now=at(4), until=at(60), limit=8)
    await store.list_queues(at(4))


async def upkeep(store: StateStore) -> None:
    """What every worker does again and again, and what an operator looks at."""
    await store.list_expired_runs(at(1), limit=100)
    await store.list_stranded_runs(at(1), served=["checkout@1", "other@2"], limit=100)
    await store.list_runs(RunQuery(limit=50))
    await store.list_runs(RunQuery(limit=50, before=(at(0), "run-1")))
    await store.list_runs(RunQuery(parent_run_id="run-1"))
    await store.list_signal_waiters(run_ids=["run-1"])
    await store.run_activity(ActivityQuery(start=at(0), width=timedelta(minutes=1), buckets=60))
    await store.page_checkpoints("past-7", after=0, limit=10)
    await store.history_state("past-7")
    for by_time in (False, True):
        await store.find_latest_checkpoint_by_name("past-7", "step-0", by_time=by_time)
    old = RetentionPolicy(statuses=TERMINAL_STATUSES, max_age=timedelta(days=3650))
    many = RetentionPolicy(statuses=TERMINAL_STATUSES, max_count=PAST // 2)
    await store.prune_terminal_runs(old, now=at(0), limit=9)
    await store.prune_terminal_runs(many, now=at(0), limit=9)
    await store.prune_buffered_signals(at(0), limit=100)
    await store.prune_buffered_events(at(0), limit=100)
    await store.prune_workers(at(0), limit=100)


@pytest.mark.slow
@pytest.mark.parametrize("work", [hot_path, queues, upkeep])
async def test_no_statement_of_a_worker_reads_a_whole_table(
    client: Any, database_url: str, work: Callable[[StateStore], Awaitable[None]]
) -> None:
    sqlite = database_url.startswith("file:")
    await add_finished_runs(client, PAST, sqlite=sqlite, waiters=True)
    store = PrismaStateStore(client)
    await store.ping()
    client.asked.clear()
    await work(store)
    asked = {text: parameters for text, parameters in client.asked if "durable_" in text}
    assert len(asked) >= 11
    scans, detours = [], []
    for text, parameters in asked.items():
        given = ["[]" if isinstance(value, RowsOf) else value for value in parameters]
        rows = await client.query_raw(f"EXPLAIN {'QUERY PLAN ' if sqlite else ''}{text}", *given)
        plan = [str(row["detail"] if sqlite else row["QUERY PLAN"]) for row in rows]
        scans += [(text, line) for line in plan if is_scan(line, sqlite=sqlite)]
        # A claim is what has to find runs by their status.
        if "r.id = " in text and "picked" not in text:
            detours += [(text, line) for line in plan if is_search_by_status(line, sqlite=sqlite)]
    assert scans == []
    assert detours == []


@pytest.mark.slow
async def test_runs_of_a_rare_origin_are_listed_by_its_index(client: Any, database_url: str) -> None:
    """However many runs others have: a walk through all of them would grow with the table."""
    sqlite = database_url.startswith("file:")
    await add_finished_runs(client, PAST, sqlite=sqlite)
    await client.execute_raw("UPDATE durable_workflow_runs SET origin = CASE WHEN id LIKE '%7' THEN 'a' ELSE 'b' END")
    if not sqlite:
        await client.execute_raw("ANALYZE durable_workflow_runs")
    store = PrismaStateStore(client)
    await store.ping()
    client.asked.clear()
    assert await store.list_runs(RunQuery(origin="rare")) == []
    ((text, parameters),) = [asked for asked in client.asked if "durable_" in asked[0]]
    explain = "EXPLAIN QUERY PLAN" if sqlite else "EXPLAIN (GENERIC_PLAN)"
    plan = [str(line) for row in await client.query_raw(f"{explain} {text}", *parameters) for line in row.values()]
    assert any("durable_workflow_runs_origin_created_at_idx" in line for line in plan), plan


async def test_a_search_by_tag_or_attribute_is_planned_each_time(client: Any, database_url: str) -> None:
    """The plan that is good for a tag of one run is bad for one that half of them have, and is not kept for it."""
    store = PrismaStateStore(client)
    attribute = AttributeFilter("total", "gte", 5)
    for query, is_kept in (
        (RunQuery(tag="a"), False),
        (RunQuery(attributes=(attribute,)), False),
        (RunQuery(workflow="checkout"), True),
    ):
        await store.ping()
        client.asked.clear()
        for _ in range(2):
            await store.list_runs(query)
            await store.count_runs(query, at_most=10)
            await store.run_facets(query, at_most=10)
        asked = [text for text, _ in client.asked if "durable_" in text]
        assert len(asked) == 6
        assert len(set(asked)) == (3 if is_kept or database_url.startswith("file:") else 6)


def is_search_by_status(line: str, *, sqlite: bool) -> bool:
    """Whether a line of a plan goes through all runs of a status, although their ids were given."""
    return "(status=?" in line if sqlite else "Index Cond: (status" in line


def is_scan(line: str, *, sqlite: bool) -> bool:
    """Whether a line of a plan reads all rows of one of our tables."""
    if sqlite:
        # A scan of a virtual table is the reading of a parameter; one of a subquery, of what was found before. The
        # listing from new to old goes along its index until it has what it wants.
        harmless = ("VIRTUAL", "USING INDEX durable_workflow_runs_created_at_id_idx")
        return (
            line.startswith("SCAN")
            and line.split()[1] in ("r", "c", "durable_workflow_runs")
            and not any(each in line for each in harmless)
        )
    return any(f"Seq Scan on {table} " in line for table in _FILLED)
