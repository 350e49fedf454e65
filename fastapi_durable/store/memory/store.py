"""The memory store: operations on the tables, alone or in a transaction."""

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Self

from fastapi_durable.model.activity import ActivityBucket, ActivityQuery
from fastapi_durable.model.errors import LeaseLostError, StoreError
from fastapi_durable.model.records import (
    LIVE_STATUSES,
    Checkpoint,
    Lease,
    RetentionPolicy,
    Run,
    RunChanges,
    RunFacet,
    RunQuery,
    RunStatus,
)
from fastapi_durable.store.base import CreatedRun, HistoryState, RecordedCheckpoint, StateStore
from fastapi_durable.store.history import WholeRow
from fastapi_durable.store.memory.activity import activity
from fastapi_durable.store.memory.claims import (
    CLAIMABLE,
    STRANDABLE,
    claimed_by,
    in_turn,
    lease_is_free,
    waiting_runs,
    waiting_since,
)
from fastapi_durable.store.memory.matching import attributed_origin, comes_before, matches, matches_beside_facets
from fastapi_durable.store.memory.queues import QueueOperations
from fastapi_durable.store.memory.session import Gate, Session
from fastapi_durable.store.memory.signals import SignalOperations
from fastapi_durable.store.memory.tables import (
    Tables,
    freeze_checkpoint,
    freeze_run,
    thaw_checkpoint,
    thaw_run,
)
from fastapi_durable.store.memory.upkeep import UpkeepOperations


class _Operations(SignalOperations, UpkeepOperations, QueueOperations):
    """What a store and a transaction have in common; `_access` says when the tables may be touched."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._scope: str | None = None

    async def ensure_schema(self) -> None:
        """Nothing is needed."""

    async def ping(self) -> None:
        async with self._access():
            pass

    def separate_connection(self) -> AbstractAsyncContextManager[StateStore] | None:
        """None: the tables belong to one event loop, and no other process could take a lease meanwhile."""
        return None

    def with_scope(self, namespace: str) -> Self:
        if self._scope not in (None, namespace):
            raise ValueError(f"the store is already restricted to namespace {self._scope!r}, not {namespace!r}")
        scoped = copy.copy(self)
        scoped._scope = namespace
        return scoped

    # Runs

    async def create_run(self, run: Run) -> CreatedRun:
        row = freeze_run(run)
        async with self._access() as tables:
            stored = tables.runs.get(run.id)
            if self._scope is not None and {run.namespace, (stored or run).namespace} != {self._scope}:
                raise StoreError(
                    f"run {run.id!r} is of another namespace than {self._scope!r}, to which this store is restricted"
                )
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
    ) -> bool:
        async with self._access() as tables:
            row = self._visible(tables, run_id)
            if (
                row is None
                or (statuses is not None and row.status not in statuses)
                or (token is not None and row.locked_by != token)
                or (wake_count is not None and row.wake_count != wake_count)
            ):
                return False
            # Freezing a thawed run that holds the changes: the JSON values of the changes are checked and copied.
            tables.runs.put(run_id, freeze_run(replace(thaw_run(row), **changes)))
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

    async def list_pending_runs(self, *, limit: int, namespace: str | None = None) -> list[Run]:
        return await self._list_oldest([RunStatus.PENDING], limit, namespace)

    async def list_incomplete_runs(self, *, limit: int, namespace: str | None = None) -> list[Run]:
        return await self._list_oldest([RunStatus.RUNNING, RunStatus.CANCELLING], limit, namespace)

    async def list_due_timers(self, now: datetime, *, limit: int, namespace: str | None = None) -> list[Run]:
        async with self._access() as tables:
            due = [
                (run.wake_at, run.id, run)
                for run in self._runs(tables, [RunStatus.SUSPENDED], namespace)
                if run.wake_at is not None and run.wake_at <= now
            ]
            return [thaw_run(run) for _, _, run in sorted(due)[:limit]]

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
            batch = given_up[::-1][:limit]
            for run_id in batch:
                _delete_run(tables, run_id)
            return len(batch)

    # Leases

    async def acquire_lease(self, run_id: str, token: str, *, now: datetime, until: datetime) -> bool:
        async with self._access() as tables:
            row = self._visible(tables, run_id)
            if row is None or not lease_is_free(row, now):
                return False
            tables.runs.put(run_id, replace(row, locked_by=token, locked_until=until))
            return True

    async def renew_lease(self, run_id: str, token: str, *, until: datetime) -> bool:
        return bool(await self.renew_leases([Lease(run_id, token)], until=until))

    async def release_lease(self, run_id: str, token: str) -> bool:
        async with self._access() as tables:
            row = self._visible(tables, run_id)
            if row is None or row.locked_by != token:
                return False
            tables.runs.put(run_id, replace(row, locked_by=None, locked_until=None))
            return True

    async def claim_runs(
        self,
        token: str,
        *,
        now: datetime,
        until: datetime,
        limit: int,
        workflows: Collection[tuple[str, str]] | None = None,
        namespace: str | None = None,
        after: str = "",
    ) -> list[Run]:
        async with self._access() as tables:
            runs = (run for run in self._runs(tables, CLAIMABLE, namespace) if not run.queue)
            chosen = in_turn(waiting_runs(runs, now, workflows), after)[: max(0, limit)]
            claimed = [claimed_by(run, token, now, until) for _, run in sorted(chosen, key=lambda each: each[0])]
            for run in claimed:
                tables.runs.put(run.id, run)
            return [thaw_run(run) for run in claimed]

    async def renew_leases(self, leases: Sequence[Lease], *, until: datetime) -> dict[str, bool]:
        async with self._access() as tables:
            held = {}
            for lease in leases:
                row = self._visible(tables, lease.run_id)
                if row is not None and row.locked_by == lease.token:
                    tables.runs.put(row.id, replace(row, locked_until=until))
                    held[row.id] = row.status is RunStatus.CANCELLING
            return held

    async def prolong_leases(self, tokens: Collection[str], *, until: datetime) -> dict[str, str]:
        async with self._access() as tables:
            prolonged = {}
            for row in list(self._runs(tables, [RunStatus.RUNNING, RunStatus.CANCELLING])):
                if row.locked_by is not None and row.locked_by in tokens:
                    tables.runs.put(row.id, replace(row, locked_until=until))
                    prolonged[row.id] = row.locked_by
            return prolonged

    async def next_wake_at(self, *, namespace: str | None = None) -> datetime | None:
        async with self._access() as tables:
            sleeping = self._runs(tables, [RunStatus.SUSPENDED, RunStatus.BLOCKED], namespace)
            return min((run.wake_at for run in sleeping if run.wake_at is not None), default=None)

    # Checkpoints

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        row = freeze_checkpoint(checkpoint)
        async with self._access() as tables:
            self._require_visible(tables, checkpoint.run_id)
            tables.checkpoints.put((row.run_id, row.seq), row)

    async def record_checkpoint(self, checkpoint: Checkpoint, *, token: str | None = None) -> RecordedCheckpoint:
        row = freeze_checkpoint(checkpoint)
        async with self._access() as tables:
            self._require_visible(tables, row.run_id)
            if token is not None:
                run = tables.runs.get(row.run_id)
                if run is None or run.locked_by != token:
                    raise LeaseLostError(row.run_id)
            stored = tables.checkpoints.get((row.run_id, row.seq))
            if stored is not None and stored.status.is_finished:
                return RecordedCheckpoint(thaw_checkpoint(stored), won=False)
            tables.checkpoints.put((row.run_id, row.seq), row)
            return RecordedCheckpoint(thaw_checkpoint(row), won=True)

    async def find_checkpoint(self, run_id: str, seq: int) -> Checkpoint | None:
        async with self._access() as tables:
            row = tables.checkpoints.get((run_id, seq)) if self._touchable(tables, run_id) else None
            return None if row is None else thaw_checkpoint(row)

    async def list_checkpoints(self, run_id: str) -> list[Checkpoint]:
        return await self._list_checkpoints(run_id, None)

    async def page_checkpoints(self, run_id: str, *, after: int | None = None, limit: int) -> list[Checkpoint]:
        found = await self._list_checkpoints(run_id, None)
        return [row for row in found if after is None or row.seq > after][:limit]

    async def history_state(self, run_id: str) -> HistoryState:
        found = await self._list_checkpoints(run_id, None)
        states = ((row.seq, row.status, row.attempts, row.started_at, row.finished_at) for row in found)
        return HistoryState(len(found), str(hash(tuple(states))))

    async def read_history(self, run_id: str) -> list[WholeRow]:
        return [WholeRow(checkpoint) for checkpoint in await self._list_checkpoints(run_id, None)]

    async def find_latest_checkpoint_by_name(
        self, run_id: str, name: str, *, by_time: bool = False
    ) -> Checkpoint | None:
        found = [row for row in await self._list_checkpoints(run_id, [name]) if row.name == name]
        return max(found, key=lambda row: (row.finished_at if by_time else row.seq, row.seq), default=None)

    async def list_checkpoints_by_name_prefix(self, run_id: str, prefixes: Sequence[str]) -> list[Checkpoint]:
        return await self._list_checkpoints(run_id, prefixes)

    async def remove_checkpoints(self, run_id: str, seqs: Collection[int] | None = None) -> int:
        async with self._access() as tables:
            rows = tables.checkpoints.group(run_id) if self._touchable(tables, run_id) else []
            removed = [row for row in rows if seqs is None or row.seq in seqs]
            for row in removed:
                tables.checkpoints.pop((run_id, row.seq))
            return len(removed)

    async def _list_oldest(self, statuses: Iterable[RunStatus], limit: int, namespace: str | None) -> list[Run]:
        async with self._access() as tables:
            found = sorted(self._runs(tables, statuses, namespace), key=lambda run: (run.created_at, run.id))
            return [thaw_run(run) for run in found[:limit]]

    async def _list_checkpoints(self, run_id: str, prefixes: Sequence[str] | None) -> list[Checkpoint]:
        async with self._access() as tables:
            rows = tables.checkpoints.group(run_id) if self._touchable(tables, run_id) else []
            found = [row for row in rows if prefixes is None or row.name.startswith(tuple(prefixes))]
            return [thaw_checkpoint(row) for row in sorted(found, key=lambda row: row.seq)]


class MemoryStateStore(_Operations):
    """A state store in this process's memory, for tests and for trying things out.

    Transactions are exclusive: everything else waits while one is open, so the locks of a transaction cost nothing.
    """

    def __init__(self) -> None:
        super().__init__(Tables())
        self._gate = Gate(self._tables)

    def _access(self) -> AbstractAsyncContextManager[Tables]:
        return self._gate

    @asynccontextmanager
    async def transaction(self, *, timeout: timedelta = timedelta(seconds=10)) -> AsyncIterator["MemoryTransaction"]:
        await self._gate.close_for_others()
        session = Session(self._tables, self._gate)
        expiry = asyncio.get_running_loop().call_later(timeout.total_seconds(), session.expire, timeout)
        try:
            yield MemoryTransaction(session, self._scope)
            session.commit()
        finally:
            expiry.cancel()
            session.roll_back()


class MemoryTransaction(_Operations):
    """The memory store within a transaction."""

    def __init__(self, session: Session, scope: str | None) -> None:
        super().__init__(session.tables)
        self._session = session
        self._scope = scope

    def _access(self) -> AbstractAsyncContextManager[Tables]:
        return self._session

    @property
    def client(self) -> object:
        """None: there is no database."""
        return None

    async def lock_name(self, name: str) -> None:  # noqa: ARG002 - nobody else can be in a transaction
        async with self._access():
            pass

    async def lock_run(self, run_id: str) -> Run | None:
        return await self.find_run(run_id)

    async def wake_run(self, run_id: str, *, now: datetime) -> bool:
        async with self._access() as tables:
            row = self._visible(tables, run_id)
            if row is None or row.status.is_terminal:
                return False
            wake_at = now if row.status in (RunStatus.SUSPENDED, RunStatus.BLOCKED) else row.wake_at
            tables.runs.put(run_id, replace(row, wake_count=row.wake_count + 1, wake_at=wake_at))
            return True

    @asynccontextmanager
    async def transaction(
        self,
        *,
        timeout: timedelta = timedelta(seconds=10),  # noqa: ARG002 - the outer one's holds
    ) -> AsyncIterator["MemoryTransaction"]:
        """Join this transaction. An exception that leaves the inner block dooms the whole."""
        try:
            yield self
        except BaseException:
            self._session.doomed = True
            raise


def _delete_run(tables: Tables, run_id: str) -> None:
    for checkpoint in tables.checkpoints.group(run_id):
        tables.checkpoints.pop((run_id, checkpoint.seq))
    for waiter in tables.waiters.group(run_id):
        tables.waiters.pop(waiter.token)
    tables.runs.pop(run_id)
