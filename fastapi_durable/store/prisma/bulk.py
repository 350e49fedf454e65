"""The gathered calls of the hot path: new runs, checkpoints, endings of turns, and reads of runs and histories.

Each operation also exists alone. A batch leaves a call unanswered if a guard did not hold, a row existed, or a lock was
held. Such a call is repeated alone, so batches decide nothing themselves.
"""

from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi_durable.model.records import Checkpoint, Run, RunChanges, RunStatus, SignalWaiter
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint, RecordedCheckpoint
from fastapi_durable.store.port.runs import CreatedRun
from fastapi_durable.store.prisma.batching import Group
from fastapi_durable.store.prisma.database import Database, Statement
from fastapi_durable.store.prisma.history import StoredRow, read_histories
from fastapi_durable.store.prisma.prepared import recording
from fastapi_durable.store.prisma.read_back import checkpoint_reads_back, run_reads_back
from fastapi_durable.store.prisma.row_text import changes_text, row_text
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.bulk import (
    UpdateShape,
    insert_runs,
    list_parameter,
    record_checkpoints,
    record_checkpoints_of_changed,
    remove_waiters_of_changed,
    update_runs,
)
from fastapi_durable.store.prisma.sql.statements import select
from fastapi_durable.store.prisma.tables import CHECKPOINTS, RUNS, Table

T = TypeVar("T")


# Not frozen: creating a frozen object takes three times as long, and these are never hashed.
@dataclass(slots=True)
class _Write:
    """A call that writes.

    Attributes:
        subjects: The objects to write, one for each key.
        reads_back: Whether the stored rows will equal the objects.
        rows: The text of the checkpoints that are recorded with a change of a run.
    """

    keys: tuple[Hashable, ...]
    shape: Hashable
    text: str
    subjects: tuple[Any, ...] = ()
    reads_back: bool = True
    rows: str = ""


@dataclass(slots=True)
class _Read:
    keys: tuple[str]
    shape: None = None
    text: str = ""


class BulkCalls:
    """Gathers calls of one database. A transaction does not gather calls."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._creations: Group[_Write, CreatedRun] = Group(self._create, database.limit)
        self._records: Group[_Write, Sequence[RecordedCheckpoint]] = Group(self._record, database.limit)
        self._updates: Group[_Write, bool] = Group(self._update, database.limit)
        self._runs: Group[_Read, tuple[Run | None]] = Group(self._find, database.limit)
        self._histories: Group[_Read, list[StoredRow]] = Group(self._read, database.limit)

    async def create_run(self, run: Run, alone: Callable[[], Awaitable[CreatedRun]]) -> CreatedRun:
        def encode() -> _Write | None:
            text = self._text(RUNS, run)
            return None if text is None else _Write((run.id,), None, text, (run,), run_reads_back(run))

        return await self._creations.call(encode, alone)

    async def record_checkpoint(
        self, checkpoint: Checkpoint, token: str | None, alone: Callable[[], Awaitable[RecordedCheckpoint]]
    ) -> RecordedCheckpoint:
        def encode() -> _Write | None:
            text = self._text(CHECKPOINTS, checkpoint)
            if text is None:
                return None
            key = (checkpoint.run_id, checkpoint.seq)
            return _Write((key,), None, recording(text, token), (checkpoint,), checkpoint_reads_back(checkpoint))

        async def by_itself() -> Sequence[RecordedCheckpoint]:
            return (await alone(),)

        (recorded,) = await self._records.call(encode, by_itself)
        return recorded

    async def record_prepared(
        self,
        prepared: Sequence[PreparedCheckpoint],
        token: str,
        alone: Callable[[], Awaitable[Sequence[RecordedCheckpoint]]],
    ) -> Sequence[RecordedCheckpoint]:
        def encode() -> _Write:
            rows = tuple([each.checkpoint for each in prepared])
            text = ",".join([recording(each.encoded, token) for each in prepared])
            return _Write(tuple([(row.run_id, row.seq) for row in rows]), None, text, rows)

        return await self._records.call(encode, alone)

    async def update_run(
        self,
        run_id: str,
        changes: RunChanges,
        alone: Callable[[], Awaitable[bool]],
        *,
        statuses: Collection[RunStatus] | None,
        token: str | None,
        wake_count: int | None,
        namespace: str | None,
        checkpoints: Sequence[PreparedCheckpoint],
        waiter: SignalWaiter | None,
    ) -> bool:
        def encode() -> _Write | None:
            shape = UpdateShape(
                columns=tuple(changes),
                statuses=None if statuses is None else tuple(sorted(statuses)),
                has_token=token is not None,
                has_wake_count=wake_count is not None,
                namespace=namespace,
                has_rows=bool(checkpoints),
                has_waiter=waiter is not None,
            )
            seqs = [each.checkpoint.seq for each in checkpoints] or None
            waits = (None, None) if waiter is None else (waiter.token, waiter.seq)
            first = (run_id, token, wake_count, seqs, *waits)
            dialect = self._database.known_dialect
            text = None if dialect is None else changes_text(dialect, first, shape.columns, changes.values())
            if text is None:
                return None
            rows = ",".join([recording(each.encoded, None) for each in checkpoints])
            return _Write((run_id,), shape, text, rows=rows)

        async def one_commit() -> bool:
            call = encode()
            return await alone() if call is None else bool(await self._change_and_record([call], waits=True))

        return await self._updates.call(encode, one_commit if checkpoints else alone)

    async def find_run(self, run_id: str, alone: Callable[[], Awaitable[Run | None]]) -> Run | None:
        async def by_itself() -> tuple[Run | None]:
            return (await alone(),)

        (run,) = await self._runs.call(lambda: _Read((run_id,)), by_itself)
        return run

    async def read_history(self, run_id: str, alone: Callable[[], Awaitable[list[StoredRow]]]) -> list[StoredRow]:
        return await self._histories.call(lambda: _Read((run_id,)), alone)

    async def _create(self, calls: Sequence[_Write]) -> list[CreatedRun | None]:
        with_rows = not all(call.reads_back for call in calls)
        sql = await self._database.sql()
        rows = await self._query(sql, insert_runs(type(sql), with_rows=with_rows), calls)
        found: dict[Hashable, Any] = {row["id"]: row for row in rows}
        return [
            CreatedRun(_stored(RUNS, call, found)[0], created=True) if call.keys[0] in found else None for call in calls
        ]

    async def _record(self, calls: Sequence[_Write]) -> list[Sequence[RecordedCheckpoint] | None]:
        with_rows = not all(call.reads_back for call in calls)
        sql = await self._database.sql()
        rows = await self._query(sql, record_checkpoints(type(sql), with_rows=with_rows), calls)
        found: dict[Hashable, Any] = {(row["run_id"], int(row["seq"])): row for row in rows}
        return [
            [RecordedCheckpoint(row, won=True) for row in _stored(CHECKPOINTS, call, found)]
            if all(key in found for key in call.keys)
            else None
            for call in calls
        ]

    async def _update(self, calls: Sequence[_Write]) -> list[bool | None]:
        shape: Any = calls[0].shape
        if shape.has_rows:
            found = await self._change_and_record(calls, waits=False)
        else:
            sql = await self._database.sql()
            text, further = update_runs(type(sql), shape)
            found = {row["id"] for row in await self._query(sql, text, calls, *further)}
        return [True if call.keys[0] in found else None for call in calls]

    async def _change_and_record(self, calls: Sequence[_Write], *, waits: bool) -> set[Hashable]:
        """Update runs, and record checkpoints of the updated ones, in one commit. Return the ids of the updated
        runs.
        """
        sql = await self._database.sql()
        shape: Any = calls[0].shape
        text, further = update_runs(type(sql), shape, waits=waits)
        listed = list_parameter([call.text for call in calls])
        if sql.writes_in_tables:
            sql.parameters += (listed, list_parameter([call.rows for call in calls]), *further)
            return {row["id"] for row in await self._database.query(sql, text)}

        def record(changed: Any) -> Statement:
            return record_checkpoints_of_changed(type(sql)), [list_parameter([call.rows for call in calls]), changed]

        def remove_waiters(changed: Any) -> Statement:
            return remove_waiters_of_changed(type(sql)), [listed, changed]

        then = (record, remove_waiters) if shape.has_waiter else (record,)
        return {row["id"] for row in await self._database.query_then((text, [listed, *further]), *then)}

    async def _find(self, calls: Sequence[_Read]) -> list[tuple[Run | None]]:
        sql = await self._database.sql()
        text = select(sql, RUNS, [f"r.id IN {sql.texts(call.keys[0] for call in calls)}"])
        rows = await self._database.query(sql, text)
        runs = {run.id: run for run in RUNS.read_all(row["row"] for row in rows)}
        return [(runs.get(call.keys[0]),) for call in calls]

    async def _read(self, calls: Sequence[_Read]) -> list[list[StoredRow]]:
        histories = await read_histories(self._database, [call.keys[0] for call in calls])
        return [histories.get(call.keys[0], []) for call in calls]

    async def _query(self, sql: Sql, text: str, calls: Sequence[_Write], *further: Any) -> list[dict[str, Any]]:
        sql.parameters += (list_parameter([call.text for call in calls]), *further)
        return await self._database.query(sql, text)

    def _text(self, table: Table[T], subject: T) -> str | None:
        """Return the row as a member of a batch. None if the call should be made alone."""
        dialect = self._database.known_dialect
        return None if dialect is None else row_text(dialect, table, subject)


def _stored(table: Table[T], call: _Write, found: dict[Hashable, Any]) -> Sequence[T]:
    """Return the stored rows of the call. All of them were written."""
    if call.reads_back:
        return call.subjects
    return [table.read(found[key]["row"]) for key in call.keys]
