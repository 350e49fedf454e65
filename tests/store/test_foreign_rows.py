"""Rows that somebody else wrote: nestjs-durable, an older Prisma, an operator with a SQL console."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from example_app.clients.sqlite import Prisma as SqlitePrisma
from fastapi_durable.model.clock import to_millis
from fastapi_durable.model.errors import SerializationError
from fastapi_durable.model.records import (
    AttributeFilter,
    CheckpointKind,
    CheckpointStatus,
    ErrorRecord,
    RunFacet,
    RunQuery,
    RunStatus,
)
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import (
    T0,
    a_checkpoint,
    a_run,
    an_event,
    at,
    create,
    existing,
    listed,
)
from fastapi_durable.store.prisma import PrismaStateStore
from tests.store.conftest import emptied, prisma_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON_NULLS = "input = 'null', output = 'null', error = 'null', tags = 'null', search_attributes = 'null'"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(module_url: str) -> AsyncIterator[Any]:
    async with prisma_of(module_url)(datasource={"url": module_url}) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def store(client: Any) -> StateStore:
    return await emptied(client)


async def test_a_run_of_the_model_api_is_read(client: Any, store: StateStore) -> None:
    """As a Nest client writes it: only the columns that it knows."""
    await client.durableworkflowrun.create(
        {
            "id": "run-1",
            "workflow": "checkout",
            "workflowVersion": "1",
            "status": "suspended",
            "wakeAt": to_millis(at(5)),
            "lockedBy": "instance",
            "lockedUntil": at(3),
            "createdAt": T0,
            "updatedAt": at(1),
        }
    )
    run = a_run(status=RunStatus.SUSPENDED, wake_at=at(5), locked_by="instance", locked_until=at(3), updated_at=at(1))
    assert await existing(store) == run
    assert await listed(store, created_from=T0, created_until=at(1)) == ["run-1"]
    assert await store.claim_runs("x", now=at(2), until=at(60), limit=1) == []
    (claimed,) = await store.claim_runs("x", now=at(5), until=at(60), limit=1)
    assert claimed.locked_by == "x"


async def test_our_rows_are_read_by_the_model_api(client: Any, store: StateStore) -> None:
    """With the filters that a dashboard uses, times included."""
    await create(
        store,
        a_run(input={"a": [1]}, error=ErrorRecord(message="m"), tags=("t",), wake_at=at(5), locked_until=at(3)),
    )
    await store.save_checkpoint(a_checkpoint(0, output={"b": 1}))
    await store.buffer_event(an_event("e", payload=[1]))
    record = await client.durableworkflowrun.find_first(
        where={"createdAt": T0, "lockedUntil": {"lte": at(3), "gt": at(2)}, "wakeAt": to_millis(at(5)), "output": None}
    )
    assert (record.input, record.error, record.tags) == ({"a": [1]}, {"message": "m"}, ["t"])
    assert (record.createdAt, record.lockedUntil, record.namespace) == (T0, at(3), "default")
    checkpoint = await client.durablestepcheckpoint.find_unique({"runId_seq": {"runId": "run-1", "seq": 0}})
    assert (checkpoint.output, checkpoint.finishedAt, checkpoint.events) == ({"b": 1}, at(1), None)
    event = await client.durablebufferedevent.find_unique({"id": "e"})
    assert (event.payload, event.publishedAt) == ([1], to_millis(T0))


async def test_json_null_counts_as_absent(client: Any, store: StateStore) -> None:
    await create(store, a_run(input=1, tags=("t",)))
    await client.execute_raw(f"UPDATE durable_workflow_runs SET {JSON_NULLS}")
    assert await existing(store) == a_run()
    assert await listed(store, tag="t") == []
    await store.save_checkpoint(a_checkpoint(0, output=1, events=(1,)))
    await client.execute_raw("UPDATE durable_step_checkpoints SET output = 'null', events = 'null', error = 'null'")
    assert await store.list_checkpoints("run-1") == [a_checkpoint(0)]
    await store.buffer_signal("t", 1, now=T0)
    await client.execute_raw("UPDATE durable_buffered_signals SET payload = 'null'")
    signal = await store.take_buffered_signal("t")
    assert signal is not None
    assert signal.payload is None


async def test_clearing_a_json_column_writes_null_and_not_json_null(client: Any, store: StateStore) -> None:
    await create(store, a_run(input=1, output=2, error=ErrorRecord(message="m"), tags=("t",)))
    await store.update_run("run-1", {"input": None, "output": None, "error": None, "tags": (), "search_attributes": {}})
    nothing = "input IS NULL AND output IS NULL AND error IS NULL AND tags IS NULL AND search_attributes IS NULL"
    rows = await client.query_raw(f"SELECT id FROM durable_workflow_runs WHERE {nothing}")
    assert [row["id"] for row in rows] == ["run-1"]


async def test_checkpoints_of_the_reference_are_accepted(client: Any, store: StateStore) -> None:
    """A sleep that is completed at once, a failed local step, a compensation, an error without our fields."""
    for seq, kind, status in [(0, "sleep", "completed"), (1, "local", "failed"), (-1, "local", "running")]:
        await client.durablestepcheckpoint.create(
            {
                "runId": "run-1",
                "seq": seq,
                "name": "n",
                "kind": kind,
                "stepId": f"run-1:{seq}",
                "status": status,
                "attempts": 1,
                "startedAt": T0,
                "finishedAt": T0,
            }
        )
    error = """'{"message": "m", "retryable": true, "unknown": [1]}'"""
    await client.execute_raw(f"UPDATE durable_step_checkpoints SET error = {error} WHERE seq = 1")
    undone, slept, failed = await store.list_checkpoints("run-1")
    assert (undone.seq, undone.status) == (-1, CheckpointStatus.RUNNING)
    assert (slept.kind, slept.status, slept.enqueued_at) == (CheckpointKind.SLEEP, CheckpointStatus.COMPLETED, None)
    assert failed.error == ErrorRecord(message="m", retryable=True)


async def test_a_signal_without_a_time_is_taken_and_never_pruned(client: Any, store: StateStore) -> None:
    await client.durablebufferedsignal.create({"token": "t"})
    assert await store.prune_buffered_signals(at(10**9), limit=9) == 0
    assert await store.take_buffered_signal("t") is not None


async def test_attributes_without_the_runs_own_json_are_found(client: Any, store: StateStore) -> None:
    """What cannot be told apart any more counts as text."""
    await create(store, a_run(search_attributes={"flag": True, "n": 5}))
    await client.execute_raw("UPDATE durable_workflow_runs SET search_attributes = NULL")
    assert await listed(store, attributes=(AttributeFilter("n", "gt", 4),)) == ["run-1"]
    assert await listed(store, attributes=(AttributeFilter("flag", "eq", "true"),)) == ["run-1"]
    assert await listed(store, attributes=(AttributeFilter("flag", "eq", True),)) == []


async def test_one_bad_row_does_not_stop_the_others(
    client: Any, store: StateStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and asking for it alone is an error that names it."""
    await create(store, a_run("good"), a_run("bad"), a_run("worse"))
    await client.execute_raw("UPDATE durable_workflow_runs SET status = 'lost' WHERE id = 'bad'")
    await client.execute_raw("UPDATE durable_workflow_runs SET tags = '5', search_attributes = '7' WHERE id = 'worse'")
    with caplog.at_level(logging.ERROR):
        assert await listed(store) == ["good"]
        assert [run.id for run in await store.claim_runs("t", now=at(1), until=at(9), limit=9)] == ["good"]
    assert "'bad'" in caplog.text
    with pytest.raises(SerializationError, match=r"status .*'bad'"):
        await store.find_run("bad")
    with pytest.raises(SerializationError, match=r"tags .*'worse'"):
        await store.find_run("worse")
    assert await listed(store, tag="t") == []
    assert await store.run_facets(RunQuery(workflow="nobody")) == []


async def test_an_unknown_status_is_left_out_of_the_facets(client: Any, store: StateStore) -> None:
    await create(store, a_run("good"), a_run("bad"))
    await client.execute_raw("UPDATE durable_workflow_runs SET status = 'lost' WHERE id = 'bad'")
    assert await store.run_facets(RunQuery()) == [RunFacet(RunStatus.PENDING, None, 1)]


async def test_broken_json_in_sqlite_stops_no_other_run(sqlite_url: str) -> None:
    """SQLite would store anything in a JSON column."""
    async with SqlitePrisma(datasource={"url": sqlite_url}) as client:
        store = PrismaStateStore(client)
        await create(store, a_run("good", tags=("t",), search_attributes={"k": True}), a_run("bad"))
        broken = "input = '{', tags = '[', search_attributes = '{\"k\"'"
        await client.execute_raw(f"UPDATE durable_workflow_runs SET {broken} WHERE id = 'bad'")
        assert await listed(store, tag="t", attributes=(AttributeFilter("k", "eq", True),)) == ["good"]
        assert [run.id for run in await store.claim_runs("t", now=at(1), until=at(9), limit=9)] == ["good"]


async def test_half_of_a_surrogate_pair_in_sqlite_is_read_as_it_is(sqlite_url: str) -> None:
    """JavaScript writes it into its JSON; whether it can be told on is for whoever tells it."""
    async with SqlitePrisma(datasource={"url": sqlite_url}) as client:
        store = PrismaStateStore(client)
        await create(store, a_run())
        for text, value in (('"\\ud800"', "\ud800"), (f'"{"x" * 30}\\ud800"', "x" * 30 + "\ud800")):
            await client.execute_raw("UPDATE durable_workflow_runs SET input = ?", text)
            assert (await existing(store)).input == value


async def test_times_in_milliseconds_are_understood_on_sqlite(sqlite_url: str) -> None:
    """Prisma before version 7 wrote them; a lease in milliseconds is respected until it expires."""
    async with SqlitePrisma(datasource={"url": sqlite_url}) as client:
        store = PrismaStateStore(client)
        run = a_run(status=RunStatus.RUNNING, locked_by="nest", locked_until=at(30))
        await create(store, run)
        await client.execute_raw(
            "UPDATE durable_workflow_runs SET created_at = ?, updated_at = ?, locked_until = ?",
            to_millis(T0),
            to_millis(T0),
            to_millis(at(30)),
        )
        assert await existing(store) == run
        assert await store.claim_runs("x", now=at(29), until=at(60), limit=1) == []
        assert len(await store.claim_runs("x", now=at(30), until=at(60), limit=1)) == 1
