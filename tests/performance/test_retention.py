"""Retention by number on a table with a long past, also where thousands of runs ended at one moment."""

from typing import Any

from fastapi_durable.model.records import RetentionPolicy, RunQuery, RunStatus
from fastapi_durable.store.contract.suite.builders import T0
from fastapi_durable.store.prisma import PrismaStateStore
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
