"""Retention by number on a table with a long past, also where thousands of runs ended at one moment."""

from typing import Any

import pytest

from fastapi_durable.model.records import RetentionPolicy, RunQuery, RunStatus
from fastapi_durable.store.contract.suite.builders import MINUTE, T0, a_run, a_stream_row, at
from fastapi_durable.store.prisma import PrismaStateStore, retention
from tests.support.past import add_finished_runs

PAST = 1100


async def test_runs_that_ended_at_one_moment_are_told_apart_as_far_as_is_looked(client: Any, database_url: str) -> None:
    """Of more of them than that, none is given up before all are: rather too many runs are kept than too few."""
    await add_finished_runs(client, PAST, sqlite=database_url.startswith("file:"))
    await client.execute_raw(
        "UPDATE durable_workflow_runs SET updated_at = (SELECT max(updated_at) FROM durable_workflow_runs)"
    )
    store = PrismaStateStore(client)

    async def kept(number: int) -> int:
        policy = RetentionPolicy(statuses=frozenset({RunStatus.COMPLETED}), max_count=number)
        await store.prune_terminal_runs(policy, now=T0, limit=PAST)
        return await store.count_runs(RunQuery())

    assert [await kept(number) for number in (PAST + 1, PAST - 1, 1000, 999, 0)] == [PAST, PAST, 1000, 999, 0]


async def test_runs_with_long_streams_are_deleted_in_smaller_batches(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that deleted the streams of a thousand runs would not come to its end in time."""
    monkeypatch.setattr(retention, "_STREAM_ROWS", 5)
    store = PrismaStateStore(client)
    for number in range(4):
        run_id = f"run-{number}"
        await store.create_run(a_run(run_id, status=RunStatus.COMPLETED, locked_by="token"))
        rows = [a_stream_row(offset, run_id) for offset in range(3)]
        assert not await store.append_stream_rows(rows, tokens={run_id: "token"})
    policy = RetentionPolicy(statuses=frozenset({RunStatus.COMPLETED}), max_age=MINUTE)
    later = at(3600)
    assert [await store.prune_terminal_runs(policy, now=later, limit=10) for _ in range(4)] == [1, 1, 1, 1]
    assert await store.list_stream_parts("run-3") == []
