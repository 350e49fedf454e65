"""Runs in memory."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice

from fastapi_durable.model.activity import ActivityBucket, ActivityQuery
from fastapi_durable.model.due import waiting_since
from fastapi_durable.model.errors import StoreError
from fastapi_durable.model.records import (
    LIVE_STATUSES,
    CheckpointStatus,
    RetentionPolicy,
    Run,
    RunChanges,
    RunFacet,
    RunQuery,
    RunStatus,
    SignalWaiter,
)
from fastapi_durable.model.reserved import JOINED
from fastapi_durable.store.memory.access import TableAccess
from fastapi_durable.store.memory.activity import activity
from fastapi_durable.store.memory.claims import STRANDABLE
from fastapi_durable.store.memory.matching import attributed_origin, comes_before, matches, matches_beside_facets
from fastapi_durable.store.memory.tables import Tables, freeze_run, thaw_run
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint
from fastapi_durable.store.port.runs import CreatedRun


class RunOperations(TableAccess):
    """The operations that the store and a transaction share."""

    async def create_run(self, run: Run) -> CreatedRun:
        row = freeze_run(run)
        async with self._access() as tables:
            stored = tables.runs.get(run.id)
            if self._scope is not None and {run.namespace, (stored or run).namespace} != {self._scope}:
                raise StoreError(f"run {run.id!r} is not in namespace {self._scope!r}, to which this store is confined")
            if stored is not None:
                return CreatedRun(thaw_run(stored), created=False)
            tables.runs.put(run.id, row)
            return CreatedRun(thaw_run(row), created=True)

    async def find_run(self, run_id: str) -> Run | None:
        async with self._access() as tables:
            row = self._visible(tables, run_id)
            return None if row is None else thaw_run(row)

    async def update_run(
        self,
        run_id: str,
        changes: RunChanges,
        *,
        statuses: Collection[RunStatus] | None = None,
        token: str | None = None,
        wake_count: int | None = None,
        checkpoints: Sequence[PreparedCheckpoint] = (),
        waiter: SignalWaiter | None = None,
    ) -> bool:
        async with self._access() as tables:
            row = self._visible(tables, run_id)
            if (
                row is None
                or (statuses is not None and row.status not in statuses)
                or (token is not None and row.locked_by != token)
                or (wake_count is not None and row.wake_count != wake_count)
                or any(_is_finished(tables, each) for each in checkpoints)
                or (waiter is not None and not _waits(tables, waiter))
            ):
                return False
            if waiter is not None:
                tables.waiters.pop(waiter.token)
            # Freeze a thawed run with the changes, so that their JSON values are checked and copied.
            tables.runs.put(run_id, freeze_run(replace(thaw_run(row), **changes)))
            for each in checkpoints:
                tables.checkpoints.put((run_id, each.checkpoint.seq), each.encoded)
            return True

    async def delete_run(self, run_id: str) -> bool:
        async with self._access() as tables:
            if self._visible(tables, run_id) is None:
                return False
            _delete_run(tables, run_id)
            return True

    async def list_runs(self, query: RunQuery) -> list[Run]:
        async with self._access() as tables:
            found = [run for run in self._runs(tables) if matches(run, query) and comes_before(run, query)]
            found.sort(key=lambda run: (run.created_at, run.id), reverse=True)
            return [thaw_run(run) for run in found[query.offset : query.offset + query.limit]]

    async def count_runs(self, query: RunQuery, *, at_most: int | None = None) -> int:
        async with self._access() as tables:
            return sum(1 for _ in islice((run for run in self._runs(tables) if matches(run, query)), at_most))

    async def run_facets(self, query: RunQuery, *, at_most: int | None = None) -> list[RunFacet]:
        counts: Counter[tuple[RunStatus, str | None]] = Counter()
        async with self._access() as tables:
            for status in RunStatus:
                found = (run for run in self._runs(tables, [status]) if matches_beside_facets(run, query))
                counts.update((status, attributed_origin(run)) for run in islice(found, at_most))
        return [
            RunFacet(status, origin, count)
            for (status, origin), count in sorted(counts.items(), key=lambda cell: (cell[0][0], cell[0][1] or ""))
        ]

    async def run_activity(self, query: ActivityQuery) -> list[ActivityBucket]:
        async with self._access() as tables:
            return activity(self._runs(tables), query)

    async def list_expired_runs(self, now: datetime, *, limit: int, namespace: str | None = None) -> list[str]:
        async with self._access() as tables:
            expired = [
                (run.expires_at, run.id)
                for run in self._runs(tables, LIVE_STATUSES - {RunStatus.CANCELLING}, namespace)
                if run.expires_at is not None and run.expires_at <= now
            ]
            return [run_id for _, run_id in sorted(expired)[:limit]]

    async def list_stranded_runs(
        self, before: datetime, *, served: Collection[str], limit: int, namespace: str | None = None
    ) -> list[Run]:
        async with self._access() as tables:
            stranded = [
                (since, run.id, run)
                for run in self._runs(tables, STRANDABLE, namespace)
                if (since := waiting_since(run, before)) is not None
                and since <= before
                and f"{run.workflow}@{run.workflow_version}" not in served
            ]
            return [thaw_run(run) for _, _, run in sorted(stranded, key=lambda each: each[:2])[:limit]]

    async def prune_terminal_runs(
        self, policy: RetentionPolicy, *, now: datetime, limit: int, namespace: str | None = None
    ) -> int:
        async with self._access() as tables:
            newest_first = sorted(
                self._runs(tables, policy.statuses, namespace), key=lambda run: (run.updated_at, run.id), reverse=True
            )
            given_up = [
                run.id
                for position, run in enumerate(newest_first)
                if (policy.max_age is not None and run.updated_at < now - policy.max_age)
                or (policy.max_count is not None and position >= policy.max_count)
            ]
            batch = [run_id for run_id in given_up[::-1] if _is_joined(tables, run_id)][:limit]
            for run_id in batch:
                _delete_run(tables, run_id)
            return len(batch)


def _waits(tables: Tables, waiter: SignalWaiter) -> bool:
    stored = tables.waiters.get(waiter.token)
    return stored is not None and (stored.run_id, stored.seq) == (waiter.run_id, waiter.seq)


def _is_finished(tables: Tables, prepared: PreparedCheckpoint) -> bool:
    stored = tables.checkpoints.get((prepared.checkpoint.run_id, prepared.checkpoint.seq))
    return stored is not None and stored.status.is_finished


def _is_joined(tables: Tables, run_id: str) -> bool:
    """Return whether no parent needs the run: its parent has ended, or has recorded its ending."""
    run = tables.runs.get(run_id)
    parent = None if run is None or run.parent_run_id is None else tables.runs.get(run.parent_run_id)
    if run is None or parent is None or parent.status.is_terminal:
        return True
    recorded = None if run.parent_seq is None else tables.checkpoints.get((parent.id, run.parent_seq))
    return recorded is not None and recorded.status is CheckpointStatus.COMPLETED and recorded.name.startswith(JOINED)


def _delete_run(tables: Tables, run_id: str) -> None:
    for checkpoint in tables.checkpoints.group(run_id):
        tables.checkpoints.pop((run_id, checkpoint.seq))
    for waiter in tables.waiters.group(run_id):
        tables.waiters.pop(waiter.token)
    for row in tables.stream_rows.group(run_id):
        tables.stream_rows.pop((run_id, row.stream, row.item_offset))
    tables.runs.pop(run_id)
