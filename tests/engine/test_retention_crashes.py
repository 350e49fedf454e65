"""Retention deletes batch by batch; a process that dies in the middle leaves whole runs, and another one the rest."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable import Retention, keep
from fastapi_durable.engine.upkeep.retention import sweep
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.records import (
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    Run,
    RunQuery,
    RunStatus,
    SignalWaiter,
)
from fastapi_durable.store.base import StateStore
from tests.support.crashing_store import Fuse, Moment, ProcessDied, crashing
from tests.support.engine_rig import build_engine
from tests.support.stores import on_every_store

DAY = timedelta(days=1)
OLD = [f"old-{number}" for number in range(5)]
RETENTION = Retention(policies=(keep("completed", max_age="1 day"),), batch_size=2)


async def _fill(store: StateStore) -> None:
    """Runs with all that may belong to one; of the last, which stays, as much."""
    moment = SystemClock().now() - 9 * DAY
    for run_id in [*OLD, "new"]:
        run = Run(
            id=run_id,
            workflow="w",
            workflow_version="1",
            status=RunStatus.COMPLETED,
            search_attributes={"size": 1},
            created_at=moment,
            updated_at=moment if run_id != "new" else SystemClock().now(),
        )
        await store.create_run(run)
        row = Checkpoint(
            run_id=run_id,
            seq=0,
            name="s",
            kind=CheckpointKind.LOCAL,
            status=CheckpointStatus.COMPLETED,
            step_id=f"{run_id}:0",
            started_at=moment,
            finished_at=moment,
        )
        await store.save_checkpoint(row)
        await store.put_signal_waiter(SignalWaiter(token=run_id, run_id=run_id, seq=0))


async def _whole(store: StateStore) -> list[str]:
    """The runs that are left; each has all of its own, and of the others there is nothing."""
    left = sorted(run.id for run in await store.list_runs(RunQuery()))
    assert [waiter.token for waiter in await store.list_signal_waiters()] == left
    for run_id in [*OLD, "new"]:
        assert len(await store.list_checkpoints(run_id)) == (run_id in left)
    return left


@on_every_store
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_process_that_dies_between_batches_leaves_whole_runs_and_another_one_the_rest(
    store: StateStore, at: int, moment: Moment
) -> None:
    await _fill(store)
    doomed, living = build_engine(crashing(store, Fuse(at, moment))), build_engine(store)
    with pytest.raises(ProcessDied):
        await sweep(doomed._kernel, RETENTION)
    batches = at if moment == "after" else at - 1
    assert len(await _whole(store)) == 6 - min(5, 2 * batches)
    assert await sweep(living._kernel, RETENTION) == 5 - min(5, 2 * batches)
    assert await _whole(store) == ["new"]
    assert await sweep(living._kernel, RETENTION) == 0


class Dying:
    """A client whose process dies at the n-th statement of a transaction, before the database has executed it."""

    def __init__(self, client: Any, at: int) -> None:
        self.died = False
        self._client = client
        self._at = at

    @asynccontextmanager
    async def tx(self, **options: Any) -> AsyncIterator["Dying"]:
        async with self._client.tx(**options) as transaction:
            yield _of_transaction(self, transaction)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def count(self) -> None:
        self._at -= 1
        if self._at == 0:
            self.died = True
            raise ProcessDied


def _of_transaction(dying: Dying, transaction: Any) -> Any:
    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(transaction, name)

        async def query_raw(self, *arguments: Any) -> Any:
            dying.count()
            return await transaction.query_raw(*arguments)

        async def execute_raw(self, *arguments: Any) -> Any:
            dying.count()
            return await transaction.execute_raw(*arguments)

    return Counted()


@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
async def test_a_process_that_dies_within_a_batch_leaves_all_of_its_runs_whole(store: StateStore) -> None:
    """At every statement of the deletion; another worker looks at that moment, and deletes what there is, once."""
    await _fill(store)
    living = build_engine(store)
    (policy,) = RETENTION.policies
    database: Any = store._database  # type: ignore[attr-defined]
    client, at, died = database.client, 1, True
    while died:
        dying = database.client = Dying(client, at)
        try:
            await store.prune_terminal_runs(policy, now=SystemClock().now(), limit=2)
        except ProcessDied:
            pass
        finally:
            database.client = client
        assert len(await _whole(store)) == await client.durablerunattribute.count() == (6 if dying.died else 4)
        at, died = at + 1, dying.died
    assert at > 5, "a run, its checkpoints, waiters and attributes are four statements"
    assert await sweep(living._kernel, RETENTION) == 3
    assert await _whole(store) == ["new"]
