"""The calls of the hot path, gathered: new runs, checkpoints, endings of turns, and reads of runs and histories.

Each operation also exists by itself. What a batch leaves unanswered (a guard did not hold, a row was in the way, a lock
was held) is asked again that way, so that batches decide nothing on their own.
"""

from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import orjson

from fastapi_durable.model.records import Checkpoint, Run, RunChanges, RunStatus
from fastapi_durable.store.port.checkpoints import RecordedCheckpoint
from fastapi_durable.store.port.runs import CreatedRun
from fastapi_durable.store.prisma.batching import Group
from fastapi_durable.store.prisma.database import Database
from fastapi_durable.store.prisma.history import StoredRow, read_histories
from fastapi_durable.store.prisma.kinds import Conversions, conversions
from fastapi_durable.store.prisma.read_back import checkpoint_reads_back, run_reads_back
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.bulk import (
    UpdateShape,
    insert_runs,
    list_parameter,
    record_checkpoints,
    update_runs,
)
from fastapi_durable.store.prisma.sql.statements import select
from fastapi_durable.store.prisma.tables import CHECKPOINTS, RUNS, Table

T = TypeVar("T")


# Not frozen: making a frozen object takes three times as long, and nobody hashes these.
@dataclass(slots=True)
class _Write:
    """A call that writes; `subject` is what it brings, `reads_back` whether that is what is stored then."""

    key: Hashable
    shape: Hashable
    text: str
    subject: Any = None
    reads_back: bool = True


@dataclass(slots=True)
class _Read:
    key: str
    shape: None = None
    text: str = ""


class BulkCalls:
    """Gathers calls of one database; a transaction has none."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._creations: Group[_Write, CreatedRun] = Group(self._create, database.limit)
        self._records: Group[_Write, RecordedCheckpoint] = Group(self._record, database.limit)
        self._updates: Group[_Write, bool] = Group(self._update, database.limit)
        self._runs: Group[_Read, tuple[Run | None]] = Group(self._find, database.limit)
        self._histories: Group[_Read, list[StoredRow]] = Group(self._read, database.limit)

    async def create_run(self, run: Run, alone: Callable[[], Awaitable[CreatedRun]]) -> CreatedRun:
        def encode() -> _Write | None:
            return self._row(run.id, (), RUNS, run, reads_back=run_reads_back(run))

        return await self._creations.call(encode, alone)

    async def record_checkpoint(
        self, checkpoint: Checkpoint, token: str | None, alone: Callable[[], Awaitable[RecordedCheckpoint]]
    ) -> RecordedCheckpoint:
        def encode() -> _Write | None:
            key = (checkpoint.run_id, checkpoint.seq)
            reads_back = checkpoint_reads_back(checkpoint)
            return self._row(key, (token,), CHECKPOINTS, checkpoint, reads_back=reads_back)

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
    ) -> bool:
        def encode() -> _Write | None:
            shape = UpdateShape(
                columns=tuple(changes),
                statuses=None if statuses is None else tuple(sorted(statuses)),
                has_token=token is not None,
                has_wake_count=wake_count is not None,
                namespace=namespace,
            )
            values = list(changes.values())
            return self._write(run_id, shape, (run_id, token, wake_count), values, _conversions_of(shape.columns))

        return await self._updates.call(encode, alone)

    async def find_run(self, run_id: str, alone: Callable[[], Awaitable[Run | None]]) -> Run | None:
        async def by_itself() -> tuple[Run | None]:
            return (await alone(),)

        (run,) = await self._runs.call(lambda: _Read(run_id), by_itself)
        return run

    async def read_history(self, run_id: str, alone: Callable[[], Awaitable[list[StoredRow]]]) -> list[StoredRow]:
        return await self._histories.call(lambda: _Read(run_id), alone)

    async def _create(self, calls: Sequence[_Write]) -> list[CreatedRun | None]:
        with_rows = not all(call.reads_back for call in calls)
        sql = await self._database.sql()
        rows = await self._query(sql, insert_runs(type(sql), with_rows=with_rows), calls)
        found = {row["id"]: row for row in rows}
        return [
            CreatedRun(_stored(RUNS, call, found[call.key]), created=True) if call.key in found else None
            for call in calls
        ]

    async def _record(self, calls: Sequence[_Write]) -> list[RecordedCheckpoint | None]:
        with_rows = not all(call.reads_back for call in calls)
        sql = await self._database.sql()
        rows = await self._query(sql, record_checkpoints(type(sql), with_rows=with_rows), calls)
        found: dict[Hashable, Any] = {(row["run_id"], int(row["seq"])): row for row in rows}
        return [
            RecordedCheckpoint(_stored(CHECKPOINTS, call, found[call.key]), won=True) if call.key in found else None
            for call in calls
        ]

    async def _update(self, calls: Sequence[_Write]) -> list[bool | None]:
        sql = await self._database.sql()
        shape: Any = calls[0].shape
        text, further = update_runs(type(sql), shape)
        rows = await self._query(sql, text, calls, *further)
        found = {row["id"] for row in rows}
        return [True if call.key in found else None for call in calls]

    async def _find(self, calls: Sequence[_Read]) -> list[tuple[Run | None]]:
        sql = await self._database.sql()
        text = select(sql, RUNS, [f"r.id IN {sql.texts(call.key for call in calls)}"])
        rows = await self._database.query(sql, text)
        runs = {run.id: run for run in RUNS.read_all(row["row"] for row in rows)}
        return [(runs.get(call.key),) for call in calls]

    async def _read(self, calls: Sequence[_Read]) -> list[list[StoredRow]]:
        histories = await read_histories(self._database, [call.key for call in calls])
        return [histories.get(call.key, []) for call in calls]

    async def _query(self, sql: Sql, text: str, calls: Sequence[_Write], *further: Any) -> list[dict[str, Any]]:
        sql.parameters += (list_parameter([call.text for call in calls]), *further)
        return await self._database.query(sql, text)

    def _row(
        self,
        key: Hashable,
        first: tuple[Any, ...],
        table: Table[Any],
        subject: Any,
        *,
        reads_back: bool,
    ) -> _Write | None:
        values = list(table.values(subject))
        return self._write(key, None, first, values, table.conversions, subject, reads_back=reads_back)

    def _write(
        self,
        key: Hashable,
        shape: Hashable,
        first: Iterable[Any],
        values: list[Any],
        conversions: Conversions,
        subject: Any = None,
        *,
        reads_back: bool = True,
    ) -> _Write | None:
        """The call, or None if its columns have no faithful place in a JSON list: by itself it may do better.

        Raises:
            SerializationError: a value has no JSON form.
        """
        sql = self._database.known_sql()
        if sql is None:
            return None
        for place, kind in conversions:
            # Most columns of a row are empty.
            if (value := values[place]) is not None:
                values[place] = sql.stored(value, kind)
        try:
            text = orjson.dumps([*first, *values]).decode()
        except TypeError:
            return None
        # SQLite's JSON functions end a text there.
        return None if "\\u0000" in text else _Write(key, shape, text, subject, reads_back)


@cache
def _conversions_of(columns: tuple[str, ...]) -> Conversions:
    return conversions(RUNS.column(name).kind for name in columns)


def _stored(table: Table[T], call: _Write, row: dict[str, Any]) -> T:
    if call.reads_back:
        brought: T = call.subject
        return brought
    return table.read(row["row"])
